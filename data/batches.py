"""Batches for training: shuffled by seed and epoch, divided among processes, resumable anywhere.

An image source decides what stands for an image: a cached embedding or its pixels.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Item = TypeVar("Item")
# (B,) indices of images and (B,) random seeds, int64 -> (B, ...) images. Equal index and seed give
# equal images, so that neither resuming nor dividing changes what is seen.
ImageSource = Callable[[Tensor, Tensor], Tensor]
Unit = Literal["caption", "image"]
_NUM_SEEDS = 2**31


class LossSum(NamedTuple):
    """A sum of losses and its denominator, so that batches and processes add up exactly."""

    total: Tensor  # (), nats
    terms: Tensor  # (), int64: words of captions, or images


class ProcessBatch(NamedTuple):
    """The part of a batch that one process computes."""

    units: list[int]  # indices in the data, as shuffled
    seeds: Tensor  # (len(units),) int64, a random seed for each unit


@dataclass(frozen=True)
class BatchPlan:
    """Which units are in which batch, in which order, with which random seeds, on which process.

    Raises:
        ValueError: there are fewer units than processes, or a batch is smaller than their number.
    """

    num_units: int
    """Units in the data."""
    _: KW_ONLY
    batch_size: int
    """Units in a batch, over all processes together."""
    seed: int | None = 0
    """Of the shuffling; None keeps the order."""
    rank: int = 0
    """Of this process."""
    world_size: int = 1
    """Number of processes that share each batch."""
    unit_name: str = "units"
    """What errors call the units."""
    min_per_process: int = 1
    """Units that each process needs in a batch; a smaller last batch is appended to the one
    before."""

    def __post_init__(self) -> None:
        processes = f"{self.world_size} processes"
        if self.batch_size < self.world_size:
            raise ValueError(f"a batch of {self.batch_size} cannot be shared by {processes}")
        if self.num_units < self.world_size:
            raise ValueError(f"{self.num_units} {self.unit_name} cannot be shared by {processes}")

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._spans())

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[ProcessBatch]:
        """This process's part of every batch of an epoch, from batch ``first`` on."""
        order = torch.arange(self.num_units)
        if self.seed is not None:
            order = torch.randperm(self.num_units, generator=_generator(self.seed, epoch, 0))
        for index, (begin, end) in enumerate(self._spans()):
            if index < first:
                continue
            # Drawn for the whole batch and then divided, so that dividing changes nothing.
            seeds = torch.randint(
                _NUM_SEEDS, (end - begin,), generator=_generator(self.seed or 0, epoch, index + 1)
            )
            units = order[begin + self.rank : end : self.world_size].tolist()
            yield ProcessBatch(units, seeds[self.rank :: self.world_size])

    def _spans(self) -> list[tuple[int, int]]:
        begins = list(range(0, self.num_units, self.batch_size))
        rest = self.num_units - begins[-1] if begins else 0
        if len(begins) > 1 and rest < self.min_per_process * self.world_size:
            begins.pop()
        return list(zip(begins, [*begins[1:], self.num_units], strict=True))


class CaptionBatch(NamedTuple):
    """Images and captions of them."""

    images: Tensor  # (B, D) embeddings or (B, 3, H, W) pixels
    words: Tensor  # (N, T) int64, from start to end, padded with end
    lengths: Tensor  # (N,) int64, start and end counted
    image_of: Tensor  # (N,) int64: row of ``images`` for each caption
    indices: Tensor  # (B,) int64: of the images in the split

    def to(self, device: torch.device | str) -> "CaptionBatch":
        """The same on another device."""
        return CaptionBatch(*(tensor.to(device, non_blocking=True) for tensor in self))


class CaptionBatches:
    """The captions of a split, in batches.

    Args:
        source: gives the images.
        captions: of each image, as word ids from start to end.
        unit: ``"caption"`` shuffles captions, each beside its image; ``"image"`` shuffles images,
            each with all its captions, so that no image is encoded twice.
        batch_size, seed, rank, world_size: see `BatchPlan`, which raises ValueError.
    """

    def __init__(
        self,
        source: ImageSource,
        captions: Sequence[Sequence[Sequence[int]]],
        *,
        batch_size: int,
        unit: Unit = "caption",
        seed: int | None = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.source = source
        self.captions = captions
        self._units: list[tuple[int, Sequence[Sequence[int]]]] = []
        for image, ids in enumerate(captions):
            if unit == "image":
                self._units += [(image, ids)] if ids else []
            else:
                self._units += [(image, [caption]) for caption in ids]
        self._plan = BatchPlan(
            len(self._units),
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            unit_name="captions",
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._plan)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[CaptionBatch]:
        """This process's part of every batch of an epoch, from batch ``first`` on."""
        for units, seeds in self._plan.epoch(epoch, first=first):
            yield self._batch(units, seeds)

    def _batch(self, units: list[int], seeds: Tensor) -> CaptionBatch:
        indices = torch.tensor([self._units[unit][0] for unit in units])
        captions = [ids for unit in units for ids in self._units[unit][1]]
        image_of = [row for row, unit in enumerate(units) for _ in self._units[unit][1]]
        lengths = torch.tensor([len(ids) for ids in captions])
        words = pad_sequence(
            [torch.tensor(ids) for ids in captions], batch_first=True, padding_value=captions[0][-1]
        )
        images = self.source(indices, seeds)
        return CaptionBatch(images, words, lengths, torch.tensor(image_of), indices)


class LabelledBatch(NamedTuple):
    """Images and their labels."""

    images: Tensor  # (B, D) embeddings or (B, 3, H, W) pixels
    labels: Tensor  # (B,) int64

    def to(self, device: torch.device | str) -> "LabelledBatch":
        """The same on another device."""
        return LabelledBatch(*(tensor.to(device, non_blocking=True) for tensor in self))


class LabelledBatches:
    """Labelled images in batches, as planned."""

    def __init__(self, source: ImageSource, labels: Sequence[int], plan: BatchPlan) -> None:
        self.source = source
        self._labels = torch.tensor(labels, dtype=torch.int64)
        self._plan = plan

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._plan)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[LabelledBatch]:
        """This process's part of every batch of an epoch, from batch ``first`` on."""
        for units, seeds in self._plan.epoch(epoch, first=first):
            indices = torch.tensor(units)
            yield LabelledBatch(self.source(indices, seeds), self._labels[indices])


def random_view(vectors: Tensor) -> ImageSource:
    """A source that gives one of an image's embeddings, ``(images, views, D)``, at random."""
    return lambda indices, seeds: vectors[indices, seeds % vectors.shape[1]]


def prefetch(items: Iterator[Item], *, depth: int = 3) -> Iterator[Item]:
    """The same items, computed up to ``depth`` ahead in a thread.

    An exception of ``items`` is raised where its item would have come.
    """
    end = object()
    # A second pool of OpenMP threads would slow down every small operation of the caller's: the
    # number is set for this thread, and for those started before the end.
    pool = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
    waiting = deque(pool.submit(next, items, end) for _ in range(depth))
    try:
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield cast(Item, item)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(torch.get_num_threads())  # threads started later get as many again


def _generator(seed: int, epoch: int, batch: int) -> torch.Generator:
    """Independent streams by hashing three integers into a seed (the constants are odd primes)."""
    mixed = (seed * 1_000_003 + epoch) * 1_000_033 + batch
    return torch.Generator().manual_seed(mixed % 2**63)
