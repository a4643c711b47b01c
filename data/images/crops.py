"""The parts of a photograph that are classified, their answers then averaged: 1, 10 or 144.

Szegedy et al. 2015 for 144, Krizhevsky et al. 2012 for 10. It knows no encoder but its side.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vl.data.images.decode import resized

CropCount = Literal[1, 10, 144]

# Pixels of the photograph's shorter side before crops of SIDE are cut; others scale with the side.
SIDE = 224
SCALE = 256
SCALES = (256, 288, 320, 352)

_LONGEST = 6  # squares, side by side, that a strip is cut down to


class Box(NamedTuple):
    """A square of a photograph that was made ``height`` x ``width`` pixels large."""

    height: int
    width: int
    top: int
    left: int
    size: int  # of the square; it is resized where that is not the encoder's side


def crops(pixels: Tensor, *, side: int, number: CropCount) -> Tensor:
    """The crops of a photograph, and after them the mirror image of each, if there are any.

    Args:
        pixels: ``(3, H, W)``, float, in [0, 1].
        side: of a crop, the encoder's image size.
        number: 1 is the centre.

    Returns:
        ``(number, 3, side, side)``.

    Raises:
        ValueError: see ``boxes``.

    Source:
        Szegedy et al. 2015, section 7: the shorter side becomes 256, 288, 320 and 352; of each the
        left, centre and right square (top, centre and bottom of an upright photograph); of each
        square the four corners and the centre, and the square resized; and each mirrored.
        Krizhevsky et al. 2012, section 4.1, for 10: corners and centre of the centre square.
    """
    plain = crops_without_flips(pixels, side=side, number=number)
    return plain if number == 1 else torch.cat([plain, plain.flip(-1)])


def crops_without_flips(pixels: Tensor, *, side: int, number: CropCount) -> Tensor:
    """The same without mirror images: 1, 5 or 72 crops, ``(number / 2, 3, side, side)``."""
    pixels = _without_what_no_crop_shows(pixels)
    made: dict[tuple[int, int], Tensor] = {}  # the photograph at each scale
    cut = []
    for box in boxes(*pixels.shape[1:], side=side, number=number):
        size = box.height, box.width
        if size not in made:
            made = {size: resized(pixels, *size)}  # boxes come scale by scale
        square = made[size][:, box.top : box.top + box.size, box.left : box.left + box.size]
        cut.append(resized(square, side, side))
    return torch.stack(cut)


def boxes(height: int, width: int, *, side: int, number: CropCount) -> list[Box]:
    """Where the crops of a photograph of this size are, mirror images apart.

    Scale by scale; of a scale the squares from the left or the top on; of a square its corners
    (top left, top right, bottom left, bottom right), its centre, and at last the whole. A middle
    between two pixels is taken to the left or the top.

    Raises:
        ValueError: another number of crops, or a side or a size below 1.
    """
    if min(height, width, side) < 1:
        raise ValueError(f"height {height}, width {width}, side {side}; each must be at least 1")
    if number not in (1, 10, 144):
        raise ValueError(f"{number} crops; there can be 1, 10 or 144")
    found = []
    for scale in SCALES if number == 144 else (SCALE,):
        shorter = round(side * scale / SIDE)
        tall, wide = (round(shorter * each / min(height, width)) for each in (height, width))
        spare = max(tall, wide) - shorter
        for start in (0, spare // 2, spare) if number == 144 else (spare // 2,):
            top, left = (start, 0) if tall > wide else (0, start)
            inner = shorter - side
            centre = (inner // 2, inner // 2)
            corners = [(0, 0), (0, inner), (inner, 0), (inner, inner)]
            for down, right in [centre] if number == 1 else [*corners, centre]:
                found.append(Box(tall, wide, top + down, left + right, side))
            if number == 144:
                found.append(Box(tall, wide, top, left, shorter))
    return found


def _without_what_no_crop_shows(pixels: Tensor) -> Tensor:
    """A strip cut down to its ends and its middle, two squares of each, side by side.

    No crop reaches from one into the next; and a thin strip, made as wide as crops want it, would
    fill the memory.
    """
    short, long = sorted(pixels.shape[1:])
    if long <= _LONGEST * short:
        return pixels
    along = 1 if pixels.shape[1] == long else 2
    starts = (0, long // 2 - short, long - 2 * short)
    return torch.cat([pixels.narrow(along, start, 2 * short) for start in starts], along)
