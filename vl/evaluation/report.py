"""Scored captions as a page for a browser: photographs, captions, references, worst first.

One file that opens without a network; it knows nothing of how scores come about.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from vl.data.captions.ptb.tokens import words
from vl.data.files import atomic_write
from vl.evaluation.records import Outcome
from vl.evaluation.text import bracketed, signatures, variety_rows
from vl.metrics.evaluator import Figure, Paired
from vl.metrics.score import Floats, Score
from vl.version import __version__

_IN_ORDER = "order of the references"  # what images can be sorted by besides their scores

_LONGEST = 1000  # characters of a caption that are shown; people need about 50
_BARS = 24
_BAR_HEIGHT = 80  # units of the drawing; the template's too
_BUFFERED = 200  # pieces of the page written at once
_NOTE = (
    "Difference: the first less the second, with its interval over other images. p: how often "
    "chance alone makes so great a difference, captions changing hands at random."
)
_SPACES = re.compile(r"(\s+)")

Address = Callable[[str], str | None]  # a photograph's file name to where a browser finds it


def write_report(
    path: Path, outcome: Outcome, *, sort: str | None, address: Address | None = None
) -> None:
    """Write the page, piece by piece, as it may hold thousands of photographs; whole or not at all.

    Args:
        path: the file.
        outcome: what it shows.
        sort: name of the score by which the images are ordered, the worst first; ``None`` for
            the order of the references.
        address: where the browser finds a photograph, if there is one.

    Raises:
        OSError: it cannot be written.
        ValueError: no score is called as ``sort`` says.
    """
    context = _context(outcome, sort or _IN_ORDER, address or _no_address)
    # Halves of characters, which JSON can hold and UTF-8 cannot, become question marks.
    with (
        atomic_write(path) as beside,
        beside.open("w", encoding="utf-8", errors="replace", newline="\n") as file,
    ):
        stream = _template().stream(**context)
        stream.enable_buffering(_BUFFERED)
        file.writelines(stream)


def _no_address(name: str) -> None:
    """No photograph is to be found."""


def _template() -> jinja2.Template:
    text = (
        resources.files("vl.evaluation")
        .joinpath("templates/evaluation.html")
        .read_text(encoding="utf-8")
    )
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(text)


def _context(outcome: Outcome, sort: str, address: Address) -> dict[str, object]:
    orders = _orders(outcome)
    if sort not in orders:
        raise ValueError(f"no score is called {sort!r}; there are {', '.join(orders)}")
    system, figures = outcome.system, outcome.figures
    results, other = _short_names(outcome)
    sources = ", ".join(Path(name).name for name in outcome.sources)
    intervals = any(figure.interval for figure in figures) or bool(outcome.compared)
    return {
        "title": f"{results} scored{f' by {sources}' if sources else ''}",
        "introduction": _introduction(outcome),
        "references": bool(outcome.sources),
        "results": results,
        "against": other,
        "confidence": f"{100 * outcome.confidence:g} % interval" if intervals else "",
        "figures": [_figure_row(figure) for figure in figures],
        "signatures": signatures(outcome),
        "variety": variety_rows(outcome.variety),
        "comparisons": [_paired_row(paired, 1 - outcome.confidence) for paired in outcome.compared],
        "comparison_note": _NOTE,
        "histograms": [_histogram(score) for score in system.evaluated.scores],
        "orders": list(orders),
        "sort": sort,
        "card_height": 180 if other else 150,
        "cards": _cards(outcome, orders, sort, address),
    }


def _short_names(outcome: Outcome) -> tuple[str, str | None]:
    """The two systems' files without their folders, if that still tells them apart."""
    name = outcome.system.name
    if outcome.against is None:
        return Path(name).name, None
    other = outcome.against.name
    alike = Path(name).name == Path(other).name
    return (name, other) if alike else (Path(name).name, Path(other).name)


def _introduction(outcome: Outcome) -> str:
    aligned = outcome.system.aligned
    by = f" by {outcome.source}" if outcome.sources else ""
    parts = [f"{outcome.system.name}{by}: {len(aligned.images):,} images"]
    if aligned.left_out:
        parts.append(f"{aligned.left_out:,} more have no caption and are left out")
    if aligned.unknown:
        parts.append(f"{aligned.unknown:,} captions of other images are left out")
    if outcome.against and outcome.against.aligned.unknown:
        unknown, name = outcome.against.aligned.unknown, outcome.against.name
        parts.append(f"{unknown:,} captions of other images in {name} are left out")
    if outcome.resamples:
        parts.append(f"intervals from {outcome.resamples:,} resamples, seed {outcome.seed}")
    return "; ".join(parts) + f". vl {__version__}"


def _figure_row(figure: Figure) -> dict[str, str]:
    return {
        "name": figure.name,
        "value": f"{figure.value:.4f}",
        "interval": bracketed(figure.interval) if figure.interval else "",
    }


def _paired_row(paired: Paired, chance: float) -> dict[str, object]:
    found = paired.comparison
    return {
        "name": paired.name,
        "first": f"{paired.first:.4f}",
        "second": f"{paired.second:.4f}",
        "difference": f"{found.difference:+.4f}",
        "interval": bracketed(found.interval, "+"),
        "p": f"{found.p_value:.4f}",
        "sure": found.p_value < chance,
    }


def _orders(outcome: Outcome) -> dict[str, Floats]:
    """By what the images can be ordered; the least is the worst, and comes first."""
    scores = outcome.system.evaluated.scores
    orders = {score.name: score.images for score in scores}
    if outcome.against:
        for score, other in zip(scores, outcome.against.evaluated.scores, strict=True):
            orders[f"{score.name}, difference"] = score.images - other.images
    return orders | {_IN_ORDER: np.arange(float(len(outcome.system.aligned.images)))}


def _histogram(score: Score) -> dict[str, object]:
    """Bars over the range of the images' scores, from 0 if they begin above it."""
    values = score.images
    low, high = min(0.0, float(values.min())), float(values.max())
    if high <= low:
        high = low + 1
    counts, edges = np.histogram(values, bins=_BARS, range=(low, high))
    bars = []
    for count, first, last in zip(counts, edges[:-1], edges[1:], strict=True):
        height = _BAR_HEIGHT * count / counts.max()
        bars.append(
            {
                "top": f"{_BAR_HEIGHT - height:.1f}",
                "height": f"{height:.1f}",
                "label": f"{count} images from {first:.3g} to {last:.3g}",
            }
        )
    return {
        "name": score.name,
        "bars": bars,
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "median": f"{float(np.median(values)):.3f}",
    }


def _cards(
    outcome: Outcome, orders: dict[str, Floats], sort: str, address: Address
) -> Iterator[dict[str, object]]:
    """An image each, the worst first; ties in the order of the references."""
    columns = np.stack(list(orders.values()), 1)  # (images, orders)
    images = outcome.system.aligned.images
    mark = _Marker()
    for row in np.argsort(orders[sort], kind="stable"):
        image = images[row]
        people = [_parts(caption) for caption in outcome.evaluator.references[row]]
        known = set().union(*people) if people else _parts(outcome.system.evaluated.words[row])
        said, other = (
            mark(system.aligned.captions[row], _parts(system.evaluated.words[row]), known)
            if system
            else ""
            for system in (outcome.system, outcome.against)
        )
        name = f" {image.file_name}" if image.file_name not in ("", image.image_id) else ""
        yield {
            "photograph": address(image.file_name) if image.file_name else None,
            "said": said,
            "other": other,
            "references": ["".join(_shortened(caption)) for caption in image.captions],
            "scores": _card_scores(outcome, row),
            "order": " ".join(f"{value:.6g}" for value in columns[row]),
            "image": f"{image.image_id}{name}",
        }


def _card_scores(outcome: Outcome, row: int) -> list[tuple[str, str]]:
    scores = outcome.system.evaluated.scores
    values = [(score.name, f"{score.images[row]:.3f}") for score in scores]
    if outcome.against is None:
        return values
    return [
        (name, f"{value} / {other.images[row]:.3f}")
        for (name, value), other in zip(values, outcome.against.evaluated.scores, strict=True)
    ]


class _Marker:
    """Marks what of a caption is in no reference, between spaces: the caption stays as it was."""

    def __init__(self) -> None:
        self._known: dict[str, list[str]] = {}  # pieces come again and again

    def __call__(self, caption: str, said: set[str], known: set[str]) -> Markup:
        """The caption as HTML.

        Args:
            caption: as it stands in the file.
            said: its words, as they are counted.
            known: the words of the references.
        """
        if not caption.strip():
            return Markup("<i>no words</i>")
        kept, note = _shortened(caption.strip())
        pieces = {piece: self._words(piece) for piece in _SPACES.split(kept)}
        # A word can depend on what follows, as an initial before "The". A piece that by itself
        # has another word than in the caption is judged by the words that no piece gives.
        others = said.difference(*pieces.values())
        strange = {
            piece
            for piece, words_of in pieces.items()
            if any(word not in known for word in words_of if word in said)
            or (not said.issuperset(words_of) and not known.issuperset(others))
        }
        marked = Markup("").join(
            Markup("<mark>{}</mark>").format(piece) if piece in strange else piece
            for piece in _SPACES.split(kept)
        )
        return marked + note

    def _words(self, piece: str) -> list[str]:
        if piece not in self._known:
            self._known[piece] = words(piece)
        return self._known[piece]


def _parts(caption: Sequence[str]) -> set[str]:
    """The words of a caption's tokens: the fraction 2 1/2 is one token, of two words."""
    return set(" ".join(caption).split())


def _shortened(caption: str) -> tuple[str, str]:
    """As much of a caption as is shown, and a note of how much is not."""
    if len(caption) <= _LONGEST:
        return caption, ""
    kept = caption[:_LONGEST].rsplit(maxsplit=1)[0]
    return kept, f" ... and {len(caption) - len(kept):,} characters more"
