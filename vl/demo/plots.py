"""Plots of the demonstration's page: training curves, and word vectors of the kinds in 2-D.

Every plot is drawn twice, for light and for dark pages.
"""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
_MAP_SIZE = (6.5, 6.1)  # inches

FloatArray = NDArray[np.floating[Any]]
Curve = list[tuple[int, float]]  # steps and values


class Plot(NamedTuple):
    """A plot as two SVG files, with its text alternative."""

    alt: str
    light: bytes
    dark: bytes


def plot_training(path: Path) -> list[Plot]:
    """Plot the losses and metrics of a ``log.jsonl`` by step, metrics of different scales apart."""
    curves: dict[str, Curve] = {}
    for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        for name, value in record.items():
            curves.setdefault(name, []).append((record["step"], value))
    panels: dict[str, dict[str, Curve]] = {"loss": {}}
    if "loss" in curves:
        panels["loss"]["training"] = curves["loss"]
    for name, curve in curves.items():
        if name == f"{_DEVELOPMENT}loss":
            panels["loss"]["development"] = curve
        elif name.startswith(_DEVELOPMENT):
            fraction = all(0 <= value <= 1 for _, value in curve)
            panel = "development, fractions" if fraction else "development"
            panels.setdefault(panel, {})[name.removeprefix(_DEVELOPMENT)] = curve
    plots = []
    for title, lines in panels.items():
        if lines:
            last = (f"{name} {curve[-1][1]:.3g}" for name, curve in lines.items())
            alt = f"{title} by step; at the end {', '.join(last)}"
            plots.append(_plot(alt, _draw_curves, title, lines))
    return plots


def plot_word_space(words: WordVectors) -> tuple[Plot | None, str]:
    """Plot the word vectors of the kinds along their two principal components.

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
    left, singular_values, _ = np.linalg.svd(matrix - matrix.mean(0), full_matrices=False)
    components = left[:, :2] * singular_values[:2]
    variances = singular_values**2
    explained_variance = variances[:2].sum() / variances.sum()
    note = (
        f"Word vectors of width {words.width} along their two principal components, which explain "
        f"{100 * explained_variance:.0f} % of the variance: neighbors here can be far apart in "
        f"word space.{note}"
    )
    alt = f"Word vectors in two dimensions: {', '.join(kind.name for kind in kinds)}"
    return _plot(alt, _draw_word_space, kinds, components), note


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

    figure = Figure(figsize=_MAP_SIZE, layout="constrained")
    axes = figure.add_subplot(xticks=[], yticks=[], frame_on=False)
    axes.margins(0.12, 0.05)
    kind_families = [ancestors(kind.name)[-3] for kind in kinds]
    colors = dict(zip(dict.fromkeys(kind_families), (*_COLORS, _GREY)))
    markers: dict[bool, dict[str, Any]] = {
        False: {"marker": "o", "ms": 4},
        True: {"marker": "D", "ms": 5},
    }
    gaps = np.abs(components[:, None] - components) @ (1, 4)  # (V, V); labels are wide, not high
    nearest = components[np.argsort(gaps, 1)[:, 1]]  # (V, 2); labels are on the other side
    on_right = components[:, 0] > nearest[:, 0]
    for kind, family, point, right in zip(kinds, kind_families, components, on_right, strict=True):
        unseen = kind.hops > 0
        axes.plot(*point, **markers[unseen], color=colors[family])
        axes.annotate(
            kind.name,
            point,
            xytext=(5 if right else -5, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            size=_FONT_SIZE - 2,
            weight="bold" if unseen else "normal",
        )
    for family, color in colors.items():
        axes.plot([], [], ls="", marker="s", ms=6, color=color, label=family)
    for unseen, label in ((False, "in training images"), (True, "not in training images (bold)")):
        axes.plot([], [], ls="", **markers[unseen], color=_GREY, label=label)
    figure.legend(loc="outside lower center", ncols=4, columnspacing=1.4, handletextpad=0.3)
    return figure
