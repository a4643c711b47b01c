"""What is around the things of a drawn scene: grounds, clutter, and decoys in other colours.

What makes a picture hard is here: neither the ground nor the clutter says what the thing is, and a
picture has about as much of some other colours as of its main thing's.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

from vl.data.world.palette import PAINTS, Pixels, bytes_of, fill_of, filling, jittered, palette_of
from vl.data.world.scenes import COLOURS, GROUNDS, Scene

# All of middling brightness and pale, so that white, black and the paints stand out.
_GROUND: dict[str, tuple[float, float, float]] = {
    "grass": (0.53, 0.68, 0.42),
    "sand": (0.82, 0.74, 0.57),
    "stone": (0.6, 0.6, 0.63),
    "water": (0.55, 0.72, 0.83),
    "earth": (0.55, 0.43, 0.34),
}
_LUMPS = 7  # of a blob
_BLOB = (0.024, 0.05)  # its half height, in sides of the picture
_BLOB_AREA = 0.0145  # of a decoy for each of its blobs, which are far smaller
_MOST_DECOY = 0.15  # of the picture; then the main thing cannot be overlooked anyway
_DECOY = (math.log(0.6), math.log(2.2))  # logarithms of a decoy's share of the main thing's area
_WIDEST_BAND = 0.13  # sides of the picture
_SHADES = (0, 0.66, 0.12, 0.08, 0.14)  # how often a blob has each tone of its paint
_BARS = 7  # of a band that has any
_BAR_TONES = (0, 0, 0.3, 0.1, 0.6)
# A band along the upper edge, turned to each of the four.
_TURNS = (
    lambda x, y: (x, y),
    lambda x, y: (1 - y, x),
    lambda x, y: (1 - x, 1 - y),
    lambda x, y: (y, 1 - x),
)


def ground_of(name: str, chance: np.random.Generator, size: int) -> Image.Image:
    """A ground of its colour in patches and a slope, with its own marks on it."""
    base = np.array(_GROUND[name]) * chance.uniform(0.82, 1.02) + chance.uniform(-0.04, 0.04, 3)
    cells = int(chance.integers(3, 8))
    patches = chance.uniform(-0.09, 0.09, (cells, cells, 1)) + chance.uniform(
        -0.025, 0.025, (cells, cells, 3)
    )
    slope = np.linspace(-1, 1, cells)
    patches = patches + chance.uniform(-0.07, 0.07) * slope[:, None, None]
    patches = patches + chance.uniform(-0.07, 0.07) * slope[None, :, None]
    small = Image.fromarray(bytes_of(base + patches))
    canvas = small.resize((size, size), Image.Resampling.BICUBIC)
    brush = ImageDraw.Draw(canvas)
    marks = {"grass": 130, "sand": 170, "stone": 16, "water": 34, "earth": 60}[name]
    places = chance.uniform(-0.03, 1.03, (marks, 2)) * size
    shades = base * (1 + chance.uniform(-0.22, 0.2, (marks, 1)))
    lengths = chance.uniform(0.4, 1, (marks, 2)) * size
    thin, thick = round(0.007 * size), round(0.01 * size)
    for (x, y), shade, (one, other) in zip(places, map(fill_of, shades), lengths):
        if name == "grass":
            brush.line((x, y, x + 0.03 * (other - 0.7 * size), y - 0.055 * one), shade, thin)
        elif name == "sand":
            brush.ellipse((x, y, x + 0.012 * one, y + 0.01 * other), shade)
        elif name == "stone":
            bend = (x + 0.16 * (one - 0.7 * size), y + 0.12 * one)
            brush.line((x, y, *bend, bend[0] + 0.1 * other, bend[1] + 0.04 * one), shade, thick)
        elif name == "water":
            brush.arc((x, y, x + 0.16 * one, y + 0.05 * other), 10, 170, shade, thick)
        else:
            brush.polygon(
                (x, y, x + 0.04 * one, y - 0.02 * other, x + 0.05 * other, y + 0.03 * one), shade
            )
    return canvas


def add_decoys(
    brush: ImageDraw.ImageDraw, chance: np.random.Generator, size: int, scene: Scene
) -> None:
    """Bands along edges and flocks of blobs in colours that no thing has, as much as things have.

    Without them a histogram of colours would name the main thing's colour nearly always.
    """
    others = [name for name in COLOURS if name not in {group.colour for group in scene.groups}]
    area = sum(2 * place.radius**2 for place in scene.main.places)  # half of its squares
    area = min(area, _MOST_DECOY)
    free = [0, 1, 2, 3]  # edges
    for name in chance.permutation(others)[: int(chance.integers(2, 5))].tolist():
        palette = palette_of(jittered(np.array(PAINTS[name]), chance, 0.03))
        wanted = min(area * math.exp(chance.uniform(*_DECOY)), _WIDEST_BAND)
        if chance.random() < 0.85:  # bands hide no shapes
            edge = free.pop(int(chance.integers(len(free))))
            _band(brush, chance, size, palette, edge=edge, width=wanted)
            wanted *= 0.15  # and a few blobs more, for its shades
        tones = chance.choice(5, math.ceil(wanted / _BLOB_AREA), p=_SHADES)
        _blobs(brush, chance, size, [filling(palette[tone]) for tone in tones])


def _band(
    brush: ImageDraw.ImageDraw,
    chance: np.random.Generator,
    size: int,
    palette: Pixels,
    *,
    edge: int,
    width: float,
) -> None:
    """A band along an edge of the picture, some of them with bars of another tone."""
    slant = float(chance.uniform(-0.6, 0.6)) * width
    shapes = [((0.0, 0.0, 1.0, 0.0, 1.0, width + slant, 0.0, width - slant), 1)]
    if chance.random() < 0.6:
        tone = int(chance.choice(5, p=_BAR_TONES))
        for bar in range(_BARS):
            left = (bar + float(chance.uniform(0, 0.5))) / _BARS
            right = left + 0.4 / _BARS
            shapes.append(((left, 0.0, right, 0.0, right, width, left, width), tone))
    for corners, tone in shapes:
        turned = [_TURNS[edge](x, y) for x, y in zip(corners[::2], corners[1::2], strict=True)]
        brush.polygon([(x * size, y * size) for x, y in turned], filling(palette[tone]))


def _blobs(
    brush: ImageDraw.ImageDraw,
    chance: np.random.Generator,
    size: int,
    fills: list[tuple[int, int, int]],
) -> None:
    """Ragged lumps anywhere, wider than they are high, one of each colour given."""
    count = len(fills)
    middles = chance.uniform(0, size, (count, 2))
    radii = size * chance.uniform(*_BLOB, (count, 1)) * chance.uniform(0.55, 1.25, (count, _LUMPS))
    turns = 2 * np.pi * (np.arange(_LUMPS) + chance.random((count, 1))) / _LUMPS
    xs = middles[:, :1] + (1 + chance.random((count, 1))) * radii * np.cos(turns)
    corners = np.stack([xs, middles[:, 1:] + radii * np.sin(turns)], 2)  # (count, _LUMPS, 2)
    for outline, fill in zip(corners.reshape(count, -1).tolist(), fills, strict=True):
        brush.polygon(outline, fill)


def add_clutter(
    brush: ImageDraw.ImageDraw,
    chance: np.random.Generator,
    size: int,
    *,
    count: int,
    blobs: bool,
) -> None:
    """Specks and strokes, and blobs where wanted, in shades of the paints and other colours.

    They are much smaller than the smallest thing.
    """
    known = list(PAINTS.values())
    for which, form in chance.uniform(0, 1, (count, 2)):
        if which < 0.75:
            colour = np.array(known[int(chance.integers(len(known)))]) * chance.uniform(0.6, 1.15)
        else:
            colour = chance.uniform(0, 1, 3)
        fill = fill_of(jittered(colour, chance, 0.05))
        x, y, a, b, turn = chance.uniform(0, 1, 5).tolist()
        x, y = x * size, y * size
        if blobs and form < 0.6:
            _blobs(brush, chance, size, [fill])
        elif form < 0.8:
            length, angle = size * (0.05 + 0.1 * a), 2 * math.pi * turn
            end = (x + length * math.cos(angle), y + length * math.sin(angle))
            brush.line((x, y, *end), fill, max(2, round(size * (0.008 + 0.008 * b))))
        else:
            radius = size * (0.006 + 0.009 * a)
            brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill)


assert set(_GROUND) == set(GROUNDS)
