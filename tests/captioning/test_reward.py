"""The reward against pycocoevalcap's CIDEr-D, and what it must not reward."""

import math
import random

import pytest
from pycocoevalcap.cider.cider_scorer import CiderScorer

from vl.captioning.reward import CaptionReward, CiderReward, smoothed_bleu


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


def test_smoothed_bleu_by_hand():
    """Four words, three right; pairs 2 + 1 of 3 + 1, triples 1 + 1 of 2 + 1, 0 + 1 of 1 + 1."""
    expected = (3 / 4 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert smoothed_bleu([3, 4, 5, 9], [[3, 4, 5, 6], [1, 2]]) == pytest.approx(expected)


def test_a_short_caption_is_penalised_as_bleu_does():
    long, short = [3, 4, 5, 6, 7, 8], [3, 4, 5]
    assert smoothed_bleu(long, [long]) == 1
    assert smoothed_bleu(short, [long]) == pytest.approx(math.exp(1 - 2))
    assert smoothed_bleu([], [long]) == smoothed_bleu([9], [long]) == 0


def test_the_reward_is_the_sum_of_both():
    true = [[[0, 3, 4, 5, 1]], [[0, 6, 7, 1]]]
    both, cider = CaptionReward(true, bleu=2.0), CaptionReward(true)
    for words in ([3, 4, 5, 1], [3, 4, 1], [6, 1], [1]):
        expected = cider(0, words) + 2 * smoothed_bleu(words[:-1], [[3, 4, 5]])
        assert both(0, words) == pytest.approx(expected)
    assert cider(0, [3, 4, 5, 1]) == CiderReward([[[3, 4, 5, 1]], [[6, 7, 1]]])(0, [3, 4, 5, 1])
