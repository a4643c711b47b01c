"""Captions of the drawn world: varied, true word by word, and never of one thing where are two."""

import random
from itertools import pairwise

import pytest

from vl.data.world.captions import RELATION_WORDS, SIZE_WORDS, TEXTURE_WORDS, caption, captions
from vl.data.world.kinds import KINDS, OF, plural
from vl.data.world.scenes import COLOURS, GROUNDS, SPLITS, scene

OF_WORD = {
    form: kind.name for kind in KINDS for word in kind.words for form in (word, plural(word))
}


@pytest.fixture(scope="module")
def said():
    scenes = [scene(split, number) for split in SPLITS for number in range(300)]
    return [(each, captions(each)) for each in scenes]


def test_a_scene_has_the_same_five_captions_again(said):
    for each, found in said[::50]:
        assert len(set(found)) == 5
        assert captions(each) == found


def test_captions_are_varied(said):
    every = [text for _, found in said for text in found]
    assert len(set(every)) > 0.9 * len(every)
    shapes = set()
    for each, found in said:
        for text in found:
            words = [OF_WORD.get(word, word) for word in text.split()]
            words = ["KIND" if word in OF else word for word in words]
            words = ["COLOUR" if word in COLOURS else word for word in words]
            shapes.add(" ".join("GROUND" if word == each.ground else word for word in words))
    assert len(shapes) > 1000


def test_words_of_kinds_colours_sizes_textures_and_grounds_are_the_scenes_own(said):
    # Word by word, which needs no grammar; what goes with what is for the parser's tests.
    for each, found in said:
        allowed = {
            *(group.kind for group in each.groups),
            *(group.colour for group in each.groups),
            *(word for group in each.groups for word in SIZE_WORDS[group.size]),
            *(word for group in each.groups for word in TEXTURE_WORDS[group.texture]),
            each.ground,
        }
        for text in found:
            for word in text.split():
                word = OF_WORD.get(word, word)
                sizes = [one for words in SIZE_WORDS.values() for one in words]
                textures = [one for words in TEXTURE_WORDS.values() for one in words]
                if word in (*OF, *COLOURS, *GROUNDS, *sizes, *textures):
                    assert word in allowed, text


def test_every_caption_names_the_main_thing(said):
    for each, found in said:
        for text in found:
            assert each.main.kind in {OF_WORD.get(word) for word in text.split()}


def test_things_alike_are_never_said_to_be_one(said):
    several = {plural(word) for kind in KINDS for word in kind.words}
    single = {word for kind in KINDS for word in kind.words} - several
    for each, found in said:
        for text in found:
            words = set(text.removeprefix("a picture of ").removeprefix("a drawing of ").split())
            if each.main.amount > 1:
                assert not words & (single | {"a", "an", "is", "it"}), text
            else:
                assert not words & ((several - {"fish"}) | {"are", "two", "three"}), text


def test_an_article_fits_the_word_behind_it(said):
    for _, found in said:
        for text in found:
            words = text.split()
            for article, word in pairwise(words):
                if article in ("a", "an"):
                    assert (article == "an") == (word[0] in "aeiou"), text


def test_every_way_to_say_a_relation_is_used(said):
    text = " | ".join(text for _, found in said for text in found)
    for words in RELATION_WORDS.values():
        assert all(f" {word} " in text or f"| {word} " in text for word in words)


def test_the_chance_that_is_given_is_all_that_counts():
    each = scene("test", 5)
    state = random.getstate()
    assert caption(each, random.Random(1)) == caption(each, random.Random(1))
    assert random.getstate() == state
