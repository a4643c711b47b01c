"""Images of a page: found by file name; linked, or embedded as thumbnails."""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vl import sheets
from vl.evaluation.page_images import THUMBNAIL_SIZE, PageImages


def write_image(path: Path, size: tuple[int, int] = (40, 20), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 40, 40)).save(path, **options)
    return path


def test_paths_are_relative_to_the_page(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a b#1.jpg")
    write_image(tmp_path / "images" / "val" / "c.jpg")
    images = PageImages(tmp_path / "images", page=tmp_path / "out" / "deep" / "page.html")
    assert images("a b#1.jpg") == "../../images/a%20b%231.jpg"
    assert images("val/c.jpg") == "../../images/val/c.jpg"
    write_image(tmp_path / "images" / os.fsdecode(b"\xff.jpg"))
    assert images(os.fsdecode(b"\xff.jpg")) == "../../images/%FF.jpg"
    assert images("train/a b#1.jpg") == "../../images/a%20b%231.jpg"  # the folder may differ
    beside = PageImages(tmp_path / "images", page=tmp_path / "images" / "page.html")
    assert beside("val/c.jpg") == "val/c.jpg"
    assert images.missing == images.broken == []


def test_an_image_of_another_folder_is_shown_only_where_its_name_is_unique(tmp_path: Path) -> None:
    write_image(tmp_path / "kitchen" / "1.jpg")
    images = PageImages(tmp_path / "kitchen", page=tmp_path / "page.html")
    assert images("street/1.jpg", unique=False) is None
    assert images("kitchen/1.jpg", unique=False) == images("val/1.jpg") == "kitchen/1.jpg"
    assert images.missing == ["street/1.jpg"]


OUTSIDE = ["../secret.jpg", "val/../../secret.jpg", "{top}/secret.jpg"]


@pytest.mark.parametrize("name", [*OUTSIDE, "none.jpg", "val", "a\0b.jpg", "x" * 5000, "."])
def test_files_outside_the_folder_and_missing_ones_are_listed(name: str, tmp_path: Path) -> None:
    write_image(tmp_path / "secret.jpg")
    (tmp_path / "images" / "val").mkdir(parents=True)
    images = PageImages(tmp_path / "images", page=tmp_path / "page.html")
    name = name.format(top=tmp_path)
    assert images(name) is None
    assert images.missing == [name]


def embedded(address: str | None) -> Image.Image:
    assert address is not None
    header, _, content = address.partition(",")
    assert header == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_thumbnails_are_small_and_upright_and_keep_the_aspect_ratio(tmp_path: Path) -> None:
    write_image(tmp_path / "wide.jpg", (1000, 500))
    write_image(tmp_path / "small.png", (30, 20))
    rotated = Image.Exif()
    rotated[0x0112] = 6  # orientation: rotate by 90 degrees clockwise
    write_image(tmp_path / "rotated.jpg", (400, 200), exif=rotated)
    Image.new("RGBA", (10, 10)).save(tmp_path / "transparent.png")
    images = PageImages(tmp_path, page=tmp_path / "page.html", embed=True)
    assert embedded(images("wide.jpg")).size == (THUMBNAIL_SIZE, THUMBNAIL_SIZE // 2)
    assert embedded(images("small.png")).size == (30, 20)
    assert embedded(images("rotated.jpg")).size == (160, 320)
    assert embedded(images("transparent.png")).mode == "RGB"
    assert embedded(images("transparent.png")).getextrema() == ((255, 255),) * 3  # on white
    red, green, _ = embedded(images("wide.jpg")).getpixel((5, 5))
    assert abs(red - 200) < 10
    assert abs(green - 40) < 10


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("grey16.png", np.uint16([[0, 32768, 65535]])),
        ("grey16.tif", np.uint16([[0, 32768, 65535]])),
        ("grey32.tif", np.int32([[0, 32768, 65535]])),
        ("float.tif", np.float32([[0, 0.5, 1]])),
    ],
)
def test_thumbnails_have_the_colors_that_models_see(
    name: str, values: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(values.repeat(16, 0).repeat(16, 1)).save(tmp_path / name)
    images = PageImages(tmp_path, page=tmp_path / "page.html", embed=True)
    thumbnail = embedded(images(name))
    seen = [thumbnail.getpixel((x, 8)) for x in (8, 24, 40)]
    assert seen == [(0, 0, 0), (128, 128, 128), (255, 255, 255)]
    cell = sheets.Cell(tmp_path / name)
    assert sheets.write(tmp_path / "sheet.png", [cell]) == []
    with Image.open(tmp_path / "sheet.png") as sheet:
        drawn = {color[:3] for _, color in sheet.getcolors(1 << 20)}
    assert {(0, 0, 0), (128, 128, 128), (255, 255, 255)} <= drawn


def test_odd_exif_breaks_no_page(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\x006\0\0\0" + bytes(4)
    write_image(tmp_path / "a.jpg", (40, 20), exif=exif)
    images = PageImages(tmp_path, page=tmp_path / "page.html", embed=True)
    assert embedded(images("a.jpg")).size == (20, 40)


def test_files_that_do_not_decode_are_listed(tmp_path: Path) -> None:
    jpeg = write_image(tmp_path / "a.jpg", (300, 300)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    images = PageImages(tmp_path, page=tmp_path / "page.html", embed=True)
    assert [images("cut.jpg"), images("text.jpg")] == [None, None]
    assert images.broken == ["cut.jpg", "text.jpg"]
    assert images.missing == []
