"""ConSE: an image's vector in word space as a convex combination of labels (Norouzi et al. 2014).

Nothing is trained: a classifier's probabilities and the labels' word vectors are all it needs.
"""

import torch
from torch import Tensor, nn

TOP_K = 10  # Norouzi et al. 2014: ConSE(10)


class Conse(nn.Module):
    """The combination as a map of embeddings: ``(B, image_width)`` to ``(B, width)``.

    The output is not normalized.

    Args:
        image_width: width of the image embedding.
        width: width of word space.
        num_labels: labels of the classifier; each has a vector.
        top_k: number of labels that are combined.
    """

    def __init__(
        self, *, image_width: int, width: int, num_labels: int, top_k: int = TOP_K
    ) -> None:
        super().__init__()
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
        probabilities = self.classifier(images).softmax(1)
        return conse(probabilities, self.label_vectors, top_k=self.top_k)


def conse(probabilities: Tensor, label_vectors: Tensor, *, top_k: int = TOP_K) -> Tensor:
    """The mean of the top-k labels' vectors, weighted by their probabilities.

    Args:
        probabilities: of the classifier's labels, ``(B, K)``.
        label_vectors: a vector for each label, ``(K, D)``.
        top_k: number of labels that are combined; all of them where there are fewer. Of equally
            likely labels the first ones.

    Returns:
        A vector for each image, ``(B, D)``, not normalized. Its weights, the probabilities divided
        by their sum, add up to 1; where the sum is 0, so is the vector.

    Source:
        Norouzi et al. 2014.
    """
    order = probabilities.sort(dim=1, descending=True, stable=True).indices[:, :top_k]  # (B, top_k)
    weights = torch.zeros_like(probabilities).scatter(1, order, probabilities.gather(1, order))
    mass = weights.sum(1, keepdim=True)
    weights = weights / torch.where(mass > 0, mass, 1.0)  # (B, K)
    return weights.to(label_vectors.dtype) @ label_vectors
