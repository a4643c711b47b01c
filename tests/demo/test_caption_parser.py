"""The parser of captions: everything of the grammar understood, nothing else guessed."""

import re
from collections import Counter

import pytest

from vl.data.world.captions import (
    RELATION_WORDS,
    SIDE_WORDS,
    SIZE_WORDS,
    TEXTURE_WORDS,
    WITH_WORDS,
    captions,
)
from vl.data.world.kinds import KINDS, plural
from vl.data.world.scenes import COLOURS, GROUNDS, SPLITS, scene
from vl.demo.caption_parser import Claims, NotUnderstood, Said, parse

# Every word or words that say something, and what.
MEANINGS = {
    **{colour: colour for colour in COLOURS},
    **{f"on {ground}": ground for ground in GROUNDS},
    **{f"on the {ground}": ground for ground in GROUNDS},
    **{word: kind.name for kind in KINDS for one in kind.words for word in (one, plural(one))},
    **{word: size for size, words in SIZE_WORDS.items() for word in words},
    **{word: texture for texture, words in TEXTURE_WORDS.items() for word in words},
    **{word: texture for texture, words in WITH_WORDS.items() for word in words},
    **{word: relation for relation, words in RELATION_WORDS.items() for word in words},
    **{word: relation for relation, words in SIDE_WORDS.items() for word in words},
    "two": "two",
    "three": "three",
}
LONGEST_FIRST = sorted(MEANINGS, key=len, reverse=True)
SAYING = re.compile(r"\b(?:" + "|".join(map(re.escape, LONGEST_FIRST)) + r")\b")


def meant(text):
    """All that a text says, by its words alone."""
    return Counter(MEANINGS[found] for found in SAYING.findall(text))


def claimed(claims):
    """All that claims say; that there is one or some is not said in a word of its own."""
    values = [value for said in claims.things for value in said if value not in ("one", "several")]
    return Counter(value for value in (*values, claims.relation, claims.ground) if value)


def test_all_that_captions_say_is_claimed_and_nothing_more():
    for split in SPLITS:
        for number in range(250):
            for text in captions(scene(split, number)):
                claims = parse(text)
                assert isinstance(claims, Claims), (text, claims)
                assert claimed(claims) == meant(text), text


BALL, KEY = Said("ball", "one"), Said("key", "one")
RED_BALL = BALL._replace(colour="red")
BLACK_KEY = KEY._replace(colour="black")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red ball", Claims((RED_BALL,))),
        ("A red ball.", Claims((RED_BALL,))),
        ("one red ball on sand", Claims((RED_BALL,), None, "sand")),
        ("red balls", Claims((RED_BALL._replace(amount="several"),))),
        ("the three mugs", Claims((Said("cup", "three"),))),
        ("two fish", Claims((Said("fish", "two"),))),
        ("the fish", Claims((Said("fish", None),))),
        ("the fish is red", Claims((Said("fish", "one", "red"),))),
        ("the fish are red", Claims((Said("fish", "several", "red"),))),
        ("a fish", Claims((Said("fish", "one"),))),
        (
            "there is a big striped red ball on the grass",
            Claims((Said("ball", "one", "red", "big", "striped"),), None, "grass"),
        ),
        ("two blue cups stand on sand", Claims((Said("cup", "two", "blue"),), None, "sand")),
        ("a red ball to the left of a black key", Claims((RED_BALL, BLACK_KEY), "left of")),
        ("to the left of a black key lies a red ball", Claims((RED_BALL, BLACK_KEY), "left of")),
        ("a black key has a red ball to its left", Claims((RED_BALL, BLACK_KEY), "left of")),
        (
            "a small green fish is below a house",
            Claims((Said("fish", "one", "green", "small"), Said("house", "one")), "below"),
        ),
        ("a ball in a hoop", Claims((BALL, Said("ring", "one")), "inside")),
        ("a ball that is red and a key", Claims((RED_BALL, KEY))),
        (
            "a ball which is red and big on stone",
            Claims((RED_BALL._replace(size="big"),), None, "stone"),
        ),
        (
            "the two balls on water are dotted and small",
            Claims((Said("ball", "two", None, "small", "spotted"),), None, "water"),
        ),
        ("an orange ball with stripes", Claims((Said("ball", "one", "orange", None, "striped"),))),
    ],
)
def test_captions_say_what_a_reader_takes_from_them(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no words"),
        ("...", "no words"),
        ("a red dog", "no such word here: 'dog'"),
        ("a crimson ball", "no such word here: 'crimson'"),
        ("no red ball", "no such word here: 'no'"),
        ("a red ball on a black key", "no such word here: 'on'"),
        ("a red blue ball", "its colour is there twice"),
        ("a red red ball", "its colour is there twice"),
        ("a big ball that is small", "its size is there twice"),
        ("the red ball is blue", "its colour is there twice"),
        ("a balls", "one or several"),
        ("two ball", "one or several"),
        ("a red ball are big", "one or several"),
        ("there are a ball", "one or several"),
        ("ball", "one or several"),
        ("red", "no such order"),
        ("a red", "no such order"),
        ("a ball red", "no such order"),
        ("a ball a key", "no such order"),
        ("a ball left of", "no such order"),
        ("a ball left of a key left of a cup", "no such order"),
        ("a ball and a key and a cup", "no such order"),
        ("a ball on sand on grass", "no such order"),
        ("there is a ball is left of a key", "no such order"),
        ("the the ball", "no such order"),
    ],
)
def test_what_is_outside_the_grammar_is_not_understood_and_why_is_said(text, reason):
    found = parse(text)
    assert isinstance(found, NotUnderstood)
    assert reason in found.reason


def test_every_caption_with_its_words_in_another_order_is_refused_or_says_no_more():
    # A shuffled caption may by chance be one of the grammar, but nothing of it may get lost.
    import random

    chance = random.Random(0)
    understood = 0
    for number in range(300):
        words = captions(scene("training", number))[0].split()
        chance.shuffle(words)
        text = " ".join(words)
        claims = parse(text)
        if isinstance(claims, Claims):
            understood += 1
            assert claimed(claims) == meant(text), text
    assert understood < 60
