"""Labelled images in batches for training, decoded and transformed by threads or worker processes.

Order and random seeds are those of ``vl.data.batches``, so that neither resuming, nor dividing, nor
the number of workers changes what is seen. Threads are the default: on two busy cores, beside
training steps, PyTorch's DataLoader with two workers gave 0.55 times the images a second (alone,
1.13 times). Workers are for many cores, where threads wait for the interpreter's lock.
"""

import logging
import multiprocessing
import os
import threading
import traceback
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vl.data.batches import BatchPlan, LabelledBatch, ProcessBatch
from vl.data.errors import FormatError
from vl.data.images.decode import decode_uint8
from vl.data.images.read_ahead import num_cores, read_ahead
from vl.data.labelled.dataset import ImageDataset

_log = logging.getLogger(__name__)
_PREFETCH = 2  # batches, of a worker or of all threads


class Transform(Protocol):
    """Pixels to a square; the same pixels and seed give the same output in any process."""

    size: int

    def __call__(self, pixels: Tensor, seed: int) -> Tensor:
        """``(3, H, W)`` uint8 to ``(3, size, size)`` uint8."""
        ...


@dataclass(frozen=True)
class LoaderConfig:
    """How images are loaded."""

    num_workers: int = 0
    """Worker processes of this process; 0 for threads, one a core."""
    max_corrupt: float = 0.01
    """Largest share of all images that may be corrupt, as far as this process sees."""
    min_size: int | None = None
    """See ``vl.data.images.decode.decode_uint8``."""


class ImageBatches:
    """Batches of images, uint8 ``(B, 3, size, size)``, and labels, for ``vl.training.loop``.

    An image that cannot be read or decoded is left out of its batch, warned of once, and counted
    in ``corrupt``. A batch that becomes empty is given all the same, as processes that train
    together must stay in step.

    Args:
        dataset: where they come from; pickled for the workers.
        transform: makes squares of them; pickled for the workers.
        batch_size, seed, rank, world_size: see `BatchPlan`, which raises ValueError.
        config: how they are loaded.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        transform: Transform,
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        config: LoaderConfig | None = None,
    ) -> None:
        self._plan = BatchPlan(
            len(dataset.labels),
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            unit_name="images",
            min_per_process=2,  # batch normalization cannot estimate one image's deviation
        )
        self.config = config or LoaderConfig()
        self.corrupt: dict[int, str] = {}  # indices of images that were left out, and why
        self._batch_reader = _BatchReader(dataset, transform, self.config.min_size)
        self._labels = torch.tensor(dataset.labels, dtype=torch.int64)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._plan)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[LabelledBatch]:
        """This process's part of every batch of an epoch, from batch ``first`` on.

        Raises:
            ValueError: more images are corrupt than ``max_corrupt``.
            ChildProcessError: a worker died.
        """
        parts = self._plan.epoch(epoch, first=first)
        if self.config.num_workers:
            loaded = _load_by_workers(self._batch_reader, parts, self.config.num_workers)
        else:
            loaded = _load_by_threads(self._batch_reader, parts)
        with closing(loaded) as batches:
            for images, indices, failures in batches:
                self._count(failures)
                labels = self._labels[indices]
                if torch.cuda.is_available():  # copies from pinned memory to a GPU do not wait
                    images, labels = images.pin_memory(), labels.pin_memory()
                yield LabelledBatch(images, labels)

    def _count(self, failures: list[tuple[int, str]]) -> None:
        for index, problem in failures:
            if index in self.corrupt:
                continue
            self.corrupt[index] = problem
            _log.warning("left out: %s", problem)
            count = len(self._labels)
            if len(self.corrupt) > self.config.max_corrupt * count:
                raise ValueError(
                    f"{len(self.corrupt)} of {count} images cannot be read, more than a share of "
                    f"{self.config.max_corrupt:.3g}; the first: {next(iter(self.corrupt.values()))}"
                )


# Images, (B, 3, size, size) uint8; their indices; and indices of the others, and why.
_Read = tuple[Tensor, list[int], list[tuple[int, str]]]


@dataclass(eq=False)
class _BatchReader(Dataset[_Read]):
    """Reads, decodes and transforms images; this is what a worker process gets."""

    dataset: ImageDataset
    transform: Transform
    min_size: int | None

    def __getitem__(self, part: ProcessBatch) -> _Read:
        return self.collate([self.read(pair) for pair in _pairs(part)])

    def read(self, pair: tuple[int, int]) -> tuple[int, Tensor | str]:
        """An index, and its image transformed with a random seed, or why it is corrupt."""
        index, seed = pair
        name = self.dataset.names[index]
        try:
            data = self.dataset.read(index)
            pixels = decode_uint8(data, name, min_size=self.min_size)
        except FormatError as error:
            return index, str(error)
        except OSError as error:
            return index, f"{name}: {error.strerror or error}"
        return index, self.transform(pixels, seed)

    def collate(self, results: list[tuple[int, Tensor | str]]) -> _Read:
        """The images of a part as tensors."""
        size = self.transform.size
        images = [output for _, output in results if isinstance(output, Tensor)]
        return (
            torch.stack(images) if images else torch.empty(0, 3, size, size, dtype=torch.uint8),
            [index for index, output in results if isinstance(output, Tensor)],
            [(index, output) for index, output in results if isinstance(output, str)],
        )


def _pairs(part: ProcessBatch) -> Iterator[tuple[int, int]]:
    return zip(part.units, part.seeds.tolist(), strict=True)


def _load_by_threads(
    reader: _BatchReader, parts: Iterator[ProcessBatch]
) -> Generator[_Read, None, None]:
    """The parts in order, their images read by threads; Pillow and PyTorch release the lock."""
    batches = read_ahead(map(_pairs, parts), reader.read, num_threads=num_cores(), depth=_PREFETCH)
    with closing(batches):
        yield from map(reader.collate, batches)


def _load_by_workers(
    reader: _BatchReader, parts: Iterator[ProcessBatch], num_workers: int
) -> Generator[_Read, None, None]:
    """The parts in order, each read by one worker."""
    if multiprocessing.get_context().get_start_method() == "forkserver":
        # What the server has imported its children need not import: seconds for each of them.
        multiprocessing.set_forkserver_preload(["__main__", __name__])
    loader: DataLoader[Any] = DataLoader(
        reader,
        batch_size=None,
        sampler=parts,
        num_workers=num_workers,
        prefetch_factor=_PREFETCH,
        worker_init_fn=_exit_with_parent,
        # Else it would draw from the global generator, as often as a run was resumed.
        generator=torch.Generator(),
    )
    try:
        yield from loader
    except Exception as error:
        # PyTorch's frames hold the workers in a reference cycle, which would live until the garbage
        # collector comes, and take seconds to end.
        traceback.clear_frames(error.__traceback__)
        # Reading from a worker that has just died meets a closed connection.
        closed = isinstance(error, ConnectionError | EOFError) and "Caught" not in str(error)
        if not closed and not str(error).startswith("DataLoader worker"):
            raise
        problem = "a worker that reads images died; the memory may be too small for so many workers"
        raise ChildProcessError(f"{problem}: {' '.join(str(error).split())}") from error


def _exit_with_parent(worker: int) -> None:
    """Let a worker exit when its parent process has ended, in whatever way.

    PyTorch's own watch waits for a change of the parent process, which a forkserver's children
    never see.
    """

    def exit_after(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=exit_after, args=(parent.sentinel,), daemon=True).start()
