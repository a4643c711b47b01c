"""Labelled image files: a folder for each class, or a list."""

import os
from pathlib import Path

import pytest
from PIL import Image

from vl.data.errors import FormatError
from vl.data.images.files import find_images
from vl.data.labelled.folders import (
    LabelledImage,
    read_class_folders,
    read_image_list,
    read_labelled_images,
)
from vl.data.words.labels import text_of_class


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def write_list(folder: Path, text: str | bytes) -> Path:
    path = folder / "list.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_folders_are_classes(tmp_path):
    touch(tmp_path, "zebra/b.jpg", "zebra/a.PNG", "stop_sign/deep/er/c.webp", "stop_sign/1.jpg")
    output = read_class_folders(tmp_path)
    files = ["stop_sign/1.jpg", "stop_sign/deep/er/c.webp", "zebra/a.PNG", "zebra/b.jpg"]
    classes = ["stop_sign", "stop_sign", "zebra", "zebra"]
    expected = [LabelledImage(tmp_path / f, f, name) for f, name in zip(files, classes)]
    assert list(output.images) == expected
    assert output.classes == ("stop_sign", "zebra")
    assert output.warnings == ()
    assert read_labelled_images(tmp_path) == output


def test_images_are_those_of_find_images(tmp_path):
    os.mkfifo(tmp_path / "z.jpg")  # a stray image it would be
    touch(tmp_path, *(f"class {n % 3}/{n % 5}/é {n}{end}" for n in range(9) for end in (".jpg",)))
    touch(tmp_path, "class 0/.hidden.jpg", "class 1/.cache/x.jpg", ".git/y.jpg", "class 2/z.txt")
    os.mkfifo(tmp_path / "class 0" / "z.jpg")
    Image.new("L", (2, 2)).save(tmp_path / "class 0" / "IMG_1", "PNG")
    output = read_class_folders(tmp_path)
    assert [image.path for image in output.images] == find_images([tmp_path])


def test_warns_of_skipped_files_and_links(tmp_path):
    touch(tmp_path, "cat/a.jpg", *(f"cat/{n}.nef" for n in range(4)), "README", "elsewhere.txt")
    (tmp_path / "dog").symlink_to(tmp_path / "cat")  # a link may be a class
    touch(tmp_path / "cow", "a.jpg")
    (tmp_path / "cow" / "more").symlink_to(tmp_path / "cat")
    output = read_class_folders(tmp_path)
    assert [image.name for image in output.images] == ["cat/a.jpg", "cow/a.jpg", "dog/a.jpg"]
    (line,) = output.warnings
    assert "8 raw photographs (NEF; " in line and "1 link" in line and "2 other files" in line


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("full/a.jpg", "a/x.txt", "b/.hidden.jpg", "c/y/z.txt", "d/z"), "4 of 5 .*'a', 'b', 'c'"),
        (("cat/a.jpg", "b.jpg", "a.jpg", ".hidden.jpg", "x.txt"), r"2 .*: 'a\.jpg', 'b\.jpg'$"),
        (("x.txt", ".hidden/a.jpg"), "folder for each class"),
    ],
)
def test_refuses_classes_without_images_and_images_without_a_class(tmp_path, names, message):
    touch(tmp_path, *names)
    with pytest.raises(ValueError, match=message):
        read_class_folders(tmp_path)


def test_list_is_relative_to_its_folder(tmp_path):
    touch(tmp_path, "two words.jpg", "deep/b.jpg", "'quoted'.jpg", "o/ a.jpg")
    path = write_list(
        tmp_path,
        "\ufefftwo words.jpg\tzebra\r\n\ndeep/../deep/b.jpg\tstop sign \n"
        "'quoted'.jpg\tzebra\n./o/ a.jpg\tシマウマ",
    )
    output = read_image_list(path)
    assert [image[1:] for image in output.images] == [
        ("two words.jpg", "zebra"),
        ("deep/b.jpg", "stop sign"),
        ("'quoted'.jpg", "zebra"),
        ("o/ a.jpg", "シマウマ"),
    ]
    assert all(image.path.is_file() for image in output.images)
    assert output.classes == ("zebra", "stop sign", "シマウマ")
    assert output.warnings == ("skipped 1 blank lines",)
    assert read_labelled_images(path) == output


def test_blanks_at_the_ends_are_part_of_a_file_name(tmp_path):
    touch(tmp_path, " first.jpg", "last.jpg ")
    output = read_image_list(write_list(tmp_path, " first.jpg\t zebra \nlast.jpg \tokapi\n"))
    pairs = [image[1:] for image in output.images]
    assert pairs == [(" first.jpg", "zebra"), ("last.jpg ", "okapi")]


def test_list_in_the_current_folder(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg")
    write_list(tmp_path, "a.jpg\tzebra\n")
    monkeypatch.chdir(tmp_path)
    (output,) = read_image_list(Path("list.tsv")).images
    assert output == LabelledImage(Path("a.jpg"), "a.jpg", "zebra")


def test_image_outside_the_folder_is_named_by_its_file_name(tmp_path):
    touch(tmp_path, "lists/x.jpg", "images/a.jpg")
    text = f"../images/a.jpg\tzebra\n{tmp_path}/lists/x.jpg\tokapi\n"
    output = read_image_list(write_list(tmp_path / "lists", text))
    assert [image.name for image in output.images] == ["a.jpg", "x.jpg"]
    assert all(image.path.is_file() for image in output.images)


def test_images_of_one_name_in_several_folders(tmp_path):
    touch(tmp_path, "kitchen/1.jpg", "street/1.jpg", "lists/1.jpg", "lists/street/1.jpg")
    lines = ["../kitchen/1.jpg", "../street/1.jpg", "1.jpg", "street/1.jpg"]
    path = write_list(tmp_path / "lists", "".join(f"{line}\tcat\n" for line in lines))
    images = read_image_list(path).images
    assert [image.path.resolve() for image in images] == [
        (tmp_path / "lists" / line).resolve() for line in lines
    ]
    assert images[0].name == "kitchen/1.jpg"
    assert len({image.name for image in images}) == 4


@pytest.mark.parametrize("again", ["a.jpg", "./a.jpg", "b/../a.jpg", "b/c/../../a.jpg"])
def test_refuses_duplicates(tmp_path, again):
    touch(tmp_path, "a.jpg", "b/c/x.jpg")
    path = write_list(tmp_path, f"a.jpg\tzebra\nb/c/x.jpg\tcat\n{again}\tzebra\n")
    with pytest.raises(FormatError, match=r"list.tsv: line 3: .*'a\.jpg' is on line 1"):
        read_image_list(path)


@pytest.mark.parametrize("line", ["a.jpg zebra", "a.jpg\t", "\tzebra", "a.jpg\tzebra\t1", "a.jpg"])
def test_refuses_lines_of_another_form(tmp_path, line):
    touch(tmp_path, "a.jpg")
    with pytest.raises(FormatError, match=r"list\.tsv: line 2: .*tab"):
        read_image_list(write_list(tmp_path, f"\n{line}\n"))


def test_counts_missing_images(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "folder").mkdir()
    names = ["a.jpg", "folder", "x" * 300, "b.jpg"]
    path = write_list(tmp_path, "".join(f"{name}\tzebra\n" for name in names))
    with pytest.raises(FileNotFoundError, match=r"3 images do not exist: 'folder', 'xxx"):
        read_image_list(path)


def test_refuses_files_that_are_not_lists(tmp_path):
    with pytest.raises(FormatError, match="no image"):
        read_image_list(write_list(tmp_path, "\n\n"))
    with pytest.raises(FormatError, match="line 1: not UTF-8"):
        read_image_list(write_list(tmp_path, b"caf\xe9.jpg\tzebra\n"))
    with pytest.raises(FileNotFoundError, match="no such folder of classes or list"):
        read_labelled_images(tmp_path / "gone")


def test_warns_of_classes_that_look_alike(tmp_path):
    touch(tmp_path, "stop sign/a.jpg", "Stop_Sign/b.jpg", "okapi/c.jpg")
    output = read_class_folders(tmp_path)
    assert len(output.classes) == 3
    (warning,) = output.warnings
    assert "'Stop_Sign' and 'stop sign'" in warning


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("__stop__ \t sign_", "stop sign"),
        ("n01440764_Tinca_tinca", "n01440764 Tinca tinca"),
        ("T-shirt", "T-shirt"),
        ("cafe\u0301", "café"),
    ],
)
def test_class_name_to_label_text(name, text):
    assert text_of_class(name) == text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_unreadable_folder_is_an_error(tmp_path):
    touch(tmp_path, "cat/a.jpg", "cat/shut/b.jpg")
    (tmp_path / "cat/shut").chmod(0)
    try:
        with pytest.raises(PermissionError):
            read_class_folders(tmp_path)
    finally:
        (tmp_path / "cat/shut").chmod(0o700)


def test_embedded_images_need_no_files(tmp_path):
    path = write_list(tmp_path, "deep/a.jpg\tcat\n\n../b.jpg\tdog\n")
    output = read_image_list(path, embedded={"deep/a.jpg", "../b.jpg", "c.jpg"})
    assert output.images == (
        LabelledImage(tmp_path / "deep/a.jpg", "deep/a.jpg", "cat"),
        LabelledImage(tmp_path / "../b.jpg", "../b.jpg", "dog"),
    )
    assert output.warnings == ("skipped 1 blank lines",)
    assert read_labelled_images(path, embedded={"deep/a.jpg", "../b.jpg"}) == output
    touch(tmp_path / "photos", "cat/a.jpg")  # a folder has its files
    assert read_labelled_images(tmp_path / "photos", embedded=()).images[0].name == "cat/a.jpg"


def test_counts_images_without_an_embedding(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    path = write_list(tmp_path, "a.jpg\tcat\nb.jpg\tcat\nx/c.jpg\tdog\n")
    with pytest.raises(FileNotFoundError, match=r"2 images have no embedding: 'b.*', 'x/c"):
        read_image_list(path, embedded={"a.jpg", "y/c.jpg"})
    for again in ("a.jpg", "./a.jpg"):
        path = write_list(tmp_path, f"a.jpg\tcat\n{again}\tdog\n")
        with pytest.raises(FormatError, match=r"line 2: image 'a.jpg' is on line 1"):
            read_image_list(path, embedded={"a.jpg"})


def test_names_without_folders_are_those_of_embedded_images_where_unique(tmp_path):
    path = write_list(tmp_path, "a.jpg\tcat\n1.jpg\tdog\n")
    output = read_image_list(path, embedded=["kitchen/a.jpg", "kitchen/1.jpg"])
    assert [image.name for image in output.images] == ["kitchen/a.jpg", "kitchen/1.jpg"]
    with pytest.raises(FormatError, match=r"line 2: '1.jpg' .*'kitchen/1.jpg', 'street/1.jpg'"):
        read_image_list(path, embedded=["kitchen/a.jpg", "kitchen/1.jpg", "street/1.jpg"])
