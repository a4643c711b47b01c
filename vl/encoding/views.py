"""Views of an image, whose embeddings are averaged or chosen from at random in training."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

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
