"""Decoding: every format, mode and orientation; damage is refused; image files are found."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode

from vl.data.errors import FormatError
from vl.data.images.decode import (
    PIXEL_LIMIT,
    as_pixels,
    decode,
    decode_bytes,
    decode_uint8,
)
from vl.data.images.files import find_images

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int = 6) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (32, 16), left)
    image.paste(right, (16, 0, 32, 16))
    return image


def color(pixels: Tensor, row: int = 0, column: int = 0) -> list[int]:
    return (pixels[:, row, column] * 255).round().int().tolist()


def noise(height: int, width: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its content lacks."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        content = kind + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(9))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*pair) for pair in chunks)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_files_are_decoded_exactly(kind, tmp_path):
    image = noise(5, 7)
    path = tmp_path / "image"
    path.write_bytes(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
    pixels = decode(path)
    assert pixels.dtype == torch.float32 and pixels.shape == (3, 5, 7)
    assert torch.equal(pixels, torch.tensor(np.array(image)).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("progressive", [False, True])
def test_grey_jpeg_has_three_equal_channels(progressive):
    data = encoded(Image.new("L", (9, 8), 100), "JPEG", progressive=progressive)
    assert decode_bytes(data, "x").shape == (3, 8, 9)
    assert color(decode_bytes(data, "x")) == [100, 100, 100]


def test_cmyk_is_converted():
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for kind in ("JPEG", "TIFF"):  # the first inverted, as Adobe does
        assert color(decode_bytes(encoded(image, kind), kind)) == [0, 255, 255]


@pytest.mark.parametrize(
    ("orientation", "turned", "red", "green"),  # row and column of the halves, upright
    [
        (1, False, (2, 2), (2, 29)),
        (2, False, (2, 29), (2, 2)),
        (3, False, (2, 29), (2, 2)),
        (6, True, (2, 2), (29, 2)),
        (8, True, (29, 2), (2, 2)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(kind, orientation, turned, red, green):
    pixels = decode_bytes(encoded(halves(RED, GREEN), kind, exif=exif(orientation)), kind)
    assert pixels.shape[1:] == ((32, 16) if turned else (16, 32))
    assert color(pixels, *red) == pytest.approx(RED, abs=4)
    assert color(pixels, *green) == pytest.approx(GREEN, abs=4)


def test_transparency_is_composed_onto_white():
    pixels = decode_bytes(encoded(Image.new("LA", (2, 2), (0, 51)), "PNG"), "x")
    assert color(pixels) == [204, 204, 204]
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 51))  # a fifth of red, four fifths of white
    pixels = decode_bytes(encoded(image, "PNG"), "x")
    assert color(pixels) == list(WHITE) and color(pixels, 0, 1) == [255, 204, 204]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes_are_applied_and_transparent_entries_are_white(kind):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    pixels = decode_bytes(encoded(image, kind), "x")
    assert color(pixels) == list(RED) and color(pixels, 0, 1) == list(GREEN)
    pixels = decode_bytes(encoded(image, kind, transparency=1), "x")
    assert color(pixels) == list(RED) and color(pixels, 0, 1) == list(WHITE)
    if kind == "PNG":
        pixels = decode_bytes(encoded(image, kind, transparency=bytes([51, 0])), "x")
        assert color(pixels) == [255, 204, 204]


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), GREEN)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert color(decode_bytes(data, "x")) == list(RED)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(kind):
    values = np.array([[0, 13107, 65535]], dtype=np.uint16)  # 13107 is a fifth of 65535
    pixels = decode_bytes(encoded(Image.fromarray(values), kind), "x")
    assert pixels.shape == (3, 1, 3)
    assert pixels[1, 0].tolist() == pytest.approx([0, 0.2, 1])


def test_thirty_two_bits_are_read_as_sixteen_unless_they_are_more():
    values = np.array([[0, 65535]], dtype=np.int32)
    assert decode_bytes(encoded(Image.fromarray(values), "TIFF"), "x")[0, 0].tolist() == [0, 1]
    values = np.array([[2**30, 2**31 - 1]], dtype=np.int32)
    pixels = decode_bytes(encoded(Image.fromarray(values), "TIFF"), "x")
    assert pixels[0, 0].tolist() == pytest.approx([0.5, 1])
    with pytest.raises(FormatError, match="values from -5 to 7, not 0 to"):
        decode_bytes(encoded(Image.fromarray(np.array([[-5, 7]], np.int32)), "TIFF"), "x")


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_floats_lie_in_0_to_1(value):
    values = np.array([[0, 0.25, 1]], np.float32)
    pixels = decode_bytes(encoded(Image.fromarray(values), "TIFF"), "x")
    assert pixels[2, 0].tolist() == [0, 0.25, 1]
    values[0, 1] = value
    with pytest.raises(FormatError, match="values from"):
        decode_bytes(encoded(Image.fromarray(values), "TIFF"), "x")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_refuses_truncated_files_in_one_line(kind, share, tmp_path):
    data = encoded(noise(40, 40), kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(FormatError) as caught:
        decode(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    if kind == "JPEG":
        with pytest.raises(FormatError, match=r"^x: .*truncated"):
            decode_bytes(data[:-1], "x")


def test_damaged_bytes_give_an_image_or_a_format_error():
    generator = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        whole = np.frombuffer(encoded(noise(12, 12), kind), dtype=np.uint8)
        for _ in range(30):
            data = whole.copy()
            data[generator.integers(0, min(len(data), 200), 3)] = generator.integers(0, 256, 3)
            try:
                pixels = decode_bytes(data.tobytes(), "x")
            except FormatError:
                continue
            assert pixels.shape[0] == 3 and pixels.min() >= 0 and pixels.max() <= 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"milk, bread, eggs", "not an image"),
        (b"", "empty"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", "not an image"),
    ],
)
def test_refuses_files_that_are_not_images_and_programs(tmp_path, content, problem):
    path = tmp_path / "notes.jpg"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=rf"notes\.jpg: .*{problem}"):
        decode(path)


@pytest.mark.parametrize("width", [10_000, 13_000, 50_000])  # Pillow is silent, warns, raises
def test_refuses_decompression_bombs_by_their_header(width):
    with pytest.raises(FormatError, match="100,000,000 pixels"):
        decode_bytes(png(width, PIXEL_LIMIT // width + 1), "x")


@pytest.mark.parametrize("width", [9_500, 10_000])  # Pillow would warn of both
def test_image_of_the_limit_is_decoded_without_a_warning(width):
    data = png(width, PIXEL_LIMIT // 10_000)
    with warnings.catch_warnings(record=True) as caught, pytest.raises(FormatError, match="trunc"):
        warnings.simplefilter("always")
        decode_bytes(data, "x")  # there are no pixels behind the header
    assert not caught


def test_refuses_images_without_pixels():
    for size in ((0, 5), (5, 0)):
        with pytest.raises(FormatError, match=r"damaged header|0 x|x 0"):
            decode_bytes(png(*size), "x")
    data = bytearray(encoded(noise(8, 8), "JPEG"))
    begin = data.index(b"\xff\xc0")
    data[begin + 7 : begin + 9] = bytes(2)
    with pytest.raises(FormatError, match="damaged header"):
        decode_bytes(bytes(data), "x")


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_uint8_over_255_is_the_float_image(kind, mode):
    if (kind, mode) in (("JPEG", "P"), ("JPEG", "1"), ("PNG", "CMYK")):
        pytest.skip("the format lacks the mode")
    options = {} if kind == "TIFF" else {"exif": exif()}
    data = encoded(noise(20, 31).convert(mode), kind, **options)
    whole = decode_uint8(data, "x")
    assert whole.dtype == torch.uint8 and whole.shape == decode_bytes(data, "x").shape
    assert torch.equal(whole / 255, decode_bytes(data, "x"))


def test_uint8_rounds_fractions():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (100, 0, 10, 77))
    pixels = decode_uint8(encoded(image, "PNG"), "x")
    assert pixels.dtype == torch.uint8 and pixels[:, 0, 0].tolist() == [255, 255, 255]
    # 100 * 77 / 255 + 255 - 77 = 208.2; 178; 10 * 77 / 255 + 178 = 181.02
    assert pixels[:, 0, 1].tolist() == [208, 178, 181]
    values = np.array([[0, 13107, 13000, 65535]], dtype=np.uint16)  # 13000 / 257 = 50.58
    pixels = decode_uint8(encoded(Image.fromarray(values), "PNG"), "x")
    assert pixels[1, 0].tolist() == [0, 51, 51, 255]


@pytest.mark.parametrize(
    ("min_size", "shape"),
    [(None, (100, 300)), (101, (100, 300)), (51, (100, 300)), (50, (50, 150)), (25, (25, 75))],
)
def test_min_size_decodes_a_jpeg_at_a_fraction_of_its_size(min_size, shape):
    data = encoded(noise(100, 300), "JPEG")
    assert decode_uint8(data, "x", min_size=min_size).shape[1:] == shape
    data = encoded(noise(300, 100), "JPEG")
    assert decode_uint8(data, "x", min_size=min_size).shape[1:] == shape[::-1]
    data = encoded(noise(300, 100), "PNG")  # other formats cannot
    assert decode_uint8(data, "x", min_size=min_size).shape[1:] == (300, 100)


def test_fraction_of_a_jpeg_is_its_local_mean_upright():
    row = np.linspace(0, 255, 96)
    image = Image.fromarray(np.stack([np.tile(row, (64, 1))] * 3, 2).astype(np.uint8))
    data = encoded(image, "JPEG", exif=exif())
    whole, small = decode_uint8(data, "x"), decode_uint8(data, "x", min_size=16)
    assert whole.shape == (3, 96, 64) and small.shape == (3, 24, 16)
    mean = torch.nn.functional.avg_pool2d(whole.float(), 4)
    assert (small - mean).abs().max() < 6
    with pytest.raises(FormatError, match="truncated"):
        decode_uint8(data[:-200], "x", min_size=16)


def test_uint8_has_the_same_errors():
    for data, problem in (
        (b"", "empty"),
        (b"milk", "not an image"),
        (png(50_000, 50_000), "limit"),
    ):
        with pytest.raises(FormatError, match=f"^x: .*{problem}"):
            decode_uint8(data, "x", min_size=224)


def test_all_types_of_images_give_the_same_pixels(tmp_path):
    image = noise(5, 7)
    data = encoded(image, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    expected = decode(path)
    for source in (path, str(path), data, image, np.array(image), expected):
        assert torch.equal(as_pixels(source), expected)
    grey = np.array(image)[..., 0]
    assert torch.equal(as_pixels(grey), expected[:1].expand(3, -1, -1))
    with Image.open(io.BytesIO(encoded(image, "PNG", exif=exif()))) as turned:
        assert as_pixels(turned).shape == (3, 7, 5)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3)), "expected uint8"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\)"),
        (np.zeros((0, 4), np.uint8), r"\(0, 4\)"),
        (torch.zeros(4, 4), r"\(4, 4\)"),
        (torch.full((3, 4, 4), 255.0), r"\[0, 1\]"),
        (torch.zeros((3, 4, 4), dtype=torch.uint8), "divide by 255"),
        (7, "got int"),
        (b"milk", "not an image"),
    ],
)
def test_refuses_what_is_not_an_image(image, message):
    with pytest.raises(ValueError, match=f"^x: .*{message}"):
        as_pixels(image, name="x")


def test_errors_of_the_file_system_are_not_wrapped(tmp_path):
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "none.jpg")
    with pytest.raises(IsADirectoryError):
        decode(tmp_path)


def test_decoding_is_thread_safe():
    data = encoded(noise(40, 40), "PNG")
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda _: decode_bytes(data, "x"), range(40)))
    assert all(torch.equal(pixels, outputs[0]) for pixels in outputs)
    assert warnings.filters == before


def test_photographs_are_decoded_as_by_torchvision(shared_data: Path):
    for path in find_images([shared_data / "caltech101" / "Faces"])[:3]:
        encoded = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        expected = torch.ops.image.decode_jpeg(encoded, ImageReadMode.RGB.value, True) / 255
        # The two have their own libjpeg, which may round differently.
        assert (decode(path) - expected).abs().max() <= 4 / 255
