"""Scored captions as people read them: lines for a pipe, tables for a terminal."""

from rich import box
from rich.table import Table
from rich.text import Text

from vl.data.files import escape_unprintable
from vl.evaluation.records import Outcome
from vl.metrics.diversity import Diversity
from vl.metrics.significance import Interval


def lines(outcome: Outcome) -> list[str]:
    """A line a figure, then the comparisons, then the signatures."""
    found = []
    for figure in outcome.figures:
        bounds = f"  {bracketed(figure.interval)}" if figure.interval else ""
        found.append(f"{figure.name} {figure.value:.4f}{bounds}")
    found += [f"{name} {value}" for name, value in variety_rows(outcome.variety).items()]
    found.append(f"images {len(outcome.system.aligned.images)}")
    for paired in outcome.compared:
        _, difference, interval, p_value = paired.comparison
        found.append(
            f"{paired.name} {paired.first:.4f} against {paired.second:.4f}: {difference:+.4f}"
            f"  {bracketed(interval, '+')}  p {p_value:.4f}"
        )
    return found + signatures(outcome)


def tables(outcome: Outcome) -> list[Table]:
    """The figures, and the comparisons if there are any."""
    percent = f"{100 * outcome.confidence:g} % interval"
    with_intervals = any(figure.interval for figure in outcome.figures)
    scores = _table("score", "value", *([percent] if with_intervals else []))
    for figure in outcome.figures:
        bounds = bracketed(figure.interval) if figure.interval else ""
        scores.add_row(figure.name, f"{figure.value:.4f}", *([bounds] if with_intervals else []))
    for name, value in variety_rows(outcome.variety).items():
        scores.add_row(name, Text(value))  # as a string, "[red]" in a caption is markup
    scores.add_row("images", f"{len(outcome.system.aligned.images)}")
    if not outcome.compared:
        return [scores]
    comparison = _table("score", "results", "against", "difference", percent, "p")
    for paired in outcome.compared:
        _, difference, interval, p_value = paired.comparison
        comparison.add_row(
            paired.name,
            f"{paired.first:.4f}",
            f"{paired.second:.4f}",
            f"{difference:+.4f}",
            bracketed(interval, "+"),
            f"{p_value:.4f}",
        )
    return [scores, comparison]


def signatures(outcome: Outcome) -> list[str]:
    """One a measure: those of BLEU-1 to BLEU-3 say nothing that BLEU-4's does not."""
    names = {figure.name for figure in outcome.figures}
    inner = {"BLEU-1", "BLEU-2", "BLEU-3"} if "BLEU-4" in names else set()
    return [figure.signature for figure in outcome.figures if figure.name not in inner]


def bracketed(interval: Interval, sign: str = "") -> str:
    """An interval as ``[0.2701, 0.2869]``; ``sign`` is ``"+"`` for one of differences."""
    return f"[{interval.low:{sign}.4f}, {interval.high:{sign}.4f}]"


def variety_rows(diversity: Diversity | None) -> dict[str, str]:
    """What diversity is made of, as people read it; nothing if nobody asked."""
    if diversity is None:
        return {}
    found = {
        "distinct": f"{diversity.distinct}",
        "word-types": f"{diversity.word_types}",
        "Div-1": f"{diversity.div_1:.4f}",
        "Div-2": f"{diversity.div_2:.4f}",
    }
    if diversity.self_bleu is not None:
        found["self-BLEU-4"] = f"{diversity.self_bleu:.4f}"
    if diversity.novel is not None:
        found["novel"] = f"{diversity.novel:.4f}"
    found["mean-length"] = f"{diversity.mean_length:.2f}"
    said = escape_unprintable(" ".join(diversity.commonest))
    found["commonest"] = f"{diversity.commonest_count} {said}"
    return found


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
