"""Photographs on a sheet: what every picture of photographs and text is drawn with.

It does not know what stands beside a photograph.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from vl.data.files import atomic_write, escape_unprintable
from vl.data.images.decode import decode

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # slow to import, and few ask for a picture

_DPI = 100
_SIDE = 320  # pixels of a photograph's longer side: more than it has on a sheet


def thumbnail(path: Path) -> NDArray[np.float32]:
    """A photograph made small: ``(h, w, 3)`` in [0, 1].

    Raises:
        FormatError: the file is not a photograph.
        OSError: it cannot be read.
    """
    pixels = decode(path)  # (3, H, W)
    scale = min(1.0, _SIDE / max(pixels.shape[1:]))
    size = [max(1, round(side * scale)) for side in pixels.shape[1:]]
    small = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    made: NDArray[np.float32] = small.clamp(0, 1).permute(1, 2, 0).numpy()
    return made


def clean(text: str) -> str:
    """A text as it can be drawn, in one line."""
    return escape_unprintable(text).replace("\n", " ")


def write(path: Path, figure: "Figure") -> None:
    """Write a sheet as .png, whole or not at all.

    Raises:
        OSError: the place cannot be written to.
    """
    with atomic_write(path) as beside, warnings.catch_warnings():
        # A letter that matplotlib's own font lacks becomes a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(beside, format="png", dpi=_DPI)
