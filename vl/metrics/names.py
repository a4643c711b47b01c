"""Names of the caption metrics; it imports no NumPy, so that a command's help can list them."""

from collections.abc import Sequence
from typing import Literal, cast

from vl.data.choices import Metric

EvaluationMetric = Literal[Metric, "diversity"]
"""Diversity alone needs no references."""
DEFAULT_METRICS: tuple[Metric, ...] = ("bleu", "rouge-l", "cider-d")
SCORE_NAMES: dict[Metric, tuple[str, ...]] = {
    "bleu": ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"),
    "rouge-l": ("ROUGE-L",),
    "cider-d": ("CIDEr-D",),
    "cider": ("CIDEr",),
    "meteor": ("METEOR",),
    "spice": ("SPICE",),
}
TFIDF_METRICS: frozenset[Metric] = frozenset(["cider-d", "cider"])
"""Metrics that weight n-grams by document frequencies."""


def metric_name(text: str) -> EvaluationMetric:
    """A metric by its name in any case, with hyphens or underscores: ``ROUGE_L``.

    Raises:
        ValueError: there is no such metric.
    """
    if (name := plain_name(text)) in (*SCORE_NAMES, "diversity"):
        return cast(EvaluationMetric, name)
    expected = ", ".join([*SCORE_NAMES, "diversity"])
    raise ValueError(f"unknown metric {text!r}; expected one of {expected}")


def plain_name(text: str) -> str:
    """A name as metrics have it, known or not."""
    return text.casefold().replace("_", "-")


def caption_metrics(metrics: Sequence[EvaluationMetric]) -> list[Metric]:
    """The metrics without diversity; names in any case.

    Raises:
        ValueError: a metric is unknown or duplicated.
    """
    names = [metric_name(metric) for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"duplicate metric: {name}")
    return [name for name in names if name != "diversity"]
