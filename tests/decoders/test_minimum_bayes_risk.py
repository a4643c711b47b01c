"""Minimum Bayes risk: the caption most similar to the others."""

import pytest

from vl.decoders.beam_search import Hypothesis
from vl.decoders.minimum_bayes_risk import minimum_bayes_risk


def caption(*words, log_prob=-1.0, ended=True):
    return Hypothesis(words, log_prob, ended)


def test_the_caption_most_similar_to_the_others_comes_first():
    outlier = caption(9, 8, 7, log_prob=-1.0)
    similar = [caption(*w, log_prob=-1.2) for w in ((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 6, 4))]
    ordered = minimum_bayes_risk([outlier, *similar])
    assert (ordered[0], ordered[-1]) == (similar[0], outlier)


def test_by_hand():
    """F1 of (1, 2) and (1, 3): one of two words, no pair, and no longer n-gram."""
    first, second, third = caption(1, 2), caption(1, 3), caption(5)
    # expected similarity in thirds: first 1 + 1/8, second the same, third 1
    assert minimum_bayes_risk([third, second, first]) == [second, first, third]


def test_many_unlikely_captions_do_not_outweigh_a_likely_one():
    likely = caption(9, 8, 7, log_prob=-1.0)
    unlikely = [caption(1, 2, 3, word, log_prob=-60.0) for word in (4, 5, 6)]
    assert minimum_bayes_risk([*unlikely, likely])[0] == likely


@pytest.mark.parametrize(
    "captions",
    [
        *([], [caption(1)], [caption(), caption(1)]),
        [caption(1, 2, 3), caption(1, 2, 4), caption(1, 2, ended=False), caption(7)],
    ],
)
def test_permutes_the_captions_with_unfinished_ones_last(captions):
    ordered = minimum_bayes_risk(captions)
    assert sorted(ordered) == sorted(captions)
    assert all(hypothesis.ended for hypothesis in ordered[:3])
