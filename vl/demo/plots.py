"""The plots of the demonstration's page: training curves, and kinds on a map of word space.

Each plot is drawn twice, for light and for dark pages. It knows nothing of the page.
"""

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.data.errors import FormatError
from vl.data.files import decode_text
from vl.data.words.vectors import WordVectors
from vl.data.world.kinds import KINDS, Kind, families

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure  # slow to import, and few ask for a picture

_JUDGED = "development/"  # before the names of figures in the log
_INKS = ("#1d1d1f", "#e9e9ec")  # of text and axes, light pages and dark ones
_FAINT = ("#dcdce1", "#3a3a40")
# Middling tones, which show on white and on black.
_COLOURS = (
    "#3f83d8",
    "#dd7f14",
    "#2c9d5c",
    "#dc4a5e",
    "#9a6cd2",
    "#a86d4d",
    "#dd6fbb",
    "#85858f",
    "#1b9fb4",
)
_DASHES = ("-", "--", "-.", ":")
_FONT = 9  # points

_CURVES = (3.6, 2.5)  # inches
_MAP = (468.0, 380.0)  # points, wide and high
_LEGEND = 62.0  # points below the map
_MARGIN = 34.0  # points around the dots, for words
_DOT = 4.5  # points around the middle of a dot that words should leave free
_NEAR, _STEP, _RINGS = 6.0, 8.0, 4  # points from a dot to its word: rings of places to try
_PASSES = 4  # times that each word may move, seeing all others

Floats = NDArray[np.float64]
Points = list[tuple[int, float]]  # steps and values
_Box = tuple[float, float, float, float]  # left, bottom, right, top


class Plot(NamedTuple):
    """A plot as two SVG files and in words."""

    light: bytes
    dark: bytes
    described: str  # for those who cannot see it


class Log(NamedTuple):
    """What a training's ``log.jsonl`` has."""

    loss: Points
    judged: dict[str, Points]  # by the figure's name


def read_log(path: Path) -> Log:
    """The losses and the development figures in a ``log.jsonl``.

    Raises:
        FormatError: a line is not what ``vl.training.log`` writes.
        OSError: the file cannot be read.
    """
    log = Log([], {})
    text = decode_text(path, path.read_bytes())
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = json.loads(line)
            step = int(entry["step"])
            figures = {name: float(value) for name, value in entry.items()}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            problem = f"expected figures by step: {error}"
            raise FormatError(path, problem, record=f"line {number}") from error
        if "loss" in figures:
            log.loss.append((step, figures["loss"]))
        for name, value in figures.items():
            if name.startswith(_JUDGED):
                log.judged.setdefault(name.removeprefix(_JUDGED), []).append((step, value))
    return log


def curves(path: Path) -> list[Plot]:
    """Loss, and development figures of either scale, by step; of what is not logged, no plot.

    Args:
        path: the training's ``log.jsonl``.

    Raises:
        FormatError: the log is broken.
        OSError: it cannot be read.
    """
    log = read_log(path)
    # The development pictures' loss belongs beside the training's, whose unit it has.
    panels: dict[str, dict[str, Points]] = {"loss": {"training": log.loss} if log.loss else {}}
    for name, points in log.judged.items():
        share = all(0 <= value <= 1 for _, value in points)
        panel = "loss" if name == "loss" else "development, shares" if share else "development"
        panels.setdefault(panel, {})["development" if name == "loss" else name] = points
    found = []
    for title, lines in panels.items():
        if lines:
            last = (f"{name} {points[-1][1]:.3g}" for name, points in lines.items())
            found.append(
                _twice(f"{title} by step; at the end {', '.join(last)}", _curves, title, lines)
            )
    return found


def map_of_kinds(words: WordVectors) -> tuple[Plot | None, str]:
    """The kinds' vectors in two dimensions, and what to say below.

    Args:
        words: in which each kind is looked up by all that it is called.

    Returns:
        No plot if fewer than three kinds have a vector. Distances are true to scale: one unit is
        as long across as it is down.
    """
    found = [(kind, words.vector_of(", ".join(kind.words)).vector) for kind in KINDS]
    known = [(kind, vector) for kind, vector in found if vector is not None]
    lacking = [kind.name for kind, vector in found if vector is None]
    missing = f" Without a vector: {', '.join(lacking)}." if lacking else ""
    if len(known) < 3:
        return None, f"Too few kinds have a vector to draw a map.{missing}"
    kinds = [kind for kind, _ in known]
    places, share = principal(np.stack([vector for _, vector in known]))
    note = (
        f"Vectors of {words.width} numbers along their two principal axes, which hold "
        f"{100 * share:.0f} % of the variance: what lies close here can lie apart there.{missing}"
    )
    described = f"A map of word space with {', '.join(kind.name for kind in kinds)}"
    return _twice(described, _map, kinds, places), note


def principal(vectors: NDArray[np.float32]) -> tuple[Floats, float]:
    """Vectors along their two principal axes.

    Args:
        vectors: ``(V, D)``, at least two of them.

    Returns:
        Places, ``(V, 2)``, and the share of the variance that they keep. Of an axis and its
        opposite, the one is taken along which the farthest vector is positive.
    """
    centred = vectors - vectors.mean(0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2))
    places[:, : len(sizes)] = (left * sizes)[:, :2]
    places *= np.where(places.max(0) < -places.min(0), -1.0, 1.0)
    whole = float(sizes @ sizes)
    return places, float(sizes[:2] @ sizes[:2]) / whole if whole else 1.0


def _twice(described: str, drawn: Callable[..., "Figure"], *what: Any) -> Plot:
    """Drawn in both inks."""
    light, dark = (_svg(drawn(*what, ink, faint)) for ink, faint in zip(_INKS, _FAINT, strict=True))
    return Plot(light, dark, described)


def _curves(title: str, lines: dict[str, Points], ink: str, faint: str) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=_CURVES, layout="constrained")
    axes = figure.add_subplot()
    for place, (name, points) in enumerate(lines.items()):
        steps, values = zip(*points, strict=True)
        axes.plot(
            steps,
            values,
            color=_COLOURS[place % len(_COLOURS)],
            linestyle=_DASHES[place % len(_DASHES)],
            linewidth=1.2,
            marker="o" if len(points) < 2 else "",
            label=name,
        )
    axes.set_title(title, size=_FONT + 1, loc="left", color=ink)
    axes.set_xlabel("step", size=_FONT)
    axes.set_xlim(left=0)
    axes.grid(color=faint, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", nbins=5, integer=True)
    _inked(axes, ink, faint)
    if title != "loss" or len(lines) > 1:  # else there is one line, the training's
        axes.legend(fontsize=_FONT - 1, frameon=False, labelcolor=ink)
    return figure


def _map(kinds: Sequence[Kind], places: Floats, ink: str, faint: str) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    width, height = _MAP
    figure = Figure(figsize=(width / 72, (height + _LEGEND) / 72))
    axes = figure.add_axes(
        (0, _LEGEND / (height + _LEGEND), 1, height / (height + _LEGEND)),
        xlim=(0, width),
        ylim=(0, height),
        xticks=[],
        yticks=[],
        frame_on=False,
    )
    dots = _in_points(places)  # (V, 2)
    named = list(dict.fromkeys(_family(kind) for kind in kinds))
    colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(named)}
    boxes = _boxes(dots, [_extent(kind) for kind in kinds])
    for kind, (x, y), (left, bottom, right, top) in zip(kinds, dots, boxes, strict=True):
        near = (min(max(x, left), right), min(max(y, bottom), top))
        if math.dist((x, y), near) > _NEAR + 1:
            axes.plot((x, near[0]), (y, near[1]), color=ink, linewidth=0.5, alpha=0.6, zorder=1)
        axes.plot(x, y, **_marker(unseen=kind.hops > 0), color=colours[_family(kind)], zorder=2)
        axes.text(
            (left + right) / 2,
            (bottom + top) / 2,
            kind.name,
            ha="center",
            va="center",
            size=_FONT,
            color=ink,
            weight=_weight(kind),
            zorder=3,
        )
    _inked(axes, ink, faint)
    handles = [
        Line2D([], [], linestyle="", marker="s", markersize=6, color=colour, label=name)
        for name, colour in colours.items()
    ]
    handles += [
        Line2D([], [], linestyle="", **_marker(unseen=unseen), color=ink, label=label)
        for unseen, label in ((False, "in training pictures"), (True, "in none (bold)"))
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=4,
        fontsize=_FONT,
        frameon=False,
        labelcolor=ink,
        columnspacing=1.4,
        handletextpad=0.3,
    )
    return figure


def _marker(*, unseen: bool) -> dict[str, Any]:
    return {"marker": "D", "markersize": 6} if unseen else {"marker": "o", "markersize": 5}


def _family(kind: Kind) -> str:
    """The widest family below those of living and of made things."""
    return families(kind.name)[-3]


def _in_points(places: Floats) -> Floats:
    """Places as points of the map, ``(V, 2)``, as large as fits, the middle in the middle."""
    room = np.array(_MAP) - 2 * _MARGIN
    low, high = places.min(0), places.max(0)
    scale = float(np.min(room / np.maximum(high - low, 1e-9)))
    return (places - (low + high) / 2) * scale + np.array(_MAP) / 2


def _extent(kind: Kind) -> tuple[float, float]:
    """How wide and high a kind's name is with a little room about it, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(weight=_weight(kind))
    width = TextPath((0, 0), kind.name, size=_FONT, prop=font).get_extents().width
    return width + 4, 1.15 * _FONT


def _weight(kind: Kind) -> str:
    return "bold" if kind.hops else "normal"


def _boxes(dots: Floats, extents: Sequence[tuple[float, float]]) -> list[_Box]:
    """Where the words go: each beside its dot, where it covers the least of the rest."""
    marks = [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in dots.tolist()]
    tried = [
        list(_around(x, y, *extent)) for (x, y), extent in zip(dots.tolist(), extents, strict=True)
    ]
    boxes = [places[0] for places in tried]
    for _ in range(_PASSES):
        for number, places in enumerate(tried):
            others = [box for place, box in enumerate((*boxes, *marks)) if place != number]
            costs = [
                sum(_shared(box, other) for other in others) + 4 * _outside(box) + place / 10
                for place, box in enumerate(places)  # an earlier place is a better one
            ]
            boxes[number] = places[int(np.argmin(costs))]
    return boxes


def _around(x: float, y: float, width: float, height: float) -> Iterator[_Box]:
    """Places for a word about a dot: right, left, above, below, corners; then farther out."""
    for ring in range(_RINGS):
        away = _NEAR + _STEP * ring
        for across, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            slant = away * (0.7 if across and up else 1.0)
            left = x + across * (slant + width / 2) - width / 2
            bottom = y + up * (slant + height / 2) - height / 2
            yield left, bottom, left + width, bottom + height


def _shared(one: _Box, other: _Box) -> float:
    """The area, in square points, that lies in both."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across * down if across > 0 and down > 0 else 0.0


def _outside(box: _Box) -> float:
    """The area of a box that is not on the map."""
    return (box[2] - box[0]) * (box[3] - box[1]) - _shared(box, (0.0, 0.0, *_MAP))


def _inked(axes: "Axes", ink: str, faint: str) -> None:
    axes.set_facecolor("none")
    axes.tick_params(colors=ink, labelsize=_FONT - 1, color=faint)
    axes.xaxis.label.set_color(ink)
    axes.spines[:].set_color(faint)


def _svg(figure: "Figure") -> bytes:
    """The drawing, without its time of making: the same figures give the same file."""
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "vl"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()
