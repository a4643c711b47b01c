"""From scores to answers: probabilities, the penalty of seen labels, and "none of these".

All of it is fitted on images of labels that the projection was not trained on.
"""

import logging
import math
from typing import NamedTuple

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from vl.search.nearest import NearestNeighbors

_log = logging.getLogger(__name__)
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 1e-4, 1e2  # cosines differ by 0.0001 to 1
_PENALTIES = 401  # tried, from 0 to the greatest lead of a seen label
_ROUNDING = 1e-9  # of 49 times 1 / 49 less than 1 is left
_SAME_LABEL = 1 - 1e-5  # cosine from which on two labels are one: a float16's rounding is below it


class Calibration(NamedTuple):
    """What turns scores into answers."""

    temperature: float  # of the softmax over all candidates' scores
    seen_temperature: float  # the same where all candidates were trained on
    seen_penalty: float  # subtracted from seen labels' cosines (Chao et al. 2016)
    references: Tensor  # (R, D) unit: images of labels not trained on, in word space
    reference_labels: Tensor  # (R, D) unit: the vectors of those labels

    def temperature_for(self, *, all_seen: bool) -> float:
        """That of candidates which were all trained on, or of any others."""
        return self.seen_temperature if all_seen else self.temperature

    def to(self, device: torch.device) -> "Calibration":
        """The same on another device."""
        return self._replace(
            references=self.references.to(device),
            reference_labels=self.reference_labels.to(device),
        )


def calibrate(
    projected: Tensor, targets: Tensor, label_vectors: Tensor, seen: Tensor
) -> Calibration | None:
    """Calibrate on the images of the development split.

    Args:
        projected: the images in word space, ``(N, D)``, unit length.
        targets: each image's row of ``label_vectors``, ``(N,)``.
        label_vectors: of training and development labels, ``(K, D)``, unit length.
        seen: whether each label was trained on, ``(K,)``.

    Returns:
        None without an image of a development label. Without an image of a training label the
        penalty is 0 and one temperature serves all candidates.
    """
    is_seen = seen[targets]
    if bool(is_seen.all()):
        return None
    scores = projected @ label_vectors.T

    def temperature(images: Tensor, labels: Tensor) -> float:
        index_among = torch.cumsum(labels, 0) - 1  # of each label among these
        return fit_temperature(scores[images][:, labels], index_among[targets[images]])

    unseen_temperature = temperature(~is_seen, ~seen)
    seen_penalty, seen_temperature = 0.0, unseen_temperature
    if bool(is_seen.any()):
        seen_penalty = fit_seen_penalty(scores, targets, seen)
        seen_temperature = temperature(is_seen, seen)
    else:
        _log.warning("no image of a training label is in the development split: no seen penalty")
    return Calibration(
        unseen_temperature,
        seen_temperature,
        seen_penalty,
        projected[~is_seen],
        label_vectors[targets[~is_seen]],
    )


def fit_temperature(scores: Tensor, targets: Tensor) -> float:
    """The temperature whose softmax has the least negative log-likelihood.

    Args:
        scores: of R images for K labels, ``(R, K)``; minus infinity for a label without a vector.
        targets: each image's label, ``(R,)``; one that has a score.

    Returns:
        Between 1e-4 and 100.

    Source:
        Guo et al. 2017, section 4.2.
    """
    exact = scores.double()
    target_scores = exact.gather(1, targets[:, None])[:, 0]  # (R,)

    def nll(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        return float((torch.logsumexp(inverse * exact, 1) - inverse * target_scores).mean())

    # It is convex in the inverse temperature, so it has one minimum.
    bounds = (math.log(_MIN_TEMPERATURE), math.log(_MAX_TEMPERATURE))
    result = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return math.exp(result.x)


def fit_seen_penalty(scores: Tensor, targets: Tensor, seen: Tensor) -> float:
    """The penalty of seen labels with the best harmonic mean of both groups' hits.

    Args:
        scores: of R images for K labels, ``(R, K)``; seen and unseen ones, both with images.
        targets: each image's label, ``(R,)``.
        seen: whether each label was seen in training, ``(K,)``.

    Returns:
        At least 0; the least of equally good ones. Hits are means over labels.

    Source:
        Chao et al. 2016 (calibrated stacking); Xian et al. 2017 (the harmonic mean).
    """
    is_seen = seen[targets]
    best_seen, seen_rank = scores[:, seen].max(1)
    best_unseen, unseen_rank = scores[:, ~seen].max(1)
    indices = torch.arange(len(seen))
    seen_correct = indices[seen][seen_rank] == targets  # (R,) correct if a seen label comes first
    unseen_correct = indices[~seen][unseen_rank] == targets
    lead = best_seen - best_unseen
    # Within a group each label counts the same, however many images show it.
    weights = 1 / torch.bincount(targets, minlength=len(seen)).double()[targets]  # (R,)
    seen_weights, unseen_weights = weights * is_seen, weights * ~is_seen
    best, best_penalty = -1.0, 0.0
    for penalty in torch.linspace(0, max(0.0, float(lead.max())), _PENALTIES).tolist():
        first = lead > penalty
        seen_hits = float(seen_weights[seen_correct & first].sum() / seen_weights.sum())
        unseen_hits = float(unseen_weights[unseen_correct & ~first].sum() / unseen_weights.sum())
        total = seen_hits + unseen_hits
        harmonic = 2 * seen_hits * unseen_hits / total if total else 0.0
        if harmonic > best:
            best, best_penalty = harmonic, penalty
    return best_penalty


def rejection_threshold(
    calibration: Calibration, candidates: NearestNeighbors, vectors: Tensor, *, false_accepts: float
) -> float:
    """The score that an image's best label must exceed; otherwise it is none of these.

    At most this share of the references whose own label is no candidate has a best score above it.
    It depends on the candidates: among more of them something is always nearer.

    Args:
        calibration: with the references.
        candidates: the labels.
        vectors: of the same labels, ``(K, D)``; NaN for one without.
        false_accepts: share of images of none of the candidates that get a label nevertheless.

    Raises:
        ValueError: the share is not between 0 and 1, or the references are too few for it.
    """
    if not 0 < false_accepts < 1:
        raise ValueError(
            f"the rate of false accepts is {false_accepts}; it must be between 0 and 1"
        )
    with_vector = vectors[~vectors.isnan().any(1)]
    parts = torch.split(calibration.reference_labels, 64)
    closest = torch.cat([(part @ with_vector.T).amax(1) for part in parts])  # (R,)
    negatives = calibration.references[closest < _SAME_LABEL]
    if not len(negatives):
        raise ValueError(
            f"no threshold for none of these: all {len(closest)} images that the labeller was "
            "calibrated on show one of the candidates"
        )
    allowed = int(false_accepts * len(negatives) + _ROUNDING)
    if not allowed:
        least = math.ceil(1000 / len(negatives)) / 1000  # rounded to a valid rate
        raise ValueError(
            f"{len(negatives)} calibration images of other labels are too few for a rate of false "
            f"accepts of {false_accepts}; the least is {least}"
        )
    best = candidates.nearest(negatives, top_k=1).scores[:, 0].sort(descending=True).values
    return float(best[allowed])
