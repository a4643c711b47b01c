"""Words of texts and labels."""

import re
import unicodedata

import pytest

from vl.data.words.texts import plain_words, synonyms


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The T-shirt's 3.5 m", ["The", "T-shirt's", "3", "5", "m"]),
        ("'no_one' -- a--b rock'n'roll-", ["no", "one", "a", "b", "rock'n'roll"]),
        ("1,000 x2 m² A4", ["1", "000", "x2", "m²", "A4"]),
        ("don\u2019t e\u2010mail co\u00adop", ["don't", "e-mail", "coop"]),
        ("cafe\u0301", ["café"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("jack-o'-lantern o'clock", ["jack-o", "lantern", "o'clock"]),
        ("\u0301 - ' _ …", []),
        ("", []),
    ],
)
def test_plain_words(text, words):
    assert plain_words(text) == words


def test_combining_marks_change_no_other_word():
    every = "".join(map(chr, (*range(0x20, 0xD800), *range(0xE000, 0x20000))))
    text = "".join(
        c for c in unicodedata.normalize("NFC", every) if unicodedata.category(c)[0] != "M"
    )
    assert plain_words(f"{text} \u0301") == plain_words(text)  # a slower expression knows marks


def test_no_word_has_spaces_or_underscores():
    every = "".join(f"a{chr(c)}b " for c in range(0x3000) if not 0xD800 <= c < 0xE000)
    for word in plain_words(every):
        assert not re.search(r"[\s_]", word)


def test_synonyms():
    assert synonyms("stop sign, Traffic-sign's , , (St.) Bernard_dog") == [
        ["stop", "sign"],
        ["Traffic-sign's"],
        ["St", "Bernard", "dog"],
    ]
    assert synonyms(" ,-") == []
