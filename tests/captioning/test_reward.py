"""The reward against pycocoevalcap's CIDEr-D, and what it must not reward."""

import math
import random

import pytest
from pycocoevalcap.cider.cider_scorer import CiderScorer

from vl.captioning.reward import caption_reward


def captions(seed, count, vocabulary):
    rng = random.Random(seed)
    return [[rng.randrange(vocabulary) for _ in range(rng.randint(1, 12))] for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_cider_is_a_tenth_of_pycocoevalcaps(seed):
    """Its document frequencies are those of the scored images' references, so score all images."""
    references = [captions(100 * seed + image, 5, 8) for image in range(30)]
    candidates = captions(seed, 30, 8)
    scorer = CiderScorer(n=4, sigma=6.0)
    for candidate, image in zip(candidates, references, strict=True):
        scorer += (" ".join(map(str, candidate)), [" ".join(map(str, true)) for true in image])
    _, expected = scorer.compute_score()
    reward = caption_reward([[[0, *true] for true in image] for image in references])
    rewards = reward(range(30), candidates)
    assert [10 * value for value in rewards] == pytest.approx(expected.tolist(), abs=1e-9)


def test_references_have_the_highest_reward_and_unrelated_captions_none():
    reward = caption_reward([[[0, 3, 4, 5, 1]], [[0, 6, 7, 1]], [[0, 8, 9, 3, 1]]])
    true, partial, unrelated, empty = reward([0] * 4, [[3, 4, 5, 1], [3, 4, 1], [6, 7], [1]])
    assert true == pytest.approx(1.0)
    assert 0 < partial < 1
    assert unrelated == 0
    assert empty < partial


def test_a_single_image_is_rewarded():
    (value,) = caption_reward([[[0, 3, 4, 1]]])([0], [[3, 4, 1]])
    assert value > 0


def test_bleu_is_added_without_the_end_word():
    """Four words, three match; bigrams 2 + 1 of 3 + 1, trigrams 1 + 1 of 2 + 1, 0 + 1 of 1 + 1."""
    references = [[[0, 3, 4, 5, 6, 1], [0, 1, 2, 1]], [[0, 3, 4, 5, 6, 7, 8, 1]]]
    samples = [[3, 4, 5, 9, 1], [3, 4, 5, 6, 1], [9, 1], [1], [3, 4, 5, 1]]
    expected = [(3 / 4 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25, 1, 0, 0, math.exp(1 - 6 / 3)]
    both = caption_reward(references, bleu_weight=2.0)([0, 0, 0, 0, 1], samples)
    cider = caption_reward(references)([0, 0, 0, 0, 1], samples)
    assert [a - b for a, b in zip(both, cider)] == pytest.approx([2 * bleu for bleu in expected])
