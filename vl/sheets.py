"""Contact sheets: images in a grid, each above its lines of text, as .png files."""

import io
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from vl.data.files import atomic_write, escape_unprintable
from vl.data.images.decode import thumbnail

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure  # slow to import

MAX_CELLS = 500  # matplotlib draws at most 2**16 pixels below each other
CELL_WIDTH = 240  # pixels
LINE_LENGTH = 38  # characters of text in the width of a cell
BAR_COLOR, PALE_BAR_COLOR = "#8ecae6", "#dbe9f1"
_DPI = 100
_LINE_HEIGHT, _GAP, _TITLE_HEIGHT = 19, 16, 30  # pixels
_FONT_SIZE = 8  # points
_MAX_SIDE = 320  # pixels of a decoded image


class Line(NamedTuple):
    """A line of text below an image."""

    text: str
    value: str = ""  # at the right end
    fraction: float | None = None  # of the cell's width that the bar behind the text fills
    color: str = "black"
    bar_color: str = BAR_COLOR
    bold: bool = False


class Cell(NamedTuple):
    """An image and what is written below it."""

    image: Path | Tensor  # a file, or (3, H, W) in [0, 1]
    lines: Sequence[Line] = ()
    frame_color: str | None = None


def write(
    path: Path,
    cells: Sequence[Cell | None],
    *,
    columns: int = 5,
    image_height: int = 190,
    title: str = "",
    headings: Sequence[str] = (),
) -> list[Exception]:
    """Write a contact sheet.

    Args:
        path: output file.
        cells: 1 to ``MAX_CELLS``, row by row; None leaves a cell empty.
        columns: of the grid.
        image_height: in pixels; images are fitted into it and ``CELL_WIDTH``.
        title: above the sheet.
        headings: of the columns.

    Returns:
        Why images could not be read; their cells are empty frames.

    Raises:
        ValueError: there is no cell, or too many.
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    if not 1 <= len(cells) <= MAX_CELLS:
        raise ValueError(f"{len(cells)} images; a contact sheet holds 1 to {MAX_CELLS}")
    columns = min(columns, len(cells))
    lines = max((len(cell.lines) for cell in cells if cell), default=0)
    top = _TITLE_HEIGHT * (bool(title) + bool(headings))
    row_height = image_height + lines * _LINE_HEIGHT + _GAP
    width = columns * (CELL_WIDTH + _GAP) + _GAP
    height = top + -(-len(cells) // columns) * row_height + _GAP
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)

    def axes_at(left: int, down: int, height_of: int, **options: Any) -> "Axes":
        bottom = height - down - height_of
        box = (left / width, bottom / height, CELL_WIDTH / width, height_of / height)
        return figure.add_axes(box, **options)

    if title:
        text = textwrap.shorten(clean(title), LINE_LENGTH * columns, placeholder="...")
        y = 1 - _TITLE_HEIGHT / 2 / height
        figure.text(0.5, y, text, ha="center", va="center", size=_FONT_SIZE + 2, parse_math=False)
    for column, heading in enumerate(headings):
        x = (_GAP + CELL_WIDTH / 2 + column * (CELL_WIDTH + _GAP)) / width
        y = 1 - (top - _TITLE_HEIGHT / 2) / height
        figure.text(x, y, heading, ha="center", va="center", size=_FONT_SIZE + 2, weight="bold")
    failures: list[Exception] = []
    for index, cell in enumerate(cells):
        if cell is None:
            continue
        left = _GAP + index % columns * (CELL_WIDTH + _GAP)
        down = top + _GAP + index // columns * row_height
        # A wide image stands on its text.
        image_axes = axes_at(left, down, image_height, anchor="S", xticks=[], yticks=[])
        try:
            _draw_image(image_axes, cell)
        except (OSError, ValueError) as error:
            failures.append(error)
        if lines:
            box = axes_at(left, down + image_height, lines * _LINE_HEIGHT)
            box.set(xlim=(0, 1), ylim=(lines, 0))
            box.axis("off")
            for row, line in enumerate(cell.lines):
                _draw_line(box, row, line)
    save(path, figure)
    return failures


def clean(text: str) -> str:
    """A text that can be drawn in one line."""
    return escape_unprintable(text).replace("\n", " ")


def file_name(path: Path) -> str:
    """The end of a path that fits a line; with its folder, which may be a class."""
    name = clean("/".join(path.parts[-2:]))
    return name if len(name) <= LINE_LENGTH else f"...{name[3 - LINE_LENGTH :]}"


def wrap(text: str, lines: int) -> list[Line]:
    """A text in at most so many lines."""
    wrapped = textwrap.wrap(clean(text), LINE_LENGTH, max_lines=lines, placeholder="...")
    return [Line(line) for line in wrapped]


def save(path: Path, figure: "Figure") -> None:
    """Write a figure as .png, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    content = io.BytesIO()
    with atomic_write(path) as beside, warnings.catch_warnings():
        # A letter that matplotlib's font lacks becomes a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png", dpi=_DPI, metadata={"Software": "vl"})
        beside.write_bytes(content.getvalue())  # Pillow's own writing hides a full disk


def _draw_image(axes: "Axes", cell: Cell) -> None:
    if isinstance(cell.image, Path):
        axes.imshow(thumbnail(cell.image, _MAX_SIDE))
    else:  # not smoothed: single pixels must be visible
        axes.imshow(cell.image.permute(1, 2, 0).numpy(), interpolation="nearest")
    if cell.frame_color:
        axes.spines[:].set(color=cell.frame_color, linewidth=3)
    else:
        axes.spines[:].set_visible(False)


def _draw_line(axes: "Axes", row: int, line: Line) -> None:
    if line.fraction is not None:  # cut off at 0 and 1
        axes.barh(row + 0.5, line.fraction, height=0.86, color=line.bar_color)
    length = LINE_LENGTH - len(line.value) - (2 if line.value else 0)
    text = clean(line.text)
    text = text if len(text) <= length else f"{text[: length - 3]}..."
    style: dict[str, Any] = {"va": "center_baseline", "size": _FONT_SIZE, "color": line.color}
    weight = "bold" if line.bold else "normal"
    axes.text(0.01, row + 0.5, text, weight=weight, parse_math=False, **style)
    axes.text(1, row + 0.5, line.value, ha="right", parse_math=False, **style)
