"""A drawn world whose truth is known: what each picture shows, in named splits.

Everything comes from a seed. Scenes are data here; data.world_drawing draws them and
data.world_captions says what is on them.
"""

import math
import random
from typing import Any, Literal, NamedTuple, get_args

from vl.data.world.kinds import OF, SEEN, UNSEEN

Split = Literal["training", "development", "test", "held-out-combinations", "held-out-kinds"]
Texture = Literal["plain", "striped", "spotted"]
Size = Literal["small", "big"]
Relation = Literal[
    "left of", "right of", "above", "below", "inside", "around", "bigger than", "smaller than"
]

SPLITS: tuple[Split, ...] = get_args(Split)
TEXTURES: tuple[Texture, ...] = get_args(Texture)
SIZES: tuple[Size, ...] = get_args(Size)
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
GROUNDS = ("grass", "sand", "stone", "water", "earth")
INVERSE: dict[Relation, Relation] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "inside": "around",
    "around": "inside",
    "bigger than": "smaller than",
    "smaller than": "bigger than",
}

# Half sides of the square that a thing is drawn in, in sides of the picture. Between the two sizes
# is a gap, so that nobody need guess.
_RADII: dict[Size, tuple[float, float]] = {"small": (0.185, 0.205), "big": (0.27, 0.34)}
_MOST_OF_TWO = 0.28  # a big thing beside another one
_HOOP = (0.41, 0.45)  # a ring with a thing in it
_IN_HOOP = (0.16, 0.18)
_EDGE = 1.02  # radii from the picture's edge
# Least distances, of the sum of two radii: squares may overlap a little, drawings seldom do.
_NEAR, _NEAR_ALIKE = 0.92, 1.03
_PLAINLY = 1.7  # how much farther apart along one axis than along the other, if a word says which
_FORMS = ("one", "alike", "two")
_OFTEN = (45, 22, 33)
_HOOPS = 0.4  # of the rings, that have a thing in them
_TEXTURED = (60, 20, 20)
_TRIES = 20  # for a third thing, before the others are put elsewhere

_Circle = tuple[float, float, float]  # x, y and radius of a place


class Place(NamedTuple):
    """Where one thing is, and how it lies."""

    x: float  # of its centre, in sides of the picture
    y: float  # downwards
    radius: float  # half of the square that it is drawn in
    turn: float  # radians
    mirrored: bool


class Group(NamedTuple):
    """A thing, or two or three that are alike in all but place."""

    kind: str
    colour: str
    texture: Texture
    size: Size
    places: tuple[Place, ...]

    @property
    def amount(self) -> int:
        """How many there are."""
        return len(self.places)


class Scene(NamedTuple):
    """All that is true of a picture."""

    split: str
    number: int  # in its split
    seed: int  # of the world
    groups: tuple[Group, ...]  # one; or two single things of different kinds, the bigger one first
    ground: str

    @property
    def main(self) -> Group:
        """What the picture is of."""
        return self.groups[0]

    def relations(self, one: int, other: int) -> frozenset[Relation]:
        """How one of two groups, by their places in ``groups``, stands to the other."""
        if one == other or self.main.amount > 1:
            return frozenset()
        first, second = self.groups[one], self.groups[other]
        (a,), (b,) = first.places, second.places
        found: set[Relation] = set()
        if first.size != second.size:
            found.add("bigger than" if first.size == "big" else "smaller than")
        across, down = a.x - b.x, a.y - b.y
        if math.hypot(across, down) < abs(a.radius - b.radius):
            found.add("inside" if a.radius < b.radius else "around")
        elif abs(across) >= _PLAINLY * abs(down):
            found.add("left of" if across < 0 else "right of")
        elif abs(down) >= _PLAINLY * abs(across):
            found.add("above" if down < 0 else "below")
        return frozenset(found)


def held_out(kind: str, colour: str) -> bool:
    """Whether pictures of this kind in this colour are kept for ``held-out-combinations``.

    One colour for each kind that is pictured in training; of unseen kinds, none.
    """
    return kind in SEEN and COLOURS.index(colour) == (3 * SEEN.index(kind) + 1) % len(COLOURS)


def scene(split: Split, number: int, *, seed: int = 0) -> Scene:
    """What a picture shows.

    Args:
        split: where it belongs. Only ``held-out-kinds`` has kinds of UNSEEN, and only
            ``held-out-combinations`` has, as its main thing, colours that ``held_out`` keeps back.
        number: of the picture in its split, from 0.
        seed: of the world.

    Raises:
        ValueError: there is no such split, or the number is negative.
    """
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
    if number < 0:
        raise ValueError(f"picture {number} of {split}; the first is 0")
    chance = random.Random(f"scene/{seed}/{split}/{number}")
    if split == "held-out-kinds":
        kind, colour = chance.choice(UNSEEN), chance.choice(COLOURS)
    else:
        kind, colour = _look(chance, kept_back=split == "held-out-combinations")
    groups = _groups(chance, kind, colour)
    return Scene(split, number, seed, groups, chance.choice(GROUNDS))


def imagined(number: int, *, seed: int = 0) -> Scene:
    """A scene that no picture shows, of any kinds and colours, for texts to tell of."""
    chance = random.Random(f"imagined/{seed}/{number}")
    kind = chance.choice(tuple(OF))
    groups = _groups(chance, kind, chance.choice(COLOURS))
    return Scene("imagined", number, seed, groups, chance.choice(GROUNDS))


def as_json(truth: Scene) -> dict[str, Any]:
    """A scene as JSON has it."""
    groups = [
        {**group._asdict(), "places": [place._asdict() for place in group.places]}
        for group in truth.groups
    ]
    return {**truth._asdict(), "groups": groups}


def from_json(entry: dict[str, Any]) -> Scene:
    """A scene from what ``as_json`` made of it.

    Raises:
        ValueError: something is missing, too much, or not of this world.
    """
    try:
        groups = tuple(
            Group(**{**group, "places": tuple(Place(**place) for place in group["places"])})
            for group in entry["groups"]
        )
        truth = Scene(**{**entry, "groups": groups})
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no scene: {error}") from error
    for group in groups:
        for what, name, known in (
            ("kind", group.kind, tuple(OF)),
            ("colour", group.colour, COLOURS),
            ("texture", group.texture, TEXTURES),
            ("size", group.size, SIZES),
            ("ground", truth.ground, GROUNDS),
        ):
            if name not in known:
                raise ValueError(f"this is no scene: there is no {what} {name!r}")
    if [group.amount for group in groups] not in ([1], [2], [3], [1, 1]):
        raise ValueError("this is no scene: it has one to three things alike, or two that differ")
    return truth


def _look(chance: random.Random, *, kept_back: bool) -> tuple[str, str]:
    """A kind and colour, of those kept back or of the others."""
    kind = chance.choice(SEEN)
    return kind, chance.choice([each for each in COLOURS if held_out(kind, each) == kept_back])


def _groups(chance: random.Random, kind: str, colour: str) -> tuple[Group, ...]:
    """One to three things, of which the main one is of this kind and colour."""
    form = chance.choices(_FORMS, _OFTEN)[0]
    texture = _texture(chance)
    if kind == "ring" and chance.random() < _HOOPS:
        other, other_colour = _other(chance, kind)
        outer = _place(chance, _HOOP, turn=0.1)
        inner = _place(chance, _IN_HOOP)._replace(x=outer.x, y=outer.y)
        return (
            Group(kind, colour, texture, "big", (outer,)),
            Group(other, other_colour, _texture(chance), "small", (inner,)),
        )
    if form == "alike":
        count = chance.choice((2, 3))
        size: Size = "big" if count == 2 and chance.random() < 0.4 else "small"
        least, most = _RADII[size]
        places = _apart(chance, [(least, least + 0.01 if size == "big" else most)] * count)
        return (Group(kind, colour, texture, size, places),)
    if form == "two":
        other, other_colour = _other(chance, kind)
        radii = [(_RADII["big"][0], _MOST_OF_TWO), _RADII["small"]]
        big, small = _apart(chance, radii, plainly=True)
        return (
            Group(kind, colour, texture, "big", (big,)),
            Group(other, other_colour, _texture(chance), "small", (small,)),
        )
    size = chance.choice(SIZES)
    return (Group(kind, colour, texture, size, (_place(chance, _RADII[size]),)),)


def _other(chance: random.Random, kind: str) -> tuple[str, str]:
    """The look of a second thing, of another kind that is seen in training."""
    other, colour = _look(chance, kept_back=False)
    while other == kind:
        other, colour = _look(chance, kept_back=False)
    return other, colour


def _texture(chance: random.Random) -> Texture:
    return chance.choices(TEXTURES, _TEXTURED)[0]


def _place(chance: random.Random, radii: tuple[float, float], *, turn: float = 0.25) -> Place:
    """Anywhere within the picture; numbers have the digits that a reader can use."""
    radius = round(chance.uniform(*radii), 4)
    return _lying(chance, (*_middle(chance, radius), radius), turn)


def _lying(chance: random.Random, circle: _Circle, turn: float = 0.25) -> Place:
    """A place whose circle is known, turned a little."""
    return Place(*circle, round(chance.uniform(-turn, turn), 4), chance.random() < 0.5)


def _middle(chance: random.Random, radius: float) -> tuple[float, float]:
    edge = _EDGE * radius
    room = 1 - 2 * edge
    return round(edge + room * chance.random(), 4), round(edge + room * chance.random(), 4)


def _apart(
    chance: random.Random, radii: list[tuple[float, float]], *, plainly: bool = False
) -> tuple[Place, ...]:
    """Two or three places with room between them; ``plainly`` beside or above one another."""
    near = _NEAR if plainly else _NEAR_ALIKE
    first, second, *more = [round(chance.uniform(*each), 4) for each in radii]
    while True:
        circles = _pair(chance, first, second, near)
        if not _has_room(*circles, near, plainly=plainly):
            continue
        if not more:
            return tuple(_lying(chance, circle) for circle in circles)
        for _ in range(_TRIES):
            third = (*_middle(chance, more[0]), more[0])
            if all(_has_room(third, circle, near) for circle in circles):
                return tuple(_lying(chance, circle) for circle in (*circles, third))


def _pair(
    chance: random.Random, first: float, second: float, near: float
) -> tuple[_Circle, _Circle]:
    """Two circles of these radii, as far apart in any direction as there is room."""
    edge, other_edge = _EDGE * first, _EDGE * second
    least = near * (first + second)
    while True:
        angle = math.tau * chance.random()
        across, down = math.cos(angle), math.sin(angle)
        most = (1 - edge - other_edge) / max(abs(across), abs(down))
        if most >= least:
            break
    distance = chance.uniform(least, most)
    middle, other = [], []
    for step in (distance * across, distance * down):
        begin, end = max(edge, other_edge - step), min(1 - edge, 1 - other_edge - step)
        at = chance.uniform(begin, end)
        middle.append(round(at, 4))
        other.append(round(at + step, 4))
    return (middle[0], middle[1], first), (other[0], other[1], second)


def _has_room(one: _Circle, other: _Circle, near: float, *, plainly: bool = False) -> bool:
    across, down = abs(one[0] - other[0]), abs(one[1] - other[1])
    if math.hypot(across, down) < near * (one[2] + other[2]):
        return False
    return not plainly or max(across, down) >= _PLAINLY * min(across, down)
