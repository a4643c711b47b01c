"""What becomes of a picture before a network sees it: the training distortions of Szegedy et al.

2015 ("Going Deeper with Convolutions"), and the plain centre crop beside them.

Every chance comes from one number: the same pixels and number give the same answer anywhere.
"""

import math
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from vl.data.choices import Resize
from vl.data.images.crops import crop_boxes

Interpolation = Literal["bilinear", "area", "nearest", "cubic"]
Adjustment = Literal["brightness", "contrast", "saturation", "hue"]

AREA = (0.08, 1.0)  # shares of the picture, and
ASPECT = (3 / 4, 4 / 3)  # width over height: section 6 of the paper
# At strength 1. Contrast and saturation by 0.5 to 1.5 and a hue turned by up to 0.2 of the circle
# are those of tensorflow/models' inception_preprocessing.py; it adds brightness, up to 32 of 255,
# where this multiplies it, by a range of our choice.
CHANGES: dict[Adjustment, float] = {
    "brightness": 0.5,
    "contrast": 0.5,
    "saturation": 0.5,
    "hue": 0.2,
}
_STRONGEST = 2.0  # beyond, a factor would be negative
_LONGEST = 4  # times the shorter side; `Plain` never looks at more of a strip than this
_MODES: dict[Interpolation, InterpolationMode] = {
    "bilinear": InterpolationMode.BILINEAR,
    "nearest": InterpolationMode.NEAREST_EXACT,
    "cubic": InterpolationMode.BICUBIC,
}


class Box(NamedTuple):
    """A part of a picture, in whole pixels."""

    top: int
    left: int
    height: int
    width: int


class Distortion(NamedTuple):
    """What is done to one picture."""

    box: Box
    interpolation: Interpolation
    mirrored: bool
    colours: tuple[tuple[Adjustment, float], ...]  # factors, turns of hue; in order of doing


class Augmentation:
    """A part of a picture of random size, place and aspect, mirrored or not, its colours changed.

    The area is drawn evenly from its interval. The aspect is drawn evenly in its logarithm, as the
    paper gives the interval only, from those values of its interval with which a part of that area
    fits into the picture. A picture so long that no part of the greatest areas fits has them drawn
    up to the greatest that does; none is drawn twice. Every part of that shape is as likely.

    Args:
        side: of the answer, in pixels.
        area: least and greatest share of the picture's area.
        aspect: least and greatest width over height.
        flip: how probable a mirror image is.
        colour: how strongly brightness, contrast, saturation and hue are changed, in random order:
            1 is as in ``CHANGES``, 0 not at all, 2 twice as much, which is the most.
        interpolation: ``"random"`` is one of the paper's four, equally probable.

    Raises:
        ValueError: one of them is out of its range.

    Source:
        Szegedy et al. 2015, section 6. Its photometric distortions are Howard's (2013), of which
        neither gives the numbers. Bilinear and cubic interpolation are antialiased.
    """

    def __init__(
        self,
        side: int,
        *,
        area: tuple[float, float] = AREA,
        aspect: tuple[float, float] = ASPECT,
        flip: float = 0.5,
        colour: float = 1.0,
        interpolation: Literal["random"] | Interpolation = "random",
    ) -> None:
        _check_side(side)
        if not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f"area is {area}; expected 0 < least <= greatest <= 1")
        if not 0 < aspect[0] <= aspect[1] < math.inf:
            raise ValueError(f"aspect is {aspect}; expected 0 < least <= greatest")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip is {flip}; it is a probability, from 0 to 1")
        if not 0 <= colour <= _STRONGEST:
            raise ValueError(f"colour is {colour}; it must be from 0 to {_STRONGEST:g}")
        if interpolation not in ("random", *get_args(Interpolation)):
            known = ", ".join(("random", *get_args(Interpolation)))
            raise ValueError(f"interpolation is {interpolation!r}; it must be one of {known}")
        self.side = side
        self.area = area
        self.aspect = aspect
        self.flip = flip
        self.colour = colour
        self.interpolation = interpolation

    def __call__(self, pixels: Tensor, draw: int) -> Tensor:
        """``(3, H, W)`` uint8 to ``(3, side, side)`` uint8.

        Raises:
            ValueError: the pixels are not of that kind.
        """
        _check(pixels)
        height, width = pixels.shape[1:]
        return distorted(pixels, self.distortion(height, width, draw), self.side)

    def distortion(self, height: int, width: int, draw: int) -> Distortion:
        """What ``draw`` says is to be done to a picture of this size."""
        generator = torch.Generator().manual_seed(draw)
        # All are drawn whatever is asked for, so that one choice changes nothing in the others.
        chances = torch.rand(6 + 2 * len(CHANGES), generator=generator, dtype=torch.float64)
        area, aspect, top, left, flip, interpolation, *colours = chances.tolist()
        methods = get_args(Interpolation)
        method = methods[int(interpolation * len(methods))]
        return Distortion(
            self._box(height, width, area=area, aspect=aspect, top=top, left=left),
            method if self.interpolation == "random" else self.interpolation,
            flip < self.flip,
            self._colours(colours[: len(CHANGES)], colours[len(CHANGES) :]),
        )

    def _box(
        self, height: int, width: int, *, area: float, aspect: float, top: float, left: float
    ) -> Box:
        """The part of a picture for four chances in [0, 1)."""
        own = width / height
        # A part with a share `a` of the area and an aspect `r` is no wider than the picture where
        # r <= own / a, and no higher where r >= own * a.
        least, greatest = self.aspect
        fitting = min(1.0, greatest / own, own / least)  # the greatest share that has such an r
        share = _between(min(self.area[0], fitting), min(self.area[1], fitting), area)
        low, high = max(least, own * share), min(greatest, own / share)
        # Rounding can put the two the wrong way round where there is only one.
        ratio = math.exp(_between(math.log(min(low, high)), math.log(max(low, high)), aspect))
        whole = share * height * width
        box_height = min(max(round(math.sqrt(whole / ratio)), 1), height)
        box_width = min(max(round(math.sqrt(whole * ratio)), 1), width)
        return Box(
            int(top * (height - box_height + 1)),
            int(left * (width - box_width + 1)),
            box_height,
            box_width,
        )

    def _colours(
        self, chances: list[float], places: list[float]
    ) -> tuple[tuple[Adjustment, float], ...]:
        if self.colour == 0:
            return ()
        amounts: list[tuple[float, Adjustment, float]] = []
        for (name, most), chance, place in zip(CHANGES.items(), chances, places, strict=True):
            change = self.colour * most * (2 * chance - 1)
            amounts.append((place, name, change if name == "hue" else 1 + change))
        return tuple((name, amount) for _, name, amount in sorted(amounts))


class CenterCrop:
    """The centre of a picture, or all of it, for telling what a network is worth.

    Args:
        side: of the answer, in pixels.
        resize: ``"center-crop"`` makes the shorter side 256/224 of ``side`` long and takes the
            square in the center; ``"squash"`` keeps everything and loses the aspect.

    Raises:
        ValueError: a side below 1, or an unknown resize mode.
    """

    def __init__(self, side: int, resize: Resize = "center-crop") -> None:
        _check_side(side)
        if resize not in get_args(Resize):
            raise ValueError(
                f"resize is {resize!r}; it must be one of {', '.join(get_args(Resize))}"
            )
        self.side = side
        self.resize: Resize = resize

    def __call__(self, pixels: Tensor, draw: int) -> Tensor:
        """``(3, H, W)`` uint8 to ``(3, side, side)`` uint8, whatever is drawn.

        Raises:
            ValueError: the pixels are not of that kind.
        """
        _check(pixels)
        if self.resize == "squash":
            return _resized(pixels, self.side, self.side, "bilinear").contiguous()
        short = min(pixels.shape[1:])
        # The crop would drop the rest anyway, but not before a thin strip had filled the memory.
        height, width = (min(length, _LONGEST * short) for length in pixels.shape[1:])
        pixels = transforms.center_crop(pixels, [height, width])
        (box,) = crop_boxes(*pixels.shape[1:], size=self.side, num_crops=1)
        pixels = _resized(pixels, box.height, box.width, "bilinear")
        rows, columns = slice(box.top, box.top + box.size), slice(box.left, box.left + box.size)
        return pixels[:, rows, columns].contiguous()


def distorted(pixels: Tensor, distortion: Distortion, side: int) -> Tensor:
    """``(3, H, W)`` uint8 to ``(3, side, side)`` uint8, as the distortion says."""
    top, left, height, width = distortion.box
    pixels = pixels[:, top : top + height, left : left + width]
    pixels = _resized(pixels, side, side, distortion.interpolation)
    if distortion.mirrored:
        pixels = pixels.flip(-1)
    if not distortion.colours:
        return pixels.contiguous()
    # In float, as hue is reckoned there: one rounding in the end and not one for each.
    changed = pixels.contiguous() / 255
    for name, amount in distortion.colours:
        changed = _ADJUST[name](changed, amount)
    return _whole(changed * 255)


_ADJUST = {
    "brightness": transforms.adjust_brightness,
    "contrast": transforms.adjust_contrast,
    "saturation": transforms.adjust_saturation,
    "hue": transforms.adjust_hue,
}


def _resized(pixels: Tensor, height: int, width: int, interpolation: Interpolation) -> Tensor:
    if pixels.shape[1:] == (height, width):
        return pixels
    if interpolation == "area":  # which torchvision's own has not
        return _whole(F.interpolate(pixels[None].float(), (height, width), mode="area")[0])
    resized: Tensor = transforms.resize(
        pixels, [height, width], _MODES[interpolation], antialias=True
    )
    return resized


def _whole(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _between(least: float, greatest: float, chance: float) -> float:
    return least + (greatest - least) * chance


def _check_side(side: int) -> None:
    if side < 1:
        raise ValueError(f"side is {side}; it must be at least 1")


def _check(pixels: Tensor) -> None:
    if pixels.ndim != 3 or pixels.shape[0] != 3 or 0 in pixels.shape:
        raise ValueError(f"pixels have shape {tuple(pixels.shape)}, not (3, H, W)")
    if pixels.dtype != torch.uint8:
        raise ValueError(f"pixels are {pixels.dtype}; expected uint8, from 0 to 255")
