"""Pictures of the drawn world's scenes: antialiased things, uneven light and noise."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vl.data.world.background import add_clutter, add_decoys, ground_of
from vl.data.world.kinds import OF
from vl.data.world.outlines import OUTLINES
from vl.data.world.palette import PAINTS, SECOND, TONES, Colour, Pixels, jittered, palette_of
from vl.data.world.scenes import SPLITS, Group, Place, Scene

LEAST_SIDE, MOST_SIDE = 64, 224  # pixels
_FINER = 3  # points drawn for a pixel, along a side
_QUALITY = 95  # of a JPEG; Pillow's manual advises against more

_STRIPE = 0.66  # of the half side: from one stripe to the next
_SPOT = 0.58
_RIM = 0.065  # of the half side, without texture: else a pale stripe is lost on a pale ground


def draw(scene: Scene, *, side: int = 96) -> Pixels:
    """The picture of a scene, ``(side, side, 3)``, uint8 RGB.

    It comes from the scene's split, number and seed, with what the scene says in it.

    Args:
        scene: what it shows.
        side: pixels, from 64 to 224; the drawing is the same, only finer.

    Raises:
        ValueError: the side is out of that range.
    """
    if not LEAST_SIDE <= side <= MOST_SIDE:
        raise ValueError(f"side is {side}; it must be from {LEAST_SIDE} to {MOST_SIDE}")
    split = SPLITS.index(scene.split) if scene.split in SPLITS else len(SPLITS)
    chance = np.random.default_rng([scene.seed % 2**64, split, scene.number])
    canvas = ground_of(scene.ground, chance, side * _FINER)
    paints = [jittered(np.array(PAINTS[group.colour]), chance, 0.03) for group in scene.groups]
    brush = ImageDraw.Draw(canvas)
    add_decoys(brush, chance, canvas.width, scene)
    add_clutter(brush, chance, canvas.width, count=int(chance.integers(2, 6)), blobs=True)
    points = np.array(canvas)  # (side * _FINER, side * _FINER, 3)
    for group, paint in zip(scene.groups, paints, strict=True):
        for place in group.places:
            _thing(points, group, place, paint, chance)
    canvas = Image.fromarray(points)
    brush = ImageDraw.Draw(canvas)
    add_clutter(brush, chance, canvas.width, count=int(chance.integers(1, 3)), blobs=False)
    return _developed(np.asarray(canvas.reduce(_FINER)), chance)


def encoded(pixels: Pixels) -> bytes:
    """A picture as the content of a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return file.getvalue()


def _developed(pixels: Pixels, chance: np.random.Generator) -> Pixels:
    """With uneven light, a tint and noise."""
    side = len(pixels)
    ticks = np.linspace(-1, 1, side, dtype=np.float32)
    lit = np.float32(chance.uniform(0.82, 1.08))
    slope_x, slope_y = chance.uniform(-0.09, 0.09, 2).astype(np.float32)
    light = lit + slope_x * ticks[None, :] + slope_y * ticks[:, None]  # (side, side)
    tint = chance.uniform(0.96, 1.04, 3).astype(np.float32) * light[..., None]
    noise = chance.standard_normal(pixels.shape, dtype=np.float32)
    noise *= np.float32(255 * chance.uniform(0.015, 0.05))
    developed: Pixels = (pixels * tint + noise).clip(0, 255).astype(np.uint8)
    return developed


def _thing(
    points: Pixels, group: Group, place: Place, paint: Colour, chance: np.random.Generator
) -> None:
    """Draw one thing into ``points``."""
    size = len(points)
    radius = place.radius * size
    reach = math.ceil(1.5 * radius)  # a turned square's corner is not farther
    left, top = round(place.x * size) - reach, round(place.y * size) - reach
    stretch = chance.uniform(0.93, 1.07) * radius
    across, down = (-stretch if place.mirrored else stretch), radius
    cosine, sine = math.cos(place.turn), math.sin(place.turn)
    centre_x, centre_y = place.x * size - left, place.y * size - top
    tile = Image.new("L", (2 * reach, 2 * reach))
    brush = ImageDraw.Draw(tile)
    for part in OUTLINES[group.kind]:
        corners = []
        for x, y in part.corners:
            x, y = x * across, y * down
            corners.append((centre_x + x * cosine - y * sine, centre_y + x * sine + y * cosine))
        brush.polygon(corners, TONES[part.tone])
    tones = np.array(tile)  # (2 reach, 2 reach)
    if group.texture != "plain":
        inner = _inner(tones == 1, max(1, round(_RIM * radius)))
        tones[inner & _texture(group, place, len(tones), radius, chance)] = SECOND
    # What of the tile is within the picture.
    rows = slice(max(0, -top), min(2 * reach, size - top))
    columns = slice(max(0, -left), min(2 * reach, size - left))
    tones = tones[rows, columns]
    here = points[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    np.copyto(here, palette_of(paint)[tones], where=(tones > 0)[..., None])


def _texture(
    group: Group, place: Place, length: int, radius: float, chance: np.random.Generator
) -> NDArray[np.bool_]:
    """Where a tile has the texture's other colour, ``(length, length)``."""
    ticks = (np.arange(length, dtype=np.float32) - length / 2) / np.float32(radius)
    turn = place.turn + chance.uniform(-0.5, 0.5)
    if group.texture == "striped" and chance.random() < 0.4:
        turn += math.pi / 2
    across = ticks[None, :] * np.float32(math.cos(turn)) + ticks[:, None] * np.float32(
        math.sin(turn)
    )
    shift, other_shift = chance.uniform(0, 1, 2)
    if group.texture == "striped":
        found: NDArray[np.bool_] = (across / np.float32(_STRIPE) + np.float32(shift)) % 1 < 0.42
        return found
    down = ticks[:, None] * np.float32(math.cos(turn)) - ticks[None, :] * np.float32(math.sin(turn))
    down = down / np.float32(_SPOT) + np.float32(other_shift)
    across = across / np.float32(_SPOT) + np.float32(shift) + np.float32(0.5) * (np.floor(down) % 2)
    spots: NDArray[np.bool_] = (across % 1 - 0.5) ** 2 + (down % 1 - 0.5) ** 2 < 0.3**2
    return spots


def _inner(mask: NDArray[np.bool_], rim: int) -> NDArray[np.bool_]:
    """What of a mask is farther than ``rim`` points from its edge, along the axes."""
    found = mask.copy()
    found[rim:] &= mask[:-rim]
    found[:-rim] &= mask[rim:]
    found[:, rim:] &= mask[:, :-rim]
    found[:, :-rim] &= mask[:, rim:]
    return found


assert set(OUTLINES) == set(OF)
