"""Batches for training: shuffled by seed and epoch, divided among processes, resumable anywhere.

An image source decides what stands for an image: a cached embedding or its pixels.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Queue
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

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


class BatchPlan:
    """Which units are in which batch, in which order, with which random seeds, on which process.

    Args:
        num_units: units in the data.
        batch_size: units in a batch, over all processes together.
        seed: of the shuffling; None keeps the order.
        rank: of this process.
        world_size: number of processes that share each batch.
        unit_name: what errors call the units.
        min_per_process: units that each process needs in a batch; a smaller last batch is appended
            to the one before.

    Raises:
        ValueError: there are fewer units than processes, or a batch is smaller than their number.
    """

    def __init__(
        self,
        num_units: int,
        *,
        batch_size: int,
        seed: int | None = 0,
        rank: int = 0,
        world_size: int = 1,
        unit_name: str = "units",
        min_per_process: int = 1,
    ) -> None:
        if batch_size < world_size:
            raise ValueError(f"a batch of {batch_size} cannot be shared by {world_size} processes")
        if num_units < world_size:
            raise ValueError(f"{num_units} {unit_name} cannot be shared by {world_size} processes")
        self.num_units = num_units
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.min_per_process = min_per_process

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
        batch_size: units in a batch, over all processes together.
        unit: ``"caption"`` shuffles captions, each beside its image; ``"image"`` shuffles images,
            each with all its captions, so that no image is encoded twice.
        seed: of the shuffling; None keeps the order.
        rank: of this process.
        world_size: number of processes that share each batch.

    Raises:
        ValueError: there are fewer units than processes, or a batch is smaller than their number.
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
        words = torch.full((len(captions), int(lengths.max())), captions[0][-1])
        for row, ids in enumerate(captions):
            words[row, : len(ids)] = torch.tensor(ids)
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
    """Labelled images in batches.

    Args:
        source: gives the images.
        labels: of the images.
        batch_size: images in a batch, over all processes together.
        seed: of the shuffling.
        rank: of this process.
        world_size: number of processes that share each batch.

    Raises:
        ValueError: there are fewer images than processes, or a batch is smaller than their number.
    """

    def __init__(
        self,
        source: ImageSource,
        labels: Sequence[int],
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.source = source
        self._labels = torch.tensor(labels, dtype=torch.int64)
        self._plan = BatchPlan(
            len(labels),
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            unit_name="images",
        )

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


def prefetch(items: Iterator[Item], *, depth: int = 2) -> Iterator[Item]:
    """The same items, computed up to ``depth`` ahead in a thread.

    An exception of ``items`` is raised where its item would have come.
    """
    queue: Queue[tuple[Literal["item", "end"], Item | BaseException | None]] = Queue(maxsize=depth)
    stop = threading.Event()

    def fill() -> None:
        # A second pool of OpenMP threads would slow down every small operation of the caller's.
        torch.set_num_threads(1)  # of this thread, and of those started before the end
        try:
            for item in items:
                queue.put(("item", item))
                if stop.is_set():
                    return
            queue.put(("end", None))
        except BaseException as error:  # raised again in the caller's thread
            queue.put(("end", error))

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = queue.get()
            if kind == "end":
                if isinstance(value, BaseException):
                    raise value
                return
            yield value  # type: ignore[misc]  # an "item" holds an Item
    finally:
        stop.set()
        while thread.is_alive():  # it may be waiting for room in the queue
            while not queue.empty():
                queue.get_nowait()
            thread.join(0.01)
        torch.set_num_threads(torch.get_num_threads())  # threads started later get as many again


def _generator(seed: int, epoch: int, batch: int) -> torch.Generator:
    """Independent streams by hashing three integers into a seed (the constants are odd primes)."""
    mixed = (seed * 1_000_003 + epoch) * 1_000_033 + batch
    return torch.Generator().manual_seed(mixed % 2**63)
