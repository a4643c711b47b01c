"""A sheet of attacked photographs: each as it was, the difference made strong, and the result.

It draws what it is given; what was said of a photograph it does not judge.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from vl import sheets as contact_sheet

MOST = 20  # photographs on a sheet
# In inches: a picture's side, three lines of text below it, between pictures, and the heading.
_SIDE, _TEXT, _GAP, _HEAD = 2.6, 0.5, 0.15, 0.3
_FONT = 8  # points
_LETTERS = 42  # that fit a picture's side
_GREY = 0.5  # of a pixel that did not change


class Row(NamedTuple):
    """A photograph on the sheet; below each picture stand a text of two lines and one of one."""

    original: Tensor  # (3, S, S) in [0, 1]
    result: Tensor  # of the same shape
    before: tuple[str, str]  # below the original
    between: tuple[str, str]  # below the difference
    after: tuple[str, str]  # below the result


def write(path: Path, rows: Sequence[Row]) -> int:
    """Write a sheet as .png, whole or not at all.

    Args:
        path: the file to be.
        rows: at most ``MOST``.

    Returns:
        How many times the differences are drawn as great as they are: as great as fits the range,
        around grey.

    Raises:
        ValueError: there is no photograph or there are too many.
        OSError: the place cannot be written to.
    """
    from matplotlib.figure import Figure

    if not 1 <= len(rows) <= MOST:
        raise ValueError(f"{len(rows)} photographs; a sheet holds from 1 to {MOST}")
    most = max(float((row.result - row.original).abs().max()) for row in rows)
    factor = max(1, int(_GREY / most)) if most > 0 else 1
    tall = _SIDE + _TEXT + _GAP
    width, height = 3 * (_SIDE + _GAP) + _GAP, _HEAD + len(rows) * tall + _GAP
    figure = Figure(figsize=(width, height))
    for column, head in enumerate(("original", f"difference x {factor}", "result")):
        middle = _GAP + _SIDE / 2 + column * (_SIDE + _GAP)
        place = middle / width, 1 - _HEAD / 2 / height
        figure.text(*place, head, ha="center", va="center", size=_FONT + 2, weight="bold")
    for number, row in enumerate(rows):
        difference = (_GREY + factor * (row.result - row.original)).clamp(0, 1)
        top = height - _HEAD - number * tall
        cells = (
            (row.original, row.before),
            (difference, row.between),
            (row.result, row.after),
        )
        for column, (pixels, (text, last)) in enumerate(cells):
            left = _GAP + column * (_SIDE + _GAP)
            axes = figure.add_axes(
                (left / width, (top - _SIDE) / height, _SIDE / width, _SIDE / height)
            )
            axes.axis("off")
            # Not smoothed: a pixel of the difference is to be seen as it is.
            axes.imshow(pixels.permute(1, 2, 0).numpy(), interpolation="nearest")
            figure.text(
                left / width,
                (top - _SIDE - _GAP / 3) / height,
                "\n".join([*_wrapped(text, 2), *_wrapped(last, 1)]),
                va="top",
                size=_FONT,
                parse_math=False,
            )
    contact_sheet.write(path, figure)
    return factor


def _wrapped(text: str, lines: int) -> list[str]:
    return textwrap.wrap(contact_sheet.clean(text), _LETTERS, max_lines=lines, placeholder="...")
