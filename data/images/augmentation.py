"""Transforms for training and validation: random crops and distortions, center crops.

Szegedy et al. 2015, "Going Deeper with Convolutions". Randomness comes from one seed an image, so
that the same pixels and seed give the same output in any thread or process; torchvision's random
transforms draw from the global generator, which threads share (and take 6.9 ms for an image of
240 x 300 pixels, this 6.1). Its functions do the work.
"""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from vl.data.choices import Resize
from vl.data.images.crops import crop_boxes

# torchvision's names, but for "area", which it lacks.
Interpolation = Literal["bilinear", "area", "nearest-exact", "bicubic"]
Adjustment = Literal["brightness", "contrast", "saturation", "hue"]

# Section 6 of the paper: share of the image's area, and width over height.
CROP_AREA = (0.08, 1.0)
ASPECT_RATIO = (3 / 4, 4 / 3)
# At strength 1. Contrast and saturation by 0.5 to 1.5 and hue by up to 0.2 of the circle are those
# of tensorflow/models' inception_preprocessing.py; it adds brightness, up to 32 of 255, where this
# multiplies it, by a range of our choice.
COLOR_CHANGES: dict[Adjustment, float] = {
    "brightness": 0.5,
    "contrast": 0.5,
    "saturation": 0.5,
    "hue": 0.2,
}
_MAX_ASPECT = 4  # of what a center crop resizes; see `vl.data.images.decode.square`


class Region(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class AugmentationParams(NamedTuple):
    """The random parameters of one augmented image."""

    region: Region
    interpolation: Interpolation
    flip: bool
    colors: tuple[tuple[Adjustment, float], ...]  # factors, or turns of hue, in order


@dataclass
class Augmentation:
    """A random crop, resized to a square, flipped at random, with photometric distortions.

    The crop's area is uniform in its interval. The aspect ratio is log-uniform, as the paper gives
    the interval only, over those values with which a crop of that area fits into the image. For
    an image so long that the largest areas do not fit, the interval of areas ends at the largest
    that does. The position is uniform, and the paper's four interpolations are equally probable.

    Args:
        size: side of the output, in pixels.
        crop_area: smallest and largest share of the image's area, above 0 and at most 1.
        flip: probability of a horizontal flip.
        color_jitter: strength of the changes of brightness, contrast, saturation and hue, which
            come in random order: 1 is ``COLOR_CHANGES``, 0 is off, 2 the maximum, as beyond it a
            factor would be negative.

    Source:
        Szegedy et al. 2015, section 6. Its photometric distortions are Howard's (2013), of which
        neither gives the values. Bilinear and cubic interpolation are antialiased.
    """

    size: int
    _: KW_ONLY
    crop_area: tuple[float, float] = CROP_AREA
    flip: float = 0.5
    color_jitter: float = 1.0

    def __call__(self, pixels: Tensor, seed: int) -> Tensor:
        """``(3, H, W)`` uint8 to ``(3, size, size)`` uint8."""
        height, width = pixels.shape[1:]
        return augment(pixels, self.params(height, width, seed), self.size)

    def params(self, height: int, width: int, seed: int) -> AugmentationParams:
        """The parameters for an image of this size."""
        generator = torch.Generator().manual_seed(seed)
        # Everything is drawn whatever is used, so that one option changes nothing in the others.
        uniform = torch.rand(6 + 2 * len(COLOR_CHANGES), generator=generator, dtype=torch.float64)
        area, aspect, top, left, flip, interpolation, *colors = uniform.tolist()
        methods = get_args(Interpolation)
        return AugmentationParams(
            self._region(height, width, area=area, aspect=aspect, top=top, left=left),
            methods[int(interpolation * len(methods))],
            flip < self.flip,
            self._colors(colors[: len(COLOR_CHANGES)], colors[len(COLOR_CHANGES) :]),
        )

    def _region(
        self, height: int, width: int, *, area: float, aspect: float, top: float, left: float
    ) -> Region:
        """The crop for four uniform draws from [0, 1)."""
        image_ratio = width / height
        # A crop with a share `a` of the area and an aspect ratio `r` is no wider than the image if
        # r <= image_ratio / a, and no higher if r >= image_ratio * a.
        smallest, largest = ASPECT_RATIO
        max_share = min(1.0, largest / image_ratio, image_ratio / smallest)  # with any such r
        share = _lerp(min(self.crop_area[0], max_share), min(self.crop_area[1], max_share), area)
        low, high = max(smallest, image_ratio * share), min(largest, image_ratio / share)
        # Rounding can swap the two where only one ratio is possible.
        ratio = math.exp(_lerp(math.log(min(low, high)), math.log(max(low, high)), aspect))
        num_pixels = share * height * width
        crop_height = min(max(round(math.sqrt(num_pixels / ratio)), 1), height)
        crop_width = min(max(round(math.sqrt(num_pixels * ratio)), 1), width)
        return Region(
            int(top * (height - crop_height + 1)),
            int(left * (width - crop_width + 1)),
            crop_height,
            crop_width,
        )

    def _colors(
        self, amounts: list[float], positions: list[float]
    ) -> tuple[tuple[Adjustment, float], ...]:
        """The color changes for uniform draws from [0, 1), sorted by ``positions``."""
        if self.color_jitter == 0:
            return ()
        changes: list[tuple[Adjustment, float]] = []
        for _, (name, largest), amount in sorted(zip(positions, COLOR_CHANGES.items(), amounts)):
            change = self.color_jitter * largest * (2 * amount - 1)
            changes.append((name, change if name == "hue" else 1 + change))
        return tuple(changes)


@dataclass
class CenterCrop:
    """The center of an image, or all of it: the transform for validation.

    ``"center-crop"`` scales the shorter side to 256/224 of ``size`` and takes the center square;
    ``"squash"`` keeps the whole image and changes its proportions.
    """

    size: int
    resize: Resize = "center-crop"

    def __call__(self, pixels: Tensor, seed: int) -> Tensor:
        """``(3, H, W)`` uint8 to ``(3, size, size)`` uint8, whatever the seed."""
        if self.resize == "squash":
            return _resize(pixels, self.size, self.size, "bilinear").contiguous()
        short = min(pixels.shape[1:])
        # The crop would drop the rest anyway, but not before a thin strip had filled the memory.
        height, width = (min(length, _MAX_ASPECT * short) for length in pixels.shape[1:])
        pixels = transforms.center_crop(pixels, [height, width])
        (box,) = crop_boxes(*pixels.shape[1:], size=self.size, num_crops=1)
        pixels = _resize(pixels, box.height, box.width, "bilinear")
        rows, columns = slice(box.top, box.top + box.size), slice(box.left, box.left + box.size)
        return pixels[:, rows, columns].contiguous()


def augment(pixels: Tensor, params: AugmentationParams, size: int) -> Tensor:
    """``(3, H, W)`` uint8 to ``(3, size, size)`` uint8 with these parameters."""
    top, left, height, width = params.region
    pixels = pixels[:, top : top + height, left : left + width]
    pixels = _resize(pixels, size, size, params.interpolation)
    if params.flip:
        pixels = pixels.flip(-1)
    if not params.colors:
        return pixels.contiguous()
    # In float, where hue is computed: one rounding at the end instead of one a change.
    changed = pixels.contiguous() / 255
    for name, amount in params.colors:
        changed = getattr(transforms, f"adjust_{name}")(changed, amount)
    return _to_uint8(changed * 255)


def _resize(pixels: Tensor, height: int, width: int, interpolation: Interpolation) -> Tensor:
    if pixels.shape[1:] == (height, width):
        return pixels
    if interpolation == "area":
        return _to_uint8(F.interpolate(pixels[None].float(), (height, width), mode="area")[0])
    mode = InterpolationMode(interpolation)
    resized: Tensor = transforms.resize(pixels, [height, width], mode, antialias=True)
    return resized


def _to_uint8(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _lerp(low: float, high: float, weight: float) -> float:
    return low + (high - low) * weight
