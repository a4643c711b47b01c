"""Colors of the drawn world: the paint of each color name, and the tones of an object in it."""

import numpy as np
from numpy.typing import NDArray

from vl.data.world.outlines import Tone

Pixels = NDArray[np.uint8]
Color = NDArray[np.float64]  # (..., 3) RGB in [0, 1]

PAINTS: dict[str, tuple[float, float, float]] = {
    "red": (0.83, 0.1, 0.12),
    "orange": (0.96, 0.5, 0.06),
    "yellow": (0.96, 0.88, 0.16),
    "green": (0.1, 0.52, 0.18),
    "blue": (0.14, 0.26, 0.85),
    "purple": (0.5, 0.13, 0.62),
    "white": (0.97, 0.97, 0.97),
    "black": (0.06, 0.06, 0.06),
}
TONES: dict[Tone, int] = {"hole": 0, "body": 1, "dark": 2, "light": 3}
TEXTURE_TONE = 4
_WHITE, _BLACK = np.ones(3), np.zeros(3)


def tone_colors(paint: Color) -> Pixels:
    """The color of each tone, ``(5, 3)``.

    Tones of a dark paint are lighter and those of a light one darker, so that they are visible.
    """
    brightness = float(paint @ [0.3, 0.59, 0.11])
    if brightness < 0.12:
        dark, light, texture = 0.35 * _WHITE, 0.65 * _WHITE, 0.62 * _WHITE
    elif brightness > 0.9:
        dark, light, texture = 0.42 * _WHITE, 0.72 * _WHITE, 0.55 * _WHITE
    else:
        dark, light = 0.42 * paint, 0.4 * paint + 0.6 * _WHITE
        texture = 0.3 * paint + 0.7 * _WHITE if brightness < 0.6 else 0.45 * paint
    return to_uint8(np.stack([_BLACK, paint, dark, light, texture]))


def jitter_color(color: Color, rng: np.random.Generator, max_shift: float) -> Color:
    """A color, each channel shifted by at most ``max_shift``."""
    shifted: Color = (color + rng.uniform(-max_shift, max_shift, 3)).clip(0, 1)
    return shifted


def to_uint8(colors: Color) -> Pixels:
    """Colors as 8-bit pixels of the same shape."""
    rounded: Pixels = (colors.clip(0, 1) * 255).round().astype(np.uint8)
    return rounded


def fill_color(pixel: Pixels) -> tuple[int, int, int]:
    """A pixel, ``(3,)``, in Pillow's form."""
    red, green, blue = pixel.tolist()
    return red, green, blue
