"""The caption parser accepts the whole grammar and guesses nothing outside it."""

import contextlib
import random
import re
from collections import Counter

import pytest

from vl.data.world.captions import (
    RELATION_WORDS,
    SIDE_WORDS,
    SIZE_WORDS,
    TEXTURE_WORDS,
    WITH_WORDS,
    scene_captions,
)
from vl.data.world.kinds import KINDS, plural
from vl.data.world.scenes import COLORS, GROUNDS, SPLITS, sample_scene
from vl.demo.caption_parser import Claims, Mention, ParseError, parse

# Every word or phrase that asserts something, and its value.
MEANINGS = {
    **{color: color for color in COLORS},
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
PHRASE = re.compile(r"\b(?:" + "|".join(map(re.escape, LONGEST_FIRST)) + r")\b")


def values_in(text):
    """All values that a text mentions, by its words alone."""
    return Counter(MEANINGS[phrase] for phrase in PHRASE.findall(text))


def claimed_values(claims):
    """All values of claims; "one" and "several" have no word of their own."""
    values = [value for mention in claims.mentions for value in mention]
    values += [claims.relation, claims.ground]
    return Counter(value for value in values if value and value not in ("one", "several"))


def test_every_caption_of_the_grammar_is_parsed_completely():
    for split in SPLITS:
        for index in range(250):
            for text in scene_captions(sample_scene(split, index)):
                assert claimed_values(parse(text).claims) == values_in(text), text


def test_phrases_cover_the_caption_and_its_claims():
    for index in range(250):
        for text in scene_captions(sample_scene("training", index)):
            claims, phrases = parse(text)
            assert sum(phrase.length for phrase in phrases) == len(text.split())
            asserted = [
                (attribute, phrase.mention) for phrase in phrases for attribute in phrase.attributes
            ]
            assert len(set(asserted)) == len(asserted), text
            expected = [("relation", None)] if claims.relation else []
            expected += [("ground", None)] if claims.ground else []
            for index, mention in enumerate(claims.mentions):
                names = {"count": mention.amount, **mention._asdict()}
                del names["amount"]
                expected += [(name, index) for name, value in names.items() if value]
            assert {*expected} <= {*asserted} <= {*expected, ("count", 0), ("count", 1)}, text


BALL, KEY = Mention("ball", "one"), Mention("key", "one")
RED_BALL = BALL._replace(color="red")
BLACK_KEY = KEY._replace(color="black")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red ball.", Claims((RED_BALL,))),
        ("one red ball on sand", Claims((RED_BALL,), None, "sand")),
        ("red balls", Claims((RED_BALL._replace(amount="several"),))),
        ("the three mugs", Claims((Mention("cup", "three"),))),
        ("two fish", Claims((Mention("fish", "two"),))),
        ("the fish is red", Claims((Mention("fish", "one", "red"),))),
        ("the fish are red", Claims((Mention("fish", "several", "red"),))),
        (
            "there is a big striped red ball on the grass",
            Claims((Mention("ball", "one", "red", "big", "striped"),), None, "grass"),
        ),
        ("a red ball to the left of a black key", Claims((RED_BALL, BLACK_KEY), "left of")),
        ("to the left of a black key lies a red ball", Claims((RED_BALL, BLACK_KEY), "left of")),
        ("a black key has a red ball to its left", Claims((RED_BALL, BLACK_KEY), "left of")),
        (
            "a small green fish is below a house",
            Claims((Mention("fish", "one", "green", "small"), Mention("house", "one")), "below"),
        ),
        ("a ball in a hoop", Claims((BALL, Mention("ring", "one")), "inside")),
        ("a ball that is red and a key", Claims((RED_BALL, KEY))),
        (
            "the two balls on water are dotted and small",
            Claims((Mention("ball", "two", None, "small", "spotted"),), None, "water"),
        ),
    ],
)
def test_claims_of_captions(text, expected):
    assert parse(text).claims == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no words"),
        ("a red dog", "'dog'"),
        ("a red ball on a black key", "'on'"),
        ("a red blue ball", "color"),
        ("a big ball that is small", "size"),
        ("the red ball is blue", "color"),
        ("a balls", "plural"),
        ("two ball", "plural"),
        ("a red ball are big", "plural"),
        ("there are a ball", "plural"),
        ("ball", "plural"),
        ("red", "order"),
        ("a ball red", "order"),
        ("a ball left of", "order"),
        ("a ball left of a key left of a cup", "order"),
        ("a ball and a key and a cup", "order"),
        ("there is a ball is left of a key", "order"),
    ],
)
def test_captions_outside_the_grammar_have_a_reason(text, reason):
    with pytest.raises(ParseError, match=reason):
        parse(text)


def test_shuffled_captions_are_refused_or_parsed_completely():
    generator = random.Random(0)
    parsed = 0
    for index in range(300):
        words = scene_captions(sample_scene("training", index))[0].split()
        generator.shuffle(words)
        with contextlib.suppress(ParseError):
            claims = parse(text := " ".join(words)).claims
            parsed += 1
            assert claimed_values(claims) == values_in(text), text
    assert parsed < 60
