"""Outlines of the drawn world's kinds, as polygons without color, size or position.

They are drawn in ``outlines.svg`` beside this file, each in a square from -1 to 1, x to the right
and y down; the class of a shape is its tone.
"""

import math
from pathlib import Path
from typing import Literal, NamedTuple, cast
from xml.etree import ElementTree

Tone = Literal["body", "dark", "light", "hole"]  # a hole shows what is behind

_ELLIPSE_CORNERS = 28
_NAMESPACE = "{http://www.w3.org/2000/svg}"


class Part(NamedTuple):
    """A polygon of an outline."""

    corners: tuple[tuple[float, float], ...]  # (x, y)
    tone: Tone  # body has the object's color and texture, the others are shades of it


def _read_outlines(path: Path) -> dict[str, tuple[Part, ...]]:
    groups = ElementTree.parse(path).getroot().iter(f"{_NAMESPACE}g")
    return {group.attrib["id"]: tuple(map(_read_part, group)) for group in groups}


def _read_part(shape: ElementTree.Element) -> Part:
    if shape.tag == f"{_NAMESPACE}ellipse":
        corners = _ellipse(*(float(shape.attrib[name]) for name in ("cx", "cy", "rx", "ry")))
    elif shape.tag == f"{_NAMESPACE}line":
        names = ("x1", "y1", "x2", "y2", "stroke-width")
        corners = _line(*(float(shape.attrib[name]) for name in names))
    else:
        coordinates = [float(value) for value in shape.attrib["points"].replace(",", " ").split()]
        corners = list(zip(coordinates[::2], coordinates[1::2], strict=True))
    return Part(tuple(corners), cast(Tone, shape.get("class", "body")))


def _ellipse(
    x: float, y: float, half_width: float, half_height: float
) -> list[tuple[float, float]]:
    angles = [2 * math.pi * corner / _ELLIPSE_CORNERS for corner in range(_ELLIPSE_CORNERS)]
    return [(x + half_width * math.cos(a), y + half_height * math.sin(a)) for a in angles]


def _line(
    x: float, y: float, end_x: float, end_y: float, width: float
) -> list[tuple[float, float]]:
    length = math.hypot(end_x - x, end_y - y)
    dx, dy = (end_y - y) / length * width / 2, (x - end_x) / length * width / 2
    return [(x + dx, y + dy), (end_x + dx, end_y + dy), (end_x - dx, end_y - dy), (x - dx, y - dy)]


# Later parts are drawn over earlier ones.
OUTLINES = _read_outlines(Path(__file__).with_name("outlines.svg"))
