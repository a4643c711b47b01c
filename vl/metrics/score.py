"""One score of many captions: the figure, each image's own, and what the figure is made of.

A figure that can be had again from sums over images can be had for any sample of the images, which
is what confidence intervals and paired tests need.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Score(NamedTuple):
    """A score of ``I`` images."""

    name: str  # "BLEU-4"
    images: Floats  # (I,) of each image by itself
    statistics: Floats  # (I, S) whose sums over images are all that `value` needs
    value: Callable[[Floats], Floats]  # sums (..., S) to the figure (...,)
    detail: str = ""  # what could change the figure: "closest"

    @property
    def corpus(self) -> float:
        """The figure of all images together."""
        return float(self.value(self.statistics.sum(0)))


def mean_score(name: str, images: Floats, *, detail: str = "") -> Score:
    """A score that is the mean of the images' own."""
    return Score(name, images, np.stack([images, np.ones_like(images)], 1), _mean, detail)


def _mean(sums: Floats) -> Floats:
    quotient: Floats = sums[..., 0] / sums[..., 1]
    return quotient
