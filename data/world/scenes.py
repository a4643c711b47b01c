"""Scenes of the drawn world: the ground truth of every image, in named splits.

Everything is sampled from a seed. Scenes are data here; ``drawing`` renders them and ``captions``
describes them.
"""

import math
import random
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from vl.data.world.kinds import KIND_BY_NAME, SEEN, UNSEEN

Split = Literal["training", "development", "test", "held-out-combinations", "held-out-kinds"]
Texture = Literal["plain", "striped", "spotted"]
Size = Literal["small", "big"]
Relation = Literal[
    "left of", "right of", "above", "below", "inside", "around", "bigger than", "smaller than"
]

SPLITS: tuple[Split, ...] = get_args(Split)
EVALUATION_SPLITS = SPLITS[2:]
TEXTURES: tuple[Texture, ...] = get_args(Texture)
SIZES: tuple[Size, ...] = get_args(Size)
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
GROUNDS = ("grass", "sand", "stone", "water", "earth")
_RELATIONS: tuple[Relation, ...] = get_args(Relation)
INVERSE_RELATION = dict(zip(_RELATIONS[::2], _RELATIONS[1::2]))  # they come in pairs
INVERSE_RELATION |= {inverse: relation for relation, inverse in INVERSE_RELATION.items()}

# Radii: half the side of the square that an object is drawn in, in sides of the image. The gap
# between the two sizes makes them unambiguous.
_RADII: dict[Size, tuple[float, float]] = {"small": (0.185, 0.205), "big": (0.27, 0.34)}
_MAX_RADIUS_OF_TWO = 0.28  # a big object beside another one
_OUTER_RADII = (0.41, 0.45)  # a ring around an object
_INNER_RADII = (0.16, 0.18)
_MARGIN = 1.02  # least distance to the image's edge, in radii
# Least distances, in sums of two radii: squares may overlap a little, drawings seldom do.
_MIN_DISTANCE, _MIN_DISTANCE_ALIKE = 0.92, 1.03
_AXIS_RATIO = 1.7  # of the distances along both axes, from which on a word says the direction
_LAYOUTS, _LAYOUT_WEIGHTS = ("one", "alike", "two"), (45, 22, 33)
_RING_AROUND = 0.4  # probability that a ring has an object in it
_TEXTURE_WEIGHTS = (60, 20, 20)
_TRIES = 20  # to fit a third object, before the other two are sampled again

_Circle = tuple[float, float, float]  # x, y, radius


class Placement(NamedTuple):
    """Position and orientation of an object, in sides of the image."""

    x: float  # of its center
    y: float  # downwards
    radius: float  # half the side of the square that it is drawn in
    angle: float  # radians
    mirrored: bool


@dataclass(frozen=True)
class Group:
    """An object, or two or three that differ in placement alone."""

    kind: str
    color: str
    texture: Texture
    size: Size
    placements: tuple[Placement, ...]

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.placements)


@dataclass(frozen=True)
class Scene:
    """The ground truth of an image."""

    split: str
    index: int  # within its split
    seed: int  # of the world
    groups: tuple[Group, ...]  # one; or two single objects of different kinds, the bigger one first
    ground: str

    @property
    def main(self) -> Group:
        """The main object or objects."""
        return self.groups[0]

    def relations(self, subject: int, reference: int) -> frozenset[Relation]:
        """Spatial and size relations of one group to another, by their indices in ``groups``."""
        if subject == reference or self.main.count > 1:
            return frozenset()
        first, second = self.groups[subject], self.groups[reference]
        (a,), (b,) = first.placements, second.placements
        relations: set[Relation] = set()
        if first.size != second.size:
            relations.add("bigger than" if first.size == "big" else "smaller than")
        dx, dy = a.x - b.x, a.y - b.y
        if math.hypot(dx, dy) < abs(a.radius - b.radius):
            relations.add("inside" if a.radius < b.radius else "around")
        elif abs(dx) >= _AXIS_RATIO * abs(dy):
            relations.add("left of" if dx < 0 else "right of")
        elif abs(dy) >= _AXIS_RATIO * abs(dx):
            relations.add("above" if dy < 0 else "below")
        return frozenset(relations)


def is_held_out(kind: str, color: str) -> bool:
    """Whether this combination is reserved for ``held-out-combinations``.

    One color for each kind in the training split; none for unseen kinds.
    """
    return kind in SEEN and COLORS.index(color) == (3 * SEEN.index(kind) + 1) % len(COLORS)


def sample_scene(split: Split, index: int, *, seed: int = 0) -> Scene:
    """Sample the scene of an image.

    Args:
        split: only ``held-out-kinds`` has kinds of ``UNSEEN``, and only ``held-out-combinations``
            has main objects of the combinations of ``is_held_out``.
        index: of the image within its split, from 0.
        seed: of the world.
    """
    rng = random.Random(f"scene/{seed}/{split}/{index}")
    if split == "held-out-kinds":
        kind, color = rng.choice(UNSEEN), rng.choice(COLORS)
    else:
        kind, color = _sample_look(rng, from_held_out=split == "held-out-combinations")
    groups = _sample_groups(rng, kind, color)
    return Scene(split, index, seed, groups, rng.choice(GROUNDS))


def sample_text_scene(index: int, *, seed: int = 0) -> Scene:
    """Sample a scene of no split, of all kinds and colors, for texts to describe."""
    rng = random.Random(f"imagined/{seed}/{index}")
    kind = rng.choice(tuple(KIND_BY_NAME))
    groups = _sample_groups(rng, kind, rng.choice(COLORS))
    return Scene("imagined", index, seed, groups, rng.choice(GROUNDS))


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """A scene as a JSON object."""
    groups = [
        {**vars(group), "placements": [placement._asdict() for placement in group.placements]}
        for group in scene.groups
    ]
    return {**vars(scene), "groups": groups}


def scene_from_json(entry: dict[str, Any]) -> Scene:
    """A scene from the JSON object of ``scene_to_json``.

    Raises:
        ValueError: a field is missing, unknown, or has no value of this world.
    """
    try:
        groups = tuple(
            Group(**{**group, "placements": tuple(Placement(**p) for p in group["placements"])})
            for group in entry["groups"]
        )
        scene = Scene(**{**entry, "groups": groups})
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a scene: {error}") from error
    for group in groups:
        for name, value, values in (
            ("kind", group.kind, tuple(KIND_BY_NAME)),
            ("color", group.color, COLORS),
            ("texture", group.texture, TEXTURES),
            ("size", group.size, SIZES),
            ("ground", scene.ground, GROUNDS),
        ):
            if value not in values:
                raise ValueError(f"not a scene: there is no {name} {value!r}")
    if [group.count for group in groups] not in ([1], [2], [3], [1, 1]):
        raise ValueError("not a scene: expected one group of up to three objects, or two of one")
    return scene


def _sample_look(rng: random.Random, *, from_held_out: bool) -> tuple[str, str]:
    """A kind and color, out of the held-out combinations or the others."""
    kind = rng.choice(SEEN)
    return kind, rng.choice([c for c in COLORS if is_held_out(kind, c) == from_held_out])


def _sample_groups(rng: random.Random, kind: str, color: str) -> tuple[Group, ...]:
    """One to three objects, of which the main one is of this kind and color."""
    layout = rng.choices(_LAYOUTS, _LAYOUT_WEIGHTS)[0]
    texture = _sample_texture(rng)
    if kind == "ring" and rng.random() < _RING_AROUND:
        inner_kind, inner_color = _sample_second_look(rng, kind)
        outer = _sample_placement(rng, _OUTER_RADII, max_angle=0.1)
        inner = _sample_placement(rng, _INNER_RADII)._replace(x=outer.x, y=outer.y)
        return (
            Group(kind, color, texture, "big", (outer,)),
            Group(inner_kind, inner_color, _sample_texture(rng), "small", (inner,)),
        )
    if layout == "alike":
        count = rng.choice((2, 3))
        size: Size = "big" if count == 2 and rng.random() < 0.4 else "small"
        low, high = _RADII[size]
        radii = [(low, low + 0.01 if size == "big" else high)] * count
        return (Group(kind, color, texture, size, _sample_apart(rng, radii)),)
    if layout == "two":
        second_kind, second_color = _sample_second_look(rng, kind)
        radii = [(_RADII["big"][0], _MAX_RADIUS_OF_TWO), _RADII["small"]]
        big, small = _sample_apart(rng, radii, along_axis=True)
        return (
            Group(kind, color, texture, "big", (big,)),
            Group(second_kind, second_color, _sample_texture(rng), "small", (small,)),
        )
    size = rng.choice(SIZES)
    return (Group(kind, color, texture, size, (_sample_placement(rng, _RADII[size]),)),)


def _sample_second_look(rng: random.Random, kind: str) -> tuple[str, str]:
    """The look of a second object, of another kind of the training split."""
    second, color = _sample_look(rng, from_held_out=False)
    while second == kind:
        second, color = _sample_look(rng, from_held_out=False)
    return second, color


def _sample_texture(rng: random.Random) -> Texture:
    return rng.choices(TEXTURES, _TEXTURE_WEIGHTS)[0]


def _sample_placement(
    rng: random.Random, radii: tuple[float, float], *, max_angle: float = 0.25
) -> Placement:
    """Anywhere within the image, to four digits."""
    radius = round(rng.uniform(*radii), 4)
    return _orient(rng, (*_sample_center(rng, radius), radius), max_angle)


def _orient(rng: random.Random, circle: _Circle, max_angle: float = 0.25) -> Placement:
    return Placement(*circle, round(rng.uniform(-max_angle, max_angle), 4), rng.random() < 0.5)


def _sample_center(rng: random.Random, radius: float) -> tuple[float, float]:
    margin = _MARGIN * radius
    room = 1 - 2 * margin
    return round(margin + room * rng.random(), 4), round(margin + room * rng.random(), 4)


def _sample_apart(
    rng: random.Random, radii: list[tuple[float, float]], *, along_axis: bool = False
) -> tuple[Placement, ...]:
    """Two or three placements that do not overlap; ``along_axis``: beside or above each other."""
    min_distance = _MIN_DISTANCE if along_axis else _MIN_DISTANCE_ALIKE
    first, second, *more = [round(rng.uniform(*bounds), 4) for bounds in radii]
    while True:
        circles = _sample_pair(rng, first, second, min_distance)
        if not _are_apart(*circles, min_distance, along_axis=along_axis):
            continue
        if not more:
            return tuple(_orient(rng, circle) for circle in circles)
        for _ in range(_TRIES):
            third = (*_sample_center(rng, more[0]), more[0])
            if all(_are_apart(third, circle, min_distance) for circle in circles):
                return tuple(_orient(rng, circle) for circle in (*circles, third))


def _sample_pair(
    rng: random.Random, first: float, second: float, min_distance: float
) -> tuple[_Circle, _Circle]:
    """Two circles of these radii, in any direction and at any distance that fits."""
    margin, second_margin = _MARGIN * first, _MARGIN * second
    low = min_distance * (first + second)
    while True:
        angle = math.tau * rng.random()
        cosine, sine = math.cos(angle), math.sin(angle)
        high = (1 - margin - second_margin) / max(abs(cosine), abs(sine))
        if high >= low:
            break
    distance = rng.uniform(low, high)
    center, second_center = [], []
    for step in (distance * cosine, distance * sine):
        begin, end = max(margin, second_margin - step), min(1 - margin, 1 - second_margin - step)
        coordinate = rng.uniform(begin, end)
        center.append(round(coordinate, 4))
        second_center.append(round(coordinate + step, 4))
    return (center[0], center[1], first), (second_center[0], second_center[1], second)


def _are_apart(a: _Circle, b: _Circle, min_distance: float, *, along_axis: bool = False) -> bool:
    dx, dy = abs(a[0] - b[0]), abs(a[1] - b[1])
    if math.hypot(dx, dy) < min_distance * (a[2] + b[2]):
        return False
    return not along_axis or max(dx, dy) >= _AXIS_RATIO * min(dx, dy)
