"""Joined phrases: against exhaustive search, the longest first, from left to right."""

import random
from collections import Counter

import pytest

from vl.data.words.phrases import PhraseJoiner, label_phrases


def join_slowly(words, phrases):
    """At every word, every length from the longest down."""
    joined, start = [], 0
    while start < len(words):
        for length in range(len(words) - start, 0, -1):
            if length == 1 or tuple(words[start : start + length]) in phrases:
                joined.append("_".join(words[start : start + length]))
                start += length
                break
    return joined


@pytest.mark.parametrize("seed", range(20))
def test_equals_exhaustive_search(seed):
    rng = random.Random(seed)
    letters = "abcd"[: 2 + seed % 3]
    phrases = {tuple(rng.choices(letters, k=rng.choice([2, 2, 3, 4, 5]))) for _ in range(8)}
    joiner = PhraseJoiner(phrases)
    lines = [rng.choices(letters, k=length) for length in (*range(8), 50, 200)]
    for words in lines:
        before = list(words)
        assert joiner(words) == join_slowly(words, phrases)
        assert words == before
    assert joiner.count(iter(lines)) == Counter(
        phrase
        for words in lines
        for phrase in phrases
        for start in range(len(words))
        if tuple(words[start : start + len(phrase)]) == phrase
    )


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("a stop sign", "a stop_sign"),
        ("stop sign stop sign", "stop_sign stop_sign"),
        ("old stop sign post", "old stop_sign_post"),
        ("new york stop sign", "new york_stop sign"),  # from left to right
        ("Stop sign", "Stop sign"),
        ("stop", "stop"),
        ("sign stop", "sign stop"),
    ],
)
def test_longest_phrase_is_joined(text, joined):
    joiner = PhraseJoiner([("stop", "sign"), ("stop", "sign", "post"), ("york", "stop")])
    assert joiner(text.split()) == joined.split()


def test_phrases_of_labels_are_their_terms_of_several_words():
    labels = ["stop sign, Traffic Sign, sign", "T-shirt", "carpenter's kit", "stop-sign, Stop_sign"]
    assert label_phrases(labels) == {("stop", "sign"), ("traffic", "sign"), ("carpenter's", "kit")}
