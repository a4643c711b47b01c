"""Every color type, bit depth and kind of transparency of each format, against other libraries.

PNG against pypng and TIFF against tifffile, which are written in Python and give the stored
values; the other formats against OpenCV.
"""

import io
from pathlib import Path

import cv2
import numpy as np
import png
import pytest
import tifffile
import torch
from PIL import Image

from vl.data.images.decode import decode, decode_bytes, decode_uint8, thumbnail

RANDOM = np.random.default_rng(0)
STEP = 1 / 255


def on_white(channels: np.ndarray, alpha: np.ndarray | float) -> np.ndarray:
    """``(H, W, C)`` in [0, 1] as RGB."""
    rgb = np.broadcast_to(channels, (*channels.shape[:2], 3))
    return rgb * alpha + (1 - alpha)


def check(data: bytes, expected: np.ndarray, tolerance: float, path: Path) -> None:
    """All ways to decode give ``(H, W, 3)`` in [0, 1]."""
    values = torch.from_numpy(np.ascontiguousarray(expected)).permute(2, 0, 1)
    assert (decode_bytes(data, "x") - values).abs().max() <= tolerance
    assert (decode_uint8(data, "x") / 255 - values).abs().max() <= tolerance + 0.5001 * STEP
    path.write_bytes(data)
    small = torch.from_numpy(thumbnail(path, 999)).permute(2, 0, 1) / 255
    assert (small - values).abs().max() <= tolerance + 0.5001 * STEP


PNGS = [
    *(("grey", depth, kind) for depth in (1, 2, 4, 8, 16) for kind in ("opaque", "key")),
    *(("palette", depth, kind) for depth in (1, 2, 4, 8) for kind in ("opaque", "one", "alpha")),
    *(("rgb", depth, kind) for depth in (8, 16) for kind in ("opaque", "key")),
    *(("grey", depth, "alpha") for depth in (8, 16)),
    *(("rgb", depth, "alpha") for depth in (8, 16)),
]


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize(("color", "depth", "kind"), PNGS)
def test_png(color, depth, kind, interlace, tmp_path):
    height, width = 9, 13
    planes = {"grey": 1, "palette": 1, "rgb": 3}[color] + (kind == "alpha" and color != "palette")
    rows = RANDOM.integers(0, 2**depth, (height, width, planes), dtype=np.uint16)
    options: dict[str, object] = {"greyscale": color == "grey", "bitdepth": depth}
    if color == "palette":
        entries = RANDOM.integers(0, 256, (2**depth, 4)).tolist()
        for index, entry in enumerate(entries):
            entry[3] = 255 if kind == "opaque" or (kind == "one" and index) else entry[3]
        entries[0][3] = 0 if kind == "one" else entries[0][3]
        size = 3 if kind == "opaque" else 4
        options = {"palette": [tuple(entry[:size]) for entry in entries], "bitdepth": depth}
    elif kind == "key":
        rows[2, 3] = 2**depth - 2 if depth > 1 else 1
        key = rows[2, 3].tolist()
        options["transparent"] = key[0] if color == "grey" else tuple(key)
    else:
        options["alpha"] = kind == "alpha"
    file = io.BytesIO()
    writer = png.Writer(width, height, interlace=interlace, **options)
    writer.write(file, rows.reshape(height, -1).tolist())
    data = file.getvalue()

    _, _, values, info = png.Reader(bytes=data).asDirect()  # palette and key applied
    stored = np.array([list(row) for row in values], float).reshape(height, width, -1)
    stored /= 2 ** info["bitdepth"] - 1
    alpha = stored[..., -1:] if info["alpha"] else 1.0
    channels = stored[..., :-1] if info["alpha"] else stored
    exact = depth < 16 or (color == "grey" and kind != "alpha")  # Pillow reads 8 of 16 bits
    check(data, on_white(channels, alpha), 2e-7 if exact else 2 * STEP, tmp_path / "a.png")


INTEGERS = [np.uint8, np.uint16, np.uint32, np.int16, np.int32]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", [*INTEGERS, np.float32, np.float64])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey_tiff(kind, photometric, order, compression, tmp_path):
    dtype = np.dtype(kind)
    if np.issubdtype(dtype, np.floating):
        top, values = 1.0, RANDOM.random((9, 13)).astype(dtype)
    else:
        top = float(np.iinfo(dtype).max)
        values = RANDOM.integers(0, top, (9, 13), dtype=kind, endpoint=True).astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, values, photometric=photometric, byteorder=order, compression=compression
    )
    expected = tifffile.imread(path)[..., None].astype(float) / top
    expected = 1 - expected if photometric == "miniswhite" else expected
    check_or_refused(path, on_white(expected, 1.0), 1e-6)


@pytest.mark.parametrize("extra", [None, "unassalpha", "assocalpha", "unspecified"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_color_tiff(kind, planar, extra, tmp_path):
    top = 1.0 if kind == np.float32 else float(np.iinfo(kind).max)
    values = (RANDOM.random((9, 13, 3 if extra is None else 4)) * top).astype(kind)
    if extra == "assocalpha":
        values[..., :3] = (values[..., :3] * (values[..., 3:] / top)).astype(kind)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        np.moveaxis(values, 2, 0) if planar == "separate" else values,
        photometric="rgb",
        planarconfig=planar,
        extrasamples=None if extra is None else [extra],
    )
    stored = tifffile.imread(path).astype(float) / top
    stored = np.moveaxis(stored, 0, 2) if planar == "separate" else stored
    channels = stored[..., :3]
    if extra == "unassalpha":
        channels = on_white(channels, stored[..., 3:])
    elif extra == "assocalpha":
        channels = channels + 1 - stored[..., 3:]
    check_or_refused(path, channels, 1e-6 if kind == np.uint8 and not extra else 2.5 * STEP)


def check_or_refused(path: Path, expected: np.ndarray, tolerance: float) -> None:
    """Of the forms that Pillow does not read, none may be read wrongly."""
    try:
        decode(path)
    except ValueError as error:
        assert any(word in str(error) for word in ("raw mode", "not an image", "planes"))
        pytest.skip(f"Pillow does not read this form: {error}")
    check(path.read_bytes(), expected, tolerance, path)


def test_lab_tiff_is_converted(tmp_path):
    lab = np.zeros((4, 4, 3), np.uint8)
    lab[..., 0] = 137  # L* = 53.7 is sRGB's 128
    tifffile.imwrite(tmp_path / "a.tif", lab, photometric="cielab")
    assert (decode(tmp_path / "a.tif") * 255).flatten().tolist() == pytest.approx([128] * 48, abs=2)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"])
@pytest.mark.parametrize(
    ("kind", "suffix", "tolerance"),
    [
        ("BMP", ".bmp", 0),
        ("GIF", ".gif", 0),
        ("PPM", ".ppm", 0),
        ("WEBP", ".webp", 0),
        ("JPEG", ".jpg", 4 * STEP),  # each has its own libjpeg, and may round differently
        ("JPEG2000", ".jp2", 0),
        ("AVIF", ".avif", 4 * STEP),
    ],
)
def test_other_formats_as_opencv(kind, suffix, tolerance, mode, tmp_path):
    smooth = cv2.resize(RANDOM.integers(0, 256, (4, 5, 4), dtype=np.uint8), (40, 32))
    image = Image.fromarray(smooth).convert("RGBA" if "A" in mode else "RGB").convert(mode)
    if (kind, mode) == ("JPEG2000", "YCbCr"):
        pytest.skip("OpenCV takes the three channels for RGB")
    options = {"lossless": True} if kind == "WEBP" else {}
    path = tmp_path / f"a{suffix}"
    try:
        image.save(path, kind, **options)
    except (OSError, KeyError, ValueError):
        pytest.skip("the format lacks the mode")
    with Image.open(path) as stored:
        stored.load()
        has_alpha = stored.has_transparency_data
    if kind == "GIF":  # OpenCV composes it onto what the animation had before
        has_alpha = False
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED if has_alpha else cv2.IMREAD_COLOR)
    if values is None:
        pytest.skip("OpenCV does not read this form")
    rgb = values[..., 2::-1] / 255
    expected = on_white(rgb, values[..., 3:] / 255) if has_alpha else rgb
    check(path.read_bytes(), expected, tolerance + 1e-6, path)
