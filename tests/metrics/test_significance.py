"""Intervals and p-values against plain loops, enumeration, and their statistical guarantees."""

import itertools

import numpy as np
import pytest

from vl.metrics.score import Floats, Score, mean_score
from vl.metrics.significance import (
    Comparison,
    Interval,
    Resampling,
    bootstrap_intervals,
    compare_scores,
    holm,
)

DEFAULT = Resampling()


def f_measure(sums: Floats) -> Floats:
    """A value that is not the mean over images."""
    value: Floats = 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])
    return value


def f_score(seed: int, num_images: int = 20) -> Score:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, size=(num_images, 2))
    matches = rng.integers(0, lengths.min(1) + 1)
    statistics = np.column_stack([matches, lengths]).astype(float)
    return Score("F", f_measure(statistics), statistics, f_measure)


def scores(seed: int, num_images: int = 20) -> list[Score]:
    """Two scores with different statistics."""
    per_image = np.random.default_rng(seed + 100).normal(size=num_images)
    return [f_score(seed, num_images), mean_score("CIDEr", per_image)]


@pytest.mark.parametrize("seed", range(3))
def test_intervals_equal_a_plain_loop(seed: int) -> None:
    num_resamples, num_images = 50, 20
    both = scores(seed, num_images)
    values: list[list[float]] = [[], []]
    rng = np.random.default_rng(seed)
    for _ in range(num_resamples):
        sample = rng.integers(num_images, size=num_images)
        for score, column in zip(both, values, strict=True):
            sums = sum(score.statistics[image] for image in sample)
            column.append(float(score.aggregate(np.asarray(sums))))
    intervals = bootstrap_intervals(both, Resampling(num_resamples, 0.8, seed))
    for interval, column in zip(intervals, values, strict=True):
        ranked = sorted(column)
        # A tenth of the 49 steps between the least and the greatest is 4.9 steps.
        low = 0.1 * ranked[4] + 0.9 * ranked[5]
        high = 0.9 * ranked[44] + 0.1 * ranked[45]
        assert interval == pytest.approx((low, high), rel=1e-12)


def test_more_resamples_than_fit_into_memory_at_once_equal_a_plain_loop() -> None:
    num_images, num_resamples = 200_000, 60  # some 40 rows of weights are in memory at once
    per_image = np.random.default_rng(1).normal(size=num_images)
    rng = np.random.default_rng(0)
    means = [
        per_image[rng.integers(num_images, size=num_images)].mean() for _ in range(num_resamples)
    ]
    score = mean_score("m", per_image)
    (interval,) = bootstrap_intervals([score], Resampling(num_resamples, confidence=0.5))
    assert interval == pytest.approx(tuple(np.quantile(means, [0.25, 0.75])), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_comparisons_equal_a_plain_loop(seed: int) -> None:
    num_resamples, num_images = 50, 20
    first, second = scores(seed, num_images), scores(seed + 1, num_images)
    comparisons = compare_scores(first, second, Resampling(num_resamples, seed=seed))
    for a, b, comparison in zip(first, second, comparisons, strict=True):
        rng = np.random.default_rng([seed, 1])
        observed = a.corpus - b.corpus
        extremes = 0
        for _ in range(num_resamples):
            bits = "".join(f"{octet:08b}" for octet in rng.bytes((num_images + 7) // 8))
            sums = np.zeros((2, a.statistics.shape[1]))
            for image in range(num_images):
                pair = a.statistics[image], b.statistics[image]
                sums += pair if bits[image] == "0" else pair[::-1]
            difference = float(a.aggregate(sums[0]) - b.aggregate(sums[1]))
            extremes += abs(difference) >= abs(observed) - 1e-12
        assert comparison[:3] == (a.name, a.corpus, b.corpus)
        assert comparison.p_value == (1 + extremes) / (1 + num_resamples)
        assert comparison.difference == pytest.approx(observed)


@pytest.mark.parametrize("seed", range(4))
def test_p_value_approximates_the_enumeration_of_all_permutations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0.5, 1, 8), rng.normal(0, 1, 8)
    gaps = (first - second).tolist()
    extremes = [
        abs(sum(sign * gap for sign, gap in zip(signs, gaps, strict=True))) >= abs(sum(gaps)) - 1e-9
        for signs in itertools.product((1, -1), repeat=8)
    ]
    exact = sum(extremes) / len(extremes)
    (comparison,) = compare_scores(
        [mean_score("m", first)], [mean_score("m", second)], Resampling(20_000)
    )
    assert comparison.p_value == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 20_000) ** 0.5)


def test_differences_are_resampled_on_the_same_images() -> None:
    # The images differ widely, the systems by the same on every image: so does every resample.
    values = np.random.default_rng(0).normal(0, 100, 30)
    (comparison,) = compare_scores(
        [mean_score("m", values + 2)], [mean_score("m", values)], Resampling(200)
    )
    assert comparison.difference == pytest.approx(2)
    assert comparison.interval == pytest.approx((2, 2))


def test_p_values_of_equal_systems_are_uniform() -> None:
    rng = np.random.default_rng(0)
    p_values = []
    for trial in range(150):
        values = rng.normal(size=40)
        first, second = (mean_score("m", values + rng.normal(size=40)) for _ in range(2))
        (comparison,) = compare_scores([first], [second], Resampling(199, seed=trial))
        p_values.append(comparison.p_value)
    # Kolmogorov's distance from the uniform distribution is below this 99 times in 100.
    assert np.abs(np.sort(p_values) - np.arange(1, 151) / 150).max() < 1.63 / 150**0.5


def test_intervals_cover_the_true_mean_as_often_as_their_level() -> None:
    rng = np.random.default_rng(0)
    covered = {0.95: 0, 0.8: 0}
    for trial in range(150):
        score = mean_score("m", rng.normal(3, 2, size=80))
        for level in covered:
            (interval,) = bootstrap_intervals([score], Resampling(300, level, trial))
            covered[level] += interval.low <= 3 <= interval.high
    assert 0.90 < covered[0.95] / 150 < 0.99
    assert 0.72 < covered[0.8] / 150 < 0.87


def test_a_large_difference_is_significant_and_a_small_one_is_not() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=100)
    noisy = values + rng.normal(size=100)
    large, small = (mean_score("m", noisy + lead) for lead in (1.0, 0.05))
    (comparison,) = compare_scores([large], [mean_score("m", values)], Resampling(999))
    assert comparison.p_value == 1 / 1000
    assert 0 < comparison.interval.low < comparison.difference < comparison.interval.high
    (comparison,) = compare_scores([small], [mean_score("m", values)], Resampling(999))
    assert comparison.p_value > 0.05
    assert comparison.interval.low < 0 < comparison.interval.high


@pytest.mark.parametrize("seed", range(3))
def test_exchanging_the_systems_changes_only_the_sign(seed: int) -> None:
    first, second = scores(seed), scores(seed + 1)
    forward = compare_scores(first, second, DEFAULT)
    backward = compare_scores(second, first, DEFAULT)
    for a, b in zip(forward, backward, strict=True):
        assert a.difference == -b.difference
        assert a.p_value == b.p_value
        assert a.interval == pytest.approx((-b.interval.high, -b.interval.low))


def test_a_system_does_not_differ_from_itself() -> None:
    both = scores(0)
    expected = [
        Comparison(score.name, score.corpus, score.corpus, 0.0, Interval(0.0, 0.0), 1.0)
        for score in both
    ]
    assert compare_scores(both, scores(0), Resampling(100)) == expected


def test_differences_within_rounding_are_equal() -> None:
    # However captions are exchanged, the difference is a tenth or minus a tenth, up to rounding.
    first, second = np.array([0.1, 0.3, 0.7, 1.1]), np.array([0.2, 0.3, 0.7, 1.1])
    (comparison,) = compare_scores(
        [mean_score("m", first)], [mean_score("m", second)], Resampling(100)
    )
    assert comparison.p_value == 1


def test_a_single_image_has_no_spread() -> None:
    single = scores(0, num_images=1)
    for score, interval in zip(single, bootstrap_intervals(single, DEFAULT), strict=True):
        assert interval.low == interval.high == pytest.approx(score.corpus)
    for comparison in compare_scores(single, scores(1, num_images=1), DEFAULT):
        assert comparison.p_value == 1
        assert comparison.interval == pytest.approx((comparison.difference,) * 2)


def test_scores_do_not_depend_on_the_others_that_are_computed() -> None:
    first, second = scores(0), scores(1)
    (interval,) = bootstrap_intervals(first[1:], DEFAULT)
    assert interval == pytest.approx(bootstrap_intervals(first, DEFAULT)[1])
    # Nor on whether they share statistics, as BLEU-1 to BLEU-4 do.
    a, b = first[0], second[0]
    shared = [a, a._replace(name="P", aggregate=lambda sums: sums[..., 0] / sums[..., 1])]
    apart = [score._replace(statistics=score.statistics.copy()) for score in shared]
    baseline = [b, b._replace(name="P", aggregate=shared[1].aggregate)]
    comparisons = (compare_scores(system, baseline, DEFAULT) for system in (shared, apart))
    for left, right in zip(*comparisons, strict=True):
        assert left.p_value == right.p_value
        assert left.interval == pytest.approx(right.interval)


def test_equal_seeds_give_equal_results() -> None:
    first, second = scores(0), scores(1)
    seeds = [Resampling(500, seed=seed) for seed in (3, 3, 4)]
    intervals = [bootstrap_intervals(first, resampling) for resampling in seeds]
    assert intervals[0] == intervals[1] != intervals[2]
    tests = [compare_scores(first, second, resampling) for resampling in seeds]
    assert tests[0] == tests[1] != tests[2]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"num_resamples": -1}, "num_resamples"),
        ({"num_resamples": 1_000_001}, "num_resamples"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": float("nan")}, "confidence"),
        ({"seed": -1}, "seed"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is"):
        Resampling(**arguments)


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([], []),
        ([0.02], [0.02]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6], [1, 1]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
    ],
)
def test_holm_adjusts_p_values(p_values: list[float], adjusted: list[float]) -> None:
    assert holm(p_values) == pytest.approx(adjusted)
