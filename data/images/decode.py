"""Photographs into tensors: RGB, float32, ``(3, H, W)``, in [0, 1], the right way up.

It knows nothing of means and scales; the encoder holds those.
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

# More than any camera's frame, and 1.2 GB once it is float32: a header that claims more is a
# mistake or an attack.
PIXEL_LIMIT = 100_000_000
# What Pillow may try. Not all it can: its EPS reader, for one, starts another program.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2"}
)

ImageLike = Path | str | bytes | Image.Image | NDArray[np.uint8] | Tensor

_LONGEST = 4  # times the shorter side; `square` never looks at more of a strip than this
_opening = threading.Lock()  # catch_warnings is not safe among threads


def as_pixels(image: ImageLike, *, name: str = "image") -> Tensor:
    """An image of any kind as RGB, float32, ``(3, H, W)``, in [0, 1].

    Args:
        image: a path; the bytes of a file; a PIL image; a NumPy array ``(H, W, 3)`` or ``(H, W)``,
            uint8; or a tensor ``(3, H, W)``, float, in [0, 1], returned as it is.
        name: what errors call an image that is no path.

    Raises:
        FormatError: a file's content is no image, see `decode`.
        ValueError: an array or a tensor of another shape, type or range, or another type.
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
        _check_pixels(image, name)
        if not (image.min() >= 0 and image.max() <= 1):
            problem = f"from {image.min():g} to {image.max():g}"
            raise ValueError(f"{name}: expected values in [0, 1], got values {problem}")
        return image
    raise ValueError(
        f"{name}: expected a path, bytes, PIL image, array or tensor, got {type(image)}"
    )


def decode(path: Path | str) -> Tensor:
    """The photograph in a file: RGB, float32, ``(3, H, W)``, in [0, 1].

    The EXIF turn is done, transparency lies on white, and of an animation it is the first frame.
    The strides are whatever came cheapest, not always those of a contiguous tensor.
    Pillow decodes all kinds: torchvision's own decoders are deprecated since its version 0.29.

    Args:
        path: in one of ``FORMATS``, recognised by content whatever the name.

    Raises:
        FormatError: the content is empty, cut short, damaged, no image, or beyond
            ``PIXEL_LIMIT``; the last is known from the header, before anything is decoded.
        OSError: the file cannot be read.
    """
    return decode_bytes(Path(path).read_bytes(), str(path))


def decode_bytes(data: bytes, name: str) -> Tensor:
    """The same from bytes in memory; ``name`` is what errors call them."""
    return _decoded(data, name, _rgb)


def decode_uint8(data: bytes, name: str, *, min_size: int | None = None) -> Tensor:
    """The same as whole numbers, uint8, ``(3, H, W)``, from 0 to 255: a quarter of the memory.

    Over 255 they are ``decode_bytes``' numbers, or the nearest to them where transparency or more
    than 8 bits leave something between.

    Args:
        data: as ``decode_bytes``.
        name: what errors call them.
        min_size: a shorter side, in pixels, that is enough: of a JPEG that has twice, four or
            eight times as much, that many times fewer pixels are decoded each way, which is
            faster. None decodes all.

    Raises:
        ValueError: ``min_size`` is below 1.
        FormatError: as ``decode``.
    """
    if min_size is not None and min_size < 1:
        raise ValueError(f"min_size is {min_size}; it must be at least 1")
    return _decoded(data, name, _rgb_uint8, min_size)


def _decoded(
    data: bytes,
    name: str,
    pixels: Callable[[Image.Image], Tensor],
    min_size: int | None = None,
) -> Tensor:
    """What ``pixels`` makes of the image in ``data``, loaded and turned."""
    if not data:
        raise FormatError(name, "the file is empty")
    try:
        # Pillow warns below our limit and gives up above it; ours is the one that counts.
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(*image.size, name)
        if min_size is not None:
            image.draft(None, (min_size, min_size))  # other readers than JPEG's do nothing
        image.load()  # until then some readers know neither mode nor turn
        ImageOps.exif_transpose(image, in_place=True)
        return pixels(image)
    except (FormatError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise FormatError(name, f"more than {PIXEL_LIMIT:,} pixels, the limit") from error
    except UnidentifiedImageError as error:
        problem = f"no image of a known kind ({', '.join(FORMATS)}), or its header is damaged"
        raise FormatError(name, problem) from error
    except Exception as error:  # Pillow's readers raise a dozen kinds, struct.error to SyntaxError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(name, f"the image is cut short or damaged: {reason}") from error


def square(pixels: Tensor, side: int, resize: Resize = "center-crop") -> Tensor:
    """``(3, H, W)`` to ``(3, side, side)`` by antialiased bilinear interpolation.

    Args:
        pixels: float, in [0, 1]. Returned as it is if it has the right size.
        side: in pixels.
        resize: ``"center-crop"`` makes the shorter side ``side`` long and cuts the longer one's
            ends off equally; ``"squash"`` keeps everything and loses the aspect.

    Raises:
        ValueError: a side below 1, an unknown resize mode, no ``(3, H, W)``, or whole numbers.
    """
    if side < 1:
        raise ValueError(f"side is {side}; it must be at least 1")
    if resize not in ("center-crop", "squash"):
        raise ValueError(f"resize is {resize!r}; it must be 'center-crop' or 'squash'")
    _check_pixels(pixels, "pixels")
    height, width = pixels.shape[1:]
    if resize == "squash":
        return resize_pixels(pixels, side, side)
    short = min(height, width)
    # The cut would drop the rest anyway, but not before a thin strip had filled the memory.
    pixels = _centre(pixels, min(height, _LONGEST * short), min(width, _LONGEST * short))
    height, width = pixels.shape[1:]
    pixels = resize_pixels(pixels, round(side * height / short), round(side * width / short))
    return _centre(pixels, side, side)


def resize_pixels(pixels: Tensor, height: int, width: int) -> Tensor:
    """``(3, H, W)``, float, in [0, 1], to ``(3, height, width)``, antialiased bilinear.

    Returned as it is if it has the right size.
    """
    if pixels.shape[1:] == (height, width):
        return pixels
    size = [height, width]
    stretched = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    return stretched.clamp_(0, 1)  # rounding can leave the range by 1e-7


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The image files that ``paths`` stand for.

    Args:
        paths: a file stays as given, whatever its name; a folder gives all files below it with
            one of ``SUFFIXES``, sorted, without those that are hidden or in hidden folders.

    Raises:
        FileNotFoundError: a path is not there.
        ValueError: a folder holds no image.
        OSError: a folder below one of them cannot be read.
    """
    found = []
    for path in paths:
        if path.is_dir():
            inside = _inside(path)
            if not inside:
                raise ValueError(f"{path}: the folder holds no image ({_suffixes()})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return found


def _rgb(image: Image.Image) -> Tensor:
    """Any of Pillow's modes to ``(3, H, W)`` in [0, 1]."""
    if _has_wide_values(image):  # convert() would clip
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
    """Any of Pillow's modes to ``(3, H, W)`` of 0 to 255."""
    if _has_wide_values(image) or image.has_transparency_data:
        return (_rgb(image) * 255).round_().to(torch.uint8)
    values = np.array(image if image.mode == "RGB" else image.convert("RGB"))  # (H, W, 3)
    return torch.from_numpy(values).permute(2, 0, 1)


def _has_wide_values(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))  # one channel of more than 8 bits


def _channels(image: Image.Image) -> Tensor:
    """8-bit channels to ``(C, H, W)`` in [0, 1]."""
    values = np.divide(np.asarray(image), 255, dtype=np.float32)  # (H, W, C)
    return torch.from_numpy(values).permute(2, 0, 1)


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise FormatError(name, f"the image is {width} x {height} pixels: there is nothing in it")
    if width * height > PIXEL_LIMIT:
        problem = f"{width} x {height} is more than {PIXEL_LIMIT:,} pixels, the limit"
        raise FormatError(name, problem)


def _check_pixels(pixels: Tensor, name: str) -> None:
    if pixels.ndim != 3 or pixels.shape[0] != 3 or 0 in pixels.shape:
        raise ValueError(f"{name}: expected shape (3, H, W), got {tuple(pixels.shape)}")
    if not pixels.is_floating_point():
        raise ValueError(f"{name}: expected float in [0, 1], got {pixels.dtype}; divide by 255")


def _centre(pixels: Tensor, height: int, width: int) -> Tensor:
    if pixels.shape[1:] == (height, width):
        return pixels
    top = (pixels.shape[1] - height) // 2
    left = (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width]


def _inside(folder: Path) -> list[Path]:
    def complain(error: OSError) -> None:
        raise error

    found = []
    for place, folders, names in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = [Path(place) / name for name in names if not name.startswith(".")]
        found += [file for file in files if file.suffix.lower() in SUFFIXES]
    return sorted(found)


def _suffixes() -> str:
    return " ".join(sorted(SUFFIXES))
