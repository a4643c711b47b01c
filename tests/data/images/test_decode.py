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
from torchvision.transforms.v2 import functional

from vl.data.errors import FormatError
from vl.data.images.decode import (
    PIXEL_LIMIT,
    decode,
    decode_bytes,
    decode_uint8,
    find_images,
    square,
)

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (32, 16), left)
    image.paste(right, (16, 0, 32, 16))
    return image


def colour(pixels: Tensor, row: int = 0, column: int = 0) -> list[int]:
    return (pixels[:, row, column] * 255).round().int().tolist()


def noise(height: int, width: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_pixels_of_a_lossless_file_are_what_was_saved(kind, tmp_path):
    image = noise(5, 7)
    path = tmp_path / "photograph"
    path.write_bytes(saved(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
    pixels = decode(path)
    assert pixels.dtype == torch.float32 and pixels.shape == (3, 5, 7)
    assert torch.equal(pixels, torch.tensor(np.array(image)).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_grey_jpeg_has_three_equal_channels(progressive):
    data = saved(Image.new("L", (9, 8), 100), "JPEG", progressive=progressive)
    assert decode_bytes(data, "x").shape == (3, 8, 9)
    assert colour(decode_bytes(data, "x")) == [100, 100, 100]


def test_full_cyan_is_cyan():
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for kind in ("JPEG", "TIFF"):  # the first inverted, as Adobe does
        assert colour(decode_bytes(saved(image, kind), kind)) == [0, 255, 255]


# Where a picture with red left of green has its red, row and column, once it is turned.
@pytest.mark.parametrize(
    ("orientation", "shape", "red", "green"),
    [
        (1, (16, 32), (2, 2), (2, 29)),
        (2, (16, 32), (2, 29), (2, 2)),
        (3, (16, 32), (2, 29), (2, 2)),
        (6, (32, 16), (2, 2), (29, 2)),
        (8, (32, 16), (29, 2), (2, 2)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_exif_turn_is_done(kind, orientation, shape, red, green):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode_bytes(saved(halves(RED, GREEN), kind, exif=exif), kind)
    assert pixels.shape[1:] == shape
    assert colour(pixels, *red) == pytest.approx(RED, abs=4)
    assert colour(pixels, *green) == pytest.approx(GREEN, abs=4)


def test_transparency_lies_on_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 51))  # a fifth of red, four fifths of white
    pixels = decode_bytes(saved(image, "PNG"), "x")
    assert colour(pixels) == list(WHITE) and colour(pixels, 0, 1) == [255, 204, 204]


def test_grey_transparency_lies_on_white():
    pixels = decode_bytes(saved(Image.new("LA", (2, 2), (0, 51)), "PNG"), "x")
    assert colour(pixels) == [204, 204, 204]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes_give_their_colours_and_one_that_is_transparent_gives_white(kind):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    pixels = decode_bytes(saved(image, kind), "x")
    assert colour(pixels) == list(RED) and colour(pixels, 0, 1) == list(GREEN)
    pixels = decode_bytes(saved(image, kind, transparency=1), "x")
    assert colour(pixels) == list(RED) and colour(pixels, 0, 1) == list(WHITE)


def test_partial_transparency_of_a_palette_is_known_without_a_warning():
    image = Image.new("P", (1, 1))
    image.putpalette([*RED, *GREEN])
    assert colour(decode_bytes(saved(image, "PNG", transparency=bytes([51, 0])), "x")) == [
        255,
        204,
        204,
    ]


def test_of_an_animation_it_is_the_first_frame():
    frames = [Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), GREEN)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert colour(decode_bytes(data, "x")) == list(RED)


def test_one_bit_is_black_or_white():
    image = Image.new("1", (2, 1), 0)
    image.putpixel((1, 0), 1)
    pixels = decode_bytes(saved(image, "PNG"), "x")
    assert colour(pixels) == [0, 0, 0] and colour(pixels, 0, 1) == [255, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(kind):
    values = np.array([[0, 13107, 65535]], dtype=np.uint16)  # 13107 is a fifth of 65535
    pixels = decode_bytes(saved(Image.fromarray(values), kind), "x")
    assert pixels.shape == (3, 1, 3)
    assert pixels[1, 0].tolist() == pytest.approx([0, 0.2, 1])


def test_thirty_two_bits_are_taken_as_sixteen_or_refused():
    values = np.array([[0, 65535]], dtype=np.int32)
    assert decode_bytes(saved(Image.fromarray(values), "TIFF"), "x")[0, 0].tolist() == [0, 1]
    with pytest.raises(FormatError, match="values from 0 to 131070, not 0 to 65535"):
        decode_bytes(saved(Image.fromarray(values * 2), "TIFF"), "x")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_file_cut_short_is_refused_in_one_line(kind, share, tmp_path):
    data = saved(noise(40, 40), kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(FormatError) as caught:
        decode(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_jpeg_without_its_last_byte_is_refused():
    with pytest.raises(
        FormatError, match=r"^x: the image is cut short or damaged: image file is trunc"
    ):
        decode_bytes(saved(noise(40, 40), "JPEG")[:-1], "x")


def test_random_damage_gives_an_image_or_a_format_error():
    generator = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        whole = np.frombuffer(saved(noise(12, 12), kind), dtype=np.uint8)
        for _ in range(30):
            data = whole.copy()
            data[generator.integers(0, min(len(data), 200), 3)] = generator.integers(0, 256, 3)
            try:
                pixels = decode_bytes(data.tobytes(), "x")
            except FormatError:
                continue
            assert pixels.shape[0] == 3 and pixels.min() >= 0 and pixels.max() <= 1


def test_what_is_no_image_is_refused(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("milk, bread, eggs")
    with pytest.raises(FormatError, match=r"notes\.jpg: no image of a known kind \(JPEG, PNG"):
        decode(path)
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="the file is empty"):
        decode(path)


def test_postscript_is_not_run():
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(FormatError, match="no image"):
        decode_bytes(data, "x")


@pytest.mark.parametrize("width", [10_000, 13_000, 50_000])  # Pillow: silent, warns, gives up
def test_a_bomb_is_refused_by_its_header(width):
    with pytest.raises(FormatError, match="more than 100,000,000 pixels, the limit"):
        decode_bytes(png(width, PIXEL_LIMIT // width + 1), "x")


def test_the_limit_itself_is_not_a_bomb():
    with pytest.raises(FormatError, match="cut short"):  # there are no pixels behind the header
        decode_bytes(png(10_000, PIXEL_LIMIT // 10_000), "x")


def test_a_jpeg_bomb_is_refused_by_its_header():
    data = bytearray(saved(noise(8, 8), "JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", 50_000, 50_000)
    with pytest.raises(FormatError, match="more than 100,000,000 pixels, the limit"):
        decode_bytes(bytes(data), "x")


def test_pillow_does_not_warn_below_the_limit():
    with (
        warnings.catch_warnings(record=True) as seen,
        pytest.raises(FormatError, match="cut short"),
    ):
        warnings.simplefilter("always")
        decode_bytes(png(9_500, 9_500), "x")  # 90 million; there are no pixels behind the header
    assert not seen


def test_an_image_without_pixels_is_refused():
    for size in ((0, 5), (5, 0)):
        with pytest.raises(FormatError, match=r"header is damaged|there is nothing in it"):
            decode_bytes(png(*size), "x")
    data = bytearray(saved(noise(8, 8), "JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 7 : place + 9] = bytes(2)
    with pytest.raises(FormatError, match="header is damaged"):
        decode_bytes(bytes(data), "x")


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_whole_numbers_over_255_are_the_decoded_pixels(kind, mode):
    if (kind, mode) in (("JPEG", "P"), ("JPEG", "1"), ("PNG", "CMYK")):
        pytest.skip("there is no such file")
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(noise(20, 31).convert(mode), kind, **({} if kind == "TIFF" else {"exif": exif}))
    whole = decode_uint8(data, "x")
    assert whole.dtype == torch.uint8 and whole.shape == decode_bytes(data, "x").shape
    assert torch.equal(whole / 255, decode_bytes(data, "x"))


def test_whole_numbers_are_the_nearest_where_there_is_something_between():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (100, 0, 10, 77))
    pixels = decode_uint8(saved(image, "PNG"), "x")
    assert pixels.dtype == torch.uint8 and pixels[:, 0, 0].tolist() == [255, 255, 255]
    # 100 * 77 / 255 + 255 - 77 = 208.2; 178; 10 * 77 / 255 + 178 = 181.02
    assert pixels[:, 0, 1].tolist() == [208, 178, 181]
    values = np.array([[0, 13107, 13000, 65535]], dtype=np.uint16)  # 13000 / 257 = 50.58
    pixels = decode_uint8(saved(Image.fromarray(values), "PNG"), "x")
    assert pixels[1, 0].tolist() == [0, 51, 51, 255]


def test_whole_numbers_can_be_written_into():
    pixels = decode_uint8(saved(noise(4, 4), "PNG"), "x")
    pixels[:] = 0
    assert pixels.sum() == 0


@pytest.mark.parametrize(
    ("min_size", "shape"),
    [(None, (100, 300)), (101, (100, 300)), (51, (100, 300)), (50, (50, 150)), (25, (25, 75))],
)
def test_a_jpeg_is_decoded_as_small_as_is_enough(min_size, shape):
    data = saved(noise(100, 300), "JPEG")
    assert decode_uint8(data, "x", min_size=min_size).shape[1:] == shape
    data = saved(noise(300, 100), "JPEG")
    assert decode_uint8(data, "x", min_size=min_size).shape[1:] == shape[::-1]
    data = saved(noise(300, 100), "PNG")  # other kinds have no such way
    assert decode_uint8(data, "x", min_size=min_size).shape[1:] == (300, 100)


def test_a_small_one_is_the_large_one_averaged_and_turned():
    row = np.linspace(0, 255, 96)
    image = Image.fromarray(np.stack([np.tile(row, (64, 1))] * 3, 2).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(image, "JPEG", exif=exif)
    whole, small = decode_uint8(data, "x"), decode_uint8(data, "x", min_size=16)
    assert whole.shape == (3, 96, 64) and small.shape == (3, 24, 16)
    mean = torch.nn.functional.avg_pool2d(whole.float(), 4)
    assert (small - mean).abs().max() < 6
    with pytest.raises(FormatError, match="cut short"):
        decode_uint8(data[:-200], "x", min_size=16)


def test_whole_numbers_have_the_same_errors():
    with pytest.raises(FormatError, match=r"^x: the file is empty"):
        decode_uint8(b"", "x")
    with pytest.raises(FormatError, match=r"^x: no image of a known kind"):
        decode_uint8(b"milk", "x")
    with pytest.raises(FormatError, match="more than 100,000,000 pixels, the limit"):
        decode_uint8(png(50_000, 50_000), "x", min_size=224)
    with pytest.raises(ValueError, match="min_size is 0; it must be at least 1"):
        decode_uint8(saved(noise(4, 4), "PNG"), "x", min_size=0)


def test_errors_of_the_file_system_stay_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "none.jpg")
    with pytest.raises(IsADirectoryError):
        decode(tmp_path)


def test_the_right_size_is_returned_as_it_is():
    pixels = torch.rand(3, 6, 6)
    assert square(pixels, 6) is pixels and square(pixels, 6, "squash") is pixels


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (33, 20), (10, 12)])
def test_squares_are_those_of_torchvision(shape):
    pixels = torch.rand(3, *shape)
    side = 15
    squashed = functional.resize(pixels, [side, side], antialias=True)
    assert torch.allclose(square(pixels, side, "squash"), squashed, atol=1e-6)
    height, width = (round(side * length / min(shape)) for length in shape)
    resized = functional.resize(pixels, [height, width], antialias=True)
    top, left = (height - side) // 2, (width - side) // 2
    cropped = resized[:, top : top + side, left : left + side]
    assert torch.allclose(square(pixels, side), cropped, atol=1e-6)


def test_a_crop_keeps_the_middle_and_a_squash_the_whole():
    pixels = torch.zeros(3, 8, 24)
    pixels[:, :, 8:16] = 1
    assert torch.equal(square(pixels, 8), torch.ones(3, 8, 8))
    assert square(pixels, 8, "squash").mean() == pytest.approx(1 / 3, abs=0.01)


def test_the_caller_keeps_its_tensor_and_values_stay_in_range():
    pixels = torch.ones(3, 30, 50)
    pixels[:, ::2] = 0
    before = pixels.clone()
    for resize in ("center-crop", "squash"):
        small = square(pixels, 7, resize)
        assert small.shape == (3, 7, 7) and small.min() >= 0 and small.max() <= 1
    assert torch.equal(pixels, before)


def test_a_thin_strip_does_not_fill_the_memory():
    assert square(torch.rand(3, 1, 1_000_000), 224).shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("pixels", "side", "resize", "message"),
    [
        (torch.zeros(3, 4, 4), 0, "center-crop", "side is 0"),
        (torch.zeros(3, 4, 4), 2, "stretch", "resize is 'stretch'"),
        (torch.zeros(1, 3, 4, 4), 2, "center-crop", r"\(3, H, W\), got \(1, 3, 4, 4\)"),
        (
            torch.full((3, 4, 4), 255, dtype=torch.uint8),
            4,
            "center-crop",
            r"got torch\.uint8",
        ),
    ],
)
def test_wrong_arguments_are_refused(pixels, side, resize, message):
    with pytest.raises(ValueError, match=message):
        square(pixels, side, resize)


def test_a_folder_gives_its_images_and_a_file_stays(tmp_path):
    folder = tmp_path / "album"
    for name in ("b.JPG", "a/c.png", "notes.txt", ".hidden.jpg", ".cache/d.jpg", "z.gif", "a.jpeg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    other = tmp_path / "other.txt"
    other.touch()
    inside = [folder / "a" / "c.png", folder / "a.jpeg", folder / "b.JPG", folder / "z.gif"]
    assert find_images([other, folder]) == [other, *inside]
    assert find_images([]) == []


def test_a_folder_reached_through_a_hidden_one_is_not_hidden(tmp_path):
    folder = tmp_path / ".album"
    folder.mkdir()
    (folder / "a.jpg").touch()
    assert find_images([folder]) == [folder / "a.jpg"]


def test_what_is_not_there_and_what_is_bare_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        find_images([tmp_path / "nowhere.jpg"])
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="bare: the folder holds no image"):
        find_images([tmp_path / "bare"])


def test_threads_share_the_decoder():
    data = saved(noise(40, 40), "PNG")
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as threads:
        several = list(threads.map(lambda _: decode_bytes(data, "x"), range(40)))
    assert all(torch.equal(pixels, several[0]) for pixels in several)
    assert warnings.filters == before


def test_real_photographs_decode_as_torchvision_decodes_them(shared_data: Path):
    for path in find_images([shared_data / "caltech101" / "Faces"])[:3]:
        encoded = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        expected = torch.ops.image.decode_jpeg(encoded, ImageReadMode.RGB.value, True) / 255
        # The two have their own libjpeg, which may round differently.
        assert (decode(path) - expected).abs().max() <= 4 / 255
