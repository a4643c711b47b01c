"""Multi-crop evaluation: the 1, 10 or 144 crops of an image whose class probabilities are averaged.

Szegedy et al. 2015 for 144 crops, Krizhevsky et al. 2012 for 10.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vl.data.choices import CropCount, Resize
from vl.data.images.decode import resize_pixels, square

# Lengths of the image's shorter side before crops of SIDE pixels are cut; others in proportion.
SIDE = 224
SCALE = 256
SCALES = (256, 288, 320, 352)

_LONGEST = 6  # a strip is cut down to this many squares, side by side


class CropBox(NamedTuple):
    """A square of an image that was resized to ``height`` x ``width`` pixels."""

    height: int
    width: int
    top: int
    left: int
    size: int  # of the square, which is resized where this is not the crop size


def crops_without_flips(
    pixels: Tensor, *, size: int, num_crops: CropCount, resize: Resize = "center-crop"
) -> Tensor:
    """The crops of an image without their mirror images: 1, 5 or 72.

    Args:
        pixels: ``(3, H, W)``, float, in [0, 1], or uint8, see `vl.data.images.decode.with_pixels`.
        size: side of a crop, the encoder's image size.
        num_crops: with mirror images; 1 is the center crop, which is not mirrored.
        resize: of a single crop; ``"squash"`` is the whole image.

    Returns:
        ``(1, 3, size, size)``, or ``(num_crops / 2, 3, size, size)``.

    Source:
        Szegedy et al. 2015, section 7: the shorter side becomes 256, 288, 320 and 352; of each the
        left, center and right square (top, center and bottom of a portrait image); of each
        square the four corners and the center, and the square resized; and each mirrored.
        Krizhevsky et al. 2012, section 4.1, for 10: corners and center of the center square.
    """
    if num_crops == 1 and resize == "squash":
        return square(pixels, size, "squash")[None]
    pixels = _shorten_strip(pixels)
    scaled: dict[tuple[int, int], Tensor] = {}
    output = []
    for box in crop_boxes(*pixels.shape[1:], size=size, num_crops=num_crops):
        scale = box.height, box.width
        if scale not in scaled:
            scaled = {scale: resize_pixels(pixels, *scale)}  # boxes are sorted by scale
        part = scaled[scale][:, box.top : box.top + box.size, box.left : box.left + box.size]
        output.append(resize_pixels(part, size, size))
    return torch.stack(output)


def crop_boxes(height: int, width: int, *, size: int, num_crops: CropCount) -> list[CropBox]:
    """Where the crops of an image of this size lie, without mirror images.

    Sorted by scale; within a scale, squares from left to right or top to bottom; within a square,
    its corners (top left, top right, bottom left, bottom right), its center, and the whole. A
    center between two pixels is rounded to the left or the top.
    """
    boxes = []
    for scale in SCALES if num_crops == 144 else (SCALE,):
        shorter = round(size * scale / SIDE)
        tall, wide = (round(shorter * length / min(height, width)) for length in (height, width))
        spare = max(tall, wide) - shorter
        for start in (0, spare // 2, spare) if num_crops == 144 else (spare // 2,):
            top, left = (start, 0) if tall > wide else (0, start)
            inner = shorter - size
            center = (inner // 2, inner // 2)
            corners = [(0, 0), (0, inner), (inner, 0), (inner, inner)]
            for down, right in [center] if num_crops == 1 else [*corners, center]:
                boxes.append(CropBox(tall, wide, top + down, left + right, size))
            if num_crops == 144:
                boxes.append(CropBox(tall, wide, top, left, shorter))
    return boxes


def _shorten_strip(pixels: Tensor) -> Tensor:
    """A strip cut down to its ends and its middle, two squares each.

    No crop reaches from one of the three into the next, and the whole of a thin strip, scaled to
    the crops' height, would fill the memory.
    """
    short, long = sorted(pixels.shape[1:])
    if long <= _LONGEST * short:
        return pixels
    axis = 1 if pixels.shape[1] == long else 2
    starts = (0, long // 2 - short, long - 2 * short)
    return torch.cat([pixels.narrow(axis, start, 2 * short) for start in starts], axis)
