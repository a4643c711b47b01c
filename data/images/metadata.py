"""An image's orientation, and images freed of metadata that Pillow cannot read.

Metadata of odd types is no reason to refuse a photograph: only the orientation is read, and nothing
of it is ever written.
"""

import contextlib
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from PIL import ExifTags, Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TEXT = 2
# Of EXIF's types, as in struct.
_FORMS = {1: "B", _TEXT: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii"}
_FORMS |= {11: "f", 12: "d"}
_EXIF = b"Exif\0\0"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # chunks that pixels depend on


class Stripped(NamedTuple):
    """A file without its metadata, and the EXIF data that it had."""

    data: bytes
    exif: bytes


def upright(image: Image.Image, exif: bytes = b"") -> Image.Image:
    """A loaded image turned as its EXIF, or else its XMP, says.

    Pillow itself turns TIFFs, and pillow-heif HEICs.

    Args:
        image: returned itself if it needs no turn.
        exif: what to read instead of the image's own metadata.
    """
    turn = _TURNS.get(_orientation(exif or _exif(image)) or _xmp_orientation(image))
    return image if turn is None else image.transpose(turn)


def strip_metadata(data: bytes) -> Stripped | None:
    """A JPEG or PNG without all that its pixels do not depend on; None if that is nothing."""
    if data.startswith(b"\xff\xd8"):
        parts = list(_jpeg_parts(data))
        pixel_parts = [part for part in parts if not _is_jpeg_metadata(part)]
        exif = next(
            (part[4:] for part in parts if part[1:2] == b"\xe1" and part[4:10] == _EXIF), b""
        )
        stripped = b"\xff\xd8" + b"".join(pixel_parts)
    elif data.startswith(_PNG):
        chunks = list(_png_chunks(data))
        exif = next((chunk[8:-4] for chunk in chunks if chunk[4:8] == b"eXIf"), b"")
        stripped = _PNG + b"".join(chunk for chunk in chunks if chunk[4:8] in _PNG_PIXELS)
    else:
        return None
    return Stripped(stripped, exif) if len(stripped) < len(data) else None


def _exif(image: Image.Image) -> bytes:
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        return exif
    profile = image.info.get("Raw profile type exif")  # ImageMagick's: three lines, hexadecimal
    if isinstance(profile, str):
        with contextlib.suppress(ValueError):
            return bytes.fromhex("".join(profile.split("\n")[3:]))
    return b""


def _orientation(exif: bytes) -> int:
    """The orientation in EXIF data, whatever its type and the rest; 0 if there is none.

    Source: JEITA CP-3451, section 4.6; TIFF 6.0, section 2.
    """
    tiff = exif.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    with contextlib.suppress(struct.error, ValueError, OverflowError, ZeroDivisionError):
        (begin,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, begin)
        for entry in range(begin + 2, begin + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", tiff, entry)
            if tag == ExifTags.Base.Orientation:
                form = _FORMS.get(kind, "H")
                size = struct.calcsize(f"{order}{form}")
                at = entry + 8
                if size * values > 4:
                    (at,) = struct.unpack_from(f"{order}I", tiff, at)
                number, *divisor = struct.unpack_from(f"{order}{form}", tiff, at)
                if kind == _TEXT:
                    return int(chr(number))
                return int(number / divisor[0] if divisor else number)
    return 0


def _xmp_orientation(image: Image.Image) -> int:
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    match = re.search(rb"tiff:Orientation(?:=\"|>)([0-9])", xmp) if xmp else None
    return int(match[1]) if match else 0


def _jpeg_parts(data: bytes) -> Iterator[bytes]:
    """A JPEG's segments after its first marker; the last is the compressed data and all after."""
    begin = 2
    while data[begin : begin + 1] == b"\xff" and data[begin + 1 : begin + 2] not in (b"\xda", b""):
        if data[begin + 1] == 0xFF:  # fills up
            begin += 1
            continue
        end = begin + 2 + int.from_bytes(data[begin + 2 : begin + 4], "big")
        yield data[begin:end]
        begin = end
    yield data[begin:]


def _is_jpeg_metadata(part: bytes) -> bool:
    """APP1 to APP13, APP15 and comments; APP0 and APP14 tell the color space."""
    marker = part[1] if len(part) > 1 and part[0] == 0xFF else 0
    return marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)


def _png_chunks(data: bytes) -> Iterator[bytes]:
    begin = len(_PNG)
    while begin < len(data):
        end = begin + 12 + int.from_bytes(data[begin : begin + 4], "big")
        yield data[begin:end]
        begin = end
