"""How an encoder is shown images: what makes an image its input, and views of that.

The input is a square of the encoder's image size, in [0, 1]; an encoder of timm has a way of its
own, which is the default for it. The embeddings of views are averaged, or chosen from at random in
training.
"""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from vl.data.choices import Preprocessing, Resize
from vl.data.images.crops import crops_without_flips
from vl.data.images.decode import square
from vl.encoders.table import Network
from vl.encoders.timm_features import TimmFeatures

Preprocess = Callable[[Tensor], Tensor]  # (3, H, W) in [0, 1] to (3, S, S)


def default_preprocessing(encoder: Network, otherwise: Resize) -> Preprocessing:
    """How images are prepared for an encoder: its own way if it has one."""
    return "encoder" if isinstance(encoder, TimmFeatures) else otherwise


def preprocess_for(encoder: Network, preprocessing: Preprocessing) -> Preprocess:
    """What makes an image the input of an encoder.

    Raises:
        ValueError: the encoder has no way of its own.
    """
    if preprocessing != "encoder":
        return partial(square, size=encoder.image_size, resize=preprocessing)
    if not isinstance(encoder, TimmFeatures):
        raise ValueError("resize 'encoder' is of timm's encoders; this one has no way of its own")
    return encoder.preprocess


def single_crop(encoder: Network, preprocessing: Preprocessing) -> Preprocess:
    """The same to classify an image by one crop, which is smaller, see ``crops_without_flips``."""
    if preprocessing == "encoder":
        return preprocess_for(encoder, preprocessing)
    side = encoder.image_size

    def crop(pixels: Tensor) -> Tensor:
        return crops_without_flips(pixels, size=side, num_crops=1, resize=preprocessing)[0]

    return crop


View = Callable[[Tensor], Tensor]  # (B, 3, S, S) to the same shape


def _window(top: int, left: int) -> View:
    """A window of 7/8 of the side, enlarged to the side: 224 of 256, as Krizhevsky et al. 2012.

    Args:
        top: 0 for the upper edge, 1 for the center, 2 for the lower edge.
        left: the same from left to right.
    """

    def crop(squares: Tensor) -> Tensor:
        side = squares.shape[-1]
        window = side * 7 // 8
        y, x = (side - window) * top // 2, (side - window) * left // 2
        part = squares[:, :, y : y + window, x : x + window]
        return F.interpolate(part, size=(side, side), mode="bilinear", align_corners=False)

    return crop


def _flipped(view: View) -> View:
    return lambda squares: view(squares).flip(-1)


# The whole square, its corners and its center, and each of them flipped.
VIEWS: dict[str, View] = {
    "plain": lambda squares: squares,
    "top-left": _window(0, 0),
    "top-right": _window(0, 2),
    "bottom-left": _window(2, 0),
    "bottom-right": _window(2, 2),
    "center": _window(1, 1),
}
VIEWS |= {
    ("flip" if name == "plain" else f"{name}-flip"): _flipped(view)
    for name, view in list(VIEWS.items())
}
