"""Surroundings of the objects of a drawn scene: ground, clutter, and distractors in other colors.

They make recognition hard: neither the ground nor the clutter depends on the object, and an image
has about as much of some other colors as of its main object's.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

from vl.data.world.palette import PAINTS, Pixels, fill_color, jitter_color, to_uint8, tone_colors
from vl.data.world.scenes import COLORS, Scene

# All of medium brightness and pale, so that white, black and the paints stand out.
_GROUND_COLORS: dict[str, tuple[float, float, float]] = {
    "grass": (0.53, 0.68, 0.42),
    "sand": (0.82, 0.74, 0.57),
    "stone": (0.6, 0.6, 0.63),
    "water": (0.55, 0.72, 0.83),
    "earth": (0.55, 0.43, 0.34),
}
_NUM_MARKS = {"grass": 130, "sand": 170, "stone": 16, "water": 34, "earth": 60}
_BLOB_CORNERS = 7
_BLOB_RADII = (0.024, 0.05)  # in sides of the image
_BLOB_AREA = 0.0145  # of a distractor for each of its blobs, which are far smaller
_MAX_AREA = 0.15  # share of the image; a larger main object cannot be overlooked anyway
_LOG_AREA_RATIO = (math.log(0.6), math.log(2.2))  # of a distractor to the main object
_MAX_BAND_WIDTH = 0.13  # in sides of the image
_BLOB_TONES = (0, 0.66, 0.12, 0.08, 0.14)  # probability of each tone
_NUM_BARS = 7  # of a band with bars
_BAR_TONES = (0, 0, 0.3, 0.1, 0.6)
# A band along the upper edge, rotated to each of the four.
_ROTATIONS = (
    lambda x, y: (x, y),
    lambda x, y: (1 - y, x),
    lambda x, y: (1 - x, 1 - y),
    lambda x, y: (y, 1 - x),
)


def ground_texture(name: str, rng: np.random.Generator, size: int) -> Image.Image:
    """A ground: its color in patches and a gradient, with marks of its own."""
    base = np.array(_GROUND_COLORS[name]) * rng.uniform(0.82, 1.02) + rng.uniform(-0.04, 0.04, 3)
    cells = int(rng.integers(3, 8))
    patches = rng.uniform(-0.09, 0.09, (cells, cells, 1)) + rng.uniform(
        -0.025, 0.025, (cells, cells, 3)
    )
    slope = np.linspace(-1, 1, cells)
    patches = patches + rng.uniform(-0.07, 0.07) * slope[:, None, None]
    patches = patches + rng.uniform(-0.07, 0.07) * slope[None, :, None]
    small = Image.fromarray(to_uint8(base + patches))
    canvas = small.resize((size, size), Image.Resampling.BICUBIC)
    brush = ImageDraw.Draw(canvas)
    num_marks = _NUM_MARKS[name]
    positions = rng.uniform(-0.03, 1.03, (num_marks, 2)) * size
    shades = base * (1 + rng.uniform(-0.22, 0.2, (num_marks, 1)))
    lengths = rng.uniform(0.4, 1, (num_marks, 2)) * size
    thin, thick = round(0.007 * size), round(0.01 * size)
    for (x, y), shade, (a, b) in zip(positions, map(fill_color, to_uint8(shades)), lengths):
        if name == "grass":
            brush.line((x, y, x + 0.03 * (b - 0.7 * size), y - 0.055 * a), shade, thin)
        elif name == "sand":
            brush.ellipse((x, y, x + 0.012 * a, y + 0.01 * b), shade)
        elif name == "stone":
            bend = (x + 0.16 * (a - 0.7 * size), y + 0.12 * a)
            brush.line((x, y, *bend, bend[0] + 0.1 * b, bend[1] + 0.04 * a), shade, thick)
        elif name == "water":
            brush.arc((x, y, x + 0.16 * a, y + 0.05 * b), 10, 170, shade, thick)
        else:
            corners = (x, y, x + 0.04 * a, y - 0.02 * b, x + 0.05 * b, y + 0.03 * a)
            brush.polygon(corners, shade)
    return canvas


def add_distractors(
    brush: ImageDraw.ImageDraw, rng: np.random.Generator, size: int, scene: Scene
) -> None:
    """Draw bands along edges and blobs in colors of no object, with areas like the main object's.

    Without them a color histogram would tell the main object's color nearly always.
    """
    free_colors = [c for c in COLORS if c not in {group.color for group in scene.groups}]
    area = sum(2 * p.radius**2 for p in scene.main.placements)  # half of their squares
    area = min(area, _MAX_AREA)
    free_edges = [0, 1, 2, 3]
    for color in rng.permutation(free_colors)[: int(rng.integers(2, 5))].tolist():
        palette = tone_colors(jitter_color(np.array(PAINTS[color]), rng, 0.03))
        target_area = min(area * math.exp(rng.uniform(*_LOG_AREA_RATIO)), _MAX_BAND_WIDTH)
        if rng.random() < 0.85:  # bands hide no shapes
            edge = free_edges.pop(int(rng.integers(len(free_edges))))
            _draw_band(brush, rng, size, palette, edge=edge, width=target_area)
            target_area *= 0.15  # and a few blobs for its tones
        tones = rng.choice(5, math.ceil(target_area / _BLOB_AREA), p=_BLOB_TONES)
        _draw_blobs(brush, rng, size, [fill_color(palette[tone]) for tone in tones])


def add_clutter(
    brush: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    size: int,
    *,
    count: int,
    blobs: bool,
) -> None:
    """Draw specks, strokes and perhaps blobs of any color, far smaller than the smallest object."""
    paints = list(PAINTS.values())
    for color_draw, shape_draw in rng.uniform(0, 1, (count, 2)):
        if color_draw < 0.75:
            color = np.array(paints[int(rng.integers(len(paints)))]) * rng.uniform(0.6, 1.15)
        else:
            color = rng.uniform(0, 1, 3)
        fill = fill_color(to_uint8(jitter_color(color, rng, 0.05)))
        x, y, a, b, turn = rng.uniform(0, 1, 5).tolist()
        x, y = x * size, y * size
        if blobs and shape_draw < 0.6:
            _draw_blobs(brush, rng, size, [fill])
        elif shape_draw < 0.8:
            length, angle = size * (0.05 + 0.1 * a), 2 * math.pi * turn
            end = (x + length * math.cos(angle), y + length * math.sin(angle))
            brush.line((x, y, *end), fill, max(2, round(size * (0.008 + 0.008 * b))))
        else:
            radius = size * (0.006 + 0.009 * a)
            brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill)


def _draw_band(
    brush: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    size: int,
    palette: Pixels,
    *,
    edge: int,
    width: float,
) -> None:
    """A band along an edge of the image, sometimes with bars of another tone."""
    slant = float(rng.uniform(-0.6, 0.6)) * width
    shapes = [((0.0, 0.0, 1.0, 0.0, 1.0, width + slant, 0.0, width - slant), 1)]
    if rng.random() < 0.6:
        tone = int(rng.choice(5, p=_BAR_TONES))
        for bar in range(_NUM_BARS):
            left = (bar + float(rng.uniform(0, 0.5))) / _NUM_BARS
            right = left + 0.4 / _NUM_BARS
            shapes.append(((left, 0.0, right, 0.0, right, width, left, width), tone))
    for corners, tone in shapes:
        points = [_ROTATIONS[edge](x, y) for x, y in zip(corners[::2], corners[1::2], strict=True)]
        brush.polygon([(x * size, y * size) for x, y in points], fill_color(palette[tone]))


def _draw_blobs(
    brush: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    size: int,
    fills: list[tuple[int, int, int]],
) -> None:
    """Irregular polygons anywhere, wider than high, one of each fill color."""
    count = len(fills)
    centers = rng.uniform(0, size, (count, 2))
    radii = size * rng.uniform(*_BLOB_RADII, (count, 1))
    radii = radii * rng.uniform(0.55, 1.25, (count, _BLOB_CORNERS))
    angles = 2 * np.pi * (np.arange(_BLOB_CORNERS) + rng.random((count, 1))) / _BLOB_CORNERS
    xs = centers[:, :1] + (1 + rng.random((count, 1))) * radii * np.cos(angles)
    corners = np.stack([xs, centers[:, 1:] + radii * np.sin(angles)], 2)
    for outline, fill in zip(corners.reshape(count, -1).tolist(), fills, strict=True):
        brush.polygon(outline, fill)
