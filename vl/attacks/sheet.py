"""Contact sheet of attacked images: the clean image, the amplified difference, the result."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from vl import sheets

MAX_ROWS = 20
# In inches: an image's side, the caption of three lines, the gap between images, the heading.
_SIDE, _CAPTION, _GAP, _HEADING = 2.6, 0.5, 0.15, 0.3
_FONT_SIZE = 8  # points
_LINE_LENGTH = 42  # letters that fit an image's side
_GREY = 0.5  # an unchanged pixel of the difference


class Row(NamedTuple):
    """An attacked image; a caption is a text of two lines and one of one line."""

    clean: Tensor  # (3, S, S) in [0, 1]
    adversarial: Tensor  # (3, S, S) in [0, 1]
    clean_caption: tuple[str, str]
    difference_caption: tuple[str, str]
    adversarial_caption: tuple[str, str]


def write(path: Path, rows: Sequence[Row]) -> int:
    """Write a contact sheet as .png.

    Args:
        path: output file.
        rows: 1 to ``MAX_ROWS``.

    Returns:
        The factor by which differences are amplified: the largest that fits the range around grey.

    Raises:
        ValueError: there is no image or there are too many.
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    if not 1 <= len(rows) <= MAX_ROWS:
        raise ValueError(f"{len(rows)} images; a contact sheet holds 1 to {MAX_ROWS}")
    max_change = max(float((row.adversarial - row.clean).abs().max()) for row in rows)
    factor = max(1, int(_GREY / max_change)) if max_change > 0 else 1
    row_height = _SIDE + _CAPTION + _GAP
    width, height = 3 * (_SIDE + _GAP) + _GAP, _HEADING + len(rows) * row_height + _GAP
    figure = Figure(figsize=(width, height))
    for column, heading in enumerate(("clean", f"difference x {factor}", "adversarial")):
        x = (_GAP + _SIDE / 2 + column * (_SIDE + _GAP)) / width
        y = 1 - _HEADING / 2 / height
        figure.text(x, y, heading, ha="center", va="center", size=_FONT_SIZE + 2, weight="bold")
    for index, row in enumerate(rows):
        difference = (_GREY + factor * (row.adversarial - row.clean)).clamp(0, 1)
        top = height - _HEADING - index * row_height
        cells = (
            (row.clean, row.clean_caption),
            (difference, row.difference_caption),
            (row.adversarial, row.adversarial_caption),
        )
        for column, (pixels, (text, last_line)) in enumerate(cells):
            left = _GAP + column * (_SIDE + _GAP)
            axes = figure.add_axes(
                (left / width, (top - _SIDE) / height, _SIDE / width, _SIDE / height)
            )
            axes.axis("off")
            # Not smoothed: single pixels of the difference must be visible.
            axes.imshow(pixels.permute(1, 2, 0).numpy(), interpolation="nearest")
            figure.text(
                left / width,
                (top - _SIDE - _GAP / 3) / height,
                "\n".join([*_wrap(text, 2), *_wrap(last_line, 1)]),
                va="top",
                size=_FONT_SIZE,
                parse_math=False,
            )
    sheets.write(path, figure)
    return factor


def _wrap(text: str, lines: int) -> list[str]:
    return textwrap.wrap(sheets.clean(text), _LINE_LENGTH, max_lines=lines, placeholder="...")
