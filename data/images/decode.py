"""Images into tensors: RGB, float32, ``(3, H, W)``, in [0, 1], upright; and into squares.

Pillow decodes all formats: torchvision's decoders are deprecated since its version 0.29. Resizing
calls the function of PyTorch that torchvision calls, so that encoding imports no torchvision.
"""

import errno
import io
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from vl.data.choices import Resize
from vl.data.errors import FormatError
from vl.data.files import visible_files

ImageLike = Path | str | bytes | Image.Image | NDArray[np.uint8] | Tensor

# More than any camera's frame, and 1.2 GB as float32: a header that claims more is an error or an
# attack.
PIXEL_LIMIT = 100_000_000
# Not all that Pillow can read: its EPS reader, for one, starts another program.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2"}
)

_MAX_ASPECT = 4  # of what a center crop resizes; see `square`
_open_lock = threading.Lock()  # warnings.catch_warnings is not thread-safe


def as_pixels(image: ImageLike, *, name: str = "image") -> Tensor:
    """An image of any type as RGB, float32, ``(3, H, W)``, in [0, 1].

    Args:
        image: a path; the bytes of a file; a PIL image; a NumPy array ``(H, W, 3)`` or ``(H, W)``,
            uint8; or a tensor ``(3, H, W)``, float, in [0, 1], returned unchanged.
        name: what errors call an image that is not a path.

    Raises:
        FormatError: a file's content is not a valid image, see `decode`.
        ValueError: an array or a tensor of another shape, dtype or range, or another type.
        OSError: the file cannot be read.
    """
    if isinstance(image, Path | str):
        return decode(image)
    if isinstance(image, bytes):
        return decode_bytes(image, name)
    if isinstance(image, Image.Image):
        return _rgb(ImageOps.exif_transpose(image))
    if isinstance(image, np.ndarray):
        grey_or_rgb = image.ndim in (2, 3) and image.shape[2:] in ((), (3,)) and image.size > 0
        if image.dtype != np.uint8 or not grey_or_rgb:
            problem = f"{image.dtype} of shape {image.shape}"
            raise ValueError(f"{name}: expected uint8 (H, W, 3) or (H, W), got {problem}")
        return _rgb(Image.fromarray(image))
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
            raise ValueError(f"{name}: expected shape (3, H, W), got {tuple(image.shape)}")
        if not image.is_floating_point():
            raise ValueError(f"{name}: expected float in [0, 1], got {image.dtype}; divide by 255")
        if not (image.min() >= 0 and image.max() <= 1):
            problem = f"from {image.min():g} to {image.max():g}"
            raise ValueError(f"{name}: expected values in [0, 1], got values {problem}")
        return image
    problem = type(image).__name__
    raise ValueError(f"{name}: expected a path, bytes, PIL image, array or tensor, got {problem}")


def decode(path: Path | str) -> Tensor:
    """The image in a file: RGB, float32, ``(3, H, W)``, in [0, 1].

    The format, one of ``FORMATS``, is detected from the content. EXIF orientation is applied,
    transparency is composed onto white, and of an animation the first frame is taken. The tensor
    need not be contiguous.

    Raises:
        FormatError: the content is empty, truncated, damaged, not an image, or larger than
            ``PIXEL_LIMIT``, which is checked in the header before anything is decoded.
        OSError: the file cannot be read.
    """
    return decode_bytes(Path(path).read_bytes(), str(path))


def decode_bytes(data: bytes, name: str) -> Tensor:
    """The same from bytes in memory; ``name`` is what errors call them."""
    return _decode(data, name, _rgb)


def decode_uint8(data: bytes, name: str, *, min_size: int | None = None) -> Tensor:
    """The same as uint8, ``(3, H, W)``, from 0 to 255: a quarter of the memory.

    These are the values of `decode_bytes` times 255, rounded where transparency or more than
    8 bits give fractions. A shorter side of ``min_size`` pixels is enough: a JPEG is decoded at a
    half, a quarter or an eighth of its size, which is faster, as long as it stays as large.
    """
    return _decode(data, name, _rgb_uint8, min_size)


def square(pixels: Tensor, size: int, resize: Resize = "center-crop") -> Tensor:
    """``(3, H, W)`` to ``(3, size, size)`` by antialiased bilinear interpolation.

    Args:
        pixels: float, in [0, 1]. Returned unchanged if it has the right size.
        size: in pixels.
        resize: ``"center-crop"`` scales the shorter side to ``size`` and crops the center;
            ``"squash"`` keeps the whole image and changes its proportions.
    """
    height, width = pixels.shape[1:]
    if resize == "squash":
        return resize_pixels(pixels, size, size)
    short = min(height, width)
    # The crop would drop the rest anyway, but not before a thin strip had filled the memory.
    pixels = _center(pixels, min(height, _MAX_ASPECT * short), min(width, _MAX_ASPECT * short))
    height, width = pixels.shape[1:]
    pixels = resize_pixels(pixels, round(size * height / short), round(size * width / short))
    return _center(pixels, size, size)


def resize_pixels(pixels: Tensor, height: int, width: int) -> Tensor:
    """``(3, H, W)``, float, in [0, 1], to ``(3, height, width)``, antialiased bilinear.

    Returned unchanged if it has the right size.
    """
    if pixels.shape[1:] == (height, width):
        return pixels
    size = [height, width]
    resized = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    return resized.clamp_(0, 1)  # rounding can leave the range by 1e-7


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The image files at ``paths``, sorted within each.

    A file is taken whatever its name; a folder stands for all files below it with one of
    ``SUFFIXES``, but those that are hidden or in hidden folders.

    Raises:
        ValueError: a folder has no image.
        OSError: a path does not exist, or a folder cannot be read.
    """
    images = []
    for path in paths:
        if path.is_dir():
            below = sorted(f for f in visible_files(path) if f.suffix.lower() in SUFFIXES)
            if not below:
                raise ValueError(f"{path}: the folder has no image ({' '.join(sorted(SUFFIXES))})")
            images += below
        elif path.exists():
            images.append(path)
        else:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return images


def _decode(
    data: bytes,
    name: str,
    to_pixels: Callable[[Image.Image], Tensor],
    min_size: int | None = None,
) -> Tensor:
    """``to_pixels`` of the image in ``data``, loaded and upright."""
    if not data:
        raise FormatError(name, "the file is empty")
    try:
        # Pillow warns below our limit and raises above it; ours is the one that counts.
        with _open_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width < 1 or height < 1:
            raise FormatError(name, f"the image has {width} x {height} pixels")
        if width * height > PIXEL_LIMIT:
            raise Image.DecompressionBombError
        if min_size is not None:
            image.draft(None, (min_size, min_size))  # only JPEG's reader does anything
        image.load()  # before this some readers know neither mode nor orientation
        ImageOps.exif_transpose(image, in_place=True)
        return to_pixels(image)
    except (FormatError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise FormatError(name, f"more than {PIXEL_LIMIT:,} pixels, the limit") from error
    except UnidentifiedImageError as error:
        problem = f"not an image of a known format ({', '.join(FORMATS)}), or a damaged header"
        raise FormatError(name, problem) from error
    except Exception as error:  # Pillow's readers raise a dozen types, struct.error to SyntaxError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(name, f"the image is truncated or damaged: {reason}") from error


def _rgb(image: Image.Image) -> Tensor:
    """An image of any of Pillow's modes as ``(3, H, W)`` in [0, 1]."""
    if _is_wide(image):  # convert() would clip
        grey = torch.from_numpy(np.asarray(image).astype(np.float32))  # (H, W)
        scale = 1 if image.mode == "F" else 65535
        if not (grey.min() >= 0 and grey.max() <= scale):
            raise ValueError(f"values from {grey.min():g} to {grey.max():g}, not 0 to {scale}")
        return (grey / scale).repeat(3, 1, 1)
    if image.has_transparency_data:
        rgba = _channels(image.convert("RGBA"))
        return rgba[:3] * rgba[3:] + (1 - rgba[3:])  # (3, H, W)
    return _channels(image if image.mode == "RGB" else image.convert("RGB"))


def _rgb_uint8(image: Image.Image) -> Tensor:
    """An image of any of Pillow's modes as ``(3, H, W)`` from 0 to 255."""
    if _is_wide(image) or image.has_transparency_data:
        return (_rgb(image) * 255).round_().to(torch.uint8)
    values = np.array(image if image.mode == "RGB" else image.convert("RGB"))  # (H, W, 3)
    return torch.from_numpy(values).permute(2, 0, 1)


def _is_wide(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))  # one channel of more than 8 bits


def _channels(image: Image.Image) -> Tensor:
    """8-bit channels as ``(C, H, W)`` in [0, 1]."""
    values = np.divide(np.asarray(image), 255, dtype=np.float32)  # (H, W, C)
    return torch.from_numpy(values).permute(2, 0, 1)


def _center(pixels: Tensor, height: int, width: int) -> Tensor:
    if pixels.shape[1:] == (height, width):
        return pixels
    top = (pixels.shape[1] - height) // 2
    left = (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width]
