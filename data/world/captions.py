"""What can be said of the drawn world's scenes: true captions out of a grammar, and its words.

A caption leaves out what it likes, but says nothing that is false: things alike are said as many
as they are, or as some, and never as one of them. Of several ways to say a thing one is usual, as
people's is, and the others are heard now and then.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

from vl.data.world.kinds import OF, plural
from vl.data.world.scenes import Group, Relation, Scene, Size, Texture

Way = TypeVar("Way", bound=str)

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
# Of the second thing in "a ball has a key to its left": the key is left of the ball.
SIDE_WORDS: dict[Relation, tuple[str, ...]] = {
    "left of": ("to its left", "on its left"),
    "right of": ("to its right", "on its right"),
    "above": ("above it", "over it"),
    "below": ("below it", "under it"),
    "inside": ("inside it", "in it"),
    "around": ("around it",),
}
VERBS = {"lies": "lie", "stands": "stand", "sits": "sit"}
DOING = ("lying", "standing", "sitting")
# Before one thing, and before several.
INTRODUCTIONS = (
    ("this is", "these are"),
    ("a picture of", "a picture of"),
    ("a drawing of", "a drawing of"),
    ("the picture shows", "the picture shows"),
    ("you can see", "you can see"),
    ("we see", "we see"),
)
_NUMBER = 5  # captions of a picture, as COCO has
_USUAL = 0.7  # how often the first of several ways is taken


def captions(scene: Scene) -> tuple[str, ...]:
    """Five captions of a scene: all differ, all are true, all name its main thing's kind."""
    chance = random.Random(f"captions/{scene.seed}/{scene.split}/{scene.number}")
    found: dict[str, None] = {}
    while len(found) < _NUMBER:
        found[caption(scene, chance)] = None
    return tuple(found)


def caption(scene: Scene, chance: random.Random) -> str:
    """One caption, without a full stop."""
    if len(scene.groups) == 1 or chance.random() < 0.15:
        return _of_one(scene, chance)
    return _of_two(scene, chance)


def _of_one(scene: Scene, chance: random.Random) -> str:
    group = scene.main
    several = group.amount > 1
    verb = _verb(chance, several=several)
    there = "there are" if several else "there is"
    introduction = chance.choice(INTRODUCTIONS)[several]
    thing, ground = _thing(group, chance), _ground(scene, chance)
    forms = {
        thing: 1,
        f"{thing} {ground}": 12,
        f"{thing} {verb} {ground}": 4,
        f"{thing} {_usual(DOING, chance)} {ground}": 3,
        f"{there} {thing}{_perhaps(ground, chance)}": 4,
        f"{ground} {there} {thing}": 1,
        f"{ground} {verb} {thing}": 1,
        f"{introduction} {thing}{_perhaps(ground, chance)}": 2,
        _of_the(group, ground, chance): 2,
    }
    return _one_of(forms, chance)


def _of_the(group: Group, ground: str, chance: random.Random) -> str:
    """A thing and then what it is like: ``the two balls on the grass are red and striped``."""
    traits = [group.colour, _usual(SIZE_WORDS[group.size], chance)]
    if group.texture != "plain":
        traits.append(_usual(TEXTURE_WORDS[group.texture], chance))
    traits = chance.sample(traits, chance.choice((1, 1, 2)))
    words = ["the"]
    if group.amount > 1 and chance.random() < 0.6:
        words.append(COUNT_WORDS[group.amount])
    words.append(_noun(group, chance))
    are = "are" if group.amount > 1 else "is"
    return f"{' '.join(words)}{_perhaps(ground, chance)} {are} {' and '.join(traits)}"


def _of_two(scene: Scene, chance: random.Random) -> str:
    one, other = (0, 1) if chance.random() < 0.85 else (1, 0)
    # In the order of RELATION_WORDS: where a thing is before which one is bigger.
    ways = sorted(scene.relations(one, other), key=list(RELATION_WORDS).index)
    first, second = (_thing(scene.groups[number], chance) for number in (one, other))
    ground = _ground(scene, chance)
    on = _perhaps(ground, chance)
    relation = _usual(ways, chance)
    way = _usual(RELATION_WORDS[relation], chance)
    introduction = chance.choice(INTRODUCTIONS)[0]
    forms = {
        f"{first} {way} {second}{on}": 16,
        f"{first} is {way} {second}{on}": 3,
        f"there is {first} {way} {second}{on}": 4,
        f"{introduction} {first} {way} {second}{on}": 1,
        f"{first} and {second}{on}": 1,
        f"there is {first} and {second}{on}": 1,
        f"the {_noun(scene.groups[one], chance)} is {way} the "
        f"{_noun(scene.groups[other], chance)}": 1,
    }
    if relation in SIDE_WORDS:  # it says where the thing is
        verb = _verb(chance, several=False)
        forms |= {
            f"{first} {verb} {way} {second}{on}": 2,
            f"{way} {second} there is {first}": 1,
            f"{way} {second} {verb} {first}": 1,
            f"{second} has {first} {_usual(SIDE_WORDS[relation], chance)}": 2,
        }
    return _one_of(forms, chance)


def _thing(group: Group, chance: random.Random) -> str:
    """Some things with what is said of them: ``two big red balls with stripes``."""
    size = _usual(SIZE_WORDS[group.size], chance)
    texture = _usual(TEXTURE_WORDS[group.texture], chance)
    words: list[str] = []
    behind = ""
    if chance.random() < (0.04 if group.texture == "plain" else 0.85):
        if group.texture in WITH_WORDS and chance.random() < 0.2:
            behind = f" {_usual(WITH_WORDS[group.texture], chance)}"
        else:
            words.append(texture)
    said = chance.random()
    if said < 0.9:
        words.insert(0 if chance.random() < _USUAL else len(words), group.colour)
    elif said < 0.95:
        are = "are" if group.amount > 1 else "is"
        behind += f" {_usual(('that', 'which'), chance)} {are} {group.colour}"
    if chance.random() < 0.25:
        words.insert(0, size)
    words.append(_noun(group, chance))
    if group.amount == 1:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    elif chance.random() < 0.9:
        words.insert(0, COUNT_WORDS[group.amount])
    return " ".join(words) + behind


def _noun(group: Group, chance: random.Random) -> str:
    word = _usual(OF[group.kind].words, chance)
    return plural(word) if group.amount > 1 else word


def _ground(scene: Scene, chance: random.Random) -> str:
    return f"on {_usual(('the ', ''), chance)}{scene.ground}"


def _verb(chance: random.Random, *, several: bool) -> str:
    verb = _usual(tuple(VERBS), chance)
    return VERBS[verb] if several else verb


def _perhaps(words: str, chance: random.Random, *, often: float = _USUAL) -> str:
    return f" {words}" if chance.random() < often else ""


def _usual(ways: Sequence[Way], chance: random.Random) -> Way:
    """The first of several, most of the time."""
    if len(ways) == 1 or chance.random() < _USUAL:
        return ways[0]
    return chance.choice(ways[1:])


def _one_of(forms: dict[str, int], chance: random.Random) -> str:
    ways: Sequence[str] = tuple(forms)
    return chance.choices(ways, tuple(forms.values()))[0]
