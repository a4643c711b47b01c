"""Several systems in one table, as text, Markdown, LaTeX, CSV or JSON: a row each.

Each system is compared with the first one, the baseline; a star marks what differs significantly.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from vl.data.choices import TableFormat
from vl.data.files import escape_unprintable
from vl.evaluation.output import FORMAT, CaptionEvaluation, bracketed, short_names, signatures
from vl.metrics.significance import Interval, holm

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#~])")


class _Cell(NamedTuple):
    value: float
    interval: Interval | None
    p_value: float | None  # adjusted; None for the baseline


def write_table(evaluations: Sequence[CaptionEvaluation], table_format: TableFormat) -> str:
    """The table, without an end of line.

    Args:
        evaluations: one for each system, of the same images and by the same evaluator; all but the
            first have the first one's system as baseline.
        table_format: of the text.
    """
    if table_format == "json":
        return json.dumps(_to_dict(evaluations))
    table = {"text": _text, "markdown": _markdown, "latex": _latex, "csv": _csv}[table_format]
    return table(evaluations)


def adjusted_p_values(evaluations: Sequence[CaptionEvaluation]) -> list[dict[str, float]]:
    """For each system the p-value of each score's comparison with the baseline, by score.

    Those of one score are adjusted by Holm's method for the number of systems that are compared.
    """
    by_score = [
        [comparison.p_value for comparison in evaluation.comparisons]
        for evaluation in evaluations
        if evaluation.comparisons
    ]
    columns = [holm(p_values) for p_values in zip(*by_score, strict=True)]
    rows = iter(zip(*columns, strict=True))
    return [
        dict(zip((c.name for c in evaluation.comparisons), next(rows), strict=True))
        if evaluation.comparisons
        else {}
        for evaluation in evaluations
    ]


def _to_dict(evaluations: Sequence[CaptionEvaluation]) -> dict[str, object]:
    systems = []
    for evaluation, p_values in zip(evaluations, adjusted_p_values(evaluations), strict=True):
        content = evaluation.to_dict()
        if p_values:
            content["p_holm"] = p_values
        systems.append(content)
    scale, baseline = evaluations[0].evaluator.scale, evaluations[0].system.name
    return {"format": FORMAT, "scale": scale, "baseline": baseline, "systems": systems}


def _text(evaluations: Sequence[CaptionEvaluation]) -> str:
    rows = [["system", *_columns(evaluations)]]
    for name, cells in _rows(evaluations):
        texts = [_format(cell, evaluations, "*", "{}") for cell in cells]
        rows.append([escape_unprintable(name), *texts])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, *_notes(evaluations)])


def _markdown(evaluations: Sequence[CaptionEvaluation]) -> str:
    columns = _columns(evaluations)
    lines = [f"| system | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name, cells in _rows(evaluations):
        texts = [_format(cell, evaluations, r"\*", "{}") for cell in cells]
        label = _MARKDOWN.sub(r"\\\1", escape_unprintable(name))
        lines.append(f"| {label} | {' | '.join(texts)} |")
    notes = ["- " + _MARKDOWN.sub(r"\\\1", note) for note in _notes(evaluations)]
    return "\n".join([*lines, "", *notes])


def _latex(evaluations: Sequence[CaptionEvaluation]) -> str:
    columns = _columns(evaluations)
    lines = [f"% {note}" for note in _notes(evaluations)]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\hline"]
    lines += [" & ".join(["system", *columns]) + r" \\", r"\hline"]
    for name, cells in _rows(evaluations):
        label = "".join(_LATEX.get(character, character) for character in escape_unprintable(name))
        texts = [_format(cell, evaluations, "$^{*}$", r"{{\scriptsize {}}}") for cell in cells]
        lines.append(" & ".join([label, *texts]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"])


def _csv(evaluations: Sequence[CaptionEvaluation]) -> str:
    """Values in full precision; bounds of intervals and p-values in columns of their own."""
    columns, rows = _columns(evaluations), _rows(evaluations)
    header, fields = ["system", "scale", "images"], []
    for index, column in enumerate(columns):
        parts = [_parts(cells[index]) for _, cells in rows]
        for part, suffix in enumerate(("", " low", " high", " p")):
            if any(cell[part] is not None for cell in parts):
                header.append(column + suffix)
                fields.append((index, part))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    scale, images = evaluations[0].evaluator.scale, len(evaluations[0].system.pairs.images)
    for name, cells in rows:
        values = [_parts(cells[index])[part] for index, part in fields]
        writer.writerow([name, scale, images, *("" if v is None else v for v in values)])
    return file.getvalue().rstrip("\n")


def _parts(cell: _Cell) -> tuple[float | None, ...]:
    return cell.value, *(cell.interval or (None, None)), cell.p_value


def _columns(evaluations: Sequence[CaptionEvaluation]) -> list[str]:
    return [score.name for score in evaluations[0].corpus_scores] + [*_diversity(evaluations[0])]


def _rows(evaluations: Sequence[CaptionEvaluation]) -> list[tuple[str, list[_Cell]]]:
    names = short_names([evaluation.system.name for evaluation in evaluations])
    rows = []
    p_values = adjusted_p_values(evaluations)
    for name, evaluation, adjusted in zip(names, evaluations, p_values, strict=True):
        cells = [
            _Cell(score.value, score.interval, adjusted.get(score.name))
            for score in evaluation.corpus_scores
        ]
        cells += [_Cell(value, None, None) for value in _diversity(evaluation).values()]
        rows.append((name, cells))
    return rows


def _diversity(evaluation: CaptionEvaluation) -> dict[str, float]:
    """The numbers of the diversity by name."""
    diversity = evaluation.diversity
    if diversity is None:
        return {}
    values = {
        "distinct": diversity.distinct,
        "word-types": diversity.word_types,
        "Div-1": diversity.div_1,
        "Div-2": diversity.div_2,
        "self-BLEU-4": diversity.self_bleu,
        "novel": diversity.novel,
        "mean-length": diversity.mean_length,
    }
    return {name: value for name, value in values.items() if value is not None}


def _format(cell: _Cell, evaluations: Sequence[CaptionEvaluation], star: str, interval: str) -> str:
    """A cell with a star if it differs significantly, and its interval in this pattern."""
    digits, level = evaluations[0].evaluator.digits, 1 - evaluations[0].resampling.confidence
    text = str(cell.value) if isinstance(cell.value, int) else f"{cell.value:.{digits}f}"
    if cell.p_value is not None and cell.p_value < level:
        text += star
    return f"{text} {interval.format(bracketed(cell.interval, digits))}" if cell.interval else text


def _notes(evaluations: Sequence[CaptionEvaluation]) -> list[str]:
    """What the table means, a sentence each, and the signatures of the first system."""
    first, resampling = evaluations[0], evaluations[0].resampling
    notes = [f"images {len(first.system.pairs.images)}"]
    if any(score.interval for score in first.corpus_scores):
        notes.append(f"[low, high]: {100 * resampling.confidence:g} % bootstrap interval")
    count = sum(bool(evaluation.comparisons) for evaluation in evaluations)
    if count:
        (name, *_) = short_names([evaluation.system.name for evaluation in evaluations])
        adjusted = f", Holm-adjusted for {count} comparisons" if count > 1 else ""
        level = f"{1 - resampling.confidence:.2g}"
        notes.append(f"*: p < {level} against {escape_unprintable(name)}{adjusted}")
    return [*notes, *signatures(first)]
