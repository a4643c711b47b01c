"""Scores from sums over images, as resampling needs them."""

import numpy as np
import pytest

from vl.metrics.score import Floats, Score, mean_score


def ratio(sums: Floats) -> Floats:
    quotient: Floats = sums[..., 0] / sums[..., 1]
    return quotient


def test_mean_score_is_the_mean_over_images() -> None:
    images = np.random.default_rng(0).normal(3, 2, size=7)
    score = mean_score("CIDEr", images, settings="n 4")
    assert score.corpus == pytest.approx(sum(images.tolist()) / 7, rel=1e-12)
    assert score.per_image is images
    assert (score.name, score.settings) == ("CIDEr", "n 4")
    assert score.aggregate(score.statistics).tolist() == images.tolist()  # of single images


def test_the_corpus_value_is_of_the_sums() -> None:
    # One of two matches, then three of four: 4/6, not (1/2 + 3/4) / 2.
    score = Score("right", np.array([0.5, 0.75]), np.array([[1.0, 2.0], [3.0, 4.0]]), ratio)
    assert score.corpus == pytest.approx(4 / 6)
    assert isinstance(score.corpus, float)


def test_a_repeated_image_counts_twice() -> None:
    score = mean_score("CIDEr", np.array([1.0, 4.0]))
    twice = np.array([2.0, 1.0]) @ score.statistics
    assert float(score.aggregate(twice)) == pytest.approx((1 + 1 + 4) / 3)
