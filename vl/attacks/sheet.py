"""Contact sheet of attacked images: the clean image, the amplified difference, the result."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from vl import sheets

MAX_ROWS = 20
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
    max_change = max((float((row.adversarial - row.clean).abs().max()) for row in rows), default=0)
    factor = max(1, int(_GREY / max_change)) if max_change > 0 else 1
    cells = []
    for row in rows:
        difference = (_GREY + factor * (row.adversarial - row.clean)).clamp(0, 1)
        for pixels, (text, last_line) in (
            (row.clean, row.clean_caption),
            (difference, row.difference_caption),
            (row.adversarial, row.adversarial_caption),
        ):
            cells.append(sheets.Cell(pixels, [*sheets.wrap(text, 2), *sheets.wrap(last_line, 1)]))
    sheets.write(
        path,
        cells,
        columns=3,
        image_height=sheets.CELL_WIDTH,
        headings=("clean", f"difference x {factor}", "adversarial"),
    )
    return factor
