"""Inception v3 (Szegedy et al. 2016, "Rethinking the Inception Architecture"), by torchvision.

torchvision has the network; this gives it the face that our encoders have.
"""

import torch
import torchvision
from torch import Tensor, nn

from vl.encoders.inception import Logits

EMBEDDING_WIDTH = 2048
IMAGE_SIZE = 299


class InceptionV3(nn.Module):
    """Inception v3: pixels to an embedding of width 2048, and to class logits.

    Its first weights are PyTorch's own: torchvision's truncated normal takes many seconds.

    Args:
        classes: width of the classifiers.
        auxiliary: whether the head that helps training is there; while training it is computed
            by ``forward`` too, and its batch normalisation learns from that.
        mean: subtracted from each colour, pixels in [0, 1].
        std: each colour is divided by it after the mean is gone.

    Source:
        Szegedy et al. 2016; torchvision/models/inception.py, whose ``transform_input`` turns
        pixels less ImageNet's mean and over its deviation into the mean and std here.
    """

    width = EMBEDDING_WIDTH
    image_size = IMAGE_SIZE

    def __init__(
        self,
        *,
        classes: int = 1000,
        auxiliary: bool = False,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.body = torchvision.models.inception_v3(
            weights=None,
            num_classes=classes,
            aux_logits=auxiliary,
            transform_input=False,
            init_weights=False,
        )
        # The last two steps move out of the body, which leaves the embedding as its answer.
        self.dropout: nn.Module = self.body.dropout
        self.classifier: nn.Linear = self.body.fc
        self.body.dropout = nn.Identity()
        self.body.fc = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, H, W)`` RGB in [0, 1] to ``(B, 2048)``; trained at 299 x 299, at least 75."""
        return self._features(pixels)[0]

    def classify(self, pixels: Tensor) -> Logits:
        """``(B, 3, H, W)`` to logits; the auxiliary head answers while training only."""
        embedding, auxiliary = self._features(pixels)
        return Logits(self.classifier(self.dropout(embedding)), auxiliary)

    def _features(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        answer = self.body((pixels - self.mean) / self.std)
        if isinstance(answer, Tensor):
            return answer, ()
        return answer.logits, (answer.aux_logits,)  # (B, 2048), ((B, classes),)


def inception_v3(*, classes: int = 1000, auxiliary: bool = False) -> InceptionV3:
    """Inception v3 as published: 23,834,568 numbers, 27,161,264 with the auxiliary head."""
    return InceptionV3(classes=classes, auxiliary=auxiliary)
