"""Names of the caption metrics; it imports no NumPy, so that a command's help can list them."""

from collections.abc import Sequence
from typing import Literal

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


def caption_metrics(metrics: Sequence[EvaluationMetric]) -> list[Metric]:
    """The metrics without diversity.

    Raises:
        ValueError: diversity is duplicated.
    """
    if metrics.count("diversity") > 1:
        raise ValueError("duplicate metric: diversity")
    return [metric for metric in metrics if metric != "diversity"]


def score_names(metrics: Sequence[Metric]) -> list[str]:
    """The names of the scores that metrics compute, in order.

    Raises:
        ValueError: a metric is unknown or duplicated.
    """
    unknown = [metric for metric in metrics if metric not in SCORE_NAMES]
    if unknown:
        raise ValueError(f"unknown metric {unknown[0]!r}; expected one of {', '.join(SCORE_NAMES)}")
    duplicates = [metric for metric in SCORE_NAMES if metrics.count(metric) > 1]
    if duplicates:
        raise ValueError(f"duplicate metric: {duplicates[0]}")
    return [name for metric in metrics for name in SCORE_NAMES[metric]]
