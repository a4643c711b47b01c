"""Standardization of image embeddings, stored with the module that they enter."""

import torch
from torch import Tensor, nn


class StandardizedInput(nn.Module):
    """A module of image embeddings, ``(B, image_width)``, which it may standardize.

    As published there is no standardization: mean 0, scale 1. Where the embeddings of all images
    have much in common, as those of an untrained encoder, it decides whether the module can tell
    them apart.
    """

    image_mean: Tensor
    image_scale: Tensor

    def __init__(self, image_width: int) -> None:
        super().__init__()
        self.image_width = image_width
        self.register_buffer("image_mean", torch.zeros(image_width))
        self.register_buffer("image_scale", torch.ones(()))

    def standardize(self, images: Tensor) -> None:
        """From now on subtract the mean of these embeddings, and divide by their scale.

        They are the training split's, ``(B, image_width)``. The scale is one standard deviation
        over all axes.
        """
        mean = images.mean(0)
        self.image_mean.copy_(mean)
        self.image_scale.copy_((images - mean).square().mean().sqrt().clamp(min=1e-6))

    def standardized(self, images: Tensor) -> Tensor:
        """The embeddings minus the mean, divided by the scale.

        Raises:
            ValueError: they have another width.
        """
        if images.shape[-1] != self.image_width:
            raise ValueError(
                f"images have width {images.shape[-1]}, the decoder expects {self.image_width}"
            )
        return (images - self.image_mean) / self.image_scale
