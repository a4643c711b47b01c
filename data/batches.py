"""Captions in batches: shuffled by seed and epoch, divided among processes, resumable anywhere.

What stands for an image, a cached embedding or its pixels, is the image source's affair.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Queue
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
# (B,) rows of images and (B,) draws, int64, one random number an image -> (B, ...) images. The same
# row and draw give the same image, so that neither resuming nor dividing changes what is seen.
ImageSource = Callable[[Tensor, Tensor], Tensor]
Unit = Literal["caption", "image"]
_DRAWS = 2**31


class ProcessBatch(NamedTuple):
    """What one process does of a batch."""

    units: list[int]  # places in the data, as shuffled
    draws: Tensor  # (len(units),) int64, a random number a unit


class BatchPlan:
    """Which units stand in which batch, in what order, with what random numbers, for whom.

    Args:
        count: units in the data.
        batch_size: units in a batch, over all processes together.
        seed: of the shuffling; None keeps the order.
        rank: which process this is.
        processes: how many share each batch.
        what: units are called in errors.
        least: units that each process has in a batch at least; a last batch of fewer is taken along
            by the one before.

    Raises:
        ValueError: there are fewer units than processes, or a batch is smaller than their number.
    """

    def __init__(
        self,
        count: int,
        *,
        batch_size: int,
        seed: int | None = 0,
        rank: int = 0,
        processes: int = 1,
        what: str = "units",
        least: int = 1,
    ) -> None:
        if batch_size < processes:
            raise ValueError(f"a batch of {batch_size} cannot be shared by {processes} processes")
        if count < processes:
            raise ValueError(f"{count} {what} cannot be shared by {processes} processes")
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.least = least

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._spans())

    def epoch(self, number: int, *, first: int = 0) -> Iterator[ProcessBatch]:
        """This process's share of every batch of an epoch, from batch ``first`` on."""
        order = torch.arange(self.count)
        if self.seed is not None:
            order = torch.randperm(self.count, generator=_generator(self.seed, number, 0))
        for index, (begin, end) in enumerate(self._spans()):
            if index < first:
                continue
            # Drawn for the whole batch and then divided: who shares it changes nothing.
            draws = torch.randint(
                _DRAWS, (end - begin,), generator=_generator(self.seed or 0, number, index + 1)
            )
            mine = slice(begin + self.rank, end, self.processes)
            yield ProcessBatch(order[mine].tolist(), draws[self.rank :: self.processes])

    def _spans(self) -> list[tuple[int, int]]:
        begins = list(range(0, self.count, self.batch_size))
        if len(begins) > 1 and self.count - begins[-1] < self.least * self.processes:
            begins.pop()  # the rest is too small to share
        return list(zip(begins, [*begins[1:], self.count], strict=True))


class CaptionBatch(NamedTuple):
    """Images and captions of them."""

    images: Tensor  # (B, D) embeddings or (B, 3, H, W) pixels
    words: Tensor  # (N, T) int64, from start to end, then end again as padding
    lengths: Tensor  # (N,) int64, start and end counted
    image_of: Tensor  # (N,) int64: row of images for each caption
    rows: Tensor  # (B,) int64: which image of the split each row of images is

    def to(self, device: torch.device | str) -> "CaptionBatch":
        """The same on another device."""
        return CaptionBatch(*(part.to(device, non_blocking=True) for part in self))


class CaptionBatches:
    """The captions of a split, in batches.

    Args:
        source: gives the images.
        captions: for each image its captions as ids from start to end word.
        batch_size: units in a batch, over all processes together.
        unit: ``"caption"`` shuffles captions, each beside its image; ``"image"`` shuffles images,
            each with all its captions, which spares computing an image several times.
        seed: of the shuffling; None keeps the order.
        rank: which process this is.
        processes: how many share each batch.

    Raises:
        ValueError: there is no caption, or a batch is smaller than the number of processes.
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
        processes: int = 1,
    ) -> None:
        self.source = source
        self.captions = captions
        self._units: list[tuple[int, Sequence[Sequence[int]]]] = []
        for image, ids in enumerate(captions):
            if unit == "image":
                self._units += [(image, ids)] if ids else []
            else:
                self._units += [(image, [one]) for one in ids]
        self._plan = BatchPlan(
            len(self._units),
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            processes=processes,
            what="captions",
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._plan)

    def epoch(self, number: int, *, first: int = 0) -> Iterator[CaptionBatch]:
        """This process's part of every batch of an epoch, from batch ``first`` on."""
        for units, draws in self._plan.epoch(number, first=first):
            yield self._batch(units, draws)

    def _batch(self, units: list[int], draws: Tensor) -> CaptionBatch:
        rows = torch.tensor([self._units[unit][0] for unit in units])
        spoken = [ids for unit in units for ids in self._units[unit][1]]
        image_of = [b for b, unit in enumerate(units) for _ in self._units[unit][1]]
        lengths = torch.tensor([len(ids) for ids in spoken])
        words = torch.full((len(spoken), int(lengths.max())), spoken[0][-1])
        for n, ids in enumerate(spoken):
            words[n, : len(ids)] = torch.tensor(ids)
        images = self.source(rows, draws)
        return CaptionBatch(images, words, lengths, torch.tensor(image_of), rows)


class LabelledBatch(NamedTuple):
    """Images and the label of each."""

    images: Tensor  # (B, D) embeddings or (B, 3, H, W) pixels
    labels: Tensor  # (B,) int64

    def to(self, device: torch.device | str) -> "LabelledBatch":
        """The same on another device."""
        return LabelledBatch(*(part.to(device, non_blocking=True) for part in self))


class LabelledBatches:
    """Labelled images in batches, shuffled, divided and resumable as captions are.

    Args:
        source: gives the images.
        labels: of each image.
        batch_size: images in a batch, over all processes together.
        seed: of the shuffling.
        rank: which process this is.
        processes: how many share each batch.

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
        processes: int = 1,
    ) -> None:
        if len(labels) < processes:
            raise ValueError(f"{len(labels)} images cannot be shared by {processes} processes")
        self._batches = CaptionBatches(  # a label is a caption of one word
            source,
            [[[label]] for label in labels],
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            processes=processes,
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._batches)

    def epoch(self, number: int, *, first: int = 0) -> Iterator[LabelledBatch]:
        """This process's part of every batch of an epoch, from batch ``first`` on."""
        for batch in self._batches.epoch(number, first=first):
            yield LabelledBatch(batch.images, batch.words[:, 0])


def random_view(vectors: Tensor) -> ImageSource:
    """A source that gives one of an image's embeddings ``(images, views, D)`` at random."""
    return lambda rows, draws: vectors[rows, draws % vectors.shape[1]]


def prefetch(items: Iterator[Item], *, depth: int = 2) -> Iterator[Item]:
    """The same items, made up to ``depth`` ahead by a thread while the caller works.

    An exception of the maker comes out where its item would have come.
    """
    queue: Queue[tuple[Literal["item", "end"], Item | BaseException | None]] = Queue(maxsize=depth)
    stop = threading.Event()

    def fill() -> None:
        # A second pool of OpenMP threads would slow down every small operation of the caller's.
        torch.set_num_threads(1)  # of this thread, and of those begun before the end
        try:
            for item in items:
                queue.put(("item", item))
                if stop.is_set():
                    return
            queue.put(("end", None))
        except BaseException as error:  # handed to the caller, who raises it
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
        while thread.is_alive():  # a maker waiting for room must be let go
            while not queue.empty():
                queue.get_nowait()
            thread.join(0.01)
        torch.set_num_threads(torch.get_num_threads())  # threads begun later get as many again


def _generator(seed: int, epoch: int, batch: int) -> torch.Generator:
    """Independent streams by hashing three numbers into one seed (the constants are odd primes)."""
    mixed = (seed * 1_000_003 + epoch) * 1_000_033 + batch
    return torch.Generator().manual_seed(mixed % 2**63)


class LossSum(NamedTuple):
    """A sum and what it is to be divided by, so that batches and processes add up exactly."""

    total: Tensor  # (), nats
    terms: Tensor  # (), int64, words
