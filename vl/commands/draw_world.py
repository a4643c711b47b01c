"""`vl draw`: a drawn world of which everything is known, to train on and to be judged by."""

import logging
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from vl.commands.bounds import NonNegativeInt, PositiveInt
from vl.data.world.drawing import LEAST_SIDE, MOST_SIDE
from vl.data.world.files import World, begin, draw_some, missing, write_split, write_words
from vl.data.world.scenes import Split
from vl.terminal import ProgressBar

_log = logging.getLogger(__name__)
_AT_ONCE = 25  # pictures that a process is told to draw
_WORTH_PROCESSES = 200  # pictures: starting processes costs as much as drawing so many


@dataclass(frozen=True)
class DrawRun:
    """Draw a world of scenes with their captions, classes, truth, text and taxonomy.

    A run that was stopped goes on when the same command is given again.
    """

    out: Path
    """The world's folder; it is made, or holds a part of the same world."""
    training: NonNegativeInt = 2000
    """Pictures to train on."""
    development: NonNegativeInt = 300
    """Pictures to choose by."""
    test: NonNegativeInt = 500
    """Pictures to score."""
    held_out_combinations: NonNegativeInt = 300
    """Pictures of known kinds in known colours that are never together elsewhere."""
    held_out_kinds: NonNegativeInt = 300
    """Pictures of kinds that are shown nowhere else."""
    side: Annotated[int, Interval(ge=LEAST_SIDE, le=MOST_SIDE)] = 96
    """Of a picture, in pixels; from 64 to 224."""
    words: NonNegativeInt = 400_000
    """Of text, at least; 0 for none."""
    seed: NonNegativeInt = 0
    """Of everything."""
    workers: PositiveInt | None = None
    """Processes that draw; as many as there are cores."""


def run(flags: DrawRun) -> int:
    """Draw what is not there yet."""
    counts: dict[Split, int] = {
        "training": flags.training,
        "development": flags.development,
        "test": flags.test,
        "held-out-combinations": flags.held_out_combinations,
        "held-out-kinds": flags.held_out_kinds,
    }
    world = World(counts, flags.side, flags.seed, flags.words)
    begin(flags.out, world)
    write_words(flags.out, world)
    todo = {split: missing(flags.out, split, world) for split in counts}
    total, left = sum(counts.values()), sum(map(len, todo.values()))
    with ProgressBar("draw", total, unit="pictures") as bar:
        bar.skip(total - left)
        for drawn in _drawn(flags, todo, few=left < _WORTH_PROCESSES):
            bar.advance(drawn)
    for split in counts:  # behind the pictures: a list is there once all of it is
        write_split(flags.out, split, world)
    _log.info(
        "%d pictures of %d splits in %s, %d of them from before",
        total,
        sum(count > 0 for count in counts.values()),
        flags.out,
        total - left,
    )
    return 0


def _drawn(flags: DrawRun, todo: dict[Split, list[int]], *, few: bool) -> Iterator[int]:
    """Draw, and say from time to time how many pictures there are more."""
    parts = [
        (split, numbers[begin : begin + _AT_ONCE])
        for split, numbers in todo.items()
        for begin in range(0, len(numbers), _AT_ONCE)
    ]
    draw = partial(draw_some, flags.out, seed=flags.seed, side=flags.side)
    workers = flags.workers or os.cpu_count() or 1
    if few or workers == 1:
        for split, numbers in parts:
            yield draw(split, numbers)
        return
    # Begun anew, not forked: other threads of this process may hold locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(draw, split, numbers) for split, numbers in parts]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
