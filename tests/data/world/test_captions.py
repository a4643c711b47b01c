"""Captions of the drawn world: varied, true word by word, and singular for single objects only."""

import random
from itertools import pairwise

import pytest

from vl.data.world.captions import (
    RELATION_WORDS,
    SIZE_WORDS,
    TEXTURE_WORDS,
    sample_caption,
    scene_captions,
)
from vl.data.world.kinds import KIND_BY_NAME, KINDS, plural
from vl.data.world.scenes import COLORS, GROUNDS, SPLITS, sample_scene

KIND_OF_WORD = {
    form: kind.name for kind in KINDS for word in kind.words for form in (word, plural(word))
}


@pytest.fixture(scope="module")
def captions():
    """Pairs of a scene and one of its captions."""
    scenes = [sample_scene(split, index) for split in SPLITS for index in range(300)]
    return [(scene, text) for scene in scenes for text in scene_captions(scene)]


def test_a_scene_has_five_captions(captions):
    for scene, _ in captions[::250]:
        assert len(set(scene_captions(scene))) == 5
        assert scene_captions(scene) == scene_captions(scene)


def test_captions_are_varied(captions):
    assert len({text for _, text in captions}) > 0.9 * len(captions)
    templates = set()
    for scene, text in captions:
        words = [KIND_OF_WORD.get(word, word) for word in text.split()]
        words = ["KIND" if word in KIND_BY_NAME else word for word in words]
        words = ["COLOR" if word in COLORS else word for word in words]
        templates.add(" ".join("GROUND" if word == scene.ground else word for word in words))
    assert len(templates) > 1000


def test_attributes_are_those_of_the_scene(captions):
    # Word by word, without a grammar, which the parser's tests know.
    sizes = [word for words in SIZE_WORDS.values() for word in words]
    textures = [word for words in TEXTURE_WORDS.values() for word in words]
    for scene, text in captions:
        allowed = {
            *(group.kind for group in scene.groups),
            *(group.color for group in scene.groups),
            *(word for group in scene.groups for word in SIZE_WORDS[group.size]),
            *(word for group in scene.groups for word in TEXTURE_WORDS[group.texture]),
            scene.ground,
        }
        for word in text.split():
            word = KIND_OF_WORD.get(word, word)
            if word in (*KIND_BY_NAME, *COLORS, *GROUNDS, *sizes, *textures):
                assert word in allowed, text


def test_every_caption_names_the_main_object(captions):
    for scene, text in captions:
        assert scene.main.kind in {KIND_OF_WORD.get(word) for word in text.split()}


def test_groups_are_plural_and_single_objects_singular(captions):
    plurals = {plural(word) for kind in KINDS for word in kind.words}
    singulars = {word for kind in KINDS for word in kind.words} - plurals
    for scene, text in captions:
        words = set(text.removeprefix("a picture of ").removeprefix("a drawing of ").split())
        if scene.main.count > 1:
            assert not words & (singulars | {"a", "an", "is", "it"}), text
        else:
            assert not words & ((plurals - {"fish"}) | {"are", "two", "three"}), text


def test_articles(captions):
    for _, text in captions:
        for article, word in pairwise(text.split()):
            if article in ("a", "an"):
                assert (article == "an") == (word[0] in "aeiou"), text


def test_every_phrasing_of_a_relation_occurs(captions):
    text = " | ".join(text for _, text in captions)
    for words in RELATION_WORDS.values():
        assert all(f" {word} " in text or f"| {word} " in text for word in words)


def test_captions_do_not_use_the_global_generator():
    scene = sample_scene("test", 5)
    state = random.getstate()
    assert sample_caption(scene, random.Random(1)) == sample_caption(scene, random.Random(1))
    assert random.getstate() == state
