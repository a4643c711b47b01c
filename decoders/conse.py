"""ConSE: an image's vector in word space as a convex combination of labels (Norouzi et al. 2014).

Nothing is trained: a classifier's probabilities and the labels' word vectors are all it needs.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

TOP_K = 10  # Norouzi et al. 2014: ConSE(10)


class ConvexCombination(NamedTuple):
    """Images in word space, with the probability mass behind them."""

    vectors: Tensor  # (B, D), not normalized; 0 where the probability mass is 0
    top_mass: Tensor  # (B,) sum of the probabilities of the labels that are combined
    missing_mass: Tensor  # (B,) sum of the probabilities of the labels without a vector


class Conse(nn.Module):
    """The combination as a map of embeddings: ``(B, image_width)`` to ``(B, width)``.

    The output is not normalized.

    Args:
        image_width: width of the image embedding.
        width: width of word space.
        num_labels: labels of the classifier; each has a vector.
        top_k: number of labels that are combined.

    Raises:
        ValueError: an argument is below 1.
    """

    def __init__(
        self, *, image_width: int, width: int, num_labels: int, top_k: int = TOP_K
    ) -> None:
        super().__init__()
        if min(image_width, width, num_labels, top_k) < 1:
            raise ValueError("image_width, width, num_labels and top_k must be at least 1")
        self.image_width = image_width
        self.width = width
        self.configuration = {  # the constructor's arguments
            "image_width": image_width,
            "width": width,
            "num_labels": num_labels,
            "top_k": top_k,
        }
        self.top_k = top_k
        self.classifier = nn.Linear(image_width, num_labels)
        self.label_vectors: Tensor
        self.register_buffer("label_vectors", torch.zeros(num_labels, width))

    def forward(self, images: Tensor) -> Tensor:
        """``(B, image_width)`` to ``(B, width)``."""
        if images.shape[-1] != self.image_width:
            raise ValueError(
                f"images have width {images.shape[-1]}, the classifier expects {self.image_width}"
            )
        probabilities = self.classifier(images).softmax(1)
        return conse(probabilities, self.label_vectors, top_k=self.top_k).vectors


def conse(probabilities: Tensor, label_vectors: Tensor, *, top_k: int = TOP_K) -> ConvexCombination:
    """The mean of the top-k labels' vectors, weighted by their probabilities.

    Args:
        probabilities: of the classifier's labels, ``(B, K)``.
        label_vectors: a vector for each label, ``(K, D)``; a row with NaN is a label without a
            vector. Such a label is skipped: the next likeliest takes its rank, and its probability
            counts in ``missing_mass`` alone.
        top_k: number of labels that are combined; all of them where there are fewer. Of equally
            likely labels the first ones.

    Returns:
        The combination for each image. Its weights, the probabilities divided by their sum, add up
        to 1; where the sum is 0, so is the vector.

    Raises:
        ValueError: shapes do not match, a probability is negative or not finite, no label has a
            vector, or ``top_k`` is below 1.

    Source:
        Norouzi et al. 2014; the treatment of labels without a vector is ours.
    """
    if probabilities.shape[1:] != label_vectors.shape[:1]:
        raise ValueError(
            f"probabilities of {probabilities.shape[-1]} labels, {len(label_vectors)} vectors"
        )
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1")
    if not bool(((probabilities >= 0) & probabilities.isfinite()).all()):
        raise ValueError("a probability is negative or not finite; are these logits?")
    has_vector = ~label_vectors.isnan().any(1)  # (K,)
    if not bool(has_vector.any()):
        raise ValueError("no label has a vector")
    usable = probabilities * has_vector
    order = usable.sort(dim=1, descending=True, stable=True).indices[:, :top_k]  # (B, top_k)
    weights = torch.zeros_like(usable).scatter(1, order, usable.gather(1, order))  # (B, K)
    top_mass = weights.sum(1)
    divisor = torch.where(top_mass > 0, top_mass, 1.0)
    weights = (weights / divisor[:, None]).to(label_vectors.dtype)
    vectors = weights @ label_vectors.masked_fill(~has_vector[:, None], 0.0)  # (B, D)
    return ConvexCombination(vectors, top_mass, (probabilities * ~has_vector).sum(1))
