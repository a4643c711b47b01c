"""Pillow's modes as RGB: palettes, transparency, CMYK, Lab, and channels of more than 8 bits."""

from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    TiffImageFile,
)
from torch import Tensor

# Big-endian raw modes, and those of the machine's order.
_NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
_BAND = 1 << 18  # pixels that are converted at once where whole images would take too much memory


class _Levels(NamedTuple):
    """What the values of a wide channel mean."""

    white: float  # the greatest value; 0 is black
    inverted: bool  # the other way round


def is_8_bit(image: Image.Image) -> bool:
    """Whether 8 bits a channel hold an image's colors exactly."""
    return not image.mode.startswith(("I", "F")) and not image.has_transparency_data


def rgb(image: Image.Image) -> Tensor:
    """A loaded image as float32, ``(3, H, W)``, in [0, 1].

    - Transparency is composed onto white.
    - Grey integers of more than 8 bits are divided by the largest of their bits: 4095, 65535, or
      32767 if they are signed. Those of 32 bits are divided by 65535, as Pillow and others store
      16 bits in them, unless one is greater; then by the largest of 32 bits. Negative ones are
      refused.
    - Floats are meant to lie in [0, 1], as in OpenCV; others are refused rather than scaled by an
      image's own range, which would make images incomparable.
    - Colors of 16 bits lose the lower 8, as Pillow does not read them.
    - "White is zero" is inverted; Lab goes to sRGB; profiles are not applied.

    Raises:
        ValueError: values out of range, or a mode that cannot be converted.
    """
    if image.mode == "RGB" and "transparency" not in image.info:  # most are, and it is faster
        return _channels(image)
    return _rgb(image, _levels(image))


def rgb_uint8(image: Image.Image) -> Tensor:
    """The same rounded to uint8, ``(3, H, W)``, from 0 to 255, and little more memory than that."""
    width, height = image.size
    values = np.empty((height, width, 3), np.uint8)
    levels = _levels(image)
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        whole = rows >= height
        band = image if whole else image.crop((0, top, width, min(top + rows, height)))
        if is_8_bit(image):
            values[top : top + rows] = np.asarray(_convert(band))
        else:
            floats = _rgb(band, levels).permute(1, 2, 0)
            values[top : top + rows] = (floats * 255).round_().to(torch.uint8).numpy()
    return torch.from_numpy(values).permute(2, 0, 1)


def correct(image: Image.Image) -> None:
    """Correct what Pillow gets wrong of a PNG or TIFF that is open and not loaded yet.

    Raises:
        ValueError: it would be read wrongly, and there is no way round.
    """
    if isinstance(image, PngImageFile) and image.tile:
        _correct_png(image)
    elif isinstance(image, TiffImageFile):
        image.tile = [tile._replace(args=_tiff_args(image, tile)) for tile in image.tile]


def _correct_png(image: PngImageFile) -> None:
    """Scale the transparent color as the pixels: up from 2 and 4 bits, down from 16 of colors."""
    key = image.info.get("transparency")
    args = image.tile[0].args
    raw_mode = args[0] if isinstance(args, tuple) else args
    if isinstance(key, int) and raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if raw_mode == "L;2" else 17)
    elif isinstance(key, tuple) and raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _tiff_args(image: TiffImageFile, tile: Any) -> Any:
    """A tile's arguments with the raw mode that it should have."""
    if not isinstance(tile.args, tuple) or not isinstance(tile.args[0], str):
        return tile.args
    raw_mode, *others = tile.args
    if tile.codec_name == "libtiff":  # which has swapped the bytes already
        return (_NATIVE.get(raw_mode, raw_mode), *others)
    separate = image.tag_v2.get(PLANAR_CONFIGURATION, 1) == 2
    if separate and len(raw_mode) == 1 and _tiff_tag(image, BITSPERSAMPLE, 8) == 16:
        if raw_mode not in "RGB":
            raise ValueError("separate planes of 16 bits with transparency are not supported")
        return (f"{raw_mode};16{'L' if image.tag_v2.prefix == b'II' else 'B'}", *others)
    return tile.args


def _rgb(image: Image.Image, levels: _Levels) -> Tensor:
    if image.mode.startswith(("I", "F")):  # convert() would clip
        scale = levels.white
        values = np.asarray(image)
        if scale == 2**32 - 1:
            values = values.view(np.uint32)
        grey = torch.from_numpy(values.astype(np.float32))[None]  # (1, H, W)
        if not (grey.min() >= 0 and grey.max() <= scale):
            problem = f"values from {grey.min():g} to {grey.max():g}, not 0 to {scale:g}"
            raise ValueError(f"{problem}; scale them, or save 8 bits")
        grey = grey / scale
        if levels.inverted:
            grey = 1 - grey
        if (key := image.info.get("transparency")) is not None:
            grey[0][torch.from_numpy(values == key)] = 1
        return grey.repeat(3, 1, 1)
    if image.has_transparency_data:
        rgba = _channels(image.convert("RGBA"))
        return rgba[:3] * rgba[3:] + (1 - rgba[3:])  # (3, H, W)
    return _channels(_convert(image))


def _convert(image: Image.Image) -> Image.Image:
    """An opaque image of 8 bits or fewer as RGB."""
    if image.mode == "RGB":
        return image
    if image.mode == "LAB":
        from PIL import ImageCms  # rarely needed

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # only in place it is
        return converted
    return image.convert("RGB")


def _channels(image: Image.Image) -> Tensor:
    """8-bit channels as ``(C, H, W)`` in [0, 1]."""
    values = np.divide(np.asarray(image), 255, dtype=np.float32)  # (H, W, C)
    return torch.from_numpy(values).permute(2, 0, 1)


def _levels(image: Image.Image) -> _Levels:
    """The values of an image, whole as it was read from its file; see ``rgb``."""
    bits = _tiff_tag(image, BITSPERSAMPLE, 0)
    inverted = _tiff_tag(image, PHOTOMETRIC_INTERPRETATION, 1) == 0
    if image.mode.startswith("I;"):
        return _Levels(4095 if bits == 12 else 65535, inverted)
    if image.mode != "I":
        return _Levels(1, inverted)
    if bits == 16:
        return _Levels(32767, inverted)
    low, high = image.getextrema()
    if low >= 0 and high <= 65535:  # type: ignore[operator]  # one channel has two numbers
        return _Levels(65535, inverted)
    # Pillow reads unsigned integers as if they were signed.
    unsigned = bits == 32 and _tiff_tag(image, SAMPLEFORMAT, 1) == 1
    return _Levels(2**32 - 1 if unsigned else 2**31 - 1, inverted)


def _tiff_tag(image: Image.Image, tag: int, default: int) -> int:
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)
