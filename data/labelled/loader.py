"""Labelled images in batches for training, decoded and transformed by worker processes.

Order and random seeds are those of ``vl.data.batches``, so that neither resuming, nor dividing, nor
the number of workers changes what is seen. There are no threads beside the workers: two workers on
two cores gave 1.13 times the images a second, and as many with training steps in between.
"""

import logging
import multiprocessing
import os
import threading
import traceback
from collections.abc import Generator, Iterator
from contextlib import closing
from multiprocessing.connection import wait
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vl.data.batches import BatchPlan, LabelledBatch, ProcessBatch
from vl.data.errors import FormatError
from vl.data.images.decode import decode_uint8
from vl.data.labelled.dataset import ImageDataset

_log = logging.getLogger(__name__)
_PREFETCH = 2  # batches a worker


class Transform(Protocol):
    """Pixels to a square; the same pixels and seed give the same output in any process."""

    size: int

    def __call__(self, pixels: Tensor, seed: int) -> Tensor:
        """``(3, H, W)`` uint8 to ``(3, size, size)`` uint8."""
        ...


class ImageBatches:
    """Batches of images, uint8 ``(B, 3, size, size)``, and labels, for ``vl.training.loop``.

    An image that cannot be read or decoded is left out of its batch, warned of once, and counted
    in ``corrupt``. A batch that becomes empty is given all the same, as processes that train
    together must stay in step.

    Args:
        dataset: where they come from; pickled for the workers.
        transform: makes squares of them; pickled for the workers.
        batch_size: images in a batch, over all processes together.
        seed: of order and transforms.
        rank: of this process.
        world_size: number of processes that share each batch.
        num_workers: worker processes of this process; None is one a core, 0 none at all.
        max_corrupt: largest share of all images that may be corrupt, as far as this process sees.
        min_size: see ``vl.data.images.decode.decode_uint8``.

    Raises:
        ValueError: there are not as many names as labels, fewer images than processes, a batch
            smaller than their number, or an argument is out of its range.
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
        num_workers: int | None = None,
        max_corrupt: float = 0.01,
        min_size: int | None = None,
    ) -> None:
        if len(dataset.names) != len(dataset.labels):
            raise ValueError(f"{len(dataset.names)} names, {len(dataset.labels)} labels")
        if num_workers is not None and num_workers < 0:
            raise ValueError(f"num_workers is {num_workers}; it must be at least 0")
        if not 0 <= max_corrupt <= 1:
            raise ValueError(f"max_corrupt is {max_corrupt}; it is a share, from 0 to 1")
        if min_size is not None and min_size < 1:
            raise ValueError(f"min_size is {min_size}; it must be at least 1")
        self._plan = BatchPlan(
            len(dataset.labels),
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            unit_name="images",
            min_per_process=2,  # batch normalization cannot estimate one image's deviation
        )
        self.num_workers = min(_num_cores(), len(self)) if num_workers is None else num_workers
        self.max_corrupt = max_corrupt
        self.corrupt: dict[int, str] = {}  # indices of images that were left out, and why
        self._batch_reader = _BatchReader(dataset, transform, min_size)
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
        with closing(_load(self._batch_reader, parts, self.num_workers)) as batches:
            for batch in batches:
                self._count(batch.failures)
                images, labels = batch.images, self._labels[batch.indices]
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
            if len(self.corrupt) > self.max_corrupt * count:
                raise ValueError(
                    f"{len(self.corrupt)} of {count} images cannot be read, more than a share of "
                    f"{self.max_corrupt:.3g}; the first: {next(iter(self.corrupt.values()))}"
                )


class _Read(NamedTuple):
    """The images of a part of a batch."""

    images: Tensor  # (B, 3, size, size) uint8
    indices: list[int]  # (B,) of these images
    failures: list[tuple[int, str]]  # indices of the others, and why


class _BatchReader(Dataset[_Read]):
    """What a worker process gets: reads, decodes and transforms a part of a batch at a time."""

    def __init__(self, dataset: ImageDataset, transform: Transform, min_size: int | None) -> None:
        self.dataset = dataset
        self.transform = transform
        self.min_size = min_size

    def __getitem__(self, part: ProcessBatch) -> _Read:
        size = self.transform.size
        images, indices, failures = [], [], []
        for index, seed in zip(part.units, part.seeds.tolist(), strict=True):
            name = self.dataset.names[index]
            try:
                data = self.dataset.read(index)
                pixels = decode_uint8(data, name, min_size=self.min_size)
            except FormatError as error:
                failures.append((index, str(error)))
            except OSError as error:
                failures.append((index, f"{name}: {error.strerror or error}"))
            else:
                images.append(self.transform(pixels, seed))
                indices.append(index)
        empty = torch.empty(0, 3, size, size, dtype=torch.uint8)
        return _Read(torch.stack(images) if images else empty, indices, failures)


def _load(
    reader: _BatchReader, parts: Iterator[ProcessBatch], num_workers: int
) -> Generator[_Read, None, None]:
    """The parts in order, each read by one worker."""
    if num_workers and multiprocessing.get_context().get_start_method() == "forkserver":
        # What the server has imported its children need not import: seconds for each of them.
        multiprocessing.set_forkserver_preload(["__main__", __name__])
    loader: DataLoader[Any] = DataLoader(
        reader,
        batch_size=None,
        sampler=parts,
        num_workers=num_workers,
        prefetch_factor=_PREFETCH if num_workers else None,
        collate_fn=_identity,
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


def _identity(read: Any) -> Any:
    return read


def _exit_with_parent(worker: int) -> None:
    """Let a worker exit when its parent process has ended, in whatever way.

    PyTorch's own watch waits for a change of the parent process, which a forkserver's children
    never see.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _num_cores() -> int:
    """Cores for this process, of which torchrun may have started several."""
    affinity = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    return max(1, count // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
