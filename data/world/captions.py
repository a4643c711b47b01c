"""Captions of the drawn world's scenes, sampled from a grammar, and their words.

A caption may leave anything out but is never false: objects alike are described as as many as they
are, or in the plural, and never as one of them. Of several phrasings the first is the most likely.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

from vl.data.world.kinds import KIND_BY_NAME, plural
from vl.data.world.scenes import Group, Relation, Scene, Size, Texture

_Phrase = TypeVar("_Phrase", bound=str)

SIZE_WORDS: dict[Size, tuple[str, ...]] = {"small": ("small", "little"), "big": ("big", "large")}
TEXTURE_WORDS: dict[Texture, tuple[str, ...]] = {
    "plain": ("plain",),
    "striped": ("striped",),
    "spotted": ("spotted", "dotted"),
}
WITH_WORDS: dict[Texture, tuple[str, ...]] = {
    "striped": ("with stripes",),
    "spotted": ("with spots", "with dots"),
}
COUNT_WORDS = {2: "two", 3: "three"}
RELATION_WORDS: dict[Relation, tuple[str, ...]] = {
    "left of": ("to the left of", "left of", "on the left of"),
    "right of": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
    "inside": ("inside", "in"),
    "around": ("around",),
    "bigger than": ("bigger than", "larger than"),
    "smaller than": ("smaller than",),
}
# Of the second object in "a ball has a key to its left": the key is left of the ball.
SIDE_WORDS: dict[Relation, tuple[str, ...]] = {
    "left of": ("to its left", "on its left"),
    "right of": ("to its right", "on its right"),
    "above": ("above it", "over it"),
    "below": ("below it", "under it"),
    "inside": ("inside it", "in it"),
    "around": ("around it",),
}
VERBS = {"lies": "lie", "stands": "stand", "sits": "sit"}
POSTURES = ("lying", "standing", "sitting")
# Before a singular, and before a plural.
INTRODUCTIONS = (
    ("this is", "these are"),
    ("a picture of", "a picture of"),
    ("a drawing of", "a drawing of"),
    ("the picture shows", "the picture shows"),
    ("you can see", "you can see"),
    ("we see", "we see"),
)
_NUM_CAPTIONS = 5  # of an image, as in COCO
_FIRST_PHRASING = 0.7  # probability of the first of several phrasings


def scene_captions(scene: Scene) -> tuple[str, ...]:
    """Five captions of a scene: all different, all true, each with its main object's kind."""
    rng = random.Random(f"captions/{scene.seed}/{scene.split}/{scene.index}")
    captions: dict[str, None] = {}
    while len(captions) < _NUM_CAPTIONS:
        captions[sample_caption(scene, rng)] = None
    return tuple(captions)


def sample_caption(scene: Scene, rng: random.Random) -> str:
    """Sample one caption, without a full stop."""
    if len(scene.groups) == 1 or rng.random() < 0.15:
        return _describe_group(scene, rng)
    return _describe_pair(scene, rng)


def _describe_group(scene: Scene, rng: random.Random) -> str:
    group = scene.main
    is_plural = group.count > 1
    verb = _verb(rng, is_plural=is_plural)
    there = "there are" if is_plural else "there is"
    introduction = rng.choice(INTRODUCTIONS)[is_plural]
    noun, ground = _noun_phrase(group, rng), _ground(scene, rng)
    weights = {
        noun: 1,
        f"{noun} {ground}": 12,
        f"{noun} {verb} {ground}": 4,
        f"{noun} {_phrasing(POSTURES, rng)} {ground}": 3,
        f"{there} {noun}{_maybe(ground, rng)}": 4,
        f"{ground} {there} {noun}": 1,
        f"{ground} {verb} {noun}": 1,
        f"{introduction} {noun}{_maybe(ground, rng)}": 2,
        _predicate_sentence(group, ground, rng): 2,
    }
    return _weighted_choice(weights, rng)


def _predicate_sentence(group: Group, ground: str, rng: random.Random) -> str:
    """Attributes after the noun: ``the two balls on the grass are red and striped``."""
    attributes = [group.color, _phrasing(SIZE_WORDS[group.size], rng)]
    if group.texture != "plain":
        attributes.append(_phrasing(TEXTURE_WORDS[group.texture], rng))
    attributes = rng.sample(attributes, rng.choice((1, 1, 2)))
    words = ["the"]
    if group.count > 1 and rng.random() < 0.6:
        words.append(COUNT_WORDS[group.count])
    words.append(_noun(group, rng))
    are = "are" if group.count > 1 else "is"
    return f"{' '.join(words)}{_maybe(ground, rng)} {are} {' and '.join(attributes)}"


def _describe_pair(scene: Scene, rng: random.Random) -> str:
    subject, reference = (0, 1) if rng.random() < 0.85 else (1, 0)
    # In the order of RELATION_WORDS: position comes before size.
    relations = sorted(scene.relations(subject, reference), key=list(RELATION_WORDS).index)
    first, second = (_noun_phrase(scene.groups[group], rng) for group in (subject, reference))
    ground = _ground(scene, rng)
    on_ground = _maybe(ground, rng)
    relation = _phrasing(relations, rng)
    link = _phrasing(RELATION_WORDS[relation], rng)
    introduction = rng.choice(INTRODUCTIONS)[0]
    weights = {
        f"{first} {link} {second}{on_ground}": 16,
        f"{first} is {link} {second}{on_ground}": 3,
        f"there is {first} {link} {second}{on_ground}": 4,
        f"{introduction} {first} {link} {second}{on_ground}": 1,
        f"{first} and {second}{on_ground}": 1,
        f"there is {first} and {second}{on_ground}": 1,
        f"the {_noun(scene.groups[subject], rng)} is {link} the "
        f"{_noun(scene.groups[reference], rng)}": 1,
    }
    if relation in SIDE_WORDS:  # a position
        verb = _verb(rng, is_plural=False)
        weights |= {
            f"{first} {verb} {link} {second}{on_ground}": 2,
            f"{link} {second} there is {first}": 1,
            f"{link} {second} {verb} {first}": 1,
            f"{second} has {first} {_phrasing(SIDE_WORDS[relation], rng)}": 2,
        }
    return _weighted_choice(weights, rng)


def _noun_phrase(group: Group, rng: random.Random) -> str:
    """A noun with article or count and attributes: ``two big red balls with stripes``."""
    size = _phrasing(SIZE_WORDS[group.size], rng)
    texture = _phrasing(TEXTURE_WORDS[group.texture], rng)
    words: list[str] = []
    suffix = ""
    if rng.random() < (0.04 if group.texture == "plain" else 0.85):
        if group.texture in WITH_WORDS and rng.random() < 0.2:
            suffix = f" {_phrasing(WITH_WORDS[group.texture], rng)}"
        else:
            words.append(texture)
    draw = rng.random()
    if draw < 0.9:
        words.insert(0 if rng.random() < _FIRST_PHRASING else len(words), group.color)
    elif draw < 0.95:
        are = "are" if group.count > 1 else "is"
        suffix += f" {_phrasing(('that', 'which'), rng)} {are} {group.color}"
    if rng.random() < 0.25:
        words.insert(0, size)
    words.append(_noun(group, rng))
    if group.count == 1:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    elif rng.random() < 0.9:
        words.insert(0, COUNT_WORDS[group.count])
    return " ".join(words) + suffix


def _noun(group: Group, rng: random.Random) -> str:
    word = _phrasing(KIND_BY_NAME[group.kind].words, rng)
    return plural(word) if group.count > 1 else word


def _ground(scene: Scene, rng: random.Random) -> str:
    return f"on {_phrasing(('the ', ''), rng)}{scene.ground}"


def _verb(rng: random.Random, *, is_plural: bool) -> str:
    verb = _phrasing(tuple(VERBS), rng)
    return VERBS[verb] if is_plural else verb


def _maybe(words: str, rng: random.Random) -> str:
    return f" {words}" if rng.random() < _FIRST_PHRASING else ""


def _phrasing(phrasings: Sequence[_Phrase], rng: random.Random) -> _Phrase:
    """The first of several, most of the time."""
    if len(phrasings) == 1 or rng.random() < _FIRST_PHRASING:
        return phrasings[0]
    return rng.choice(phrasings[1:])


def _weighted_choice(weights: dict[str, int], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
