"""Scores from sums over images, as resampling needs them."""

import numpy as np
import pytest

from vl.metrics.score import Floats, Score, mean_score


def ratio(sums: Floats) -> Floats:
    quotient: Floats = sums[..., 0] / sums[..., 1]
    return quotient


@pytest.mark.parametrize("seed", range(5))
def test_mean_score_is_the_mean_over_images(seed: int) -> None:
    images = np.random.default_rng(seed).normal(3, 2, size=seed + 1)
    score = mean_score("CIDEr", images)
    assert score.corpus == pytest.approx(sum(images.tolist()) / len(images), rel=1e-12)
    assert score.per_image is images
    assert score.statistics.shape == (len(images), 2)


def test_mean_score_has_name_and_settings() -> None:
    assert mean_score("CIDEr", np.ones(2), settings="n 4")[::4] == ("CIDEr", "n 4")
    assert mean_score("CIDEr", np.ones(2)).settings == ""


def test_mean_score_of_a_single_image_is_its_value() -> None:
    score = mean_score("CIDEr", np.array([0.25, -1.0, 0.0]))
    assert score.aggregate(score.statistics).tolist() == score.per_image.tolist()


def test_the_corpus_value_is_of_the_sums() -> None:
    # One of two matches, then three of four: 4/6, not (1/2 + 3/4) / 2.
    score = Score("right", np.array([0.5, 0.75]), np.array([[1.0, 2.0], [3.0, 4.0]]), ratio)
    assert score.corpus == pytest.approx(4 / 6)
    assert isinstance(score.corpus, float)


def test_a_repeated_image_counts_twice() -> None:
    score = mean_score("CIDEr", np.array([1.0, 4.0]))
    twice = np.array([2.0, 1.0]) @ score.statistics
    assert float(score.aggregate(twice)) == pytest.approx((1 + 1 + 4) / 3)


@pytest.mark.parametrize("shape", [(), (7,), (2, 3)])
def test_batches_of_sums_give_batches_of_values(shape: tuple[int, ...]) -> None:
    score = mean_score("CIDEr", np.array([1.0, 4.0, 2.5]))
    sums = np.random.default_rng(0).uniform(1, 2, size=(*shape, 2))
    values = np.asarray(score.aggregate(sums))
    assert values.shape == shape
    rows, flat = sums.reshape(-1, 2), values.reshape(-1)
    assert flat.tolist() == [float(score.aggregate(row)) for row in rows]
