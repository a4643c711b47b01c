"""A metric of many captions: its value for the corpus, for each image, and the sums behind it.

A value that can be computed from sums over images can be computed for any sample of the images,
which is what confidence intervals and paired tests need.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Score(NamedTuple):
    """One metric of ``I`` images."""

    name: str  # "BLEU-4"
    per_image: Floats  # (I,)
    statistics: Floats  # (I, S); sums over images are all that `aggregate` needs
    aggregate: Callable[[Floats], Floats]  # sums (..., S) to values (...,)
    settings: str = ""  # what could change the value, for its signature: "closest"

    @property
    def corpus(self) -> float:
        """The value over all images."""
        return float(self.aggregate(self.statistics.sum(0)))

    def scaled(self, factor: float) -> "Score":
        """The same score times a factor: by 100 in hundredths."""
        aggregate = self.aggregate
        return self._replace(
            per_image=factor * self.per_image, aggregate=lambda sums: factor * aggregate(sums)
        )


def mean_score(name: str, per_image: Floats, *, settings: str = "") -> Score:
    """A metric whose corpus value is the mean over images."""
    statistics = np.stack([per_image, np.ones_like(per_image)], 1)
    return Score(name, per_image, statistics, _mean, settings)


def _mean(sums: Floats) -> Floats:
    quotient: Floats = sums[..., 0] / sums[..., 1]
    return quotient
