"""What scores mean: probabilities, "none of these", and how much labels seen in training are ahead.

All of it is found on photographs whose labels the projection was never trained on.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vl.search.nearest import NearestNeighbors

_TERNARY_STEPS = 100  # each leaves two thirds of the range
_SHARPEST, _BLUNTEST = 1e4, 1e-2  # of 1 / temperature; cosines differ by 0.0001 to 1
_HANDICAPS = 401  # tried, from 0 to the greatest lead that there is
_ROUNDING = 1e-9  # of 49 times 1 / 49 less than 1 is left
_SAME = 1 - 1e-5  # cosine from which on two labels are one: a float16's rounding is below it


class Calibration(NamedTuple):
    """Numbers that turn scores into answers."""

    temperature: float  # of the softmax over all candidates' scores
    seen_temperature: float  # the same where all candidates were trained on
    seen_penalty: (
        float  # what seen labels' cosines lose where unseen ones compete (Chao et al. 2016)
    )
    references: Tensor  # (R, D) unit: photographs of labels never trained on, in word space
    truths: Tensor  # (R, D) unit: those labels

    def temperature_for(self, *, all_seen: bool) -> float:
        """That of candidates which were trained on, or of any others."""
        return self.seen_temperature if all_seen else self.temperature


def temperature_of(scores: Tensor, truth: Tensor) -> float:
    """The temperature at which the softmax of the scores is the least surprised by the truth.

    Args:
        scores: of R images for K labels, ``(R, K)``; minus infinity for a label without a vector.
        truth: number of each image's label, ``(R,)``; one that has a score.

    Returns:
        Above 0. Within its range where the images are all right, or no better than chance.

    Raises:
        ValueError: there is no image, or fewer than two labels.

    Source:
        Guo et al. 2017, section 4.2.
    """
    if len(scores) < 1 or scores.shape[1] < 2:
        raise ValueError(f"scores have shape {tuple(scores.shape)}; expected images by two or more")
    exact = scores.double()
    own = exact.gather(1, truth[:, None])[:, 0]  # (R,)

    def nll(sharpness: float) -> float:
        return float((torch.logsumexp(sharpness * exact, 1) - sharpness * own).mean())

    low, high = math.log(_BLUNTEST), math.log(_SHARPEST)
    for _ in range(_TERNARY_STEPS):  # it is convex in the sharpness, so it has one valley
        third = (high - low) / 3
        if nll(math.exp(low + third)) <= nll(math.exp(high - third)):
            high -= third
        else:
            low += third
    return math.exp(-(low + high) / 2)


def fit_seen_penalty(scores: Tensor, truth: Tensor, seen: Tensor) -> float:
    """What to take off seen labels' scores for the best harmonic mean of both groups' hits.

    Args:
        scores: of R images for K labels, seen and unseen, ``(R, K)``.
        truth: number of each image's label, ``(R,)``.
        seen: whether each label was seen in training, ``(K,)``.

    Returns:
        At least 0; the least of equally good ones. Hits are means over labels.

    Raises:
        ValueError: one of the two groups has no image or no label.

    Source:
        Chao et al. 2016 (calibrated stacking); Xian et al. 2017 (the harmonic mean).
    """
    is_seen = seen[truth]
    if not (bool(is_seen.any()) and bool((~is_seen).any())):
        raise ValueError("images with seen and with unseen labels are wanted")
    best_seen, among_seen = scores[:, seen].max(1)
    best_unseen, among_unseen = scores[:, ~seen].max(1)
    number = torch.arange(len(seen))
    right_seen = number[seen][among_seen] == truth  # (R,) right, if a seen label comes first
    right_unseen = number[~seen][among_unseen] == truth
    lead = best_seen - best_unseen
    # Within a group each label counts the same, however many images show it.
    weights = 1 / torch.bincount(truth, minlength=len(seen)).double()[truth]  # (R,)
    weights_seen, weights_unseen = weights * is_seen, weights * ~is_seen
    best, found = -1.0, 0.0
    for seen_penalty in torch.linspace(0, max(0.0, float(lead.max())), _HANDICAPS).tolist():
        first = lead > seen_penalty
        of_seen = float(weights_seen[right_seen & first].sum() / weights_seen.sum())
        of_unseen = float(weights_unseen[right_unseen & ~first].sum() / weights_unseen.sum())
        both = of_seen + of_unseen
        harmonic = 2 * of_seen * of_unseen / both if both else 0.0
        if harmonic > best:
            best, found = harmonic, seen_penalty
    return found


def threshold(
    calibration: Calibration, labels: NearestNeighbors, vectors: Tensor, *, false_accepts: float
) -> float:
    """The score that a photograph's best label must exceed, or it is none of these.

    The references are asked: photographs that show none of the candidates, apart from those whose
    own label is a candidate, which are left out. At most the wanted share of the rest has a best
    score above the threshold. It depends on the candidates: among more of them something is always
    nearer.

    Args:
        calibration: with the references.
        labels: the candidates, ready to be compared with.
        vectors: the same candidates' vectors, ``(K, D)``; NaN for one without.
        false_accepts: share of photographs of none of the candidates that get a label even so.

    Raises:
        ValueError: the share is not between 0 and 1, or so small that the references cannot tell.
    """
    if not 0 < false_accepts < 1:
        raise ValueError(
            f"the rate of false accepts is {false_accepts}; it must be between 0 and 1"
        )
    known = vectors[~vectors.isnan().any(1)]
    parts = torch.split(calibration.truths, 64)
    same = torch.cat([(part @ known.T).amax(1) for part in parts])  # (R,)
    others = calibration.references[same < _SAME]
    if not len(others):
        raise ValueError(
            f"all {len(same)} photographs by which the threshold is found show one of the "
            "candidates: what shows none of them is unknown"
        )
    allowed = int(false_accepts * len(others) + _ROUNDING)
    if not allowed:
        least = math.ceil(1000 / len(others)) / 1000  # so rounded that it can be asked for
        raise ValueError(
            f"{len(others)} photographs of other labels, by which the threshold is found, cannot "
            f"tell a rate of false accepts of {false_accepts}; the least is {least}"
        )
    best = labels.nearest(others, top_k=1).scores[:, 0].sort(descending=True).values
    return float(best[allowed])
