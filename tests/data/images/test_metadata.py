"""Odd metadata: the orientation is read, and no photograph is refused for the rest."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from vl.data.images.decode import as_pixels, decode_bytes, decode_uint8, thumbnail

ORIENTATION = (0x0112, 3, 1, struct.pack("<H", 6))
X_RESOLUTION, UNIT, GPS = 0x011A, 0x0128, 0x8825
Entry = tuple[int, int, int, bytes]  # tag, type, count, value


def ifd(entries: list[Entry], offset: int) -> bytes:
    """A directory of EXIF at an offset, as bytes in order, with its values behind it."""
    directory, values = struct.pack("<H", len(entries)), b""
    begin = offset + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in sorted(entries):
        directory += struct.pack("<HHI", tag, kind, count)
        if len(value) > 4:
            directory += struct.pack("<I", begin + len(values))
            values += value
        else:
            directory += value.ljust(4, b"\0")
    return directory + bytes(4) + values


def exif(entries: list[Entry], gps: list[Entry] | None = None) -> bytes:
    pointer = [(GPS, 4, 1, bytes(4))] if gps else []
    begin = 8 + len(ifd(entries + pointer, 8))
    pointer = [(GPS, 4, 1, struct.pack("<I", begin))] if gps else []
    return b"Exif\0\0II*\0\x08\0\0\0" + ifd(entries + pointer, 8) + ifd(gps or [], begin)


def halves() -> Image.Image:
    image = Image.new("RGB", (32, 16), (255, 0, 0))
    image.paste((0, 255, 0), (16, 0, 32, 16))
    return image


def encoded(kind: str, exif: bytes) -> bytes:
    file = io.BytesIO()
    halves().save(file, kind, exif=exif)
    return file.getvalue()


METADATA = {
    "signed latitude": exif([ORIENTATION], [(2, 10, 3, struct.pack("<6i", -1, 1, 2, 1, 3, 1))]),
    "GPS version as text": exif([ORIENTATION], [(0, 2, 4, b"2.3\0")]),
    "altitude as text": exif([ORIENTATION], [(6, 2, 6, b"123 m\0")]),
    "resolution as text": exif([ORIENTATION, (X_RESOLUTION, 2, 3, b"72\0")]),
    "short resolution": exif([ORIENTATION, (X_RESOLUTION, 2, 2, b"7\0"), (UNIT, 3, 1, b"\2\0")]),
    "no resolution": exif([ORIENTATION, (X_RESOLUTION, 2, 1, b"\0"), (UNIT, 3, 1, b"\2\0")]),
    "unit as text": exif([ORIENTATION, (UNIT, 2, 5, b"inch\0")]),
    "date as a ratio by 0": exif([ORIENTATION, (0x0132, 5, 1, struct.pack("<II", 1, 0))]),
    "maker beyond the end": exif([ORIENTATION, (0x010F, 2, 999, b"\xff\xff\xff\x7f")]),
    "orientation as a long": exif([(0x0112, 4, 1, struct.pack("<I", 6))]),
    "orientation as a byte": exif([(0x0112, 1, 1, b"\6")]),
    "orientation as bytes": exif([(0x0112, 7, 1, b"\6")]),
    "orientation as text": exif([(0x0112, 2, 2, b"6\0")]),
    "orientation as a ratio": exif([(0x0112, 5, 1, struct.pack("<II", 6, 1))]),
    "orientation twice": exif([(0x0112, 3, 2, struct.pack("<HH", 6, 6))]),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
def test_odd_exif_turns_a_photograph_and_no_more(metadata, kind, tmp_path):
    data = encoded(kind, metadata)
    plain = decode_bytes(encoded(kind, exif([])), "x")
    expected = plain.rot90(-1, (1, 2))  # clockwise
    assert torch.equal(decode_bytes(data, "x"), expected)
    assert torch.equal(decode_uint8(data, "x"), (expected * 255).round().byte())
    (tmp_path / "a").write_bytes(data)
    assert thumbnail(tmp_path / "a", 99).shape == (32, 16, 3)
    if metadata not in (METADATA["short resolution"], METADATA["no resolution"]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))  # Pillow opens not all
        with image:
            assert torch.equal(as_pixels(image), expected)
            assert "exif" not in image.info or image.info["exif"].endswith(metadata[-9:])


@pytest.mark.parametrize(
    ("entries", "gps"),
    [
        ([], [(2, 10, 3, struct.pack("<6i", -1, 1, 2, 1, 3, 1)), (0, 2, 4, b"2.3\0")]),
        ([(X_RESOLUTION, 2, 3, b"72\0"), (0x010F, 5, 1, bytes(8))], None),
        ([(GPS, 4, 1, struct.pack("<I", 4_000_000_000)), (0x8769, 2, 2, b"7\0")], None),
        ([(0x010F, 2, 999, struct.pack("<I", 2**31))], None),
    ],
)
def test_odd_tags_of_a_tiff_leave_the_pixels(entries, gps):
    short = struct.Struct("<H").pack
    tags = [(0x0100, 3, 1, short(32)), (0x0101, 3, 1, short(16)), (0x0106, 3, 1, short(1))]
    tags += [(0x0102, 3, 1, short(8)), (0x0111, 4, 1, bytes(4)), (0x0117, 3, 1, short(32 * 16))]
    size = len(exif([ORIENTATION, *tags, *entries], gps)) - 6
    tags[4] = (0x0111, 4, 1, struct.pack("<I", size))
    values = np.arange(32 * 16, dtype=np.uint8) % 200
    data = exif([ORIENTATION, *tags, *entries], gps)[6:] + values.tobytes()
    expected = torch.from_numpy(np.rot90(values.reshape(16, 32), -1).copy()) / 255
    assert torch.equal(decode_bytes(data, "x"), expected.expand(3, -1, -1))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_do_not_exist_turn_nothing(value):
    data = encoded("PNG", exif([(0x0112, 3, 1, struct.pack("<H", value))]))
    assert decode_bytes(data, "x").shape == (3, 16, 32)


def test_any_bytes_of_exif_leave_the_pixels():
    generator = np.random.default_rng(0)
    whole = np.frombuffer(METADATA["signed latitude"] + bytes(40), np.uint8)
    for _ in range(200):
        changed = whole.copy()
        indices = generator.integers(6, len(whole), 3)
        changed[indices] = generator.integers(0, 16, 3)
        pixels = decode_bytes(encoded("JPEG", changed.tobytes()), "x")
        assert sorted(pixels.shape) == [3, 16, 32]


def test_damaged_or_long_text_of_a_png_leaves_the_pixels():
    def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
        checksum = zlib.crc32(kind + content) if crc is None else crc
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    data = encoded("PNG", METADATA["signed latitude"])
    expected = decode_bytes(data, "x")
    header = 8 + 25  # the signature and IHDR
    for odd in (
        chunk(b"tEXt", b"Comment\0text", crc=1),
        chunk(b"zTXt", b"XML\0\0" + zlib.compress(bytes(2_000_000))),
        chunk(b"iCCP", b"name\0\7"),
        chunk(b"pHYs", b"\0"),
    ):
        assert torch.equal(decode_bytes(data[:header] + odd + data[header:], "x"), expected)
