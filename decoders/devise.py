"""DeViSE: a linear map from an image's vector into the space of words (Frome et al. 2013).

It knows vectors only: which words they stand for, and what of them is near, is the labeller's.
"""

import torch
from torch import Tensor, nn

MARGIN = 0.1  # Frome et al. 2013, for words of length 1


class Devise(nn.Module):
    """The map M of the paper: ``(B, image_width)`` to ``(B, width)``, not normalised.

    Args:
        image_width: width of the image's embedding.
        width: width of word space; 500 or 1,000 in the paper.
        bias: whether the map adds a vector of its own; as published it does not.

    Raises:
        ValueError: a width below 1.
    """

    def __init__(self, *, image_width: int, width: int, bias: bool = False) -> None:
        super().__init__()
        if min(image_width, width) < 1:
            raise ValueError("every width must be at least 1")
        self.image_width = image_width
        self.width = width
        self.configuration = {  # what the constructor needs to build the same again
            "image_width": image_width,
            "width": width,
            "bias": bias,
        }
        self.image_mean: Tensor
        self.image_scale: Tensor
        self.register_buffer("image_mean", torch.zeros(image_width))
        self.register_buffer("image_scale", torch.ones(()))
        self.projection = nn.Linear(image_width, width, bias=bias)

    def standardise(self, images: Tensor) -> None:
        """Let embeddings be mapped less the mean of these and in units of their deviation.

        As published they are mapped as they are: mean 0, unit 1.

        Args:
            images: of the training split, ``(B, image_width)``.
        """
        mean = images.mean(0)
        self.image_mean.copy_(mean)
        self.image_scale.copy_((images - mean).square().mean().sqrt().clamp(min=1e-6))

    def standardised(self, images: Tensor) -> Tensor:
        """What the map is given of embeddings ``(B, image_width)``, of the same shape."""
        if images.shape[-1] != self.image_width:
            raise ValueError(
                f"images have width {images.shape[-1]}, the map expects {self.image_width}"
            )
        return (images - self.image_mean) / self.image_scale

    def forward(self, images: Tensor) -> Tensor:
        """``(B, image_width)`` to ``(B, width)``."""
        return self.projection(self.standardised(images))


def rank_loss(
    projected: Tensor, words: Tensor, labels: Tensor, *, margin: float = MARGIN
) -> Tensor:
    """How far the wrong labels come within the margin of the right one, all of them added up.

    Args:
        projected: images in word space, ``(B, D)``; not normalised.
        words: a vector of length 1 for each training label, ``(K, D)``. Where two are equal, each
            is a violation of the other by just the margin, which has no gradient.
        labels: row of ``words`` for each image, ``(B,)``, int64.
        margin: least lead of the right label, in dot product.

    Returns:
        The mean over the batch of the sum over wrong labels, ``()``; float32 at least.

    Raises:
        ValueError: shapes do not fit together, or the margin is negative.

    Source:
        Frome et al. 2013, equation 1. They cut its sum off: ``first_violation_loss``.
    """
    return _shortfalls(projected, words, labels, margin).clamp(min=0).sum(1).mean()


def first_violation_loss(
    projected: Tensor,
    words: Tensor,
    labels: Tensor,
    *,
    margin: float = MARGIN,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How far one wrong label, the first met that does, comes within the margin of the right one.

    The published way: the wrong labels of each image are visited in an order drawn for it, up to
    the first that comes too near. How many were visited does not matter; in WARP (Weston et al.
    2011) it weighs the term.

    Args:
        projected: images in word space, ``(B, D)``; not normalised.
        words: a vector of length 1 for each training label, ``(K, D)``.
        labels: row of ``words`` for each image, ``(B,)``, int64.
        margin: least lead of the right label, in dot product.
        generator: of the order, on the device of ``projected``.

    Returns:
        The mean over the batch, ``()``, where an image without a violation counts 0; float32 at
        least.

    Raises:
        ValueError: shapes do not fit together, or the margin is negative.

    Source:
        Frome et al. 2013, equation 1 as they trained with it.
    """
    shortfalls = _shortfalls(projected, words, labels, margin)  # (B, K)
    # Every order is as likely as any other if it is by numbers drawn for each label; the violation
    # with the greatest number is then the first one met, and as likely to be any of them.
    order = torch.rand(shortfalls.shape, generator=generator, device=shortfalls.device)
    first = order.masked_fill(shortfalls <= 0, -1.0).argmax(1)  # (B,)
    return shortfalls.gather(1, first[:, None]).clamp(min=0).mean()


def ridge_map(images: Tensor, targets: Tensor, *, penalty: float) -> Tensor:
    """The linear map that brings images nearest to their labels' vectors, at once: ours.

    Least squares instead of ranks: a rival of the rank loss, or where it starts from.

    Args:
        images: what the map is given, ``(B, image_width)``: as of ``Devise.standardised``.
        targets: the vector of each image's label, ``(B, D)``.
        penalty: what a unit of the map's squared numbers costs, in squared distance averaged over
            images; above 0.

    Returns:
        The weight of ``Devise.projection``, ``(D, image_width)``, in the images' dtype.

    Raises:
        ValueError: there are not as many targets as images, or the penalty is not above 0.

    Source:
        Hoerl and Kennard 1970.
    """
    if len(images) != len(targets):
        raise ValueError(f"{len(images)} images, {len(targets)} targets")
    if not penalty > 0:
        raise ValueError(f"penalty is {penalty}; it must be above 0")
    given, wanted = images.double(), targets.double()
    ridge = (
        penalty * len(given) * torch.eye(given.shape[1], dtype=torch.double, device=given.device)
    )
    found = torch.linalg.solve(given.T @ given + ridge, given.T @ wanted)  # (image_width, D)
    return found.T.to(images.dtype)


def _shortfalls(projected: Tensor, words: Tensor, labels: Tensor, margin: float) -> Tensor:
    """What each wrong label lacks of being a margin below the right one, ``(B, K)``.

    It is 0 for the right label, and negative where nothing is lacking.
    """
    if projected.shape[1:] != words.shape[1:]:
        raise ValueError(f"images have width {projected.shape[-1]}, words {words.shape[-1]}")
    if labels.shape != projected.shape[:1]:
        raise ValueError(f"{len(projected)} images, labels of shape {tuple(labels.shape)}")
    if margin < 0:
        raise ValueError(f"margin is {margin}; it must be at least 0")
    # In bfloat16 two scores near 1 that are 0.004 apart are one: too coarse for the margin.
    exact = torch.promote_types(projected.dtype, torch.float32)
    with torch.autocast(projected.device.type, enabled=False):
        scores = projected.to(exact) @ words.to(exact).T  # (B, K)
    right = scores.gather(1, labels[:, None])  # (B, 1)
    return (margin - right + scores).scatter(1, labels[:, None], 0.0)
