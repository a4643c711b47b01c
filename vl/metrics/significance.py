"""Bootstrap confidence intervals of scores, and paired tests of two systems.

It does not know captions: the statistics of each image, which a score carries, are all it needs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.metrics.score import Floats, Score

MAX_RESAMPLES = 1_000_000  # some 100 bytes each per score; a p-value is then known to a millionth
_BYTES = 64 * 2**20  # of the weights that are in memory at once

# Two values whose relative difference is below this are equal: it is rounding. One word more or
# less in 40,000 captions changes a score by a millionth.
_ROUNDING = 1e-10


@dataclass(frozen=True)
class Resampling:
    """How intervals and p-values are computed.

    Raises:
        ValueError: a value is out of range.
    """

    num_resamples: int = 1000
    """Bootstrap resamples of the images; 1,000 as in Koehn 2004. With 0 there are no intervals."""
    confidence: float = 0.95
    """Level of the intervals."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.num_resamples <= MAX_RESAMPLES:
            expected = f"expected 0 to {MAX_RESAMPLES:,}"
            raise ValueError(f"num_resamples is {self.num_resamples}; {expected}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}; it must be between 0 and 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be at least 0")


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Comparison(NamedTuple):
    """One score of two systems on the same images."""

    name: str
    first: float
    second: float
    difference: float  # first - second
    interval: Interval  # of the difference
    p_value: float  # two-sided


def bootstrap_intervals(scores: Sequence[Score], resampling: Resampling) -> list[Interval]:
    """Percentile bootstrap intervals over images.

    Args:
        scores: one or more, of the same images; each resample is used for all of them.
        resampling: of the images, with replacement.

    Returns:
        An interval per score, in order. For a single image both bounds are the score.

    Source:
        Koehn 2004; percentiles by linear interpolation.
    """
    columns, (table,) = _concatenate([(score.statistics,) for score in scores])
    draws = _bootstrap_weights(len(table), np.random.default_rng(resampling.seed))
    (sums,) = _weighted_sums([table], draws, resampling.num_resamples)  # (B, S)
    return [
        _percentile_interval(score.aggregate(sums[:, column]), resampling.confidence)
        for score, column in zip(scores, columns, strict=True)
    ]


def compare_scores(
    first: Sequence[Score], second: Sequence[Score], resampling: Resampling
) -> list[Comparison]:
    """Test whether two systems that captioned the same images differ significantly.

    Args:
        first: one or more scores of the first system.
        second: the same scores of the second system, of the same images in the same order.
        resampling: of the images, for the interval of the difference; as many permutations are
            drawn for the p-value.

    Returns:
        A comparison per score, in order. For the p-value the two systems' statistics of each image
        are exchanged with probability one half; it is ``(1 + extremes) / (1 + num_resamples)``,
        where extremes counts permutations whose absolute difference is at least the observed one.
        With ``I`` images it cannot be much below ``2 ** (1 - I)``.

    Source:
        Riezler and Maxwell 2005, approximate randomization; Koehn 2004, the paired bootstrap.
    """
    pairs = list(zip(first, second, strict=True))
    columns, tables = _concatenate([(a.statistics, b.statistics) for a, b in pairs])
    num_images, num_resamples = len(tables[0]), resampling.num_resamples
    draws = _bootstrap_weights(num_images, np.random.default_rng(resampling.seed))
    resampled = _weighted_sums(tables, draws, num_resamples)
    # What the first system loses and the second gains when their captions are exchanged.
    swaps = _swap_weights(num_images, np.random.default_rng([resampling.seed, 1]))
    (exchanged,) = _weighted_sums([tables[0] - tables[1]], swaps, num_resamples)
    comparisons = []
    for (a, b), column in zip(pairs, columns, strict=True):
        sums, swapped = [table[:, column] for table in resampled], exchanged[:, column]
        permuted = a.aggregate(a.statistics.sum(0) - swapped)
        permuted = permuted - b.aggregate(b.statistics.sum(0) + swapped)
        difference = a.corpus - b.corpus
        threshold = abs(difference) - _ROUNDING * (abs(a.corpus) + abs(b.corpus))
        p_value = (1 + int((np.abs(permuted) >= threshold).sum())) / (1 + num_resamples)
        differences = a.aggregate(sums[0]) - b.aggregate(sums[1])
        interval = _percentile_interval(differences, resampling.confidence)
        comparisons.append(Comparison(a.name, a.corpus, b.corpus, difference, interval, p_value))
    return comparisons


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several comparisons, adjusted so that all of them hold together.

    The probability that one or more of those below a level are so by chance is below the level.

    Source:
        Holm 1979.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _percentile_interval(values: Floats, confidence: float) -> Interval:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _weighted_sums(
    tables: Sequence[Floats], weights: Iterator[NDArray[Any]], count: int
) -> list[Floats]:
    """Sums over images, by each of ``count`` weight vectors: ``(count, S)`` per table.

    The tables are multiplied separately: equal tables have sums that are equal to the bit.
    """
    num_images = len(tables[0])
    batch_size = min(count, max(1, _BYTES // (8 * num_images)))
    matrix = np.empty((batch_size, num_images))
    sums = [np.empty((count, table.shape[1])) for table in tables]
    for start in range(0, count, batch_size):
        batch = matrix[: count - start]
        for row in batch:
            row[:] = next(weights)
        for table, output in zip(tables, sums, strict=True):
            output[start : start + len(batch)] = batch @ table
    return sums


def _bootstrap_weights(num_images: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """How often each image is drawn, ``(I,)``, in a sample of ``I`` with replacement."""
    while True:
        yield np.bincount(rng.integers(num_images, size=num_images), minlength=num_images)


def _swap_weights(num_images: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Whether each image's statistics are exchanged, ``(I,)``: 1 with probability one half."""
    while True:
        octets = np.frombuffer(rng.bytes((num_images + 7) // 8), np.uint8)
        yield np.unpackbits(octets, count=num_images)


def _concatenate(
    statistics: Sequence[tuple[Floats, ...]],
) -> tuple[list[slice], tuple[Floats, ...]]:
    """The statistics ``(I, S)`` of all scores in one table per system, and each score's columns.

    Statistics that several scores share, as BLEU-1 to BLEU-4 do, are included once.
    """
    columns: dict[tuple[int, ...], slice] = {}
    distinct: list[tuple[Floats, ...]] = []
    width = 0
    keys = [tuple(id(array) for array in arrays) for arrays in statistics]
    for key, arrays in zip(keys, statistics, strict=True):
        if key not in columns:
            columns[key] = slice(width, width + arrays[0].shape[1])
            distinct.append(arrays)
            width += arrays[0].shape[1]
    tables = tuple(np.concatenate(arrays, 1) for arrays in zip(*distinct, strict=True))
    return [columns[key] for key in keys], tables
