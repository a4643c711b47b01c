"""Reading ahead: threads decode the next batch of images while the caller works on this one."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 4  # decoding releases the interpreter's lock


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Result], *, batch_size: int
) -> Iterator[list[Result]]:
    """What ``read`` returns for the items, batch by batch and in order, one batch ahead."""
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        submitted = (
            [pool.submit(read, item) for item in batch] for batch in batched(items, batch_size)
        )
        pending = list(islice(submitted, 2))
        while pending:
            results = [future.result() for future in pending.pop(0)]
            pending += islice(submitted, 1)
            yield results


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of ``size``, the last one maybe shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
