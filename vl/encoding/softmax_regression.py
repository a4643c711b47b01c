"""Softmax regression on embeddings by scikit-learn; weight decay chosen by cross-validation."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

_log = logging.getLogger(__name__)
_ITERATIONS = 300  # of L-BFGS at most
_TOLERANCE = 1e-5  # of the gradient, per row
_LEAST_SCALE = 1e-6  # identical embeddings have a standard deviation of 0
_NEVER_HELD_OUT = -1  # the fold of such an image
_ABSENT = 30.0  # nats by which the logit of a class without images is below the least bias


class Regression(NamedTuple):
    """A linear classifier of embeddings: logits are ``images @ weight.T + bias``."""

    weight: Tensor  # (classes, D) float32
    bias: Tensor  # (classes,) float32


class CrossValidation(NamedTuple):
    """The results of a weight decay on images that were not trained on."""

    decay: float
    cross_entropy: float  # mean over rows, nats
    top_1: float  # accuracy, 0 to 1


def softmax_regression(images: Tensor, labels: Tensor, *, classes: int, decay: float) -> Regression:
    """The classifier that minimizes mean cross-entropy plus ``decay / 2`` times squared weights.

    The penalized weights are those of standardized embeddings (zero mean, unit deviation, one scale
    for all dimensions), so that the result does not depend on the embeddings' offset and unit.
    Biases are not penalized.

    Args:
        images: embeddings, ``(N, D)``, float.
        labels: classes, ``(N,)``, int64, below ``classes``.
        classes: their count.
        decay: at least 0; with 0 the weights of separable classes are unbounded.

    Returns:
        For embeddings that are not standardized.

    Raises:
        ValueError: an embedding is not finite.
    """
    _check_finite(images)
    standardizer = _Standardizer.fit(images)
    solver = _Solver(classes)
    solver.fit(standardizer(images), labels.cpu().numpy(), decay)
    return solver.regression(standardizer, images.device)


def cross_validate(
    images: Tensor,
    labels: Tensor,
    groups: Tensor,
    *,
    classes: int,
    decays: Sequence[float],
    folds: int,
    seed: int,
) -> tuple[CrossValidation, ...]:
    """Evaluate weight decays by stratified cross-validation; an image's views share a fold.

    Each decay starts from the solution of the next greater one, which saves iterations.
    ``LogisticRegressionCV`` does the same but fails for a class that is missing from a fold: here
    the only image of a class is always trained on.

    Args:
        images: embeddings, ``(N, D)``, float.
        labels: classes, ``(N,)``, int64, below ``classes``.
        groups: the image that each row is a view of, ``(N,)``, int64.
        classes: their count.
        decays: different ones.
        folds: at least 2.
        seed: of the assignment of images to folds.

    Returns:
        One for each decay, the greatest first.

    Raises:
        ValueError: an embedding is not finite, or too few images can be held out.
    """
    _check_finite(images)
    fold_of = folds_of(labels, groups, folds=folds, seed=seed).to(images.device)
    descending = sorted(decays, reverse=True)
    nll, hits = dict.fromkeys(descending, 0.0), dict.fromkeys(descending, 0)
    for fold in range(folds):
        held_out = fold_of == fold
        training = images[~held_out]
        standardizer, solver = _Standardizer.fit(training), _Solver(classes)
        inputs, targets = standardizer(training), labels[~held_out].cpu().numpy()
        validation, truth = images[held_out].float(), labels[held_out]
        for decay in descending:
            solver.fit(inputs, targets, decay)
            weight, bias = solver.regression(standardizer, images.device)
            logits = validation @ weight.T + bias  # (held out, classes)
            nll[decay] += float(torch.nn.functional.cross_entropy(logits, truth, reduction="sum"))
            hits[decay] += int((logits.argmax(1) == truth).sum())
    count = int((fold_of != _NEVER_HELD_OUT).sum())
    results = tuple(
        CrossValidation(decay, nll[decay] / count, hits[decay] / count) for decay in descending
    )
    for result in results:
        _log.info("decay %g: cross-validated cross-entropy %.4f, top-1 %.4f", *result)
    return results


def folds_of(labels: Tensor, groups: Tensor, *, folds: int, seed: int) -> Tensor:
    """The fold of each row: an image's views together, each class evenly.

    ``StratifiedGroupKFold`` refuses classes of fewer images than folds.

    Args:
        labels: ``(N,)``, int64; the same for all views of an image.
        groups: the image that each row is a view of, ``(N,)``, int64.
        folds: at least 2.
        seed: of the shuffle within each class. The order of rows does not matter.

    Returns:
        ``(N,)``, int64, from 0; -1 for the only image of a class, which is never held out.

    Raises:
        ValueError: there are fewer images that can be held out than folds.
    """
    names, inverse = np.unique(groups.cpu().numpy(), return_inverse=True)
    image_of = torch.from_numpy(inverse)  # (N,)
    label_of = torch.zeros(len(names), dtype=torch.int64)
    label_of[image_of] = labels.cpu()
    generator = torch.Generator().manual_seed(seed)
    fold_of = torch.full_like(label_of, _NEVER_HELD_OUT)
    dealt = 0
    for label in label_of.unique():  # sorted
        members = torch.nonzero(label_of == label)[:, 0]
        if len(members) > 1:
            members = members[torch.randperm(len(members), generator=generator)]
            # Continues where the class before ended: folds differ by one image at most.
            fold_of[members] = (dealt + torch.arange(len(members))) % folds
            dealt += len(members)
    if dealt < folds:
        singles = len(names) - dealt
        rest = f", as {singles} are the only one of their class" if singles else ""
        raise ValueError(f"{dealt} images cannot make {folds} folds{rest}")
    return fold_of[image_of].to(labels.device)


class _Standardizer(NamedTuple):
    """Zero mean, unit deviation; one scale for all dimensions."""

    mean: Tensor  # (D,)
    scale: Tensor  # ()

    @classmethod
    def fit(cls, images: Tensor) -> "_Standardizer":
        images = images.detach().float()
        mean = images.mean(0)
        return cls(mean, (images - mean).square().mean().sqrt().clamp(min=_LEAST_SCALE))

    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        standardized = (images.detach().float() - self.mean) / self.scale
        return standardized.double().cpu().numpy()


class _Solver:
    """L-BFGS on standardized embeddings, each fit from the solution of the one before."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._model: Any = None  # scikit-learn has no annotations
        self._present: NDArray[np.int64] = np.arange(0)

    def fit(self, images: NDArray[np.float64], labels: NDArray[np.int64], decay: float) -> None:
        self._present = np.array(sorted(set(labels.tolist())))
        if len(self._present) == 1:
            return
        # Of two classes scikit-learn has one row of weights, the difference of our two.
        strength = decay * len(images) / (2 if len(self._present) == 2 else 1)
        if self._model is None:
            self._model = LogisticRegression(
                solver="lbfgs", max_iter=_ITERATIONS, tol=_TOLERANCE, warm_start=True
            )
        self._model.set_params(C=1 / strength if strength else np.inf)
        self._model.fit(images, labels)

    def regression(self, standardizer: _Standardizer, device: torch.device) -> Regression:
        """The classifier of embeddings that are not standardized."""
        width = len(standardizer.mean)
        weight = torch.zeros(self._classes, width, dtype=torch.float64)
        bias = torch.zeros(self._classes, dtype=torch.float64)
        if len(self._present) > 1:
            rows = torch.from_numpy(self._model.coef_)
            offsets = torch.from_numpy(self._model.intercept_)
            if len(self._present) == 2:
                rows, offsets = torch.cat([-rows, rows]) / 2, torch.cat([-offsets, offsets]) / 2
            weight[self._present], bias[self._present] = rows, offsets
        absent = torch.ones(self._classes, dtype=torch.bool)
        absent[self._present] = False
        bias[absent] = bias[~absent].min() - _ABSENT
        weight /= standardizer.scale.cpu()
        bias -= weight @ standardizer.mean.cpu().double()
        return Regression(weight.float().to(device), bias.float().to(device))


def _check_finite(images: Tensor) -> None:
    finite = images.isfinite().all(1)
    if not bool(finite.all()):
        raise ValueError(f"embedding {int((~finite).nonzero()[0])} is not finite")
