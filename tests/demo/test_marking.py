"""True and false words of captions, and descriptions of scenes."""

from types import MappingProxyType

import pytest

from tests.helpers.scenes import BALL, CUPS, FISH, PAIR
from vl.data.world.captions import scene_captions
from vl.data.world.kinds import KINDS, plural
from vl.data.world.scenes import COLORS, GROUNDS, SPLITS, sample_scene
from vl.demo.truth import check_caption, mark_caption

NEUTRAL = set("the is are that which and there has have lie stand sit of can see we you".split())  # noqa: SIM905
NEUTRAL |= {f"{verb}{ending}" for verb in ("lie", "stand", "sit") for ending in ("s", "ing")}
NEUTRAL |= {"lying", "sitting", "this", "these", "a", "picture", "drawing", "shows"}
# Substitutes that make a word's assertion false in any scene.
OPPOSITES = MappingProxyType(
    {
        "small": "big",
        "little": "large",
        "big": "small",
        "large": "little",
        "plain": "spotted",
        "striped": "dotted",
        "spotted": "striped",
        "dotted": "plain",
        "stripes": "dots",
        "spots": "stripes",
        "dots": "stripes",
        "two": "three",
        "three": "two",
        "left": "right",
        "right": "left",
        "above": "below",
        "over": "under",
        "below": "over",
        "under": "over",
        "beneath": "above",
        "inside": "around",
        "in": "around",
        "around": "inside",
        "bigger": "smaller",
        "larger": "smaller",
        "smaller": "bigger",
    }
)
NOUNS = {form: kind for kind in KINDS for word in kind.words for form in (word, plural(word))}


@pytest.fixture(scope="module")
def captioned_scenes():
    """Every caption of many scenes."""
    scenes = [sample_scene(split, index) for split in SPLITS for index in range(40)]
    return [(text, scene) for scene in scenes for text in scene_captions(scene)]


def marked_text(caption, of):
    """The marks as text: +true+ and -false-."""
    sign = {True: "+", False: "-", None: ""}
    return " ".join(
        f"{sign[truth]}{text}{sign[truth]}" for text, truth in mark_caption(caption, of)
    )


def test_captions_of_the_grammar_are_marked_true_or_neutral(captioned_scenes):
    for text, scene in captioned_scenes:
        pieces = mark_caption(text, scene)
        assert " ".join(piece for piece, _ in pieces) == text
        assert False not in [truth for _, truth in pieces], (text, pieces)
        for piece, truth in pieces:
            if truth is None:
                assert set(piece.split()) <= NEUTRAL, (text, pieces)
            else:
                assert piece not in NEUTRAL - {"a"}, (text, pieces)
        assertions = check_caption(text, scene).assertions
        true = sum(truth is True for _, truth in pieces)
        # A noun without a count word asserts its kind and, but for "the fish", its count.
        assert len(assertions) - len(scene.groups) <= true <= len(assertions)


def substitutions(caption, of):
    """Every way to make one assertion false by one word: the words, and its index."""
    words = caption.split()
    complete = sum(word in NOUNS for word in words) == len(of.groups)
    kinds = {group.kind for group in of.groups}
    for index, word in enumerate(words):
        other = OPPOSITES.get(word)
        if word in COLORS:
            others = [color for color in COLORS if color != word]
            other = others[index % len(others)]
        elif word in GROUNDS:
            other = GROUNDS[(GROUNDS.index(word) + 1) % len(GROUNDS)]
        # A mention may match the other group if the caption lacks that group's kind.
        elif word in NOUNS and complete:
            kind = KINDS[(KINDS.index(NOUNS[word]) + 1 + index) % len(KINDS)]
            other = kind.name if word in NOUNS[word].words else plural(kind.name)
            if kind.name in kinds or "fish" in (word, other):
                continue
        if other is not None:
            yield [*words[:index], other, *words[index + 1 :]], index


def test_substituted_word_is_the_only_one_marked_false(captioned_scenes):
    tested = set()
    for text, scene in captioned_scenes:
        for words, index in substitutions(text, scene):
            start = 0
            for piece, truth in mark_caption(" ".join(words), scene):
                end = start + len(piece.split())
                assert (truth is False) == (start <= index < end), (text, words)
                start = end
            assert start == len(words)
            tested.add(words[index])
    assert len(tested) > 60


@pytest.mark.parametrize(
    ("caption", "of", "expected"),
    [
        (
            "a red ball left of a red key on sand",
            PAIR,
            "+a+ +red+ +ball+ +left of+ +a+ -red- +key+ +on sand+",
        ),
        (
            "left of a red key lies a red ball",
            PAIR,
            "+left of+ +a+ -red- +key+ lies +a+ +red+ +ball+",
        ),
        (
            "a red key has a red ball to its left",
            PAIR,
            "+a+ -red- +key+ has +a+ +red+ +ball+ +to its left+",
        ),
        ("a black ball and a black key", PAIR, "+a+ -black- +ball+ and +a+ +black+ +key+"),
        (
            "a ball that is black and a key that is black",
            PAIR,
            "+a+ +ball+ that is -black- and +a+ +key+ that is +black+",
        ),
        (
            "a ball with stripes right of a key with dots",
            PAIR,
            "+a+ +ball+ +with stripes+ -right of- +a+ +key+ -with dots-",
        ),
        ("a black ball and a red ball", PAIR, "+a+ +black+ -ball- and +a+ +red+ +ball+"),
        (
            "the key on the grass is big and red",
            PAIR,
            "the +key+ -on the grass- is +big+ and -red-",
        ),
        # All assertions of a mention without a group are false.
        ("a ball above a red key", BALL, "+a+ +ball+ -above- -a- -red- -key-"),
        ("a red key above a ball", BALL, "-a- -red- -key- -above- +a+ +ball+"),
        # Counts.
        ("a blue cup", CUPS, "-a- +blue+ +cup+"),
        ("two blue cups", CUPS, "+two+ +blue+ +cups+"),
        ("blue mugs", CUPS, "+blue+ +mugs+"),
        ("the mug is blue", CUPS, "the -mug- is +blue+"),
        ("the three mugs are red", CUPS, "the -three- +mugs+ are -red-"),
        ("red balls", BALL, "+red+ -balls-"),
        ("the fish are red", FISH, "the -fish- are +red+"),
        ("the fish on water", FISH, "the +fish+ +on water+"),
        # Outside the grammar.
        ("", PAIR, ""),
        ("  ", PAIR, "  "),
        ("a red a ball", PAIR, "a red a ball"),
        ("a dog", PAIR, "a dog"),
        ("a red ball on on the sand", PAIR, "a red ball on on the sand"),
    ],
)
def test_marks_of_captions(caption, of, expected):
    assert marked_text(caption, of) == expected


def test_marks_preserve_case_punctuation_and_whitespace():
    text = " A  RED Key,\ton sand. "
    pieces = mark_caption(text, PAIR)
    assert " ".join(piece for piece, _ in pieces) == text
    assert ("RED", False) in pieces
    assert ("A", True) in pieces
    assert [truth for piece, truth in pieces if not piece] == [None, None, None]
    # Several words in one piece: false wins.
    assert mark_caption("red\tkey\tis on sand", PAIR) == [("red\tkey\tis on sand", None)]
    assert mark_caption("a red\tkey", PAIR) == [("a", True), ("red\tkey", False)]
    pieces = mark_caption("to the left\tof a key there is a ball", PAIR)
    assert pieces[0] == ("to the left\tof", True)
