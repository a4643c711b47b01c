"""Softmax regression on embeddings, and the weight decay that photographs held out like best.

It does not know what the classes are called, nor which encoder the embeddings are from.
"""

import logging
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_log = logging.getLogger(__name__)
_STEPS = 200  # of L-BFGS at most; a thousand classes of few photographs are done in fewer
_LEAST_CHANGE = 1e-7  # of the loss from step to step: what float32 can tell of a loss near 1
_LEAST_SCALE = 1e-6  # embeddings that are all the same have a deviation of 0
_ALWAYS_TRAINED_ON = -1  # the fold of a photograph that is never held out


class Regression(NamedTuple):
    """A linear classifier of raw embeddings: logits are ``images @ weight.T + bias``."""

    weight: Tensor  # (classes, D) float32
    bias: Tensor  # (classes,) float32


class HeldOut(NamedTuple):
    """How a decay does on photographs that were not trained on, each of them held out once."""

    decay: float
    cross_entropy: float  # mean over rows, nats
    top_1: float  # share of rows whose class comes first, 0 to 1


def softmax_regression(images: Tensor, labels: Tensor, *, classes: int, decay: float) -> Regression:
    """The classifier of least mean cross-entropy plus ``decay / 2`` times the squared weights.

    The weights that count are those for embeddings less their mean and in units of their
    deviation, one scale for all numbers; so neither a shift nor a unit of the embeddings changes
    an answer. Biases are free: that of a class without a photograph goes down as far as the
    solver's steps take it.

    Args:
        images: embeddings, ``(N, D)``, of any float type.
        labels: class of each one, ``(N,)``, int64, below ``classes``.
        classes: how many there are.
        decay: at least 0; at 0 classes that a plane can part have weights without a limit.

    Returns:
        In the units of the embeddings as they came.

    Raises:
        ValueError: shapes that do not belong together, no embedding, a number that is not finite,
            a label that is no class, or a decay below 0.

    Source:
        L-BFGS with a line search for the strong Wolfe conditions: Nocedal and Wright 2006,
        algorithms 7.5 and 3.5, as ``torch.optim.LBFGS`` has them.
    """
    _check(images, labels, classes)
    _check_decay(decay)
    standard = _standardised(images)
    start = _undecided(standard, classes)
    return standard.folded(_solved(standard.images, labels, start=start, decay=decay))


def chosen_decay(
    images: Tensor,
    labels: Tensor,
    groups: Tensor,
    *,
    classes: int,
    decays: Sequence[float],
    folds: int,
    seed: int,
) -> float:
    """The decay of least cross-entropy on photographs held out; the greater of equal ones.

    Cross-entropy and not hits: with few photographs many decays have the same hits, and which of
    them has one more is chance.

    All that it is given is as ``cross_validated`` has it.

    Raises:
        ValueError: see ``cross_validated``.
    """
    judged = cross_validated(
        images, labels, groups, classes=classes, decays=decays, folds=folds, seed=seed
    )
    return min(judged, key=lambda held: (held.cross_entropy, -held.decay)).decay


def cross_validated(
    images: Tensor,
    labels: Tensor,
    groups: Tensor,
    *,
    classes: int,
    decays: Sequence[float],
    folds: int,
    seed: int,
) -> tuple[HeldOut, ...]:
    """Each decay judged on every fold by a classifier of the other folds.

    Mean and deviation are those of the other folds as well. Each next decay starts where the one
    above it ended, which spares steps and leaves the answer.

    Args:
        images: embeddings, ``(N, D)``, of any float type.
        labels: class of each one, ``(N,)``, int64, below ``classes``.
        groups: which photograph each row is a view of, ``(N,)``, int64, any numbers.
        classes: how many there are.
        decays: to be judged, at least one.
        folds: see ``folds_of``.
        seed: says which photograph comes into which fold.

    Returns:
        One for each decay, the greatest first.

    Raises:
        ValueError: see ``softmax_regression`` and ``folds_of``, or there is no decay.
    """
    _check(images, labels, classes)
    for decay in decays:
        _check_decay(decay)
    if not decays:
        raise ValueError("there is no decay to choose from")
    fold_of = folds_of(labels, groups, folds=folds, seed=seed).to(images.device)
    descending = sorted(set(decays), reverse=True)
    nll, right = dict.fromkeys(descending, 0.0), dict.fromkeys(descending, 0)
    for fold in range(folds):
        held = fold_of == fold
        standard = _standardised(images[~held])
        found = _undecided(standard, classes)
        for decay in descending:
            found = _solved(standard.images, labels[~held], start=found, decay=decay)
            weight, bias = standard.folded(found)
            logits = images[held].float() @ weight.T + bias  # (held, classes)
            nll[decay] += float(F.cross_entropy(logits, labels[held], reduction="sum"))
            right[decay] += int((logits.argmax(1) == labels[held]).sum())
    count = int((fold_of != _ALWAYS_TRAINED_ON).sum())
    judged = tuple(HeldOut(decay, nll[decay] / count, right[decay] / count) for decay in descending)
    for each in judged:
        _log.info("decay %g: held out, cross-entropy %.4f, top-1 %.4f", *each)
    return judged


def folds_of(labels: Tensor, groups: Tensor, *, folds: int, seed: int) -> Tensor:
    """The fold of each row: the views of a photograph together, each class dealt out evenly.

    Args:
        labels: ``(N,)``, int64.
        groups: which photograph each row is a view of, ``(N,)``, int64, any numbers.
        folds: at least 2.
        seed: of the shuffle within each class. The order of rows plays no part.

    Returns:
        ``(N,)``, int64, from 0; -1 for the only photograph of a class, which is never held out,
        as nothing would be left to know its class by.

    Raises:
        ValueError: fewer than 2 folds, fewer photographs that can be held out than folds, a view
            without a photograph, or views of one photograph with different labels.
    """
    if folds < 2:
        raise ValueError(f"folds are {folds}; there must be at least 2")
    if labels.shape != groups.shape:
        raise ValueError(f"{len(labels)} labels come with photographs of {len(groups)} views")
    names, inverse = np.unique(groups.cpu().numpy(), return_inverse=True)
    photographs, photograph = torch.from_numpy(names), torch.from_numpy(inverse)  # (P,), (N,)
    label_of = torch.zeros_like(photographs)
    label_of[photograph] = labels.cpu()
    mixed = photograph[label_of[photograph] != labels.cpu()]
    if len(mixed):
        raise ValueError(f"views of photograph {int(photographs[mixed[0]])} have different labels")
    generator = torch.Generator().manual_seed(seed)
    fold_of = torch.full_like(photographs, _ALWAYS_TRAINED_ON)
    dealt = 0
    for label in sorted(set(label_of.tolist())):
        its = torch.nonzero(label_of == label)[:, 0]
        if len(its) == 1:
            continue
        its = its[torch.randperm(len(its), generator=generator)]
        # Dealing goes on where the class before ended: the folds differ by one photograph at most.
        fold_of[its] = (dealt + torch.arange(len(its))) % folds
        dealt += len(its)
    if dealt < folds:
        alone = len(photographs) - dealt
        rest = f", as {alone} are the only one of their class" if alone else ""
        raise ValueError(f"{dealt} photographs cannot make {folds} folds{rest}")
    return fold_of[photograph].to(labels.device)


class _Standardised(NamedTuple):
    """Embeddings less their mean and in units of their deviation."""

    images: Tensor  # (N, D) float32
    mean: Tensor  # (D,)
    scale: Tensor  # ()

    def folded(self, found: Regression) -> Regression:
        """The classifier of raw embeddings that answers as ``found`` does of standardised ones."""
        weight = found.weight / self.scale
        return Regression(weight, found.bias - weight @ self.mean)


def _standardised(images: Tensor) -> _Standardised:
    images = images.detach().float()
    mean = images.mean(0)
    scale = (images - mean).square().mean().sqrt().clamp(min=_LEAST_SCALE)
    return _Standardised((images - mean) / scale, mean, scale)


def _undecided(standard: _Standardised, classes: int) -> Regression:
    """The classifier to which all classes are equally likely."""
    width = standard.images.shape[1]
    return Regression(standard.images.new_zeros(classes, width), standard.images.new_zeros(classes))


def _solved(given: Tensor, labels: Tensor, *, start: Regression, decay: float) -> Regression:
    """L-BFGS from ``start``, for embeddings that are standardised."""
    # A great decay makes the valley narrow for weights alone, and the search would stop before the
    # biases have moved: in these units its part of the curvature is 1 at most.
    unit = max(1.0, math.sqrt(decay))
    scaled = (start.weight * unit).requires_grad_()
    bias = start.bias.clone().requires_grad_()
    truth = labels.clone()  # what was made in inference mode cannot be part of a gradient
    optimizer = torch.optim.LBFGS(
        [scaled, bias],
        max_iter=_STEPS,
        line_search_fn="strong_wolfe",
        tolerance_change=_LEAST_CHANGE,
    )

    def loss() -> Tensor:
        weight = scaled / unit
        value = F.cross_entropy(given @ weight.T + bias, truth)
        value = value + decay / 2 * weight.square().sum()
        scaled.grad, bias.grad = torch.autograd.grad(value, (scaled, bias))
        return value.detach()

    step: Callable[[Callable[[], Tensor]], object] = optimizer.step
    step(loss)
    return Regression(scaled.detach() / unit, bias.detach())


def _check(images: Tensor, labels: Tensor, classes: int) -> None:
    if images.ndim != 2:
        raise ValueError(f"embeddings have shape {tuple(images.shape)}, not (N, D)")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{len(images)} embeddings come with labels {tuple(labels.shape)}")
    if not len(images):
        raise ValueError("there is no embedding to learn from")
    if not bool(torch.isfinite(images).all()):
        row = int(torch.nonzero(~torch.isfinite(images).all(1))[0])
        raise ValueError(f"embedding {row} has a number that is not finite")
    strange = labels[(labels < 0) | (labels >= classes)]
    if len(strange):
        raise ValueError(f"a label is {int(strange[0])}; {classes} classes go from 0")


def _check_decay(decay: float) -> None:
    if not (math.isfinite(decay) and decay >= 0):
        raise ValueError(f"decay is {decay}; it must be a finite number of at least 0")
