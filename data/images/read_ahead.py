"""Reading ahead: threads read the next batches of images while the caller works on this one."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from vl.data.errors import FormatError

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 4  # decoding releases the interpreter's lock


def read_ahead(
    batches: Iterable[Iterable[Item]],
    read: Callable[[Item], Result],
    *,
    num_threads: int = THREADS,
    depth: int = 1,
) -> Generator[list[Result], None, None]:
    """What ``read`` returns for the items of each batch, in order, ``depth`` batches ahead."""
    pool = ThreadPoolExecutor(max_workers=num_threads)
    submitted = ([pool.submit(read, item) for item in batch] for batch in batches)
    try:
        waiting = deque(islice(submitted, 1 + depth))
        while waiting:
            results = [future.result() for future in waiting.popleft()]
            waiting.extend(islice(submitted, 1))
            yield results
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class ReadBatch(Generic[Result]):
    """A batch of items, read."""

    indices: list[int]  # of the items that could be read
    results: list[Result]  # of the same items
    failures: list[tuple[int, Exception]]  # indices of the others, and why


def read_or_report(
    items: Iterable[Item], read: Callable[[Item], Result], *, batch_size: int
) -> Iterator[ReadBatch[Result]]:
    """As ``read_ahead``; FormatErrors and OSErrors are reported, not raised."""

    def attempt(indexed: tuple[int, Item]) -> tuple[int, Result | Exception]:
        index, item = indexed
        try:
            return index, read(item)
        except (FormatError, OSError) as error:
            return index, error

    for results in read_ahead(batched(enumerate(items), batch_size), attempt):
        batch: ReadBatch[Result] = ReadBatch([], [], [])
        for index, result in results:
            if isinstance(result, Exception):
                batch.failures.append((index, result))
            else:
                batch.indices.append(index)
                batch.results.append(result)
        yield batch


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of ``size``, the last one maybe shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
