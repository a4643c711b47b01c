"""Top-1 and top-5 accuracy, confusions, and confidence intervals, counted from rankings."""

import math
from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor

TOP = 5
_NORMAL = 1.959964  # 97.5 % quantile of the standard normal distribution


class ConfusedPair(NamedTuple):
    """A class of images, another that was predicted for them, and how often."""

    truth: int
    predicted: int
    images: int


class HitCounts:
    """Counts of top-1 and top-5 hits and of predictions, by class."""

    def __init__(self, classes: int) -> None:
        self.top = min(TOP, classes)
        self.images = torch.zeros(classes, dtype=torch.int64)  # of each class
        self.top_1 = torch.zeros(classes, dtype=torch.int64)
        self.top_5 = torch.zeros(classes, dtype=torch.int64)
        self._predictions = Counter[tuple[int, int]]()  # by true and predicted class

    def add(self, ranking: Tensor, truths: Tensor) -> None:
        """Count images by their classes in descending probability, ``(B, top or more)``."""
        classes = len(self.images)
        hits = ranking[:, : self.top] == truths[:, None]  # (B, top)
        self.images += torch.bincount(truths, minlength=classes)
        self.top_1 += torch.bincount(truths[hits[:, 0]], minlength=classes)
        self.top_5 += torch.bincount(truths[hits.any(1)], minlength=classes)
        self._predictions.update(zip(truths.tolist(), ranking[:, 0].tolist(), strict=True))

    def totals(self) -> tuple[int, int, int]:
        """Images, and hits of top 1 and of top 5, over all classes."""
        return int(self.images.sum()), int(self.top_1.sum()), int(self.top_5.sum())

    def confused_pairs(self, most: int) -> list[ConfusedPair]:
        """The most frequent pairs of a true and another predicted class."""
        pairs = [
            ConfusedPair(*pair, count)
            for pair, count in self._predictions.items()
            if pair[0] != pair[1]
        ]
        return sorted(pairs, key=lambda pair: (-pair.images, pair))[:most]

    def confusion_matrix(self) -> Tensor:
        """Images by true and predicted class, ``(classes, classes)``, int64."""
        counts = torch.zeros(len(self.images), len(self.images), dtype=torch.int64)
        for pair, count in self._predictions.items():
            counts[pair] = count
        return counts


def rank_classes(probabilities: Tensor) -> Tensor:
    """``(B, classes)`` to classes by descending probability; of equal ones the first is first."""
    return probabilities.argsort(dim=1, descending=True, stable=True)


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a proportion.

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    share, spread = hits / count, _NORMAL**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
