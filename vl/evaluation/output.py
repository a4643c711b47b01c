"""The result of evaluating captions: as text, tables, JSON, HTML, and a pandas data frame."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from vl.data.files import atomic_write, escape_unprintable
from vl.evaluation.pairing import PairedCaptions
from vl.metrics.diversity import Diversity
from vl.metrics.evaluator import CorpusScore, Evaluator, ScoredCaptions
from vl.metrics.significance import Comparison, Interval, Resampling, compare_scores

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]  # optional, and it has no stubs
    from rich.table import Table


FORMAT = "vl evaluation 2"
"""Of the JSON: it changes when a key changes its meaning. 2: scores in hundredths, `scale`."""


class ScoredSystem(NamedTuple):
    """The captions of one system, scored."""

    name: str
    pairs: PairedCaptions
    scored: ScoredCaptions


@dataclass(frozen=True)
class CaptionEvaluation:
    """Scores of captions; as a string, the text that ``vl evaluate`` prints.

    All of them are times the evaluator's ``scale``: in hundredths, unless fractions were asked for.
    """

    evaluator: Evaluator
    system: ScoredSystem
    resampling: Resampling
    """With ``num_resamples`` 0 there are no intervals."""
    sources: Sequence[str] = ()
    """Names of the references' files."""
    baseline: ScoredSystem | None = None
    """Another system's captions of the same images."""
    diversity: Diversity | None = None

    @cached_property
    def corpus_scores(self) -> list[CorpusScore]:
        """The scores of all images together, with intervals and signatures."""
        return self.evaluator.corpus_scores(self.system.scored.scores, self.resampling)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The scores compared with the baseline's; none without a baseline or resamples."""
        if self.baseline is None or not self.resampling.num_resamples or not self.corpus_scores:
            return []
        scores = self.system.scored.scores, self.baseline.scored.scores
        return compare_scores(*scores, self.resampling)

    def __str__(self) -> str:
        """Scores, comparisons and signatures, one per line."""
        return "\n".join(score_lines(self))

    def __repr__(self) -> str:
        """As the string, so that an interactive session shows the scores."""
        return str(self)

    def _repr_html_(self) -> str:
        """Tables of the scores and comparisons for a notebook, and the signatures below."""
        small = Markup("<br>").join(signatures(self))
        return Markup("").join(map(_html_table, _grids(self))) + Markup("<small>{}</small>").format(
            small
        )

    def to_dict(self) -> dict[str, object]:
        """Every score by its name, with all that could change it; it can be written as JSON."""
        pairs = self.system.pairs
        counts = [len(captions) for captions in self.evaluator.references]
        content: dict[str, object] = {"format": FORMAT, "results": self.system.name}
        content["scale"] = self.evaluator.scale
        content |= {score.name: score.value for score in self.corpus_scores}
        content |= {"images": len(pairs.images), "missing": pairs.num_missing}
        content["unmatched"] = pairs.num_unmatched
        if any(counts):
            content["references"] = {"min": min(counts), "max": max(counts)}
        for score in self.system.scored.scores:
            if score.name == "BLEU-1":  # its sums begin with the lengths
                lengths = score.statistics.sum(0)[:2].tolist()
                content["candidate_length"], content["reference_length"] = map(int, lengths)
        content["intervals"] = {
            score.name: list(score.interval) for score in self.corpus_scores if score.interval
        }
        content |= asdict(self.resampling)
        if self.diversity:
            most_frequent = " ".join(self.diversity.most_frequent)
            content["diversity"] = {**self.diversity._asdict(), "most_frequent": most_frequent}
        if self.baseline:
            unmatched = self.baseline.pairs.num_unmatched  # num_missing is the system's
            compared: dict[str, object] = {"compare_with": self.baseline.name}
            compared["unmatched"] = unmatched
            for comparison in self.comparisons:
                values = comparison._asdict()
                compared[values.pop("name")] = {**values, "interval": list(comparison.interval)}
            content["comparison"] = compared
        return content | {
            "signatures": {score.name: score.signature for score in self.corpus_scores}
        }

    def per_image(self) -> Iterator[dict[str, object]]:
        """A record per image, in the references' order: captions, tokens, scores, references."""
        for row, image in enumerate(self.system.pairs.images):
            record: dict[str, object] = {
                "image_id": image.image_id,
                "file_name": image.file_name or None,
                "scale": self.evaluator.scale,
                **_image_record(self.system, row),
                "references": list(image.captions),
            }
            if self.baseline:
                record["compare_with"] = _image_record(self.baseline, row)
            yield record

    def to_frame(self) -> "pd.DataFrame":
        """A data frame with a row per image: its caption, and a column per score.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas") from error
        ids = [image.image_id for image in self.system.pairs.images]
        columns = {score.name: score.per_image for score in self.system.scored.scores}
        content = {"caption": self.system.pairs.captions, **columns}
        return pd.DataFrame(content, index=pd.Index(ids, name="image_id"))


def write_per_image(path: Path, evaluation: CaptionEvaluation) -> None:
    """Write a line of JSON per image, in the references' order; atomic."""
    # A lone surrogate, which JSON can hold and UTF-8 cannot, is written as JSON spells it.
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        for record in evaluation.per_image():
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def score_lines(evaluation: CaptionEvaluation) -> list[str]:
    """A line per score, then the comparisons, then the signatures."""
    lines = [
        f"{name} {value}  {interval}".rstrip() for name, value, interval in score_rows(evaluation)
    ]
    lines += [f"{name} {value}" for name, value in diversity_rows(evaluation).items()]
    lines.append(f"images {len(evaluation.system.pairs.images)}")
    line = "{name} {first} vs. {second}: {difference}  {interval}  p {p}"
    lines += [line.format_map(row) for row in comparison_rows(evaluation)]
    return lines + signatures(evaluation)


def tables(evaluation: CaptionEvaluation) -> list["Table"]:
    """The scores, and the comparisons if there are any, for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = []
    for columns, *rows in _grids(evaluation):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if index else "left", no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row))  # as a string, "[red]" in a caption is markup
        drawn.append(table)
    return drawn


def score_rows(evaluation: CaptionEvaluation) -> list[tuple[str, str, str]]:
    """Name, value and interval of each score, formatted; the interval may be empty."""
    digits = evaluation.evaluator.digits
    return [
        (
            score.name,
            f"{score.value:.{digits}f}",
            bracketed(score.interval, digits) if score.interval else "",
        )
        for score in evaluation.corpus_scores
    ]


def comparison_rows(evaluation: CaptionEvaluation) -> list[dict[str, str]]:
    """The comparisons with the baseline, formatted."""
    digits = evaluation.evaluator.digits
    return [
        {
            "name": comparison.name,
            "first": f"{comparison.first:.{digits}f}",
            "second": f"{comparison.second:.{digits}f}",
            "difference": f"{comparison.difference:+.{digits}f}",
            "interval": bracketed(comparison.interval, digits, "+"),
            "p": f"{comparison.p_value:.4f}",
        }
        for comparison in evaluation.comparisons
    ]


def signatures(evaluation: CaptionEvaluation) -> list[str]:
    """One per metric: those of BLEU-1 to BLEU-3 say nothing that BLEU-4's does not."""
    names = {score.name for score in evaluation.corpus_scores}
    redundant = {"BLEU-1", "BLEU-2", "BLEU-3"} if "BLEU-4" in names else set()
    return [score.signature for score in evaluation.corpus_scores if score.name not in redundant]


def bracketed(interval: Interval, digits: int, sign: str = "") -> str:
    """An interval as ``[27.01, 28.69]``; ``sign`` is ``"+"`` for one of differences."""
    return f"[{interval.low:{sign}.{digits}f}, {interval.high:{sign}.{digits}f}]"


def diversity_rows(evaluation: CaptionEvaluation) -> dict[str, str]:
    """The diversity, formatted; nothing if there is none."""
    diversity = evaluation.diversity
    if diversity is None:
        return {}
    caption = escape_unprintable(" ".join(diversity.most_frequent))
    ratio = f".{evaluation.evaluator.digits}f"
    rows = {
        "distinct": (diversity.distinct, ""),
        "word-types": (diversity.word_types, ""),
        "Div-1": (diversity.div_1, ratio),
        "Div-2": (diversity.div_2, ratio),
        "self-BLEU-4": (diversity.self_bleu, ratio),
        "novel": (diversity.novel, ratio),
        "mean-length": (diversity.mean_length, ".2f"),
        "most-frequent": (f"{diversity.most_frequent_count} {caption}", ""),
    }
    return {name: format(value, spec) for name, (value, spec) in rows.items() if value is not None}


def short_names(paths: Sequence[str]) -> list[str]:
    """The systems' files, without their folders unless names are equal."""
    names = [Path(path).name for path in paths]
    return names if len({*names}) == len(names) else [*paths]


def _grids(evaluation: CaptionEvaluation) -> list[list[Sequence[str]]]:
    """A table of the scores, and one of the comparisons if there are any; columns come first."""
    interval = f"{100 * evaluation.resampling.confidence:g} % interval"
    has_intervals = any(score.interval for score in evaluation.corpus_scores)
    scores: list[Sequence[str]] = [("score", "value", interval if has_intervals else "")]
    scores += score_rows(evaluation)
    scores += [(name, value, "") for name, value in diversity_rows(evaluation).items()]
    scores.append(("images", f"{len(evaluation.system.pairs.images)}", ""))
    if not evaluation.comparisons:
        return [scores]
    columns = ("score", "results", "compared with", "difference", interval, "p")
    return [scores, [columns, *(tuple(row.values()) for row in comparison_rows(evaluation))]]


def _html_table(grid: list[Sequence[str]]) -> Markup:
    lines = [
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup("<{0}>{1}</{0}>").format(tag, cell) for cell in row)
        )
        for tag, row in zip(["th", *["td"] * len(grid)], grid)
    ]
    return Markup("<table>{}</table>").format(Markup("").join(lines))


def _image_record(system: ScoredSystem, row: int) -> dict[str, object]:
    return {
        "caption": system.pairs.captions[row],
        "tokens": system.scored.tokens[row],
        "scores": {score.name: float(score.per_image[row]) for score in system.scored.scores},
    }
