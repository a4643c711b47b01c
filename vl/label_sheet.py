"""A sheet of photographs, each with its labels as bars below it.

It draws what it is given; what the labels mean it does not know.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vl import sheets as contact_sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 60  # photographs on a sheet
MOST_BARS = 10  # labels below a photograph
_COLUMNS = 5
# In inches: a cell's width, the photograph's height, a line of text or a bar, and between cells.
_WIDTH, _HEIGHT, _LINE, _GAP = 2.4, 1.9, 0.19, 0.16
_FONT = 8  # points; a line holds them
_LETTERS = 34  # of a line that fit a cell's width
_FIGURE_LETTERS = 6  # of them the figure takes
_CHOSEN, _OTHER, _NONE = "#8ecae6", "#dbe9f1", "#dddddd"  # the best label, the rest, none of these


class Bar(NamedTuple):
    """A label of a photograph."""

    text: str
    share: float | None  # of the cell's width, from 0 to 1; None for no bar
    figure: str  # what stands at its end


class Cell(NamedTuple):
    """A photograph and what is said of it."""

    path: Path
    bars: tuple[Bar, ...]  # the best first
    none_of_these: bool


def write(path: Path, cells: Sequence[Cell]) -> list[Exception]:
    """Write a sheet as .png, whole or not at all.

    Args:
        path: the file to be.
        cells: at most ``MOST``; of each at most ``MOST_BARS`` labels are drawn.

    Returns:
        Why photographs could not be drawn; their places are empty frames.

    Raises:
        ValueError: there is no photograph or there are too many.
        OSError: the place cannot be written to.
    """
    from matplotlib.figure import Figure

    if not 1 <= len(cells) <= MOST:
        raise ValueError(f"{len(cells)} photographs; a sheet holds from 1 to {MOST}")
    lines = 1 + max(min(len(cell.bars), MOST_BARS) + cell.none_of_these for cell in cells)
    columns = min(_COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    tall = _HEIGHT + lines * _LINE + _GAP
    width, height = columns * (_WIDTH + _GAP) + _GAP, rows * tall + _GAP
    figure = Figure(figsize=(width, height))
    failures: list[Exception] = []
    for place, cell in enumerate(cells):
        left = _GAP + place % columns * (_WIDTH + _GAP)
        top = height - _GAP - place // columns * tall
        below = top - _HEIGHT - lines * _LINE
        photograph = figure.add_axes(
            (left / width, (top - _HEIGHT) / height, _WIDTH / width, _HEIGHT / height),
            anchor="S",  # a wide photograph stands on its labels
            xticks=[],
            yticks=[],
        )
        try:
            photograph.imshow(contact_sheet.thumbnail(cell.path))
            photograph.spines[:].set_visible(False)
        except (OSError, ValueError) as error:
            failures.append(error)
        text = figure.add_axes(
            (left / width, below / height, _WIDTH / width, lines * _LINE / height),
            xlim=(0, 1),
            ylim=(lines, 0),
        )
        text.axis("off")
        _describe(text, cell)
    contact_sheet.write(path, figure)
    return failures


def _describe(axes: "Axes", cell: Cell) -> None:
    """The file's name and a bar for each label, a line each, from 0 downwards."""
    name = contact_sheet.clean("/".join(cell.path.parts[-2:]))  # a folder may be a class
    _line(axes, 0, name if len(name) <= _LETTERS else f"...{name[3 - _LETTERS :]}", "#666666")
    begin = 1
    if cell.none_of_these:
        _line(axes, 1, "none of these", "#b00020", bold=True)
        begin = 2
    for row, bar in enumerate(cell.bars[:MOST_BARS], begin):
        best = row == 1
        grey = "#888888" if cell.none_of_these or bar.share is None else "black"
        if bar.share is not None:
            colour = _NONE if cell.none_of_these else _CHOSEN if best else _OTHER
            axes.barh(row + 0.5, bar.share, height=0.86, color=colour)  # cut off at 0 and 1
        text = contact_sheet.clean(bar.text)
        _line(axes, row, _shortened(text, _LETTERS - _FIGURE_LETTERS), grey, bold=best)
        axes.text(
            1, row + 0.5, bar.figure, ha="right", va="center_baseline", size=_FONT, color=grey
        )


def _line(axes: "Axes", row: int, text: str, colour: str, *, bold: bool = False) -> None:
    axes.text(
        0.01,
        row + 0.5,
        text,
        va="center_baseline",
        size=_FONT,
        color=colour,
        weight="bold" if bold else "normal",
        parse_math=False,
    )


def _shortened(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 3]}..."
