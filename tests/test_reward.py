"""The reward against pycocoevalcap's CIDEr-D, and what it must not reward."""

import random

import pytest
from pycocoevalcap.cider.cider_scorer import CiderScorer

from vl.reward import CiderReward


def captions(seed, count, most):
    source = random.Random(seed)
    return [[source.randrange(most) for _ in range(source.randint(1, 12))] for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_a_tenth_of_pycocoevalcaps(seed):
    """Its document frequencies are of the references of the captions scored, so score them all."""
    references = [captions(100 * seed + image, 5, 8) for image in range(30)]
    said = captions(seed, 30, 8)
    judge = CiderScorer(n=4, sigma=6.0)
    for own, true in zip(said, references, strict=True):
        judge += (" ".join(map(str, own)), [" ".join(map(str, each)) for each in true])
    _, expected = judge.compute_score()
    reward = CiderReward(references)
    found = [10 * reward(image, words) for image, words in enumerate(said)]
    assert found == pytest.approx(expected.tolist(), abs=1e-9)


def test_the_true_caption_is_worth_most_and_strangers_nothing():
    reward = CiderReward([[[3, 4, 5, 1]], [[6, 7, 1]], [[8, 9, 3, 1]]])
    assert reward(0, [3, 4, 5, 1]) == pytest.approx(1.0)
    assert 0 < reward(0, [3, 4, 1]) < 1
    assert reward(0, [6, 7]) == 0
    assert reward(0, []) == 0
