"""The caption that the others agree with."""

import pytest

from vl.decoders.beam_search import Hypothesis
from vl.decoders.minimum_bayes_risk import minimum_bayes_risk


def said(*words, log_prob=-1.0, ended=True):
    return Hypothesis(words, log_prob, ended)


def test_the_caption_most_like_the_others_comes_first():
    likeliest = said(9, 8, 7, log_prob=-1.0)
    one, two, three = (said(*w, log_prob=-1.2) for w in ((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 6, 4)))
    ordered = minimum_bayes_risk([likeliest, one, two, three])
    assert ordered[0] == one
    assert ordered[-1] == likeliest


def test_by_hand():
    """F1 of (1, 2) and (1, 3): one of two words, no pair, and nothing longer to compare."""
    first, second, third = said(1, 2), said(1, 3), said(5)
    # expected likeness in thirds: first 1 + 1/8, second the same, third 1
    assert minimum_bayes_risk([third, second, first], power=0.0) == [second, first, third]


def test_an_unlikely_crowd_does_not_outvote_the_likely_caption():
    likely = said(9, 8, 7, log_prob=-1.0)
    crowd = [said(1, 2, 3, word, log_prob=-60.0) for word in (4, 5, 6)]
    assert minimum_bayes_risk([*crowd, likely])[0] == likely


def test_nothing_is_lost_and_unfinished_captions_stay_last():
    captions = [said(1, 2, 3), said(1, 2, 4), said(1, 2, ended=False), said(7)]
    ordered = minimum_bayes_risk(captions)
    assert sorted(ordered) == sorted(captions)
    assert not ordered[-1].ended


@pytest.mark.parametrize("captions", [[], [said(1)], [said(), said(1)]])
def test_short_lists_and_empty_captions_are_no_trouble(captions):
    assert sorted(minimum_bayes_risk(captions)) == sorted(captions)
