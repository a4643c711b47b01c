"""Scores of captions against the truth: hand counts, and faults put into true captions."""

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
from vl.data.world.scenes import COLOURS, GROUNDS, INVERSE, SPLITS, Group, Place, Scene, scene
from vl.demo.truth import ATTRIBUTES, judge, lines, truth_scores


def group(kind, colour, *, at, size="big", texture="plain"):
    radius = {"big": 0.25, "small": 0.15}[size]
    places = tuple(Place(x, y, radius, 0.0, False) for x, y in at)
    return Group(kind, colour, texture, size, places)


BIG_KEY = group("key", "black", at=[(0.7, 0.5)])
SMALL_BALL = group("ball", "red", at=[(0.2, 0.5)], size="small", texture="striped")
PAIR = Scene("test", 0, 0, (BIG_KEY, SMALL_BALL), "sand")
CUPS = Scene("test", 1, 0, (group("cup", "blue", at=[(0.2, 0.2), (0.8, 0.8)]),), "grass")
COUNT = ("count", "one")


def false(caption, of):
    return [(each.attribute, each.value) for each in judge(caption, of).assertions if not each.true]


def true(caption, of):
    return [(each.attribute, each.value) for each in judge(caption, of).assertions if each.true]


@pytest.fixture(scope="module")
def said():
    """Every caption of many scenes."""
    scenes = [scene(split, number) for split in SPLITS for number in range(150)]
    return [(text, each) for each in scenes for text in captions(each)]


def test_all_that_the_grammar_says_is_true(said):
    for text, each in said:
        judged = judge(text, each)
        assert judged.understood, (text, judged.reason)
        assert judged.all_true, (text, each)


def test_what_is_said_of_each_thing_is_judged():
    text = "a small red ball with stripes left of a black key on sand"
    assert true(text, PAIR) == [
        ("kind", "ball"),
        ("colour", "red"),
        ("count", "one"),
        ("size", "small"),
        ("texture", "striped"),
        ("kind", "key"),
        ("colour", "black"),
        ("count", "one"),
        ("relation", "left of"),
        ("ground", "sand"),
    ]
    assert false(text, PAIR) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        # A colour belongs to the thing that has it.
        ("a black ball left of a red key", [("colour", "black"), ("colour", "red")]),
        ("a red key", [("colour", "red")]),
        ("a ball and a cup", [("kind", "cup")]),
        ("a black cup", [("kind", "cup")]),  # it is the key that is meant
        ("a red cup", [("kind", "cup")]),  # it is the ball
        ("a red cup and a white bird", [("kind", "cup"), ("kind", "bird"), ("colour", "white")]),
        ("a key left of a ball", [("relation", "left of")]),
        ("a key right of a ball", []),
        ("a key bigger than a ball", []),
        ("a ball bigger than a key", [("relation", "bigger than")]),
        ("a ball above a key", [("relation", "above")]),
        ("balls", [("count", "several")]),
        ("a plain ball", [("texture", "plain")]),
        ("a plain key", []),
        ("a spotted ball", [("texture", "spotted")]),
        ("a key on grass", [("ground", "grass")]),
    ],
)
def test_faults_are_where_they_are(text, wrong):
    assert false(text, PAIR) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("two blue cups", []),
        ("blue cups", []),
        ("three blue cups", [("count", "three")]),
        ("a blue cup", [("count", "one")]),
        # The second one is a thing too many: all of it is false.
        ("a blue cup and a blue cup", [COUNT, ("kind", "cup"), ("colour", "blue"), COUNT]),
        ("a cup left of a key", [COUNT, ("kind", "key"), COUNT, ("relation", "left of")]),
    ],
)
def test_things_too_many_are_not_there(text, wrong):
    assert false(text, CUPS) == wrong


def swapped(text, table):
    """The caption with each word or words of a table in the place of another of the table."""
    found = []
    for old, news in table.items():
        if f" {old} " in f" {text} " and text.count(old) == 1:
            found += [(f" {text} ".replace(f" {old} ", f" {new} ").strip(), new) for new in news]
    return found


def others(groups):
    """Each word to those of the other groups at the same place."""
    return {
        word: [other[place] for other in groups if other is not group]
        for group in groups
        for place, word in enumerate(group)
    }


NOUNS = [one for kind in KINDS for one in kind.words]
TABLES = {
    "colour": others([[colour] for colour in COLOURS]),
    "size": others(list(SIZE_WORDS.values())),
    "texture": others([TEXTURE_WORDS["striped"] * 2, TEXTURE_WORDS["spotted"]])
    | others([WITH_WORDS["striped"] * 2, WITH_WORDS["spotted"]]),
    "count": {"two": ["three"], "three": ["two"]},
    "ground": others([[ground] for ground in GROUNDS]),
    "relation": others([[words[0]] for words in RELATION_WORDS.values()])
    | others([[words[0]] for words in SIDE_WORDS.values()]),
    "kind": others([[word] for word in NOUNS if plural(word) != word])
    | others([[plural(word)] for word in NOUNS if plural(word) != word]),
}


@pytest.mark.parametrize("attribute", TABLES)
def test_one_word_changed_makes_just_its_own_attribute_false(attribute, said):
    changed = 0
    of_kind = {form: kind.name for kind in KINDS for w in kind.words for form in (w, plural(w))}
    for text, each in said[:: {"colour": 5, "kind": 8}.get(attribute, 2)]:
        for corrupted, new in swapped(text, TABLES[attribute])[:12]:
            if attribute == "kind" and of_kind[new] in {group.kind for group in each.groups}:
                continue  # a synonym, or the other thing
            judged = judge(corrupted, each)
            if attribute == "relation" and not judged.understood:
                continue  # "lies bigger than" and its like are no English
            assert judged.understood, (text, corrupted, judged.reason)
            wrong = [one.attribute for one in judged.assertions if not one.true]
            if attribute == "relation" and not wrong:  # "bigger than" is as true as "left of"
                assert "er than" in text or "er than" in new
                continue
            assert wrong == [attribute], (text, corrupted, each)
            changed += 1
    assert changed > 100


def test_the_inverse_relation_is_false(said):
    turned = {words[0]: RELATION_WORDS[INVERSE[way]][0] for way, words in RELATION_WORDS.items()}
    count = 0
    for text, each in said:
        for corrupted, _ in swapped(text, {old: [new] for old, new in turned.items()}):
            assert [name for name, _ in false(corrupted, each)] == ["relation"]
            count += 1
    assert count > 100


def test_tallies_are_as_counted_by_hand():
    scores = truth_scores(
        ["a red ball left of a white key", "two big cups on sand", "a dog", "the ball is big"],
        [PAIR, CUPS, PAIR, PAIR],
    )
    tallies = {name: tuple(tally) for name, tally in scores.attributes.items()}
    assert tallies == {  # said, true, there, found
        "kind": (4, 4, 7, 4),
        "colour": (2, 1, 7, 1),
        "count": (4, 4, 7, 4),
        "size": (2, 1, 7, 1),
        "texture": (0, 0, 3, 0),
        "relation": (1, 1, 3, 1),
        "ground": (1, 0, 4, 0),
    }
    assert scores.attributes["colour"].precision == 0.5
    assert scores.attributes["kind"].recall == 4 / 7
    assert scores.attributes["texture"].precision is None
    assert scores.not_understood == ((2, "no such word here: 'dog'"),)
    assert (scores.main_kind_and_colour, scores.all_true, scores.hallucinating) == (0, 0, 0)
    assert "captions 4, not understood 1" in scores.signature


def test_captions_with_the_main_things_kind_and_colour_are_counted():
    said = ["a black key", "a red ball", "a key", "a black cup", "a black key and a blue ball"]
    scores = truth_scores(said, [PAIR] * 5)
    assert scores.main_kind_and_colour == 2  # the first and the last
    assert scores.all_true == 3  # the first three
    assert scores.hallucinating == 1  # the cup


def test_who_says_that_one_is_bigger_has_not_said_where_it_is():
    scores = truth_scores(["a key bigger than a ball", "a plain key"], [PAIR, PAIR])
    assert tuple(scores.attributes["relation"]) == (1, 1, 2, 0)
    assert tuple(scores.attributes["texture"]) == (1, 1, 2, 0)


def test_captions_and_scenes_in_another_order_score_the_same(said):
    texts, scenes = zip(*said[:60], strict=True)
    assert truth_scores(texts, scenes) == truth_scores(texts[::-1], scenes[::-1])


def test_recall_never_exceeds_one_and_references_have_full_precision(said):
    texts, scenes = zip(*said, strict=True)
    for tally in truth_scores(texts, scenes).attributes.values():
        assert tally.precision == 1
        assert 0 < tally.recall < 1


def test_scores_are_read_as_lines():
    found = list(lines(truth_scores(["a red ball", "a dog"], [PAIR, PAIR])))
    assert [line.split()[0] for line in found[1 : 1 + len(ATTRIBUTES)]] == list(ATTRIBUTES)
    assert "1.000 of 1" in found[1] and "0.250 of 4" in found[1]
    assert "none" in found[4]
    assert "captions with not understood: 0.500 of 2" in found
    assert found[-1].startswith("truth | drawn world | captions 2, not understood 1 | vl ")


def test_captions_without_scenes_are_refused():
    with pytest.raises(ValueError, match="no caption"):
        truth_scores([], [])
    with pytest.raises(ValueError, match="1 captions, but 2 scenes"):
        truth_scores(["a ball"], [PAIR, CUPS])
