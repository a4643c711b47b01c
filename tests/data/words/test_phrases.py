"""Phrases joined: as a plain slow joiner does it, longest first, from left to right."""

import random
from collections import Counter

import pytest

from vl.data.words.phrases import PhraseJoiner, label_phrases


def plain_join(words, phrases):
    """At every word, every length from the longest down."""
    joined, place = [], 0
    while place < len(words):
        for length in range(len(words) - place, 0, -1):
            if length == 1 or tuple(words[place : place + length]) in phrases:
                joined.append("_".join(words[place : place + length]))
                place += length
                break
    return joined


@pytest.mark.parametrize("seed", range(20))
def test_it_joins_as_a_plain_slow_joiner_does(seed):
    randomly = random.Random(seed)
    letters = "abcd"[: 2 + seed % 3]
    phrases = {
        tuple(randomly.choices(letters, k=randomly.choice([2, 2, 3, 4, 5]))) for _ in range(8)
    }
    join = PhraseJoiner(phrases)
    for length in (*range(8), 50, 200):
        words = randomly.choices(letters, k=length)
        before = list(words)
        assert join(words) == plain_join(words, phrases)
        assert words == before


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("a stop sign", "a stop_sign"),
        ("stop sign", "stop_sign"),
        ("stop sign stop sign", "stop_sign stop_sign"),
        ("old stop sign post", "old stop_sign_post"),
        ("new york stop sign", "new york_stop sign"),  # from left to right
        ("Stop sign", "Stop sign"),
        ("stop", "stop"),
        ("sign stop", "sign stop"),
    ],
)
def test_the_longest_phrase_that_begins_at_a_word_is_joined(text, joined):
    join = PhraseJoiner([("stop", "sign"), ("stop", "sign", "post"), ("york", "stop")])
    assert join(text.split()) == joined.split()


@pytest.mark.parametrize("seed", range(5))
def test_phrases_are_counted_wherever_they_stand(seed):
    randomly = random.Random(seed)
    phrases = {tuple(randomly.choices("abc", k=randomly.choice([2, 3, 4]))) for _ in range(9)}
    lines = [randomly.choices("abc", k=randomly.randrange(20)) for _ in range(30)]
    found = PhraseJoiner(phrases).count(iter(lines))
    assert dict(found) == Counter(
        phrase
        for line in lines
        for phrase in phrases
        for start in range(len(line))
        if tuple(line[start : start + len(phrase)]) == phrase
    )


def test_a_word_alone_is_no_phrase():
    with pytest.raises(ValueError, match=r"\('cat',\) is not a phrase; it must have two words"):
        PhraseJoiner([("cat",)])


def test_the_phrases_of_labels_are_all_their_terms_of_several_words():
    labels = ["stop sign, Traffic Sign, sign", "T-shirt", "carpenter's kit", "stop-sign, Stop_sign"]
    assert label_phrases(labels) == {
        ("stop", "sign"),
        ("traffic", "sign"),
        ("carpenter's", "kit"),
    }
