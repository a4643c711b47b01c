"""What the training loop needs to know of labelling: the loss, the judgement, and the calibration.

It does not know files, nor how labels got their vectors.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vl.data.batches import LabelledBatch, LossSum
from vl.decoders.conse import Conse
from vl.decoders.devise import Devise, first_violation_loss, hinge_rank_loss
from vl.encoders.table import Network
from vl.encoding.softmax_regression import softmax_regression
from vl.labelling.calibration import Calibration, fit_seen_penalty, temperature_of
from vl.metrics.zero_shot import KS, hit_at_k, rank_labels
from vl.training.loop import Validation

_log = logging.getLogger(__name__)
LossName = Literal["full", "first"]
LOSSES = {"full": hinge_rank_loss, "first": first_violation_loss}


class LabellerTask(nn.Module):
    """The map, and the encoder where both are trained, as one module whose forward is the loss.

    Args:
        devise: the map.
        words: a vector of unit length for each training label, ``(K, D)``.
        loss: the sum over all wrong labels, or the first violation met, as published.
        margin: least lead of the right label.
        encoder: where batches hold pixels; without it they hold embeddings.
    """

    unit = "images"

    def __init__(
        self,
        devise: Devise,
        words: Tensor,
        *,
        loss: LossName,
        margin: float,
        encoder: Network | None = None,
    ) -> None:
        super().__init__()
        self.devise = devise
        self.encoder = encoder
        self.words: Tensor
        self.register_buffer("words", words)
        self._loss = LOSSES[loss]
        self._margin = margin

    def forward(self, batch: LabelledBatch, step: int) -> LossSum:
        """The sum of the loss over a batch, and the images in it."""
        images = batch.images if self.encoder is None else self.encoder(batch.images)
        mean = self._loss(self.devise(images), self.words, batch.labels, margin=self._margin)
        return LossSum(mean * len(images), torch.tensor(len(images), device=images.device))


def make_validator(
    embeddings: Callable[[LabellerTask], Tensor], words: Tensor, truth: Tensor
) -> Callable[[LabellerTask], Validation]:
    """A judge of a map in training, by labels that it is not trained on.

    Args:
        embeddings: of photographs of those labels, ``(N, image width)``.
        words: the labels' vectors, ``(L, D)``, which are all the candidates.
        truth: number of each photograph's label, ``(N,)``.

    Returns:
        Judges by the mean over k of hit@k; its figures are hundredths.
    """

    def validate(model: LabellerTask) -> Validation:
        projected = model.devise(embeddings(model)).cpu().numpy()
        found = hit_at_k(rank_labels(projected, words.numpy(), truth.numpy()), ks=KS)
        figures = {
            f"hit@{k}": 100 * float(value) for k, value in zip(KS, found.image_mean.tolist())
        }
        return Validation(sum(figures.values()) / len(figures), figures)

    return validate


def encoders_own_classifier(
    encoder: Network, classes: Sequence[int], words: Tensor, *, top: int
) -> Conse:
    """ConSE by the classifier that the encoder was trained with, cut down to some of its classes.

    Args:
        encoder: with a linear ``classifier`` on its embedding.
        classes: output of the classifier for each label.
        words: the labels' vectors, ``(S, D)``.
        top: labels that are mixed.

    Raises:
        ValueError: the encoder has no classifier, or not so many outputs.
    """
    classifier = getattr(encoder, "classifier", None)
    if not isinstance(classifier, nn.Linear):
        raise ValueError(f"a {type(encoder).__name__} comes without a classifier")
    if max(classes) >= classifier.out_features:
        raise ValueError(
            f"class {max(classes) + 1} is named, the encoder's classifier has "
            f"{classifier.out_features}"
        )
    conse = Conse(
        image_width=encoder.width,
        width=words.shape[1],
        num_labels=len(words),
        top_k=min(top, len(words)),
    )
    with torch.no_grad():
        conse.classifier.weight.copy_(classifier.weight[list(classes)])
        conse.classifier.bias.copy_(classifier.bias[list(classes)])
        conse.label_vectors.copy_(words)
    return conse


def trained_classifier(
    images: Tensor, labels: Tensor, words: Tensor, *, top: int, decay: float = 1e-3
) -> Conse:
    """ConSE by a classifier made for it: softmax regression on embeddings, by L-BFGS.

    Args:
        images: ``(N, image width)``.
        labels: number of each one's label, ``(N,)``.
        words: the labels' vectors, ``(S, D)``.
        top: labels that are mixed.
        decay: half of it times the squared weights is added to the mean cross-entropy, for
            embeddings less their mean and in units of their deviation.

    Raises:
        ValueError: see ``softmax_regression``.
    """
    found = softmax_regression(images, labels, classes=len(words), decay=decay)
    conse = Conse(
        image_width=images.shape[1], width=words.shape[1], num_labels=len(words), top_k=top
    )
    with torch.no_grad():
        conse.classifier.weight.copy_(found.weight)
        conse.classifier.bias.copy_(found.bias)
        conse.label_vectors.copy_(words)
    return conse


def calibrated(projected: Tensor, truth: Tensor, words: Tensor, seen: Tensor) -> Calibration | None:
    """The calibration by photographs that were put aside.

    Args:
        projected: all of them in word space, ``(N, D)``, unit length.
        truth: number of each one's label among ``words``, ``(N,)``.
        words: the vectors of training labels and of those put aside, ``(K, D)``, unit length.
        seen: whether each was trained on, ``(K,)``.

    Returns:
        None where no label was put aside. Where no photograph of a seen one was, the handicap is 0
        and there is one temperature for all.
    """
    unseen_images = ~seen[truth]
    if not bool(unseen_images.any()):
        return None
    scores = projected @ words.T
    number = torch.cumsum(~seen, 0) - 1  # of each unseen label among them
    temperature = temperature_of(scores[unseen_images][:, ~seen], number[truth[unseen_images]])
    seen_penalty, seen_temperature = 0.0, temperature
    if bool(seen[truth].any()):
        seen_penalty = fit_seen_penalty(scores, truth, seen)
        number = torch.cumsum(seen, 0) - 1
        seen_images = ~unseen_images
        seen_temperature = temperature_of(scores[seen_images][:, seen], number[truth[seen_images]])
    else:
        _log.warning("no photograph of a label trained on was put aside: stacking takes nothing")
    return Calibration(
        temperature,
        seen_temperature,
        seen_penalty,
        projected[unseen_images],
        words[truth[unseen_images]],
    )
