"""Inception v3 (Szegedy et al. 2016, "Rethinking the Inception Architecture"), from torchvision.

A wrapper that gives torchvision's network the interface of our encoders.
"""

import torch
from torch import Tensor, nn

from vl.encoders.inception import Logits

EMBEDDING_WIDTH = 2048
IMAGE_SIZE = 299


class InceptionV3(nn.Module):
    """Inception v3: pixels to an embedding of width 2048, and to class logits.

    It has 23,834,568 parameters, 27,161,264 with the auxiliary head.
    Initialized as PyTorch does by default: torchvision's truncated normal takes many seconds.

    Args:
        classes: outputs of the classifiers.
        auxiliary: whether to add the auxiliary head, which is for training only; in training mode
            ``forward`` computes it too, and its batch normalization updates its statistics.

    Source:
        Szegedy et al. 2016; torchvision/models/inception.py, whose ``transform_input`` undoes
        ImageNet's mean and std in favor of the ones here.
    """

    width = EMBEDDING_WIDTH
    image_size = IMAGE_SIZE

    def __init__(self, *, classes: int = 1000, auxiliary: bool = False) -> None:
        super().__init__()
        import torchvision  # it imports torch._dynamo, which takes 2 s

        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))
        self.register_buffer("std", torch.full((1, 3, 1, 1), 0.5))
        self.body = torchvision.models.inception_v3(
            weights=None,
            num_classes=classes,
            aux_logits=auxiliary,
            transform_input=False,
            init_weights=False,
        )
        # Without its last two layers the body outputs the embedding.
        self.dropout: nn.Module = self.body.dropout
        self.classifier: nn.Linear = self.body.fc
        self.body.dropout = nn.Identity()
        self.body.fc = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, H, W)`` RGB in [0, 1] to ``(B, 2048)``; trained at 299 x 299, at least 75."""
        return self._features(pixels)[0]

    def classify(self, pixels: Tensor) -> Logits:
        """``(B, 3, H, W)`` to logits; those of the auxiliary head in training mode only."""
        embedding, auxiliary = self._features(pixels)
        return Logits(self.classifier(self.dropout(embedding)), auxiliary)

    def _features(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        output = self.body((pixels - self.mean) / self.std)
        if isinstance(output, Tensor):
            return output, ()
        return output.logits, (output.aux_logits,)  # (B, 2048), ((B, classes),)
