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
        ValueError: a metric is unknown or duplicated.
    """
    for metric in metrics:
        if metric != "diversity" and metric not in SCORE_NAMES:
            expected = ", ".join([*SCORE_NAMES, "diversity"])
            raise ValueError(f"unknown metric {metric!r}; expected one of {expected}")
        if metrics.count(metric) > 1:
            raise ValueError(f"duplicate metric: {metric}")
    return [metric for metric in metrics if metric != "diversity"]
