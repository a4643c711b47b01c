"""Paints of the drawn world: each colour's, and the shades that a thing in it has."""

import numpy as np
from numpy.typing import NDArray

from vl.data.world.outlines import Tone
from vl.data.world.scenes import COLOURS

Pixels = NDArray[np.uint8]
Colour = NDArray[np.float64]  # (..., 3) RGB in [0, 1]

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
_WHITE, _BLACK = np.ones(3), np.zeros(3)
TONES: dict[Tone, int] = {"hole": 0, "body": 1, "dark": 2, "light": 3}
SECOND = 4  # the texture's other colour


def palette_of(paint: Colour) -> Pixels:
    """The colour of each tone, ``(5, 3)``.

    Shades of a dark paint are lighter, and those of a light one darker, so that they are seen.
    """
    brightness = float(paint @ [0.3, 0.59, 0.11])
    if brightness < 0.12:
        dark, light, second = 0.35 * _WHITE, 0.65 * _WHITE, 0.62 * _WHITE
    elif brightness > 0.9:
        dark, light, second = 0.42 * _WHITE, 0.72 * _WHITE, 0.55 * _WHITE
    else:
        dark, light = 0.42 * paint, 0.4 * paint + 0.6 * _WHITE
        second = 0.3 * paint + 0.7 * _WHITE if brightness < 0.6 else 0.45 * paint
    return bytes_of(np.stack([_BLACK, paint, dark, light, second]))


def jittered(colour: Colour, chance: np.random.Generator, most: float) -> Colour:
    """A colour, each channel moved by ``most`` at most."""
    shifted: Colour = (colour + chance.uniform(-most, most, 3)).clip(0, 1)
    return shifted


def bytes_of(colours: Colour) -> Pixels:
    """Colours as pictures hold them, of the same shape."""
    rounded: Pixels = (colours.clip(0, 1) * 255).round().astype(np.uint8)
    return rounded


def fill_of(colour: Colour) -> tuple[int, int, int]:
    """A colour as Pillow wants it, ``(3,)``."""
    return filling(bytes_of(colour))


def filling(colour: Pixels) -> tuple[int, int, int]:
    """A pixel as Pillow wants it, ``(3,)``."""
    red, green, blue = colour.tolist()
    return red, green, blue


assert set(PAINTS) == set(COLOURS)
