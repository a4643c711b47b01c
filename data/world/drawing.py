"""Rendering of the drawn world's scenes: antialiased objects, uneven light and noise."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vl.data.world.background import add_clutter, add_distractors, ground_texture
from vl.data.world.outlines import OUTLINES
from vl.data.world.palette import (
    PAINTS,
    TEXTURE_TONE,
    TONES,
    Color,
    Pixels,
    jitter_color,
    tone_colors,
)
from vl.data.world.scenes import SPLITS, Group, Placement, Scene

_SUPERSAMPLING = 3  # points a pixel, along a side
_JPEG_QUALITY = 95  # Pillow's manual advises against more
# In radii of the object.
_STRIPE_PERIOD = 0.66
_SPOT_PERIOD = 0.58
_RIM = 0.065  # without texture: else a pale stripe is lost on a pale ground


def render(scene: Scene, *, side: int = 96) -> Pixels:
    """The image of a scene, ``(side, side, 3)``, uint8 RGB.

    It is determined by the scene's split, index and seed, and its content.

    Args:
        scene: what it shows.
        side: pixels, from 64 to 224; the drawing is the same at any resolution.
    """
    split = SPLITS.index(scene.split) if scene.split in SPLITS else len(SPLITS)
    rng = np.random.default_rng([scene.seed % 2**64, split, scene.index])
    canvas = ground_texture(scene.ground, rng, side * _SUPERSAMPLING)
    paints = [jitter_color(np.array(PAINTS[group.color]), rng, 0.03) for group in scene.groups]
    brush = ImageDraw.Draw(canvas)
    add_distractors(brush, rng, canvas.width, scene)
    add_clutter(brush, rng, canvas.width, count=int(rng.integers(2, 6)), blobs=True)
    points = np.array(canvas)  # (side * _SUPERSAMPLING, side * _SUPERSAMPLING, 3)
    for group, paint in zip(scene.groups, paints, strict=True):
        for placement in group.placements:
            _render_object(points, group, placement, paint, rng)
    canvas = Image.fromarray(points)
    brush = ImageDraw.Draw(canvas)
    add_clutter(brush, rng, canvas.width, count=int(rng.integers(1, 3)), blobs=False)
    return _add_light_and_noise(np.asarray(canvas.reduce(_SUPERSAMPLING)), rng)


def encode_jpeg(pixels: Pixels) -> bytes:
    """An image as the content of a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def _add_light_and_noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """With uneven light, a tint and Gaussian noise."""
    side = len(pixels)
    ticks = np.linspace(-1, 1, side, dtype=np.float32)
    brightness = np.float32(rng.uniform(0.82, 1.08))
    slope_x, slope_y = rng.uniform(-0.09, 0.09, 2).astype(np.float32)
    light = brightness + slope_x * ticks[None, :] + slope_y * ticks[:, None]  # (side, side)
    tint = rng.uniform(0.96, 1.04, 3).astype(np.float32) * light[..., None]
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    noise *= np.float32(255 * rng.uniform(0.015, 0.05))
    noisy: Pixels = (pixels * tint + noise).clip(0, 255).astype(np.uint8)
    return noisy


def _render_object(
    points: Pixels, group: Group, placement: Placement, paint: Color, rng: np.random.Generator
) -> None:
    """Draw one object into ``points``."""
    size = len(points)
    radius = placement.radius * size
    reach = math.ceil(1.5 * radius)  # farther than a rotated square's corner
    left, top = round(placement.x * size) - reach, round(placement.y * size) - reach
    stretch = rng.uniform(0.93, 1.07) * radius
    scale_x, scale_y = (-stretch if placement.mirrored else stretch), radius
    cosine, sine = math.cos(placement.angle), math.sin(placement.angle)
    center_x, center_y = placement.x * size - left, placement.y * size - top
    tile = Image.new("L", (2 * reach, 2 * reach))
    brush = ImageDraw.Draw(tile)
    for part in OUTLINES[group.kind]:
        corners = []
        for x, y in part.corners:
            x, y = x * scale_x, y * scale_y
            corners.append((center_x + x * cosine - y * sine, center_y + x * sine + y * cosine))
        brush.polygon(corners, TONES[part.tone])
    tones = np.array(tile)  # (2 reach, 2 reach)
    if group.texture != "plain":
        inner = _erode(tones == 1, max(1, round(_RIM * radius)))
        tones[inner & _texture_mask(group, placement, len(tones), radius, rng)] = TEXTURE_TONE
    # The part of the tile within the image.
    rows = slice(max(0, -top), min(2 * reach, size - top))
    columns = slice(max(0, -left), min(2 * reach, size - left))
    tones = tones[rows, columns]
    window = points[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    np.copyto(window, tone_colors(paint)[tones], where=(tones > 0)[..., None])


def _texture_mask(
    group: Group, placement: Placement, length: int, radius: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Where a tile has the texture's color, ``(length, length)``."""
    ticks = (np.arange(length, dtype=np.float32) - length / 2) / np.float32(radius)
    angle = placement.angle + rng.uniform(-0.5, 0.5)
    if group.texture == "striped" and rng.random() < 0.4:
        angle += math.pi / 2
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    x = ticks[None, :] * cosine + ticks[:, None] * sine
    shift_x, shift_y = rng.uniform(0, 1, 2)
    if group.texture == "striped":
        stripes: NDArray[np.bool_] = (
            x / np.float32(_STRIPE_PERIOD) + np.float32(shift_x)
        ) % 1 < 0.42
        return stripes
    y = ticks[:, None] * cosine - ticks[None, :] * sine
    y = y / np.float32(_SPOT_PERIOD) + np.float32(shift_y)
    x = x / np.float32(_SPOT_PERIOD) + np.float32(shift_x) + np.float32(0.5) * (np.floor(y) % 2)
    spots: NDArray[np.bool_] = (x % 1 - 0.5) ** 2 + (y % 1 - 0.5) ** 2 < 0.3**2
    return spots


def _erode(mask: NDArray[np.bool_], rim: int) -> NDArray[np.bool_]:
    """The mask without points that are within ``rim`` of its edge along an axis."""
    inner = mask.copy()
    inner[rim:] &= mask[:-rim]
    inner[:-rim] &= mask[rim:]
    inner[:, rim:] &= mask[:, :-rim]
    inner[:, :-rim] &= mask[:, rim:]
    return inner
