"""Outlines of the drawn world's kinds, as polygons without color, size or position.

An outline lies in a square from -1 to 1, x to the right and y down.
"""

import math
from typing import Literal, NamedTuple

Tone = Literal["body", "dark", "light", "hole"]  # a hole shows what is behind

_ELLIPSE_CORNERS = 28


class Part(NamedTuple):
    """A polygon of an outline."""

    corners: tuple[tuple[float, float], ...]  # (x, y)
    tone: Tone = "body"  # body has the object's color and texture, the others are shades of it


def _polygon(*coordinates: float, tone: Tone = "body") -> Part:
    return Part(tuple(zip(coordinates[::2], coordinates[1::2], strict=True)), tone)


def _ellipse(
    x: float, y: float, half_width: float, half_height: float, *, tone: Tone = "body"
) -> Part:
    """By its center and half axes."""
    angles = [2 * math.pi * corner / _ELLIPSE_CORNERS for corner in range(_ELLIPSE_CORNERS)]
    corners = [
        (x + half_width * math.cos(angle), y + half_height * math.sin(angle)) for angle in angles
    ]
    return Part(tuple(corners), tone)


def _box(left: float, top: float, right: float, bottom: float, *, tone: Tone = "body") -> Part:
    return _polygon(left, top, right, top, right, bottom, left, bottom, tone=tone)


def _bar(
    x: float, y: float, end_x: float, end_y: float, *, width: float, tone: Tone = "body"
) -> Part:
    """A line of some width from one point to another."""
    length = math.hypot(end_x - x, end_y - y)
    dx, dy = (end_y - y) / length * width / 2, (x - end_x) / length * width / 2
    return _polygon(
        *(x + dx, y + dy, end_x + dx, end_y + dy),
        *(end_x - dx, end_y - dy, x - dx, y - dy),
        tone=tone,
    )


def _star(points: int, inner: float) -> Part:
    corners = []
    for corner in range(2 * points):
        radius = 1.0 if corner % 2 == 0 else inner
        angle = math.pi * corner / points - math.pi / 2
        corners.append((radius * math.cos(angle), radius * math.sin(angle)))
    return Part(tuple(corners))


def _petals(count: int, *, distance: float, radius: float, y: float) -> tuple[Part, ...]:
    angles = [2 * math.pi * petal / count for petal in range(count)]
    return tuple(
        _ellipse(distance * math.cos(angle), y + distance * math.sin(angle), radius, radius)
        for angle in angles
    )


def _heart() -> Part:
    """The heart curve of a cubed sine and four cosines."""
    corners = []
    for step in range(40):
        angle = 2 * math.pi * step / 40
        waves = 13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle)
        corners.append((math.sin(angle) ** 3, -(waves - math.cos(4 * angle)) / 17 - 0.1))
    return Part(tuple(corners))


# Later parts are drawn over earlier ones.
OUTLINES: dict[str, tuple[Part, ...]] = {
    # Swimmers.
    "fish": (
        _polygon(0.35, 0, 1, -0.55, 0.85, 0, 1, 0.55),
        _polygon(-0.3, -0.35, 0.05, -0.72, 0.3, -0.3),
        _ellipse(-0.2, 0, 0.78, 0.46),
        _ellipse(-0.62, -0.1, 0.1, 0.1, tone="dark"),
    ),
    "crab": (
        *(
            part
            for side in (-1, 1)
            for part in (
                _bar(side * 0.45, 0, side * 0.72, -0.4, width=0.2),
                _ellipse(side * 0.72, -0.58, 0.27, 0.3),
                _polygon(side * 0.72, -0.6, side * 0.55, -1, side * 0.85, -1, tone="hole"),
                _bar(side * 0.4, 0.25, side * 1, 0.25, width=0.13),
                _bar(side * 0.4, 0.4, side * 0.95, 0.65, width=0.13),
                _bar(side * 0.3, 0.5, side * 0.65, 0.95, width=0.13),
            )
        ),
        _ellipse(0, 0.2, 0.6, 0.4),
        _ellipse(-0.2, 0.02, 0.09, 0.09, tone="dark"),
        _ellipse(0.2, 0.02, 0.09, 0.09, tone="dark"),
    ),
    "whale": (
        _polygon(0.3, 0.2, 0.72, -0.25, 0.55, -0.7, 0.8, -0.55, 1, -0.75, 0.97, -0.2, 0.7, 0.5),
        _ellipse(-0.15, 0.2, 0.83, 0.5),
        _polygon(-0.93, 0.4, 0.2, 0.45, -0.05, 0.66, -0.5, 0.68, -0.8, 0.55, tone="light"),
        _ellipse(-0.65, 0.15, 0.08, 0.08, tone="dark"),
        _bar(-0.4, -0.25, -0.4, -0.65, width=0.1, tone="light"),
        _bar(-0.4, -0.6, -0.65, -0.9, width=0.1, tone="light"),
        _bar(-0.4, -0.6, -0.15, -0.9, width=0.1, tone="light"),
    ),
    # Flyers.
    "bird": (
        _polygon(0.3, 0.0, 1, -0.2, 0.95, 0.2, 0.35, 0.35),
        _ellipse(0, 0.12, 0.55, 0.38),
        _ellipse(-0.5, -0.32, 0.3, 0.3),
        _polygon(-0.74, -0.42, -1, -0.25, -0.72, -0.2, tone="dark"),
        _polygon(-0.2, 0.05, 0.55, -0.55, 0.45, 0.25, tone="dark"),
        _bar(-0.1, 0.45, -0.1, 0.95, width=0.1, tone="dark"),
        _bar(0.18, 0.45, 0.18, 0.95, width=0.1, tone="dark"),
        _ellipse(-0.55, -0.38, 0.08, 0.08, tone="dark"),
    ),
    "butterfly": (
        _ellipse(-0.53, -0.38, 0.45, 0.45),
        _ellipse(0.53, -0.38, 0.45, 0.45),
        _ellipse(-0.42, 0.42, 0.35, 0.4),
        _ellipse(0.42, 0.42, 0.35, 0.4),
        _ellipse(0, 0.05, 0.11, 0.7, tone="dark"),
        _bar(0, -0.55, -0.28, -1, width=0.08, tone="dark"),
        _bar(0, -0.55, 0.28, -1, width=0.08, tone="dark"),
    ),
    "bee": (
        _ellipse(-0.1, -0.5, 0.26, 0.45, tone="light"),
        _ellipse(0.35, -0.45, 0.28, 0.42, tone="light"),
        _polygon(0.7, 0.05, 1, 0.25, 0.7, 0.4, tone="dark"),
        _ellipse(0.15, 0.25, 0.68, 0.42),
        _ellipse(-0.62, 0.15, 0.3, 0.3, tone="dark"),
        _bar(-0.7, -0.05, -0.95, -0.5, width=0.09, tone="dark"),
        _bar(-0.55, -0.05, -0.6, -0.55, width=0.09, tone="dark"),
    ),
    "snail": (
        _polygon(-1, 0.3, -0.85, 0.0, -0.6, 0.35, 0.2, 0.5, 1, 0.85, -0.9, 0.85),
        _bar(-0.85, 0.15, -1, -0.4, width=0.09),
        _bar(-0.75, 0.15, -0.7, -0.4, width=0.09),
        _ellipse(0.2, 0.05, 0.62, 0.62),
        _ellipse(0.2, 0.08, 0.44, 0.44, tone="dark"),
        _ellipse(0.22, 0.1, 0.3, 0.3),
        _ellipse(0.22, 0.12, 0.14, 0.14, tone="dark"),
    ),
    # Plants.
    "tree": (
        _box(-0.15, 0.2, 0.15, 1, tone="dark"),
        _ellipse(-0.42, 0, 0.46, 0.42),
        _ellipse(0.42, 0, 0.46, 0.42),
        _ellipse(0, -0.5, 0.52, 0.48),
    ),
    "flower": (
        _box(-0.07, 0, 0.07, 1, tone="dark"),
        _polygon(0, 0.85, 0.6, 0.4, 0.5, 0.75, tone="dark"),
        *_petals(6, distance=0.42, radius=0.25, y=-0.33),
        _ellipse(0, -0.33, 0.23, 0.23, tone="dark"),
    ),
    "tulip": (
        _box(-0.07, 0, 0.07, 1, tone="dark"),
        _polygon(0, 1, -0.65, 0.1, -0.3, 0.3, tone="dark"),
        _polygon(0, 1, 0.65, 0.1, 0.3, 0.3, tone="dark"),
        _ellipse(0, -0.28, 0.48, 0.42),
        _polygon(-0.48, -0.3, -0.5, -1, -0.22, -0.6, 0, -1, 0.22, -0.6, 0.5, -1, 0.48, -0.3),
    ),
    "cactus": (
        _ellipse(0, -0.72, 0.24, 0.26),
        _box(-0.24, -0.72, 0.24, 1),
        _ellipse(-0.68, -0.4, 0.16, 0.18),
        _box(-0.84, -0.4, -0.52, 0.2),
        _box(-0.84, -0.02, -0.1, 0.24),
        _ellipse(0.68, -0.15, 0.16, 0.18),
        _box(0.52, -0.15, 0.84, 0.45),
        _box(0.1, 0.22, 0.84, 0.48),
    ),
    # Containers.
    "cup": (
        _ellipse(0.55, 0.02, 0.42, 0.46),
        _ellipse(0.55, 0.02, 0.24, 0.28, tone="hole"),
        _polygon(-0.75, -0.7, 0.55, -0.7, 0.42, 0.85, -0.6, 0.85),
        _ellipse(-0.1, -0.7, 0.65, 0.17, tone="dark"),
    ),
    "bottle": (
        _box(-0.15, -0.95, 0.15, -0.3),
        _polygon(-0.15, -0.5, 0.15, -0.5, 0.42, -0.1, 0.42, 1, -0.42, 1, -0.42, -0.1),
        _box(-0.42, 0.25, 0.42, 0.68, tone="light"),
        _box(-0.19, -1, 0.19, -0.8, tone="dark"),
    ),
    "jug": (
        _ellipse(0.5, -0.1, 0.48, 0.6),
        _ellipse(0.5, -0.1, 0.3, 0.42, tone="hole"),
        _ellipse(-0.1, 0.4, 0.64, 0.58),
        _polygon(-0.42, 0.1, -0.38, -0.6, -0.9, -0.98, 0.28, -0.95, 0.2, 0.1),
        _polygon(-0.75, -0.9, 0.25, -0.88, 0.22, -0.72, -0.5, -0.75, tone="dark"),
    ),
    "basket": (
        _ellipse(0, -0.05, 0.78, 0.9),
        _ellipse(0, -0.05, 0.6, 0.72, tone="hole"),
        _box(-1, 0.05, 1, 1, tone="hole"),
        _polygon(-0.95, 0.05, 0.95, 0.05, 0.65, 0.95, -0.65, 0.95),
        _box(-1, 0, 1, 0.18, tone="dark"),
    ),
    # Tools.
    "hammer": (
        _box(-0.14, -0.6, 0.14, 1, tone="dark"),
        _polygon(-0.8, -1, 0.45, -1, 0.85, -0.55, 0.8, -0.45, 0.3, -0.42, -0.8, -0.42),
    ),
    "key": (
        _ellipse(0, -0.55, 0.45, 0.45),
        _ellipse(0, -0.55, 0.22, 0.22, tone="hole"),
        _box(-0.13, -0.15, 0.13, 1),
        _box(0.05, 0.42, 0.5, 0.6),
        _box(0.05, 0.78, 0.42, 0.96),
    ),
    "spanner": (
        _ellipse(0, -0.55, 0.5, 0.46),
        _polygon(-0.22, -1.1, 0.22, -1.1, 0.2, -0.55, -0.2, -0.55, tone="hole"),
        _box(-0.16, -0.2, 0.16, 0.6),
        _ellipse(0, 0.65, 0.34, 0.34),
        _ellipse(0, 0.65, 0.16, 0.16, tone="hole"),
    ),
    "ladder": (
        _box(-0.55, -1, -0.37, 1),
        _box(0.37, -1, 0.55, 1),
        *(_box(-0.4, y, 0.4, y + 0.15) for y in (-0.82, -0.44, -0.06, 0.32, 0.7)),
    ),
    # Buildings.
    "house": (
        _box(-0.75, -0.15, 0.75, 0.95),
        _polygon(-1, -0.1, 0, -0.95, 1, -0.1, tone="dark"),
        _box(-0.15, 0.35, 0.2, 0.95, tone="dark"),
        _box(-0.58, 0.12, -0.28, 0.42, tone="light"),
        _box(0.34, 0.12, 0.62, 0.42, tone="light"),
    ),
    "tower": (
        _box(-0.4, -0.6, 0.4, 1),
        _box(-0.55, -0.72, 0.55, -0.45),
        _box(-0.55, -1, -0.3, -0.7),
        _box(-0.12, -1, 0.12, -0.7),
        _box(0.3, -1, 0.55, -0.7),
        _box(-0.14, 0.55, 0.14, 1, tone="dark"),
        _box(-0.1, -0.2, 0.1, 0.15, tone="dark"),
    ),
    "tent": (
        _bar(-0.12, -1, 0.1, -0.75, width=0.08, tone="dark"),
        _bar(0.12, -1, -0.1, -0.75, width=0.08, tone="dark"),
        _polygon(0, -0.85, 1, 0.8, -1, 0.8),
        _polygon(0, -0.3, 0.34, 0.8, -0.34, 0.8, tone="dark"),
    ),
    # Conveyances.
    "car": (
        _polygon(
            *(-1, 0.02, -0.6, -0.05, -0.35, -0.55, 0.4, -0.55),
            *(0.65, -0.05, 1, 0.08, 1, 0.45, -1, 0.45),
        ),
        _polygon(-0.45, -0.05, -0.28, -0.42, 0, -0.42, 0, -0.05, tone="light"),
        _polygon(0.1, -0.05, 0.1, -0.42, 0.35, -0.42, 0.5, -0.05, tone="light"),
        _ellipse(-0.55, 0.45, 0.26, 0.26, tone="dark"),
        _ellipse(0.55, 0.45, 0.26, 0.26, tone="dark"),
    ),
    "boat": (
        _polygon(-1, 0.4, 1, 0.4, 0.65, 0.95, -0.65, 0.95, tone="dark"),
        _box(-0.07, -1, 0.05, 0.45, tone="dark"),
        _polygon(0.1, -0.95, 0.9, 0.28, 0.1, 0.28),
        _polygon(-0.13, -0.75, -0.8, 0.28, -0.13, 0.28),
    ),
    "lorry": (
        _box(-1, -0.7, 0.35, 0.45),
        _polygon(0.42, -0.3, 0.8, -0.3, 1, 0.05, 1, 0.45, 0.42, 0.45, tone="dark"),
        _polygon(0.52, -0.18, 0.75, -0.18, 0.9, 0.08, 0.52, 0.08, tone="light"),
        _box(-1, 0.35, 1, 0.48, tone="dark"),
        _ellipse(-0.65, 0.5, 0.24, 0.24, tone="dark"),
        _ellipse(-0.12, 0.5, 0.24, 0.24, tone="dark"),
        _ellipse(0.68, 0.5, 0.24, 0.24, tone="dark"),
    ),
    "rocket": (
        _polygon(-0.2, 0.55, 0.2, 0.55, 0.1, 0.8, 0, 1, -0.1, 0.8, tone="light"),
        _polygon(-0.25, 0.05, -0.7, 0.8, -0.25, 0.6, tone="dark"),
        _polygon(0.25, 0.05, 0.7, 0.8, 0.25, 0.6, tone="dark"),
        _polygon(0, -1, 0.2, -0.7, 0.32, -0.3, 0.32, 0.6, -0.32, 0.6, -0.32, -0.3, -0.2, -0.7),
        _ellipse(0, -0.25, 0.15, 0.15, tone="light"),
    ),
    # Round things.
    "ball": (_ellipse(0, 0, 0.9, 0.9), _ellipse(-0.32, -0.36, 0.2, 0.16, tone="light")),
    "ring": (_ellipse(0, 0, 0.97, 0.97), _ellipse(0, 0, 0.66, 0.66, tone="hole")),
    "wheel": (
        _ellipse(0, 0, 0.97, 0.97),
        _ellipse(0, 0, 0.72, 0.72, tone="hole"),
        _bar(-0.85, 0, 0.85, 0, width=0.15),
        _bar(0, -0.85, 0, 0.85, width=0.15),
        _bar(-0.6, -0.6, 0.6, 0.6, width=0.15),
        _bar(-0.6, 0.6, 0.6, -0.6, width=0.15),
        _ellipse(0, 0, 0.24, 0.24),
    ),
    # Figures, and a block.
    "star": (_star(5, 0.42),),
    "heart": (_heart(),),
    "cross": (_box(-0.28, -0.95, 0.28, 0.95), _box(-0.95, -0.28, 0.95, 0.28)),
    "moon": (_ellipse(0, 0, 0.92, 0.92), _ellipse(0.45, -0.1, 0.78, 0.78, tone="hole")),
    "brick": (
        _box(-0.98, -0.4, 0.78, 0.6),
        _polygon(-0.98, -0.4, -0.75, -0.65, 0.98, -0.65, 0.78, -0.4, tone="light"),
        _polygon(0.78, -0.4, 0.98, -0.65, 0.98, 0.32, 0.78, 0.6, tone="dark"),
    ),
}
