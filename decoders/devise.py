"""DeViSE: a linear map from image embeddings into word space (Frome et al. 2013).

It knows vectors only: which labels they stand for, and the nearest-label search, are the
labeller's.
"""

import torch
from torch import Tensor, nn

from vl.decoders.standardization import StandardizedInput

MARGIN = 0.1  # Frome et al. 2013, for word vectors of length 1


class Devise(StandardizedInput):
    """The map M of the paper: ``(B, image_width)`` to ``(B, width)``, not normalized.

    Args:
        image_width: width of the image embedding.
        width: width of word space; 500 or 1,000 in the paper.
    """

    def __init__(self, *, image_width: int, width: int) -> None:
        super().__init__(image_width)
        self.width = width
        self.configuration = {"image_width": image_width, "width": width}  # constructor's arguments
        self.projection = nn.Linear(image_width, width, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, image_width)`` to ``(B, width)``."""
        return self.projection(self.standardized(images))


def hinge_rank_loss(
    projected: Tensor, label_vectors: Tensor, labels: Tensor, *, margin: float = MARGIN
) -> Tensor:
    """Sum over wrong labels of how far each comes within the margin of the right one.

    Args:
        projected: images in word space, ``(B, D)``; not normalized.
        label_vectors: a unit vector for each training label, ``(K, D)``. Where two are equal, each
            violates the other by exactly the margin, which has no gradient.
        labels: row of ``label_vectors`` for each image, ``(B,)``, int64.
        margin: minimum lead of the right label, in dot product.

    Returns:
        The mean over the batch, ``()``; float32 at least.

    Source:
        Frome et al. 2013, equation 1. They truncate its sum: ``first_violation_loss``.
    """
    return _violations(projected, label_vectors, labels, margin).clamp(min=0).sum(1).mean()


def first_violation_loss(
    projected: Tensor,
    label_vectors: Tensor,
    labels: Tensor,
    *,
    margin: float = MARGIN,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Hinge rank loss truncated at the first violating label of a random order.

    The published training: the wrong labels of each image are visited in random order, up to the
    first that violates the margin; an image without a violation counts 0. The number of visits
    does not matter; in WARP (Weston et al. 2011) it weights the term. Arguments and result are as
    in ``hinge_rank_loss``; the generator of the order is on the device of ``projected``.

    Source:
        Frome et al. 2013, equation 1 as they trained with it.
    """
    violations = _violations(projected, label_vectors, labels, margin)  # (B, K)
    # Sorting labels by uniform random keys makes every order equally likely; the violation with
    # the greatest key is then the first one visited, and each is equally likely to be it.
    keys = torch.rand(violations.shape, generator=generator, device=violations.device)
    first = keys.masked_fill(violations <= 0, -1.0).argmax(1)  # (B,)
    return violations.gather(1, first[:, None]).clamp(min=0).mean()


def _violations(projected: Tensor, label_vectors: Tensor, labels: Tensor, margin: float) -> Tensor:
    """How far each wrong label comes within the margin of the right one, ``(B, K)``.

    0 for the right label, negative where the margin is kept.
    """
    # bfloat16 cannot tell scores near 1 apart that differ by 0.004: too coarse for the margin.
    exact = torch.promote_types(projected.dtype, torch.float32)
    with torch.autocast(projected.device.type, enabled=False):
        scores = projected.to(exact) @ label_vectors.to(exact).T  # (B, K)
    right = scores.gather(1, labels[:, None])  # (B, 1)
    return (margin - right + scores).scatter(1, labels[:, None], 0.0)
