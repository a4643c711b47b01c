"""Intervals and p values against plain loops, enumeration, and what they promise of chance."""

import itertools

import numpy as np
import pytest

import vl.metrics.significance
from vl.metrics.score import Floats, Score, mean_score
from vl.metrics.significance import Comparison, Interval, compare, intervals


def harmonic(sums: Floats) -> Floats:
    """An F measure: a figure that is no mean of the images' own."""
    figure: Floats = 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])
    return figure


def f_measure(seed: int, images: int = 20) -> Score:
    draw = np.random.default_rng(seed)
    found = draw.integers(1, 12, size=(images, 2))
    statistics = np.column_stack([draw.integers(0, found.min(1) + 1), found]).astype(float)
    return Score("F", harmonic(statistics), statistics, harmonic)


def scores(seed: int, images: int = 20) -> list[Score]:
    """Two scores, of unlike statistics."""
    own = np.random.default_rng(seed + 100).normal(size=images)
    return [f_measure(seed, images), mean_score("CIDEr", own)]


@pytest.mark.parametrize("seed", range(3))
def test_intervals_agree_with_a_plain_loop(seed: int) -> None:
    resamples, images = 50, 20
    given = scores(seed, images)
    figures: list[list[float]] = [[], []]
    draw = np.random.default_rng(seed)
    for _ in range(resamples):
        sample = draw.integers(images, size=images)
        for score, list_of_figures in zip(given, figures, strict=True):
            sums = sum(score.statistics[image] for image in sample)
            list_of_figures.append(float(score.value(np.asarray(sums))))
    found = intervals(given, resamples=resamples, confidence=0.8, seed=seed)
    for interval, list_of_figures in zip(found, figures, strict=True):
        ranked = sorted(list_of_figures)
        # A tenth of the 49 steps between the least and the greatest is 4.9 steps.
        low = 0.1 * ranked[4] + 0.9 * ranked[5]
        high = 0.9 * ranked[44] + 0.1 * ranked[45]
        assert interval == pytest.approx((low, high), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_comparisons_agree_with_a_plain_loop(seed: int) -> None:
    resamples, images = 50, 20
    first, second = scores(seed, images), scores(seed + 1, images)
    found = compare(first, second, resamples=resamples, seed=seed)
    for one, other, comparison in zip(first, second, found, strict=True):
        draw = np.random.default_rng([seed, 1])
        observed = one.corpus - other.corpus
        extremes = 0
        for _ in range(resamples):
            bits = "".join(f"{octet:08b}" for octet in draw.bytes((images + 7) // 8))
            mine, theirs = np.zeros(one.statistics.shape[1]), np.zeros(one.statistics.shape[1])
            for image in range(images):
                pair = one.statistics[image], other.statistics[image]
                kept, given = pair if bits[image] == "0" else pair[::-1]
                mine += kept
                theirs += given
            extremes += abs(float(one.value(mine) - other.value(theirs))) >= abs(observed) - 1e-12
        assert comparison.p_value == (1 + extremes) / (1 + resamples)
        assert comparison.difference == pytest.approx(observed)
        assert comparison.name == one.name


@pytest.mark.parametrize("seed", range(4))
def test_the_p_value_is_that_of_every_swap_there_is(seed: int) -> None:
    draw = np.random.default_rng(seed)
    first, second = draw.normal(0.5, 1, 8), draw.normal(0, 1, 8)
    gaps = (first - second).tolist()
    extremes = [
        abs(sum(sign * gap for sign, gap in zip(signs, gaps, strict=True))) >= abs(sum(gaps)) - 1e-9
        for signs in itertools.product((1, -1), repeat=8)
    ]
    exact = sum(extremes) / len(extremes)
    (found,) = compare([mean_score("m", first)], [mean_score("m", second)], resamples=20_000)
    assert found.p_value == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 20_000) ** 0.5)


def test_a_difference_is_drawn_on_the_same_images_for_both() -> None:
    # The images differ widely, the systems by the same on every image: so does every resample.
    own = np.random.default_rng(0).normal(0, 100, 30)
    (found,) = compare([mean_score("m", own + 2)], [mean_score("m", own)], resamples=200)
    assert found.difference == pytest.approx(2)
    assert found.interval == pytest.approx((2, 2))


def test_systems_that_differ_by_chance_only_have_p_values_of_every_size() -> None:
    draw = np.random.default_rng(0)
    values = []
    for trial in range(150):
        own = draw.normal(size=40)
        first, second = (mean_score("m", own + draw.normal(size=40)) for _ in range(2))
        values.append(compare([first], [second], resamples=199, seed=trial)[0].p_value)
    ranks = np.arange(1, 151) / 150
    # Kolmogorov's distance from the uniform law, which chance keeps below this 99 times in 100.
    assert np.abs(np.sort(values) - ranks).max() < 1.63 / 150**0.5


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    held = {0.95: 0, 0.8: 0}
    for trial in range(150):
        score = mean_score("m", draw.normal(3, 2, size=80))
        for confidence in held:
            (found,) = intervals([score], resamples=300, confidence=confidence, seed=trial)
            held[confidence] += found.low <= 3 <= found.high
    assert 0.90 < held[0.95] / 150 < 0.99
    assert 0.72 < held[0.8] / 150 < 0.87


def test_a_clear_lead_is_significant_and_a_small_one_is_not() -> None:
    draw = np.random.default_rng(0)
    own = draw.normal(size=100)
    noisy = own + draw.normal(size=100)
    clear, small = (mean_score("m", noisy + lead) for lead in (1.0, 0.05))
    (found,) = compare([clear], [mean_score("m", own)], resamples=999)
    assert found.p_value == 1 / 1000
    assert 0 < found.interval.low < found.difference < found.interval.high
    (found,) = compare([small], [mean_score("m", own)], resamples=999)
    assert found.p_value > 0.05
    assert found.interval.low < 0 < found.interval.high


@pytest.mark.parametrize("seed", range(5))
def test_the_other_way_round_only_the_sign_changes(seed: int) -> None:
    first, second = scores(seed), scores(seed + 1)
    for one, other in zip(compare(first, second), compare(second, first), strict=True):
        assert one.difference == -other.difference
        assert one.p_value == other.p_value
        assert one.interval == pytest.approx((-other.interval.high, -other.interval.low))


def test_a_system_does_not_differ_from_itself() -> None:
    none = Interval(0.0, 0.0)
    expected = [Comparison("F", 0.0, none, 1.0), Comparison("CIDEr", 0.0, none, 1.0)]
    assert compare(scores(0), scores(0), resamples=100) == expected


def test_differences_that_only_rounding_tells_apart_are_one() -> None:
    # Whatever is swapped, the difference is a tenth or minus a tenth, give or take rounding.
    first, second = np.array([0.1, 0.3, 0.7, 1.1]), np.array([0.2, 0.3, 0.7, 1.1])
    (found,) = compare([mean_score("m", first)], [mean_score("m", second)], resamples=100)
    assert found.p_value == 1


def test_a_single_image_says_nothing() -> None:
    given = scores(0, images=1)
    found = intervals(given, resamples=10)
    for score, interval in zip(given, found, strict=True):
        assert interval.low == interval.high == pytest.approx(score.corpus)
    for comparison in compare(given, scores(1, images=1), resamples=10):
        assert comparison.p_value == 1
        assert comparison.interval == pytest.approx((comparison.difference,) * 2)


def test_a_score_alone_is_as_among_others() -> None:
    # All scores see the same resamples, whatever else is asked for.
    given, others = scores(0), scores(1)
    assert intervals(given[1:])[0] == pytest.approx(intervals(given)[1])
    assert compare(given[1:], others[1:])[0].p_value == compare(given, others)[1].p_value


def test_scores_that_share_statistics_are_as_if_they_did_not() -> None:
    one, other = f_measure(0), f_measure(1)
    shared = [one, one._replace(name="precision", value=lambda sums: sums[..., 0] / sums[..., 1])]
    apart = [score._replace(statistics=score.statistics.copy()) for score in shared]
    rivals = [other, other._replace(name="precision", value=shared[1].value)]
    for found, expected in zip(intervals(shared), intervals(apart), strict=True):
        assert found == pytest.approx(expected)
    for here, there in zip(compare(shared, rivals), compare(apart, rivals), strict=True):
        assert here.p_value == there.p_value
        assert here.interval == pytest.approx(there.interval)


def test_a_seed_gives_its_own_figures_again() -> None:
    given, others = scores(0), scores(1)
    assert intervals(given, seed=3) == intervals(given, seed=3) != intervals(given, seed=4)
    again = [compare(given, others, resamples=500, seed=seed) for seed in (3, 3, 4)]
    assert again[0] == again[1] != again[2]


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_the_size_of_a_part_changes_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given, others = scores(0), scores(1)
    whole = intervals(given, resamples=99), compare(given, others, resamples=99)
    monkeypatch.setattr(vl.metrics.significance, "_BYTES", rows * 8 * 20)
    for one, other in zip(whole[0], intervals(given, resamples=99), strict=True):
        assert one == pytest.approx(other, rel=1e-12)
    for here, there in zip(whole[1], compare(given, others, resamples=99), strict=True):
        assert here.p_value == there.p_value
        assert here.interval == pytest.approx(there.interval, rel=1e-12)


def test_more_confidence_makes_a_wider_interval() -> None:
    narrow, wide = (intervals(scores(0), confidence=share) for share in (0.5, 0.99))
    for inner, outer in zip(narrow, wide, strict=True):
        assert outer.low < inner.low < inner.high < outer.high


def test_nothing_that_was_given_is_changed() -> None:
    given, others = scores(0), scores(1)
    before = [score.statistics.copy() for score in (*given, *others)]
    intervals(given, resamples=10)
    compare(given, others, resamples=10)
    for score, old in zip((*given, *others), before, strict=True):
        assert np.array_equal(score.statistics, old)


def test_wrong_use_is_refused() -> None:
    given = scores(0)
    with pytest.raises(ValueError, match="there is no score"):
        intervals([])
    with pytest.raises(ValueError, match="there is no image"):
        intervals(scores(0, images=0))
    with pytest.raises(ValueError, match="different numbers of images: F of 20, CIDEr of 21"):
        intervals([given[0], scores(0, images=21)[1]])
    with pytest.raises(ValueError, match="different numbers of images: F of 20, F of 21"):
        compare(given, scores(0, images=21))
    with pytest.raises(ValueError, match="2 scores of the first system, 1 of the second"):
        compare(given, given[:1])
    with pytest.raises(ValueError, match="F of the first system cannot be compared with CIDEr"):
        compare(given, given[::-1])
    with pytest.raises(ValueError, match="seed must be 0 or more, not -1"):
        intervals(given, seed=-1)
    with pytest.raises(ValueError, match="seed must be 0 or more, not -1"):
        compare(given, given, seed=-1)
    with pytest.raises(ValueError, match="resamples must be 1 to 1,000,000, not 100000000000"):
        compare(given, given, resamples=100_000_000_000)
    with pytest.raises(ValueError, match="resamples must be 1 to 1,000,000, not 0"):
        intervals(given, resamples=0)
    with pytest.raises(ValueError, match="confidence must be between 0 and 1, not 95"):
        compare(given, given, confidence=95)


def test_a_resample_without_a_figure_is_refused() -> None:
    # Drawn twice, the second image leaves nothing to divide by.
    statistics = np.array([[1.0, 2.0], [0.0, 0.0]])
    score = Score("P", statistics[:, 0], statistics, lambda sums: sums[..., 0] / sums[..., 1])
    with pytest.raises(ValueError, match="P of some resample of the images is not a finite number"):
        intervals([score])
