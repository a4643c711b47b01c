"""Bootstrap confidence intervals of scores, and paired tests of two systems.

It does not know captions: the statistics of each image, which a score carries, are all it needs.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.metrics.score import Floats, Score

MAX_RESAMPLES = 1_000_000  # some 100 bytes each per score; a p-value is then known to a millionth
_BYTES = 64 * 2**20  # of the weights that are in memory at once

# Two values whose relative difference is below this are equal: it is rounding. One word more or
# less in 40,000 captions changes a score by a millionth.
_ROUNDING = 1e-10


class Resampling(NamedTuple):
    """How intervals and p-values are computed."""

    num_resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0


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


def bootstrap_intervals(
    scores: Sequence[Score], *, num_resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> list[Interval]:
    """Percentile bootstrap intervals over images.

    Args:
        scores: of the same images; each resample is used for all of them.
        num_resamples: of the images, with replacement; 1,000 in the paper.
        confidence: level of the interval.
        seed: of the resamples.

    Returns:
        An interval per score, in order. For a single image both bounds are the score.

    Raises:
        ValueError: the scores are of different numbers of images, there is none, the score of a
            resample is not finite, or an argument is out of range.

    Source:
        Koehn 2004; percentiles by linear interpolation.
    """
    num_images = _count_images(scores)
    _check_arguments(num_resamples, confidence, seed)
    columns, (table,) = _concatenate([(score.statistics,) for score in scores])
    draws = _bootstrap_weights(num_images, np.random.default_rng(seed))
    (sums,) = _weighted_sums([table], draws, num_resamples)  # (B, S)
    return [
        _percentile_interval(_resampled_values(score, sums[:, column]), confidence)
        for score, column in zip(scores, columns, strict=True)
    ]


def compare_scores(
    first: Sequence[Score],
    second: Sequence[Score],
    *,
    num_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Comparison]:
    """Test whether two systems that captioned the same images differ significantly.

    Args:
        first: the scores of one system.
        second: the same scores of the other, of the same images in the same order.
        num_resamples: bootstrap resamples for the interval, and permutations for the p-value,
            which is therefore at least ``1 / (1 + num_resamples)``; 10,000 as in sacreBLEU.
        confidence: level of the interval.
        seed: of the resamples.

    Returns:
        A comparison per score, in order. For the p-value the two systems' statistics of each image
        are exchanged with probability one half; it is ``(1 + extremes) / (1 + num_resamples)``,
        where extremes counts permutations whose absolute difference is at least the observed one.
        With ``I`` images it cannot be much below ``2 ** (1 - I)``; with a single image it is 1,
        and the interval has no width.

    Raises:
        ValueError: the scores have different names or numbers of images, or as of
            ``bootstrap_intervals``.

    Source:
        Riezler and Maxwell 2005, approximate randomization; Koehn 2004, the paired bootstrap.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} scores of the first system, {len(second)} of the second")
    pairs = list(zip(first, second, strict=True))
    for a, b in pairs:
        if a.name != b.name:
            raise ValueError(f"{a.name} of the first system cannot be compared with {b.name}")
    num_images = _count_images([*first, *second])
    _check_arguments(num_resamples, confidence, seed)
    columns, tables = _concatenate([(a.statistics, b.statistics) for a, b in pairs])
    draws = _bootstrap_weights(num_images, np.random.default_rng(seed))
    resampled = _weighted_sums(tables, draws, num_resamples)
    # What the first system loses and the second gains when their captions are exchanged.
    swaps = _swap_weights(num_images, np.random.default_rng([seed, 1]))
    (exchanged,) = _weighted_sums([tables[0] - tables[1]], swaps, num_resamples)
    return [
        _comparison(
            pair,
            resampled=(resampled[0][:, column], resampled[1][:, column]),
            exchanged=exchanged[:, column],
            confidence=confidence,
        )
        for pair, column in zip(pairs, columns, strict=True)
    ]


def _comparison(
    pair: tuple[Score, Score],
    *,
    resampled: tuple[Floats, Floats],
    exchanged: Floats,
    confidence: float,
) -> Comparison:
    """One score of two systems, from the sums ``(B, S)`` of every resample."""
    first, second = pair
    differences = _resampled_values(first, resampled[0]) - _resampled_values(second, resampled[1])
    permuted = _resampled_values(first, first.statistics.sum(0) - exchanged)
    permuted = permuted - _resampled_values(second, second.statistics.sum(0) + exchanged)
    values = first.corpus, second.corpus
    difference = values[0] - values[1]
    threshold = abs(difference) - _ROUNDING * (abs(values[0]) + abs(values[1]))
    extremes = int((np.abs(permuted) >= threshold).sum())
    p_value = (1 + extremes) / (1 + len(exchanged))
    interval = _percentile_interval(differences, confidence)
    return Comparison(first.name, *values, difference, interval, p_value)


def _percentile_interval(values: Floats, confidence: float) -> Interval:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _resampled_values(score: Score, sums: Floats) -> Floats:
    """The score of every resample, ``(B, S)`` to ``(B,)``."""
    with np.errstate(all="ignore"):  # checked below
        values = score.aggregate(sums)
    if not np.isfinite(values).all():
        raise ValueError(f"{score.name} of some resample of the images is not finite")
    return values


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


def _count_images(scores: Sequence[Score]) -> int:
    """The number of images, which must be the same for all scores."""
    if not scores:
        raise ValueError("there is no score")
    counts: dict[int, str] = {}
    for score in scores:
        counts.setdefault(len(score.statistics), score.name)
    if len(counts) > 1:
        listing = ", ".join(f"{name} of {count}" for count, name in counts.items())
        raise ValueError(f"the scores are of different numbers of images: {listing}")
    (num_images,) = counts
    if not num_images:
        raise ValueError("there is no image")
    return num_images


def _check_arguments(num_resamples: int, confidence: float, seed: int) -> None:
    if not 1 <= num_resamples <= MAX_RESAMPLES:
        raise ValueError(f"num_resamples is {num_resamples}; expected 1 to {MAX_RESAMPLES:,}")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be at least 0")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must be between 0 and 1")
