"""When a validation decides: the one rule for the epoch that is kept and for early stopping.

- A score that says something is better than one that does not yet, as BLEU-4 without a 4-gram
  that matches, or an accuracy of zero. Of two that say something the greater is better.
- Scores that say nothing, and scores equal but for rounding, leave the choice to the loss; of equal
  losses the earlier epoch is kept.
- Training stops early after ``patience`` epochs in a row whose scores say something and are not
  better.
"""

import logging
import math
from dataclasses import dataclass, field
from typing import NamedTuple

_ROUNDING = 1e-6  # relative, or absolute below 1; about float32's
_log = logging.getLogger(__name__)
FEW_EXAMPLES = 20  # of fewer, one moves a rate by more than 5 points


class Validation(NamedTuple):
    """The result of a validation."""

    score: float  # greater is better
    metrics: dict[str, float]  # for the log, by name
    loss: float | None = None  # lower is better; where the score does not decide
    score_counts: bool = True  # False while the score says nothing

    def __str__(self) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in self.named().items())

    def named(self) -> dict[str, float]:
        """The metrics, and the loss if it is none of them."""
        return self.metrics if self.loss is None else {"loss": self.loss, **self.metrics}


@dataclass
class Selection:
    """The best epoch so far; plain values, which the checkpoint stores."""

    epoch: int = 0  # counted from 1; 0 before the first validation
    score: float = -math.inf
    metrics: dict[str, float] = field(default_factory=dict)
    loss: float | None = None
    score_counts: bool = False
    stale_epochs: int = 0  # since an epoch was the best, or its score said nothing

    @property
    def best(self) -> Validation | None:
        """The validation of the best epoch."""
        if not self.epoch:
            return None
        return Validation(self.score, self.metrics, self.loss, self.score_counts)

    def update(self, epoch: int, validation: Validation) -> bool:
        """Take in an epoch's validation; returns whether it is the best so far."""
        best = self.best
        better = best is None or is_better(validation, best)
        if better:
            self.score, self.metrics, self.loss, _ = validation
            self.epoch, self.score_counts = epoch, _counts(validation)
        self.stale_epochs = 0 if better or not _counts(validation) else self.stale_epochs + 1
        return better


def is_better(new: Validation, best: Validation) -> bool:
    """Whether a validation is better than the best so far, by this module's rule."""
    counts = _counts(new), _counts(best)
    if counts[0] != counts[1]:
        return counts[0]
    if counts[0] and _differ(new.score, best.score):
        return new.score > best.score
    return _differ(_loss(new), _loss(best)) and _loss(new) < _loss(best)


def warn_of_few(count: int, unit: str) -> None:
    """Warn of a development split in which one example decides."""
    if count < FEW_EXAMPLES:
        _log.warning(
            "the development split is small: with %d %s one of them moves a score by %.3g points",
            *(count, unit, 100 / max(1, count)),
        )


def _counts(validation: Validation) -> bool:
    return validation.score_counts and not math.isnan(validation.score)


def _loss(validation: Validation) -> float:
    """The loss; infinite where there is none, so that it does not decide."""
    loss = validation.loss
    return math.inf if loss is None or math.isnan(loss) else loss


def _differ(one: float, other: float) -> bool:
    return not math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
