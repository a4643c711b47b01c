"""The evaluation as an HTML page: scores, histograms, and captions beside references, worst first.

One file that opens without a network; it does not know how scores are computed.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path, PurePath

import jinja2
import numpy as np
from markupsafe import Markup

from vl.data.captions.ptb.tokens import words
from vl.data.files import atomic_write
from vl.evaluation.output import (
    CaptionEvaluation,
    ScoredSystem,
    comparison_rows,
    diversity_rows,
    score_rows,
    short_names,
    signatures,
)
from vl.evaluation.page_images import PageImages
from vl.metrics.score import Floats, Score
from vl.version import __version__

_REFERENCE_ORDER = "order of the references"  # images can be sorted by it, besides their scores

_MAX_CHARACTERS = 1000  # of a caption that are shown; a usual one has about 50
_NUM_BARS = 24
_BAR_HEIGHT = 80  # units of the drawing; the template's too
_BUFFER_SIZE = 200  # pieces of the page written at once
_COMPARISON_NOTE = (
    "Difference: the first system minus the second, with its paired bootstrap interval. p-value: "
    "the probability of a difference at least as large when the two captions of each image are "
    "exchanged at random. Significant differences, p < {:g}, are bold."
)
_DIVERSITY_LABELS = {
    "distinct": "Distinct captions",
    "word-types": "Distinct words",
    "Div-1": "Div-1: distinct words / words",
    "Div-2": "Div-2: distinct bigrams / bigrams",
    "self-BLEU-4": "Self-BLEU-4",
    "novel": "Share of novel captions",
    "mean-length": "Mean length, words",
    "most-frequent": "Count of the most frequent caption",
}
_SPACES = re.compile(r"(\s+)")


def write_report(
    path: Path,
    evaluation: CaptionEvaluation,
    *,
    sort_by: str | None,
    images: PageImages | None = None,
) -> None:
    """Write the page, streamed, as it may contain thousands of images; atomic.

    Args:
        path: the file.
        evaluation: what it shows.
        sort_by: name of the score by which the images are sorted, the worst first; ``None`` for
            the order of the references.
        images: the URLs of the images; those without one are logged.

    Raises:
        OSError: it cannot be written.
    """
    content = resources.files("vl.evaluation").joinpath("templates/evaluation.html").read_bytes()
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(content.decode())
    stream = template.stream(**_context(evaluation, sort_by or _REFERENCE_ORDER, images))
    stream.enable_buffering(_BUFFER_SIZE)
    # Lone surrogates, which JSON can hold and UTF-8 cannot, become question marks.
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="replace", newline="\n") as file,
    ):
        file.writelines(stream)
    if images:
        images.log_problems()


def _context(
    evaluation: CaptionEvaluation, sort_by: str, images: PageImages | None
) -> dict[str, object]:
    sort_keys = _sort_keys(evaluation)
    systems = [system for system in (evaluation.system, evaluation.baseline) if system]
    name, *baseline_name = short_names([system.name for system in systems])
    sources = ", ".join(Path(source).name for source in evaluation.sources)
    confidence, comparisons = evaluation.resampling.confidence, evaluation.comparisons
    has_intervals = comparisons or any(score.interval for score in evaluation.corpus_scores)
    return {
        "title": f"{name} evaluated{f' against {sources}' if sources else ''}",
        "introduction": _introduction(evaluation),
        "references": bool(evaluation.sources),
        "results": name,
        "baseline": baseline_name[0] if baseline_name else None,
        "confidence": f"{100 * confidence:g} % confidence interval" if has_intervals else "",
        "scores": score_rows(evaluation),
        "signatures": signatures(evaluation),
        "diversity": [
            (_DIVERSITY_LABELS[key], value) for key, value in diversity_rows(evaluation).items()
        ],
        "comparisons": [
            {**row, "significant": comparison.p_value < 1 - confidence}
            for row, comparison in zip(comparison_rows(evaluation), comparisons, strict=True)
        ],
        "comparison_note": _COMPARISON_NOTE.format(1 - confidence),
        "histograms": [_histogram(score) for score in evaluation.system.scored.scores],
        "sort_keys": list(sort_keys),
        "sort_by": sort_by,
        "card_height": 180 if baseline_name else 150,
        "cards": _cards(evaluation, systems, sort_keys, sort_by, images),
    }


def _introduction(evaluation: CaptionEvaluation) -> str:
    pairs, baseline = evaluation.system.pairs, evaluation.baseline
    references = f" against {', '.join(evaluation.sources)}" if evaluation.sources else ""
    parts = [f"{evaluation.system.name}{references}: {len(pairs.images):,} images"]
    if pairs.num_missing:
        parts.append(f"{pairs.num_missing:,} more have no caption and are left out")
    if pairs.num_unmatched:
        parts.append(f"{pairs.num_unmatched:,} captions of other images are left out")
    if baseline and baseline.pairs.num_unmatched:
        count = baseline.pairs.num_unmatched
        parts.append(f"{count:,} captions of other images in {baseline.name} are left out")
    resampling = evaluation.resampling
    if evaluation.evaluator.scale != 1:
        parts.append(f"scores times {evaluation.evaluator.scale}")
    if resampling.num_resamples:
        resamples = f"{resampling.num_resamples:,} bootstrap resamples"
        parts.append(f"{resamples} of the images, seed {resampling.seed}")
    return "; ".join(parts) + f". vl {__version__}"


def _sort_keys(evaluation: CaptionEvaluation) -> dict[str, Floats]:
    """What the images can be sorted by; the lowest value is the worst and comes first."""
    scores = evaluation.system.scored.scores
    keys = {score.name: score.per_image for score in scores}
    if evaluation.baseline:
        for score, baseline in zip(scores, evaluation.baseline.scored.scores, strict=True):
            keys[f"{score.name}, difference"] = score.per_image - baseline.per_image
    return keys | {_REFERENCE_ORDER: np.arange(float(len(evaluation.system.pairs.images)))}


def _histogram(score: Score) -> dict[str, object]:
    """Bars over the range of the images' scores, which includes 0."""
    values = score.per_image
    low, high = min(0.0, float(values.min())), float(values.max())
    if high <= low:
        high = low + 1
    counts, edges = np.histogram(values, bins=_NUM_BARS, range=(low, high))
    heights = _BAR_HEIGHT * counts / counts.max()
    return {
        "name": score.name,
        "bars": [
            {
                "top": f"{_BAR_HEIGHT - height:.1f}",
                "height": f"{height:.1f}",
                "label": f"{count} images from {left:.3g} to {right:.3g}",
            }
            for height, count, left, right in zip(heights, counts, edges[:-1], edges[1:])
        ],
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "median": f"{float(np.median(values)):.4g}",
    }


def _cards(
    evaluation: CaptionEvaluation,
    systems: list[ScoredSystem],
    sort_keys: dict[str, Floats],
    sort_by: str,
    page_images: PageImages | None,
) -> Iterator[dict[str, object]]:
    """One per image, the worst first; ties in the order of the references."""
    keys = np.stack(list(sort_keys.values()), 1)  # (I, keys)
    digits = evaluation.evaluator.digits - 1
    last_parts = Counter(PurePath(image.file_name).name for image in systems[0].pairs.images)
    for row in np.argsort(sort_keys[sort_by], kind="stable"):
        image = systems[0].pairs.images[row]
        references = [_split_tokens(caption) for caption in evaluation.evaluator.references[row]]
        caption_words = [_split_tokens(system.scored.tokens[row]) for system in systems]
        expected = set().union(*references) if references else caption_words[0]
        captions = [
            _mark(system.pairs.captions[row], of_caption, expected)
            for system, of_caption in zip(systems, caption_words, strict=True)
        ]
        values = zip(*(system.scored.scores for system in systems), strict=True)
        name = f" {image.file_name}" if image.file_name not in ("", image.image_id) else ""
        unique = last_parts[PurePath(image.file_name).name] == 1
        yield {
            "address": (
                page_images(image.file_name, unique=unique)
                if page_images and image.file_name
                else None
            ),
            "captions": captions,
            "references": ["".join(_truncate(reference)) for reference in image.captions],
            "scores": [
                (
                    scores[0].name,
                    " / ".join(f"{score.per_image[row]:.{digits}f}" for score in scores),
                )
                for scores in values
            ],
            "sort_keys": " ".join(f"{value:.6g}" for value in keys[row]),
            "image": f"{image.image_id}{name}",
        }


def _mark(caption: str, caption_words: set[str], expected: set[str]) -> Markup:
    """A caption as HTML; its words that are not among the expected ones are marked.

    Args:
        caption: as in the file.
        caption_words: its words, as they are counted.
        expected: the words of the references.
    """
    if not caption.strip():
        return Markup("<i>no words</i>")
    text, note = _truncate(caption.strip())
    pieces = _SPACES.split(text)
    words_of = {piece: _words(piece) for piece in pieces}
    # A token can depend on what follows, as an initial before "The". A piece whose words alone
    # differ from those in the caption is compared by the words that no piece gives.
    remaining = caption_words.difference(*words_of.values())
    unexpected = {
        piece
        for piece, piece_words in words_of.items()
        if any(word not in expected for word in piece_words if word in caption_words)
        or (not caption_words.issuperset(piece_words) and not expected.issuperset(remaining))
    }
    marked = Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if piece in unexpected else piece
        for piece in pieces
    )
    return marked + note


_words = lru_cache(maxsize=100_000)(words)  # the same pieces occur again and again


def _split_tokens(tokens: Sequence[str]) -> set[str]:
    """The words of a caption's tokens: the fraction 2 1/2 is one token, of two words."""
    return set(" ".join(tokens).split())


def _truncate(caption: str) -> tuple[str, str]:
    """As much of a caption as is shown, and a note of how much is not."""
    if len(caption) <= _MAX_CHARACTERS:
        return caption, ""
    start = caption[:_MAX_CHARACTERS].rsplit(maxsplit=1)[0]
    return start, f" ... and {len(caption) - len(start):,} characters more"
