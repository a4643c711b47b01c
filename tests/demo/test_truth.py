"""Truth scores: counts by hand, and errors put into true captions."""

import pytest

from tests.helpers.scenes import CUPS, PAIR
from vl.data.world.captions import (
    RELATION_WORDS,
    SIDE_WORDS,
    SIZE_WORDS,
    TEXTURE_WORDS,
    WITH_WORDS,
    scene_captions,
)
from vl.data.world.kinds import KINDS, plural
from vl.data.world.scenes import (
    COLORS,
    GROUNDS,
    SPLITS,
    sample_scene,
)
from vl.demo.truth import check_caption, truth_scores

COUNT = ("count", "one")


def assertions(caption, of, *, true):
    return [
        (assertion.attribute, assertion.value)
        for assertion in check_caption(caption, of).assertions
        if assertion.true == true
    ]


@pytest.fixture(scope="module")
def captioned_scenes():
    """Every caption of many scenes."""
    scenes = [sample_scene(split, index) for split in SPLITS for index in range(150)]
    return [(text, scene) for scene in scenes for text in scene_captions(scene)]


def test_every_attribute_of_every_mention_is_checked():
    text = "a small red ball with stripes left of a black key on sand"
    assert assertions(text, PAIR, true=True) == [
        ("kind", "ball"),
        ("color", "red"),
        ("count", "one"),
        ("size", "small"),
        ("texture", "striped"),
        ("kind", "key"),
        ("color", "black"),
        ("count", "one"),
        ("relation", "left of"),
        ("ground", "sand"),
    ]
    assert assertions(text, PAIR, true=False) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        # A color belongs to the object that has it.
        ("a black ball left of a red key", [("color", "black"), ("color", "red")]),
        ("a red key", [("color", "red")]),
        ("a ball and a cup", [("kind", "cup")]),
        ("a red cup", [("kind", "cup")]),  # matched with the ball
        ("a red cup and a white bird", [("kind", "cup"), ("kind", "bird"), ("color", "white")]),
        ("a key left of a ball", [("relation", "left of")]),
        ("a key right of a ball", []),
        ("a key bigger than a ball", []),
        ("a ball bigger than a key", [("relation", "bigger than")]),
        ("balls", [("count", "several")]),
        ("a plain ball", [("texture", "plain")]),
        ("a key on grass", [("ground", "grass")]),
    ],
)
def test_false_assertions(text, wrong):
    assert assertions(text, PAIR, true=False) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("two blue cups", []),
        ("blue cups", []),
        ("three blue cups", [("count", "three")]),
        ("a blue cup", [("count", "one")]),
        # The second mention has no group: all of it is false.
        ("a blue cup and a blue cup", [COUNT, ("kind", "cup"), ("color", "blue"), COUNT]),
        ("a cup left of a key", [COUNT, ("kind", "key"), COUNT, ("relation", "left of")]),
    ],
)
def test_mentions_without_a_group_are_false(text, wrong):
    assert assertions(text, CUPS, true=False) == wrong


def substitutions(text, table):
    """The caption with a phrase of a table replaced by each of its alternatives."""
    results = []
    for old, news in table.items():
        if f" {old} " in f" {text} " and text.count(old) == 1:
            results += [(f" {text} ".replace(f" {old} ", f" {new} ").strip(), new) for new in news]
    return results


def alternatives(groups):
    """Each word to those of the other groups at its index."""
    return {
        word: [other[index] for other in groups if other is not words]
        for words in groups
        for index, word in enumerate(words)
    }


NOUNS = [noun for kind in KINDS for noun in kind.words]
TABLES = {
    "color": alternatives([[color] for color in COLORS]),
    "size": alternatives(list(SIZE_WORDS.values())),
    "texture": alternatives([TEXTURE_WORDS["striped"] * 2, TEXTURE_WORDS["spotted"]])
    | alternatives([WITH_WORDS["striped"] * 2, WITH_WORDS["spotted"]]),
    "count": {"two": ["three"], "three": ["two"]},
    "ground": alternatives([[ground] for ground in GROUNDS]),
    "relation": alternatives([[words[0]] for words in RELATION_WORDS.values()])
    | alternatives([[words[0]] for words in SIDE_WORDS.values()]),
    "kind": alternatives([[word] for word in NOUNS if plural(word) != word])
    | alternatives([[plural(word)] for word in NOUNS if plural(word) != word]),
}


@pytest.mark.parametrize("attribute", TABLES)
def test_substituted_word_makes_its_own_attribute_false(attribute, captioned_scenes):
    count = 0
    kind_of = {form: kind.name for kind in KINDS for w in kind.words for form in (w, plural(w))}
    for text, scene in captioned_scenes[:: {"color": 5, "kind": 8}.get(attribute, 2)]:
        for corrupted, new in substitutions(text, TABLES[attribute])[:12]:
            if attribute == "kind" and kind_of[new] in {group.kind for group in scene.groups}:
                continue  # a synonym, or the other object
            truth = check_caption(corrupted, scene)
            if attribute == "relation" and truth.error:
                continue  # "lies bigger than" is outside the grammar
            assert truth.error is None, (text, corrupted, truth.error)
            wrong = [assertion.attribute for assertion in truth.assertions if not assertion.true]
            if attribute == "relation" and not wrong:  # "bigger than" is as true as "left of"
                assert "er than" in text or "er than" in new
                continue
            assert wrong == [attribute], (text, corrupted, scene)
            count += 1
    assert count > 100


def test_counts_by_hand():
    scores = truth_scores(
        ["a red ball left of a white key", "two big cups on sand", "a dog", "the ball is big"],
        [PAIR, CUPS, PAIR, PAIR],
    )
    counts = {name: tuple(counts) for name, counts in scores.attributes.items()}
    assert counts == {  # asserted, true, facts, recalled
        "kind": (4, 4, 7, 4),
        "color": (2, 1, 7, 1),
        "count": (4, 4, 7, 4),
        "size": (2, 1, 7, 1),
        "texture": (0, 0, 3, 0),
        "relation": (1, 1, 3, 1),
        "ground": (1, 0, 4, 0),
    }
    assert (scores.main_kind_and_color, scores.all_true, scores.hallucinating) == (0, 0, 0)
    assert "dog" in str(check_caption("a dog", PAIR).error)


def test_captions_of_the_main_object():
    texts = ["a black key", "a red ball", "a key", "a black cup", "a black key and a blue ball"]
    scores = truth_scores(texts, [PAIR] * 5)
    assert scores.main_kind_and_color == 2  # the first and the last
    assert scores.all_true == 3  # the first three
    assert scores.hallucinating == 1  # the cup


def test_comparison_of_sizes_is_no_position():
    scores = truth_scores(["a key bigger than a ball", "a plain key"], [PAIR, PAIR])
    assert tuple(scores.attributes["relation"]) == (1, 1, 2, 0)
    assert tuple(scores.attributes["texture"]) == (1, 1, 2, 0)


def test_references_have_full_precision_and_partial_recall(captioned_scenes):
    texts, scenes = zip(*captioned_scenes, strict=True)
    scores = truth_scores(texts, scenes)
    assert scores.all_true == len(texts)
    for counts in scores.attributes.values():
        assert counts.true == counts.asserted
        assert 0 < counts.recalled < counts.facts
