"""Labelled pictures in batches for training, read, decoded and distorted by several workers.

It does not know where the pictures lie, nor what is done to them. Order and random numbers are
those of data.batches, so that neither resuming, nor dividing, nor the number of workers changes
what is seen.
"""

import logging
import multiprocessing
import os
import threading
import traceback
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from multiprocessing.connection import wait
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vl.data.batches import BatchPlan, LabelledBatch, ProcessBatch
from vl.data.errors import FormatError
from vl.data.images.decode import decode_uint8

_log = logging.getLogger(__name__)
_AHEAD = 2  # batches under way for each worker, beside the one that is asked for


class Encoded(Protocol):
    """What of ``vl.data.labelled.dataset.Pictures`` is needed here; workers get a copy by pickling."""

    @property
    def names(self) -> Sequence[str]:
        """One a picture, for errors."""
        ...

    @property
    def labels(self) -> Sequence[int]:
        """One a picture."""
        ...

    def read(self, row: int) -> bytes:
        """The encoded picture; OSError where it cannot be read."""
        ...


class Transform(Protocol):
    """What becomes of pixels; the same pixels and seed give the same answer in any process."""

    size: int

    def __call__(self, pixels: Tensor, seed: int) -> Tensor:
        """``(3, H, W)`` uint8 to ``(3, size, size)`` uint8."""
        ...


class ImageBatches:
    """Batches of pictures, uint8 ``(B, 3, size, size)``, and labels, for ``vl.training.loop``.

    A picture that cannot be read or decoded is left out of its batch, warned of once, and counted
    in ``corrupt``. A batch may so become empty; it is given all the same, as processes that train
    together must stay in step.

    Args:
        pictures: where they come from.
        transform: makes squares of them; pickled for the workers.
        batch_size: pictures in a batch, over all processes together.
        seed: of order and seeds.
        rank: which process this is.
        world_size: how many processes share each batch.
        num_workers: processes of its own that do the work, or 0 for threads in this one.
        max_corrupt: share of all pictures of which this process may meet as many corrupt ones.
        min_size: see ``vl.data.images.decode.decode_uint8``.

    Raises:
        ValueError: there are not as many names as labels, fewer pictures than processes, a batch
            smaller than their number, a number of workers below 0, a share that is none, or a
            min_size side below 1.
    """

    def __init__(
        self,
        pictures: Encoded,
        transform: Transform,
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        max_corrupt: float = 0.01,
        min_size: int | None = None,
    ) -> None:
        if len(pictures.names) != len(pictures.labels):
            raise ValueError(f"{len(pictures.names)} names, {len(pictures.labels)} labels")
        if num_workers < 0:
            raise ValueError(f"num_workers is {num_workers}; it must be at least 0")
        if not 0 <= max_corrupt <= 1:
            raise ValueError(f"max_corrupt is {max_corrupt}; it is a share, from 0 to 1")
        if min_size is not None and min_size < 1:
            raise ValueError(f"min_size is {min_size}; it must be at least 1")
        self._plan = BatchPlan(
            len(pictures.labels),
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            unit_name="images",
            min_per_process=2,  # batch normalisation cannot tell one picture's deviation
        )
        self.num_workers = num_workers
        self.max_corrupt = max_corrupt
        self.corrupt: dict[int, str] = {}  # rows that were met and left out, and why
        self._work = _Work(pictures, transform, min_size)
        self._labels = torch.tensor(pictures.labels, dtype=torch.int64)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._plan)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[LabelledBatch]:
        """This process's part of every batch of an epoch, from batch ``first`` on.

        Raises:
            ValueError: more pictures are corrupt than is max_corrupt.
            ChildProcessError: a worker died.
        """
        shares = self._plan.epoch(epoch, first=first)
        if self.num_workers:
            done = _by_processes(self._work, shares, self.num_workers)
        else:
            done = _by_threads(self._work, shares)
        with closing(done):
            for read in done:
                self._count(read.failures)
                images, labels = read.images, self._labels[read.rows]
                if torch.cuda.is_available():  # from pinned memory copies to the GPU do not wait
                    images, labels = images.pin_memory(), labels.pin_memory()
                yield LabelledBatch(images, labels)

    def _count(self, failures: list[tuple[int, str]]) -> None:
        for row, problem in failures:
            if row in self.corrupt:
                continue
            self.corrupt[row] = problem
            _log.warning("left out: %s", problem)
            every = len(self._labels)
            if len(self.corrupt) > self.max_corrupt * every:
                raise ValueError(
                    f"{len(self.corrupt)} of {every} pictures cannot be read, and no more than "
                    f"{self.max_corrupt:.3g} of them may be so; the first: "
                    f"{next(iter(self.corrupt.values()))}"
                )


class _Read(NamedTuple):
    """What became of a share."""

    images: Tensor  # (B, 3, size, size) uint8
    rows: list[int]  # (B,) of those
    failures: list[tuple[int, str]]  # rows of the others, and why


class _Work(Dataset[_Read]):
    """The work itself, a share at a time; this is what a worker process gets."""

    def __init__(self, pictures: Encoded, transform: Transform, min_size: int | None) -> None:
        self.pictures = pictures
        self.transform = transform
        self.min_size = min_size

    def __getitem__(self, share: ProcessBatch) -> _Read:
        made = [self.made(row, seed) for row, seed in _pairs(share)]
        return self.together(share, made)

    def made(self, row: int, seed: int) -> Tensor | str:
        """A picture as it is to be seen, or what is wrong with it."""
        name = self.pictures.names[row]
        try:
            data = self.pictures.read(row)
            pixels = decode_uint8(data, name, min_size=self.min_size)
        except FormatError as error:
            return str(error)
        except OSError as error:
            return f"{name}: {error.strerror or error}"
        return self.transform(pixels, seed)

    def together(self, share: ProcessBatch, made: list[Tensor | str]) -> _Read:
        """The pictures of a share as a batch."""
        size = self.transform.size
        images = [each for each in made if isinstance(each, Tensor)]
        pairs = list(zip(share.units, made, strict=True))
        return _Read(
            torch.stack(images) if images else torch.empty(0, 3, size, size, dtype=torch.uint8),
            [row for row, each in pairs if isinstance(each, Tensor)],
            [(row, each) for row, each in pairs if isinstance(each, str)],
        )


def _pairs(share: ProcessBatch) -> Iterator[tuple[int, int]]:
    return zip(share.units, share.seeds.tolist(), strict=True)


def _by_threads(work: _Work, shares: Iterator[ProcessBatch]) -> Generator[_Read, None, None]:
    """Work in this process; Pillow and PyTorch let go of the interpreter's lock."""
    pool = ThreadPoolExecutor(max_workers=_cores())
    under_way: deque[tuple[ProcessBatch, list[Future[Tensor | str]]]] = deque()

    def begin(count: int) -> None:
        for share in islice(shares, count):
            pictures = [pool.submit(work.made, row, seed) for row, seed in _pairs(share)]
            under_way.append((share, pictures))

    try:
        begin(1 + _AHEAD)
        while under_way:
            share, pictures = under_way.popleft()
            read = work.together(share, [picture.result() for picture in pictures])
            begin(1)
            yield read
    finally:
        pool.shutdown(cancel_futures=True)


def _by_processes(
    work: _Work, shares: Iterator[ProcessBatch], workers: int
) -> Generator[_Read, None, None]:
    """Work in processes of its own, each a share at a time; the answers come in order."""
    if multiprocessing.get_context().get_start_method() == "forkserver":
        # What the server has imported, its children need not: seconds for each of them.
        multiprocessing.set_forkserver_preload(["__main__", __name__])
    loader: DataLoader[Any] = DataLoader(
        work,
        batch_size=None,
        sampler=shares,
        num_workers=workers,
        prefetch_factor=_AHEAD,
        collate_fn=_as_it_is,
        worker_init_fn=_die_with_the_parent,
        # Else it would take a number from the global generator, and a run that was resumed would
        # have taken another count of them than one that was not.
        generator=torch.Generator(),
    )
    try:
        yield from loader
    except Exception as error:
        # PyTorch's frames hold the workers in a circle; that they end is not to wait for the
        # garbage collector, under which it takes seconds.
        traceback.clear_frames(error.__traceback__)
        # Whoever takes a batch from a worker that has just died meets a closed connection.
        closed = isinstance(error, ConnectionError | EOFError) and "Caught" not in str(error)
        if not closed and not str(error).startswith("DataLoader worker"):
            raise
        problem = "a worker that reads pictures died; the memory may be too small for so many"
        raise ChildProcessError(f"{problem}: {' '.join(str(error).split())}") from error


def _as_it_is(read: Any) -> Any:
    return read


def _die_with_the_parent(worker: int) -> None:
    """Let a worker end when the process that wants its work has ended, however that was.

    PyTorch's own watch looks for a new parent process, which a forkserver's children never get.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_after, args=(parent.sentinel,), daemon=True).start()


def _die_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
