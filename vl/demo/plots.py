"""Plots of the demonstration's page: training curves, and word vectors of the kinds in 2-D.

Every plot is drawn twice, for light and for dark pages.
"""

import io
import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.data.errors import FormatError
from vl.data.files import decode_text
from vl.data.words.vectors import WordVectors
from vl.data.world.kinds import KINDS, Kind, ancestors

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # slow to import

_DEVELOPMENT = "development/"  # prefix of development metrics in the log
# Text and grid of light and of dark pages, and medium tones that are visible on both.
_PAGES = (("#1d1d1f", "#dcdce1"), ("#e9e9ec", "#3a3a40"))
_COLORS = ("#3f83d8", "#dd7f14", "#2c9d5c", "#dc4a5e", "#9a6cd2", "#a86d4d", "#dd6fbb", "#1b9fb4")
_GREY = "#85858f"
_LINE_STYLES = ("-", "--", "-.", ":", "-", "--", "-.", ":")  # of the colors
_FONT_SIZE = 9  # points
# In points: width and height of the map, its legend below, the margin around the dots.
_WIDTH, _HEIGHT, _LEGEND, _MARGIN = 468.0, 380.0, 62.0, 34.0
_DOT_SIZE = 9.0  # that labels should leave free
_LABEL_DISTANCES = (6.0, 10.0, 14.0, 18.0, 22.0, 26.0, 30.0)  # from a dot, nearest first
_DIAGONALS = ((0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))
_LABEL_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), *_DIAGONALS)

FloatArray = NDArray[np.float64]
Curve = list[tuple[int, float]]  # steps and values


class Plot(NamedTuple):
    """A plot as two SVG files, with its text alternative."""

    alt: str
    light: bytes
    dark: bytes


class TrainingCurves(NamedTuple):
    """Contents of a training's ``log.jsonl``."""

    loss: Curve
    development: dict[str, Curve]  # by metric


def read_log(path: Path) -> TrainingCurves:
    """Read losses and development metrics from a ``log.jsonl``.

    Raises:
        FormatError: a line is not what ``vl.training.log`` writes.
        OSError: the file cannot be read.
    """
    log = TrainingCurves([], {})
    text = decode_text(path, path.read_bytes())
    for line_number, line in enumerate(text.splitlines(), 1):
        try:
            entry = json.loads(line)
            step = int(entry["step"])
            values = {name: float(value) for name, value in entry.items()}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            problem = f"expected metrics of a step: {error}"
            raise FormatError(path, problem, record=f"line {line_number}") from error
        if "loss" in values:
            log.loss.append((step, values["loss"]))
        for name, value in values.items():
            if name.startswith(_DEVELOPMENT):
                metric = name.removeprefix(_DEVELOPMENT)
                log.development.setdefault(metric, []).append((step, value))
    return log


def plot_training(path: Path) -> list[Plot]:
    """Plot loss and development metrics by step, metrics of different scales apart.

    Args:
        path: the training's ``log.jsonl``.

    Raises:
        FormatError: the log is damaged.
        OSError: it cannot be read.
    """
    log = read_log(path)
    panels: dict[str, dict[str, Curve]] = {"loss": {"training": log.loss} if log.loss else {}}
    for metric, curve in log.development.items():
        if metric == "loss":
            panels["loss"]["development"] = curve
        else:
            fraction = all(0 <= value <= 1 for _, value in curve)
            panel = "development, fractions" if fraction else "development"
            panels.setdefault(panel, {})[metric] = curve
    plots = []
    for title, curves in panels.items():
        if curves:
            last = (f"{name} {curve[-1][1]:.3g}" for name, curve in curves.items())
            alt = f"{title} by step; at the end {', '.join(last)}"
            plots.append(_plot(alt, _draw_curves, title, curves))
    return plots


def plot_word_space(words: WordVectors) -> tuple[Plot | None, str]:
    """Plot the word vectors of the kinds along their two principal components.

    Args:
        words: looked up by name and synonyms of each kind.

    Returns:
        The plot, None if fewer than three kinds have a vector; and a note on it.
    """
    vectors = {kind: words.lookup(", ".join(kind.words)).vector for kind in KINDS}
    missing = [kind.name for kind, vector in vectors.items() if vector is None]
    note = f" Without a vector: {', '.join(missing)}." if missing else ""
    kinds = [kind for kind, vector in vectors.items() if vector is not None]
    if len(kinds) < 3:
        return None, f"Too few kinds have a word vector for a plot.{note}"
    matrix = np.stack([vector for vector in vectors.values() if vector is not None])
    components, explained_variance = principal_components(matrix)
    note = (
        f"Word vectors of width {words.width} along their two principal components, which explain "
        f"{100 * explained_variance:.0f} % of the variance: neighbors here can be far apart in "
        f"word space.{note}"
    )
    alt = f"Word vectors in two dimensions: {', '.join(kind.name for kind in kinds)}"
    return _plot(alt, _draw_word_space, kinds, components), note


def principal_components(vectors: NDArray[np.float32]) -> tuple[FloatArray, float]:
    """Project vectors onto their two principal components.

    Args:
        vectors: ``(V, D)``, at least two.

    Returns:
        Coordinates, ``(V, 2)``, and the fraction of the variance that they explain.
    """
    centered = vectors - vectors.mean(0, dtype=np.float64)
    left, scales, _ = np.linalg.svd(centered, full_matrices=False)
    total = float(scales @ scales)
    return (left * scales)[:, :2], float(scales[:2] @ scales[:2]) / total if total else 1.0


def place_labels(points: FloatArray, sizes: FloatArray, area: FloatArray) -> FloatArray:
    """Place a label beside each point: the first position clear of labels, points and the border.

    Args:
        points: ``(V, 2)``, within the area.
        sizes: width and height of each label, ``(V, 2)``.
        area: width and height, ``(2,)``.

    Returns:
        The center of each label, ``(V, 2)``.
    """
    centers = points.copy()  # of the points, and then of the labels as well
    extents = np.full_like(points, _DOT_SIZE)
    for point, size in zip(points, sizes, strict=True):
        for distance, direction in product(_LABEL_DISTANCES, _LABEL_DIRECTIONS):
            center = point + distance * np.array(direction) + np.sign(direction) * size / 2
            inside = (np.abs(center - area / 2) <= (area - size) / 2).all()
            if inside and not (np.abs(center - centers) < (size + extents) / 2).all(1).any():
                break
        centers, extents = np.vstack([centers, center]), np.vstack([extents, size])
    return centers[len(points) :]


def _plot(alt: str, draw: Callable[..., "Figure"], *contents: Any) -> Plot:
    """Draw for light and dark pages, as reproducible SVG."""
    from matplotlib import rc_context, rcsetup

    files = []
    for text, grid in _PAGES:
        style: dict[Any, Any] = {
            "font.size": _FONT_SIZE,
            "text.color": text,
            "axes.edgecolor": grid,
            "axes.grid": True,
            "axes.labelcolor": text,
            "axes.prop_cycle": rcsetup.cycler(color=_COLORS, linestyle=_LINE_STYLES),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlecolor": text,
            "axes.titlelocation": "left",
            "axes.titlesize": _FONT_SIZE + 1,
            "grid.color": grid,
            "legend.fontsize": _FONT_SIZE - 1,
            "legend.frameon": False,
            "lines.linewidth": 1.2,
            "svg.hashsalt": "vl",
            "xtick.color": text,
            "ytick.color": text,
        }
        file = io.BytesIO()
        with rc_context(style):
            draw(*contents).savefig(file, format="svg", transparent=True, metadata={"Date": None})
        files.append(file.getvalue())
    return Plot(alt, *files)


def _draw_curves(title: str, curves: dict[str, Curve]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6, 2.5), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="step")
    for name, curve in curves.items():
        marker = "o" if len(curve) < 2 else ""
        axes.plot(*zip(*curve, strict=True), marker=marker, label=name)
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=5, integer=True)
    if list(curves) != ["training"]:
        axes.legend()
    return figure


def _draw_word_space(kinds: Sequence[Kind], components: FloatArray) -> "Figure":
    """A dot and a name for each kind; in color its family, bold the kinds not in training."""
    from matplotlib.figure import Figure

    height = _HEIGHT + _LEGEND
    figure = Figure(figsize=(_WIDTH / 72, height / 72))
    rectangle = (0, _LEGEND / height, 1, _HEIGHT / height)
    axes = figure.add_axes(
        rectangle, xlim=(0, _WIDTH), ylim=(0, _HEIGHT), xticks=[], yticks=[], frame_on=False
    )
    area = np.array([_WIDTH, _HEIGHT])
    low, high = components.min(0), components.max(0)
    scale = np.min((area - 2 * _MARGIN) / np.maximum(high - low, 1e-9))
    points = (components - (low + high) / 2) * scale + area / 2
    sizes = [(0.62 * _FONT_SIZE * len(kind.name) + 4, 1.15 * _FONT_SIZE) for kind in kinds]
    centers = place_labels(points, np.array(sizes), area)
    kind_families = [ancestors(kind.name)[-3] for kind in kinds]
    colors = dict(zip(dict.fromkeys(kind_families), (*_COLORS, _GREY)))
    markers: dict[bool, dict[str, Any]] = {
        False: {"marker": "o", "ms": 5},
        True: {"marker": "D", "ms": 6},
    }
    for kind, family, point, center in zip(kinds, kind_families, points, centers, strict=True):
        unseen = kind.hops > 0
        axes.plot(*point, **markers[unseen], color=colors[family])
        axes.annotate(
            kind.name,
            point,
            xytext=center,
            ha="center",
            va="center",
            weight="bold" if unseen else "normal",
            arrowprops={"arrowstyle": "-", "color": _GREY, "linewidth": 0.5, "shrinkA": 0},
        )
    for family, color in colors.items():
        axes.plot([], [], ls="", marker="s", ms=6, color=color, label=family)
    for unseen, label in ((False, "in training images"), (True, "not in training images (bold)")):
        axes.plot([], [], ls="", **markers[unseen], color=_GREY, label=label)
    figure.legend(loc="lower center", ncols=4, columnspacing=1.4, handletextpad=0.3)
    return figure
