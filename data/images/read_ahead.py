"""Reading ahead: threads read the next batches of images while the caller works on this one."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

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


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of ``size``, the last one maybe shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
