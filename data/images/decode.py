"""Images into tensors: RGB, float32, ``(3, H, W)``, in [0, 1], upright; and into squares.

Pillow decodes all formats: torchvision's decoders are deprecated since its version 0.29. Resizing
calls the function of PyTorch that torchvision calls, so that encoding imports no torchvision.
"""

import io
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffTags import TAGS_V2_GROUPS
from torch import Tensor

from vl.data.choices import Resize
from vl.data.errors import FormatError
from vl.data.images.files import (
    AVIF_CURE,
    HAS_AVIF,
    HAS_HEIF,
    HEIC_CURE,
    check_regular,
    suffix_of_content,
)
from vl.data.images.metadata import strip_metadata, upright
from vl.data.images.modes import correct, is_8_bit, rgb, rgb_uint8

ImageLike = Path | str | bytes | Image.Image | NDArray[np.uint8] | Tensor
Output = TypeVar("Output")

# More than any camera's frame, and 1.2 GB as float32: a header that claims more is an error or an
# attack. No more pixels than that are decoded at a time either, by all threads of a process.
PIXEL_LIMIT = 100_000_000
# Not all that Pillow can read: its EPS reader, for one, starts another program.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000")
FORMATS += ("AVIF",) * HAS_AVIF  # and HEIF, by the extra `heif`

_FLOAT_PIXELS = 4_000_000  # 48 MB as float32; larger images are processed as uint8
_BLOCK = 64 << 20  # bytes that Pillow allocates at once for them
_BAND = 200_000  # pixels; in bands of about that size, uint8 is resized faster than floats
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
    return _process(image, name, rgb, _unchanged)


def with_pixels(
    image: ImageLike, use: Callable[[Tensor], Output], *, name: str = "image"
) -> Output:
    """What ``use``, which is to shrink it, makes of an image, in bounded memory.

    The images that the threads of a process process at a time have at most ``PIXEL_LIMIT`` pixels
    together: many small ones, or one huge one. Each worker process of a loader has this bound for
    itself. ``use`` gets what `as_pixels` returns, or for a large image uint8,
    ``(3, H, W)``, from 0 to 255, which is the same if 8 bits hold its colors; `square` and
    `resize_pixels` take both. With what Pillow needs for decoding, that is at most 16 bytes a
    pixel of up to 4 megapixels, and 7 of larger images, 11 if they are not upright. ``use`` must
    not process another image.

    Raises:
        FormatError, ValueError, OSError: see `as_pixels`.
    """
    return _process(image, name, _compact, use)


def decode(path: Path | str) -> Tensor:
    """The image in a file: RGB, float32, ``(3, H, W)``, in [0, 1].

    The format, one of ``FORMATS``, is detected from the content. EXIF orientation is applied, and
    of an animation the first frame is taken; see `vl.data.images.modes.rgb` for transparency and
    more than 8 bits. The tensor need not be contiguous.

    Raises:
        FormatError: the content is empty, truncated, damaged, not an image, or larger than
            ``PIXEL_LIMIT``, which is checked in the header before anything is decoded; or the path
            is neither a file nor a folder.
        OSError: the file cannot be read.
    """
    return _process(path, "", rgb, _unchanged)


def decode_bytes(data: bytes, name: str) -> Tensor:
    """The same from bytes in memory; ``name`` is what errors call them."""
    return _decode(data, name, rgb, _unchanged)


def decode_uint8(data: bytes, name: str, *, min_size: int | None = None) -> Tensor:
    """The same as uint8, ``(3, H, W)``, from 0 to 255: a quarter of the memory.

    These are the values of `decode_bytes` times 255, rounded where transparency or more than
    8 bits give fractions. A shorter side of ``min_size`` pixels is enough: a JPEG is decoded at a
    half, a quarter or an eighth of its size, which is faster, as long as it stays as large.
    """
    return _decode(data, name, rgb_uint8, _unchanged, min_size)


def thumbnail(path: Path | str, max_side: int) -> NDArray[np.uint8]:
    """The image in a file with a longer side of at most ``max_side`` pixels, uint8 ``(H, W, 3)``.

    Raises:
        FormatError, OSError: see `decode`.
    """

    def shrink(pixels: Tensor) -> NDArray[np.uint8]:
        scale = min(1.0, max_side / max(pixels.shape[1:]))
        small = resize_pixels(pixels, *(max(1, round(side * scale)) for side in pixels.shape[1:]))
        values: NDArray[np.uint8] = (small * 255).round_().byte().permute(1, 2, 0).numpy()
        return np.ascontiguousarray(values)

    return _process(path, "", _compact, shrink, max_side)


def square(pixels: Tensor, size: int, resize: Resize = "center-crop") -> Tensor:
    """``(3, H, W)`` to ``(3, size, size)`` by antialiased bilinear interpolation.

    Args:
        pixels: float, in [0, 1], or uint8, see `with_pixels`. Floats of the right size are
            returned unchanged.
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
    """``(3, H, W)`` to float ``(3, height, width)`` in [0, 1], antialiased bilinear.

    Args:
        pixels: float, in [0, 1], or uint8, see `with_pixels`. Floats of the right size are
            returned unchanged.
        height: in pixels.
        width: in pixels.
    """
    if pixels.dtype == torch.uint8:
        pixels = _resize_width(pixels, width)
    resized = _interpolate(pixels, height, width)
    return pixels if resized is pixels else resized.clamp_(0, 1)  # rounding can leave the range


def _resize_width(pixels: Tensor, width: int) -> Tensor:
    """``(3, H, W)`` uint8 to float ``(3, H, width)`` in [0, 1], never all of it in floats.

    PyTorch resizes in width, then in height, row by row, so that the values are the same. Memory is
    allocated once, as what threads allocate and free in turn with small results piles up.
    """
    rows = max(1, _BAND // pixels.shape[2])
    resized = torch.empty(3, pixels.shape[1], width)
    floats = torch.empty(rows, pixels.shape[2], 3).permute(2, 0, 1)
    for top in range(0, pixels.shape[1], rows):
        band = pixels[:, top : top + rows]
        floats = floats[:, : band.shape[1]]  # the last has fewer
        torch.div(band, 255, out=floats)
        resized[:, top : top + rows] = _interpolate(floats, band.shape[1], width)
    return resized


def _unchanged(pixels: Tensor) -> Tensor:
    return pixels


def _compact(image: Image.Image) -> Tensor:
    width, height = image.size
    limit = _BAND if is_8_bit(image) else _FLOAT_PIXELS
    return rgb(image) if width * height <= limit else rgb_uint8(image)


def _process(
    image: ImageLike,
    name: str,
    to_pixels: Callable[[Image.Image], Tensor],
    use: Callable[[Tensor], Output],
    min_size: int | None = None,
) -> Output:
    """``use`` of ``to_pixels`` of an image of any type; see `as_pixels`."""
    if isinstance(image, Path | str):
        check_regular(image)
        with io.FileIO(image) as file:  # faster than Path.read_bytes
            data = file.readall()
        return _decode(data, str(image), to_pixels, use, min_size)
    if isinstance(image, bytes):
        return _decode(image, name, to_pixels, use, min_size)
    if isinstance(image, Image.Image):
        image.load()
        return use(to_pixels(upright(image)))
    if isinstance(image, np.ndarray):
        grey_or_rgb = image.ndim in (2, 3) and image.shape[2:] in ((), (3,)) and image.size > 0
        if image.dtype != np.uint8 or not grey_or_rgb:
            problem = f"{image.dtype} of shape {image.shape}"
            raise ValueError(f"{name}: expected uint8 (H, W, 3) or (H, W), got {problem}")
        return use(to_pixels(Image.fromarray(image)))
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
            raise ValueError(f"{name}: expected shape (3, H, W), got {tuple(image.shape)}")
        if not image.is_floating_point():
            raise ValueError(f"{name}: expected float in [0, 1], got {image.dtype}; divide by 255")
        if not (image.min() >= 0 and image.max() <= 1):
            problem = f"from {image.min():g} to {image.max():g}"
            raise ValueError(f"{name}: expected values in [0, 1], got values {problem}")
        return use(image)
    problem = type(image).__name__
    raise ValueError(f"{name}: expected a path, bytes, PIL image, array or tensor, got {problem}")


def _decode(
    data: bytes,
    name: str,
    to_pixels: Callable[[Image.Image], Tensor],
    use: Callable[[Tensor], Output],
    min_size: int | None = None,
) -> Output:
    """``use`` of ``to_pixels`` of the image in ``data``, upright."""
    if not data:
        raise FormatError(name, "the file is empty")
    reservation = _Reservation()
    try:
        try:
            pixels = to_pixels(_load(data, name, min_size, reservation))
        except (FormatError, MemoryError, Image.DecompressionBombError):
            raise
        except Exception:  # Pillow's readers raise a dozen types, struct.error to SyntaxError
            if (stripped := strip_metadata(data)) is None:
                raise
            reservation.release()
            pixels = to_pixels(_load(stripped.data, name, min_size, reservation, stripped.exif))
    except Exception as error:
        reservation.release()
        raise _explained(error, data, name) from error
    try:
        return use(pixels)
    finally:
        reservation.release()


def _load(
    data: bytes,
    name: str,
    min_size: int | None,
    reservation: "_Reservation",
    exif: bytes = b"",
) -> Image.Image:
    """The image in ``data``, loaded and upright."""
    formats = FORMATS
    if HAS_HEIF and data[4:8] == b"ftyp" and suffix_of_content(data[:16]) == ".heic":
        _register_heif()
        formats += ("HEIF",)
    # Pillow warns below our limit and raises above it; ours is the one that counts. Its other
    # warnings are of metadata.
    with _open_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image: Image.Image = Image.open(io.BytesIO(data), formats=formats)
        if image.format == "TIFF":
            with suppress(Exception):  # its reader looks for it again, and finds this
                for tag in TAGS_V2_GROUPS:
                    image.getexif().get_ifd(tag)
    width, height = image.size
    if width < 1 or height < 1:
        raise FormatError(name, f"the image has {width} x {height} pixels")
    if width * height > PIXEL_LIMIT:
        raise Image.DecompressionBombError
    if min_size is not None:
        image.draft(None, (min_size, min_size))  # only JPEG's reader does anything
    width, height = image.size
    if width * height > _FLOAT_PIXELS:
        # So large that the memory goes back to the system, not to one thread's reserve.
        Image.core.set_block_size(_BLOCK)  # type: ignore[attr-defined]  # documented by Pillow
    reservation.take(width * height)
    correct(image)
    image.load()  # before this some readers know neither mode nor orientation
    return upright(image, exif)


def _explained(error: Exception, data: bytes, name: str) -> Exception:
    """What to raise for an error of decoding."""
    if isinstance(error, FormatError | MemoryError):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return FormatError(name, f"more than {PIXEL_LIMIT:,} pixels, the limit")
    if isinstance(error, UnidentifiedImageError):
        suffix = suffix_of_content(data[:16])
        for kind, known, cure in ((".heic", HAS_HEIF, HEIC_CURE), (".avif", HAS_AVIF, AVIF_CURE)):
            if suffix == kind and not known:
                return FormatError(name, f"{kind[1:].upper()}; it needs {cure}")
        problem = f"not an image of a known format ({', '.join(FORMATS)}), or a damaged header"
        return FormatError(name, problem)
    reason = " ".join(str(error).split()) or type(error).__name__
    return FormatError(name, f"the image is truncated or damaged: {reason}")


class _Reservation:
    """Pixels that one thread processes; a process's are at most ``PIXEL_LIMIT`` together."""

    _total = 0
    _changed = threading.Condition()

    def __init__(self) -> None:
        self._pixels = 0

    def take(self, pixels: int) -> None:
        """Wait until so many fit."""

        def fits() -> bool:
            return _Reservation._total == 0 or _Reservation._total + pixels <= PIXEL_LIMIT

        with self._changed:
            self._changed.wait_for(fits)
            _Reservation._total += pixels
            self._pixels = pixels

    def release(self) -> None:
        """Let others have them."""
        with self._changed:
            _Reservation._total -= self._pixels
            self._pixels = 0
            self._changed.notify_all()


def _reset_in_child() -> None:
    """Free a forked process's copies of what the other threads of its parent had."""
    global _open_lock
    _open_lock = threading.Lock()
    _Reservation._total, _Reservation._changed = 0, threading.Condition()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)


def _register_heif() -> None:
    from pillow_heif import register_heif_opener  # slow to import, and rarely needed

    if "HEIF" not in Image.OPEN:
        register_heif_opener(thumbnails=False)


def _interpolate(pixels: Tensor, height: int, width: int) -> Tensor:
    if pixels.shape[1:] == (height, width):
        return pixels
    return F.interpolate(pixels[None], [height, width], mode="bilinear", antialias=True)[0]


def _center(pixels: Tensor, height: int, width: int) -> Tensor:
    if pixels.shape[1:] == (height, width):
        return pixels
    top = (pixels.shape[1] - height) // 2
    left = (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width]
