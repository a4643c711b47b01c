"""Photographs on a page: found by the references' names, linked by path, or copied small."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from vl.evaluation.photographs import THUMBNAIL, Photographs


def photograph(path: Path, size: tuple[int, int] = (40, 20), **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 40, 40)).save(path, **more)
    return path


def test_a_photograph_goes_by_its_path_from_the_page(tmp_path: Path) -> None:
    photograph(tmp_path / "pictures" / "a b#1.jpg")
    photograph(tmp_path / "pictures" / "val" / "c.jpg")
    found = Photographs(tmp_path / "pictures", page=tmp_path / "out" / "deep" / "page.html")
    assert found("a b#1.jpg") == "../../pictures/a%20b%231.jpg"
    assert found("val/c.jpg") == "../../pictures/val/c.jpg"
    assert found("train/a b#1.jpg") == "../../pictures/a%20b%231.jpg"  # the folder need not fit
    beside = Photographs(tmp_path / "pictures", page=tmp_path / "pictures" / "page.html")
    assert beside("val/c.jpg") == "val/c.jpg"
    assert found.missing == found.broken == []


@pytest.mark.parametrize("name", ["../secret.jpg", "val/../../secret.jpg", "{top}/secret.jpg"])
def test_nothing_outside_the_folder_is_shown(name: str, tmp_path: Path) -> None:
    photograph(tmp_path / "secret.jpg")
    (tmp_path / "pictures" / "val").mkdir(parents=True)
    found = Photographs(tmp_path / "pictures", page=tmp_path / "page.html")
    name = name.format(top=tmp_path)
    assert found(name) is None
    assert found.missing == [name]


@pytest.mark.parametrize("name", ["none.jpg", "val", "a\0b.jpg", "x" * 5000, "."])
def test_what_is_not_there_is_listed(name: str, tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    found = Photographs(tmp_path, page=tmp_path / "page.html")
    assert found(name) is None
    assert found.missing == [name]


def embedded(address: str | None) -> Image.Image:
    assert address is not None
    kind, _, content = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_copy_is_small_upright_and_of_the_same_shape(tmp_path: Path) -> None:
    photograph(tmp_path / "wide.jpg", (1000, 500))
    photograph(tmp_path / "little.png", (30, 20))
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: to be turned a quarter clockwise
    photograph(tmp_path / "turned.jpg", (400, 200), exif=turned)
    Image.new("RGBA", (10, 10)).save(tmp_path / "clear.png")
    found = Photographs(tmp_path, page=tmp_path / "page.html", embed=True)
    assert embedded(found("wide.jpg")).size == (THUMBNAIL, THUMBNAIL // 2)
    assert embedded(found("little.png")).size == (30, 20)
    assert embedded(found("turned.jpg")).size == (160, 320)
    assert embedded(found("clear.png")).mode == "RGB"
    red, green, _ = embedded(found("wide.jpg")).getpixel((5, 5))
    assert abs(red - 200) < 10
    assert abs(green - 40) < 10


def test_a_file_that_does_not_decode_is_listed(tmp_path: Path) -> None:
    whole = photograph(tmp_path / "a.jpg", (300, 300)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no photograph")
    found = Photographs(tmp_path, page=tmp_path / "page.html", embed=True)
    assert [found("cut.jpg"), found("text.jpg")] == [None, None]
    assert found.broken == ["cut.jpg", "text.jpg"]
    assert found.missing == []


def test_photographs_are_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="a folder of photographs was expected"):
        Photographs(tmp_path / "none", page=tmp_path / "page.html")
