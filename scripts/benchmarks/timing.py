"""Seconds of rivals that take turns, their spread, and targets."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Target(NamedTuple):
    """A figure of the output and its bound."""

    key: str  # dotted path; `*` stands for any key or position
    minimum: float | None = None
    maximum: float | None = None


def in_turn(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each by name, the rounds interleaved, after one round of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_index in range(rounds + 1):
        for name, run in runs.items():
            synchronize()
            begin = time.perf_counter()
            run()
            synchronize()
            if round_index:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def spread(values: list[float], digits: int = 1) -> dict[str, float]:
    """Median, minimum and maximum."""
    summary = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in summary.items()}
