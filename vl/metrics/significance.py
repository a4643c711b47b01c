"""How sure a score is: bootstrap intervals, and whether two systems differ by more than chance.

It knows nothing of captions: the statistics of each image, which a score brings, are all it needs.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.metrics.score import Floats, Score

MOST_RESAMPLES = 1_000_000  # some 100 bytes each a score; a p value is then known to a millionth
_BYTES = 64 * 2**20  # of the weights that are in memory at once

# Two figures this near to one another, as a share of their size, are one: what lies between them
# is rounding. A word more or less in 40,000 captions changes a figure by a millionth.
_ROUNDING = 1e-10


class Interval(NamedTuple):
    """From where to where a figure goes."""

    low: float
    high: float


class Comparison(NamedTuple):
    """One score of two systems on the same images."""

    name: str
    difference: float  # the first system's figure less the second's
    interval: Interval  # of that difference
    p_value: float  # how often chance alone makes so great a difference, of either sign


def intervals(
    scores: Sequence[Score], *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> list[Interval]:
    """Where each score would lie had other images of the same kind been drawn.

    Args:
        scores: of the same images; every resample of these is used for all of them.
        resamples: how often as many images are drawn, with replacement; 1,000 in the paper.
        confidence: share of the resamples whose figure is within the interval.
        seed: the same one gives the same intervals.

    Returns:
        An interval a score, in their order. That of a single image is the figure twice: there is
        nothing else to draw, and it says nothing of how sure the figure is.

    Raises:
        ValueError: the scores are not of the same number of images, there is none, a figure of a
            resample is not finite, or one of the settings is out of its range.

    Source:
        Koehn 2004; percentiles, between two resamples by linear interpolation.
    """
    images = _images(scores)
    _check(resamples, confidence, seed)
    columns, (table,) = _side_by_side([(score.statistics,) for score in scores])
    (sums,) = _sums([table], _draws(images, np.random.default_rng(seed)), resamples)  # (B, S)
    return [
        _interval(_values(score, sums[:, own]), confidence)
        for score, own in zip(scores, columns, strict=True)
    ]


def compare(
    first: Sequence[Score],
    second: Sequence[Score],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Comparison]:
    """Whether two systems that described the same images differ by more than chance.

    Args:
        first: the scores of one system.
        second: the same scores of the other, of the same images in the same order.
        resamples: how often images are drawn for the interval, and how often captions change
            hands for the p value, which therefore is never below ``1 / (1 + resamples)``; 10,000
            as in sacreBLEU.
        confidence: share of the resamples whose difference is within the interval.
        seed: the same one gives the same figures.

    Returns:
        A comparison a score, in their order. The p value: each image's statistics change hands
        with probability one half, and ``(1 + extremes) / (1 + resamples)`` counts how often the
        difference is then as great as it was, in either direction. Of ``I`` images it cannot be
        much below ``2 ** (1 - I)``; of a single image it is 1, and the interval has no width.

    Raises:
        ValueError: the scores have other names or another number of images, or as of
            ``intervals``.

    Source:
        Riezler and Maxwell 2005, approximate randomisation; Koehn 2004, the paired bootstrap.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} scores of the first system, {len(second)} of the second")
    for one, other in zip(first, second, strict=True):
        if one.name != other.name:
            raise ValueError(f"{one.name} of the first system cannot be compared with {other.name}")
    images = _images([*first, *second])
    _check(resamples, confidence, seed)
    pairs = list(zip(first, second, strict=True))
    columns, tables = _side_by_side([(one.statistics, other.statistics) for one, other in pairs])
    drawn = _sums(tables, _draws(images, np.random.default_rng(seed)), resamples)
    # What the first system loses and the second gains when captions change hands.
    at_stake = tables[0] - tables[1]
    (moved,) = _sums([at_stake], _swaps(images, np.random.default_rng([seed, 1])), resamples)
    return [
        _comparison(
            (one, other),
            drawn=(drawn[0][:, own], drawn[1][:, own]),
            moved=moved[:, own],
            confidence=confidence,
        )
        for (one, other), own in zip(pairs, columns, strict=True)
    ]


def _comparison(
    scores: tuple[Score, Score], *, drawn: tuple[Floats, Floats], moved: Floats, confidence: float
) -> Comparison:
    """One score of two systems, from the sums ``(B, S)`` of every resample."""
    first, second = scores
    differences = _values(first, drawn[0]) - _values(second, drawn[1])
    by_chance = _values(first, first.statistics.sum(0) - moved)
    by_chance = by_chance - _values(second, second.statistics.sum(0) + moved)
    figures = first.corpus, second.corpus
    difference = figures[0] - figures[1]
    as_great = abs(difference) - _ROUNDING * (abs(figures[0]) + abs(figures[1]))
    extremes = int((np.abs(by_chance) >= as_great).sum())
    p_value = (1 + extremes) / (1 + len(moved))
    return Comparison(first.name, difference, _interval(differences, confidence), p_value)


def _interval(values: Floats, confidence: float) -> Interval:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _values(score: Score, sums: Floats) -> Floats:
    """The score of every resample, ``(B, S)`` to ``(B,)``."""
    with np.errstate(all="ignore"):  # what comes of it is refused below
        values = score.value(sums)
    if not np.isfinite(values).all():
        raise ValueError(f"{score.name} of some resample of the images is not a finite number")
    return values


def _sums(tables: Sequence[Floats], rows: Iterator[NDArray[Any]], count: int) -> list[Floats]:
    """Sums over images, weighted by each of ``count`` rows of weights: ``(count, S)`` a table.

    Each table has a product of its own: equal tables then give sums that are equal to the bit.
    """
    images = len(tables[0])
    at_once = min(count, max(1, _BYTES // (8 * images)))
    weights = np.empty((at_once, images))  # (rows, I)
    sums = [np.empty((count, table.shape[1])) for table in tables]
    for start in range(0, count, at_once):
        part = weights[: count - start]
        for row in part:
            row[:] = next(rows)
        for table, found in zip(tables, sums, strict=True):
            found[start : start + len(part)] = part @ table
    return sums


def _draws(images: int, generator: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """How often each image is drawn, ``(I,)``, drawing as many as there are."""
    while True:
        yield np.bincount(generator.integers(images, size=images), minlength=images)


def _swaps(images: int, generator: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Whether each image's statistics change hands, ``(I,)``: one with probability one half."""
    while True:
        octets = np.frombuffer(generator.bytes((images + 7) // 8), np.uint8)
        yield np.unpackbits(octets, count=images)


def _side_by_side(
    statistics: Sequence[tuple[Floats, ...]],
) -> tuple[list[slice], tuple[Floats, ...]]:
    """The statistics ``(I, S)`` of all scores in one table a system, and where each score's are.

    Statistics that several scores share, as BLEU-1 to BLEU-4 do, stand in it once.
    """
    places: dict[tuple[int, ...], slice] = {}
    different: list[tuple[Floats, ...]] = []
    width = 0
    keys = [tuple(id(array) for array in arrays) for arrays in statistics]
    for key, arrays in zip(keys, statistics, strict=True):
        if key not in places:
            places[key] = slice(width, width + arrays[0].shape[1])
            different.append(arrays)
            width += arrays[0].shape[1]
    tables = tuple(np.concatenate(arrays, 1) for arrays in zip(*different, strict=True))
    return [places[key] for key in keys], tables


def _images(scores: Sequence[Score]) -> int:
    """The number of images, which is the same for all scores."""
    if not scores:
        raise ValueError("there is no score")
    numbers: dict[int, str] = {}
    for score in scores:
        numbers.setdefault(len(score.statistics), score.name)
    if len(numbers) > 1:
        found = ", ".join(f"{name} of {number}" for number, name in numbers.items())
        raise ValueError(f"the scores are of different numbers of images: {found}")
    (images,) = numbers
    if not images:
        raise ValueError("there is no image")
    return images


def _check(resamples: int, confidence: float, seed: int) -> None:
    if not 1 <= resamples <= MOST_RESAMPLES:
        raise ValueError(f"resamples must be 1 to {MOST_RESAMPLES:,}, not {resamples}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
