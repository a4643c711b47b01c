"""The task of training a labeller: DeViSE's projection, its loss, and its validation."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from vl.data.batches import LabelledBatch, LossSum
from vl.decoders.devise import Devise, first_violation_loss, hinge_rank_loss
from vl.encoders.table import Network
from vl.labelling.examples import embed_examples
from vl.metrics.zero_shot import KS, hit_at_k, rank_labels
from vl.training.selection import Validation, warn_of_few

if TYPE_CHECKING:
    from vl.labelling.training_data import TrainingData

_log = logging.getLogger(__name__)
LOSSES = {"full": hinge_rank_loss, "first": first_violation_loss}


class LabellerTask(nn.Module):
    """The projection, and the encoder if both are trained, with their loss.

    Args:
        devise: the projection.
        label_vectors: a unit vector for each training label, ``(K, D)``.
        loss: of all wrong labels, or of the first violation met, as published.
        margin: of the loss.
        encoder: for batches of pixels; without it batches are embeddings.
    """

    unit = "images"

    def __init__(
        self,
        devise: Devise,
        label_vectors: Tensor,
        *,
        loss: Literal["full", "first"],
        margin: float,
        encoder: Network | None = None,
    ) -> None:
        super().__init__()
        self.devise = devise
        self.encoder = encoder
        self.label_vectors: Tensor
        self.register_buffer("label_vectors", label_vectors)
        self._loss = LOSSES[loss]
        self._margin = margin

    def forward(self, batch: LabelledBatch, step: int) -> LossSum:
        """The total loss of a batch, and its count of images."""
        images = batch.images if self.encoder is None else self.encoder(batch.images)
        projected = self.devise(images)
        mean = self._loss(projected, self.label_vectors, batch.labels, margin=self._margin)
        return LossSum(mean * len(images), torch.tensor(len(images), device=images.device))


def make_validator(
    data: "TrainingData", device: torch.device, *, margin: float = 0.1
) -> Callable[[LabellerTask], Validation] | None:
    """Validation by the images of development labels; None if there are none.

    All development labels are the candidates, and hit@k, in percent, is measured for k below their
    count, as it is 100 from there on. The score is the mean over k of hit@k, or, where there are
    too few labels for all of ``KS``, the mean reciprocal rank, of which is warned. Where scores are
    equal, the hinge rank loss of all development labels decides, with this margin.
    """
    rows, labels = list(data.split.unseen_rows), list(data.split.development)
    if not rows:
        return None
    embedder, examples, vectors, _ = data.embedded
    cached = vectors[rows].mean(1).to(device)
    label_vectors, targets = data.vectors[labels], torch.tensor(data.targets(rows, labels))
    ks = [k for k in KS if k < len(labels)]
    warn_of_few(len(rows), "images")
    if len(ks) < len(KS):
        _log.warning(
            "the development split is too small for hit@%d: %d labels are ranked, and the mean "
            "reciprocal rank selects the best epoch",
            *(KS[-1], len(labels)),
        )

    def validate(task: LabellerTask) -> Validation:
        images = cached
        if task.encoder is not None:
            current = embedder.with_encoder(task.encoder)
            embedded = embed_examples(examples.select(rows), current, quiet=True)
            images = embedded.vectors.mean(1).to(device)
        projected = task.devise(images).cpu()
        ranking = rank_labels(projected.numpy(), label_vectors.numpy(), targets.numpy())
        hits = hit_at_k(ranking, ks=ks).image_mean.tolist()
        metrics = {f"hit@{k}": 100 * hit for k, hit in zip(ks, hits, strict=True)}
        loss = float(hinge_rank_loss(projected, label_vectors, targets, margin=margin))
        if len(ks) == len(KS):
            score = sum(metrics.values()) / len(metrics)
            return Validation(score, metrics, loss, score_counts=score > 0)
        metrics["mrr"] = 100 * float((1 / ranking.ranks).mean())
        return Validation(metrics["mrr"], metrics, loss)

    return validate
