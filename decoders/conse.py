"""ConSE: an image's vector in word space as a mix of labels that are known (Norouzi et al. 2014).

Nothing is trained: a classifier's probabilities and the labels' vectors are all it needs.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

TOP = 10  # Norouzi et al. 2014: ConSE(10)


class Mix(NamedTuple):
    """Images in word space, and how sure the classifier was of what they are mixed from."""

    vectors: Tensor  # (B, D), not normalised; 0 where nothing is mixed
    mixed: Tensor  # (B,) probability of the labels that are mixed, before it is brought to 1
    lost: Tensor  # (B,) probability of the labels without a vector


class Conse(nn.Module):
    """The mix as a map of embeddings: ``(B, image_width)`` to ``(B, width)``, not normalised.

    Args:
        image_width: width of the image's embedding.
        width: width of word space.
        labels: that the classifier knows; each has a vector.
        top: how many labels are mixed.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(self, *, image_width: int, width: int, labels: int, top: int = TOP) -> None:
        super().__init__()
        if min(image_width, width, labels, top) < 1:
            raise ValueError("every width, the labels and top must be at least 1")
        self.image_width = image_width
        self.width = width
        self.configuration = {  # what the constructor needs to build the same again
            "image_width": image_width,
            "width": width,
            "labels": labels,
            "top": top,
        }
        self.top = top
        self.classifier = nn.Linear(image_width, labels)
        self.words: Tensor
        self.register_buffer("words", torch.zeros(labels, width))

    def forward(self, images: Tensor) -> Tensor:
        """``(B, image_width)`` to ``(B, width)``."""
        if images.shape[-1] != self.image_width:
            raise ValueError(
                f"images have width {images.shape[-1]}, the classifier expects {self.image_width}"
            )
        return conse(self.classifier(images).softmax(1), self.words, top=self.top).vectors


def conse(probabilities: Tensor, words: Tensor, *, top: int = TOP) -> Mix:
    """The mean of the likeliest labels' vectors, weighted by their probabilities.

    Args:
        probabilities: of the labels the classifier knows, ``(B, S)``.
        words: a vector for each of them, ``(S, D)``; a row that has NaN in it is a label without.
            Such a label is passed over: the next likeliest takes its place, its probability does
            not count, and ``lost`` says how much that is.
        top: how many labels are mixed; all of them where they are fewer. Of equally likely labels
            the first ones.

    Returns:
        The mix of each image. Its weights, the probabilities divided by their sum, add up to 1;
        where the sum is 0, so is the vector.

    Raises:
        ValueError: shapes do not fit together, a probability is negative or no number, no label has
            a vector, or ``top`` is below 1.

    Source:
        Norouzi et al. 2014; what becomes of labels without a vector is ours.
    """
    if probabilities.shape[1:] != words.shape[:1]:
        raise ValueError(f"probabilities of {probabilities.shape[-1]} labels, {len(words)} vectors")
    if top < 1:
        raise ValueError(f"top is {top}; it must be at least 1")
    if not bool(((probabilities >= 0) & probabilities.isfinite()).all()):
        raise ValueError("a probability is negative or no number; are these logits?")
    known = ~words.isnan().any(1)  # (S,)
    if not bool(known.any()):
        raise ValueError("no label has a vector")
    usable = probabilities * known
    order = usable.sort(dim=1, descending=True, stable=True).indices[:, :top]  # (B, top)
    weights = torch.zeros_like(usable).scatter(1, order, usable.gather(1, order))  # (B, S)
    mixed = weights.sum(1)
    some = torch.where(mixed > 0, mixed, 1.0)
    shares = (weights / some[:, None]).to(words.dtype)
    vectors = shares @ words.masked_fill(~known[:, None], 0.0)  # (B, D)
    return Mix(vectors, mixed, (probabilities * ~known).sum(1))
