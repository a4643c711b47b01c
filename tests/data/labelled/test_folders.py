"""Labelled photographs: a folder for each class, or a list."""

import os
from pathlib import Path

import pytest

from vl.data.errors import FormatError
from vl.data.images import decode as images
from vl.data.labelled.folders import (
    LabelledImage,
    read_class_folders,
    read_image_list,
    read_labelled_images,
)
from vl.data.words.label_lists import read_label
from vl.data.words.labels import Label, text_of_class


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def write_list(folder: Path, text: str | bytes) -> Path:
    path = folder / "list.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_each_folder_is_a_class_and_its_name_the_label(tmp_path):
    touch(tmp_path, "zebra/b.jpg", "zebra/a.PNG", "stop_sign/deep/er/c.webp", "stop_sign/1.jpg")
    found = read_class_folders(tmp_path)
    assert found.photographs == (
        LabelledImage(tmp_path / "stop_sign/1.jpg", "stop_sign/1.jpg", "stop_sign"),
        LabelledImage(
            tmp_path / "stop_sign/deep/er/c.webp", "stop_sign/deep/er/c.webp", "stop_sign"
        ),
        LabelledImage(tmp_path / "zebra/a.PNG", "zebra/a.PNG", "zebra"),
        LabelledImage(tmp_path / "zebra/b.jpg", "zebra/b.jpg", "zebra"),
    )
    assert found.classes == ("stop_sign", "zebra")
    assert found.notes == ()
    assert read_labelled_images(tmp_path) == found


def test_the_photographs_are_those_that_a_search_for_images_finds(tmp_path):
    touch(tmp_path, *(f"class {n % 3}/{n % 5}/é {n}{end}" for n in range(9) for end in (".jpg",)))
    touch(tmp_path, "class 0/.hidden.jpg", "class 1/.cache/x.jpg", ".git/y.jpg", "class 2/z.txt")
    found = read_class_folders(tmp_path)
    assert [each.path for each in found.photographs] == images.find([tmp_path])


def test_other_files_and_links_to_folders_are_told(tmp_path):
    touch(tmp_path, "cat/a.jpg", *(f"cat/{n}.heic" for n in range(4)), "README", "elsewhere.txt")
    (tmp_path / "dog").symlink_to(tmp_path / "cat")  # a link may be a class
    touch(tmp_path / "cow", "a.jpg")
    (tmp_path / "cow" / "more").symlink_to(tmp_path / "cat")
    found = read_class_folders(tmp_path)
    assert [each.name for each in found.photographs] == ["cat/a.jpg", "cow/a.jpg", "dog/a.jpg"]
    files, links = found.notes
    assert "8 files: 'cat/0.heic', 'cat/1.heic', 'cat/2.heic', ..." in files
    assert "links to folders: 1: " in links


def test_classes_without_an_image_are_counted_and_named(tmp_path):
    touch(tmp_path, "full/a.jpg", "a/x.txt", "b/.hidden.jpg", "c/deep/y.txt", "d/z")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"5 of 6 classes have no image: 'a', 'b', 'c', \.\.\.$"):
        read_class_folders(tmp_path)


def test_images_outside_of_a_class_are_counted_and_named(tmp_path):
    touch(tmp_path, "cat/a.jpg", "b.jpg", "a.jpg", ".hidden.jpg", "x.txt")
    with pytest.raises(ValueError, match=r"2 images have no class.*: 'a\.jpg', 'b\.jpg'$"):
        read_class_folders(tmp_path)


def test_a_folder_without_classes_is_refused(tmp_path):
    touch(tmp_path, "x.txt", ".hidden/a.jpg")
    with pytest.raises(ValueError, match="a folder for each class was expected"):
        read_class_folders(tmp_path)


def test_a_list_has_photographs_from_its_own_folder(tmp_path):
    touch(tmp_path, "two words.jpg", "deep/b.jpg", "'quoted'.jpg", "o/ a.jpg")
    path = write_list(
        tmp_path,
        "\ufefftwo words.jpg\tzebra\r\n\ndeep/../deep/b.jpg\tstop sign \n"
        "'quoted'.jpg\tzebra\n./o/ a.jpg\tシマウマ",
    )
    found = read_image_list(path)
    assert [each[1:] for each in found.photographs] == [
        ("two words.jpg", "zebra"),
        ("deep/b.jpg", "stop sign"),
        ("'quoted'.jpg", "zebra"),
        ("o/ a.jpg", "シマウマ"),
    ]
    assert all(each.path.is_file() for each in found.photographs)
    assert found.classes == ("zebra", "stop sign", "シマウマ")
    assert found.notes == ("left out, as empty: 1 lines",)
    assert read_labelled_images(path) == found


def test_blanks_at_the_ends_are_part_of_a_photograph_s_name(tmp_path):
    touch(tmp_path, " first.jpg", "last.jpg ")
    found = read_image_list(write_list(tmp_path, " first.jpg\t zebra \nlast.jpg \tokapi\n"))
    assert [each[1:] for each in found.photographs] == [
        (" first.jpg", "zebra"),
        ("last.jpg ", "okapi"),
    ]


def test_a_list_is_read_from_any_place(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg")
    write_list(tmp_path, "a.jpg\tzebra\n")
    monkeypatch.chdir(tmp_path)
    (found,) = read_image_list(Path("list.tsv")).photographs
    assert found == LabelledImage(Path("a.jpg"), "a.jpg", "zebra")


def test_a_photograph_elsewhere_is_called_by_its_own_name(tmp_path):
    touch(tmp_path, "lists/x.jpg", "images/a.jpg")
    text = f"../images/a.jpg\tzebra\n{tmp_path}/lists/x.jpg\tokapi\n"
    found = read_image_list(write_list(tmp_path / "lists", text))
    assert [each.name for each in found.photographs] == ["a.jpg", "x.jpg"]
    assert all(each.path.is_file() for each in found.photographs)


@pytest.mark.parametrize("again", ["a.jpg", "./a.jpg", "b/../a.jpg", "b/c/../../a.jpg"])
def test_a_photograph_that_is_there_twice_is_refused(tmp_path, again):
    touch(tmp_path, "a.jpg", "b/c/x.jpg")
    path = write_list(tmp_path, f"a.jpg\tzebra\nb/c/x.jpg\tcat\n{again}\tzebra\n")
    with pytest.raises(FormatError, match=r"list.tsv: line 3: .*'a\.jpg' on line 1 already"):
        read_image_list(path)


@pytest.mark.parametrize("line", ["a.jpg zebra", "a.jpg\t", "\tzebra", "a.jpg\tzebra\t1", "a.jpg"])
def test_a_line_of_another_form_is_refused(tmp_path, line):
    touch(tmp_path, "a.jpg")
    with pytest.raises(FormatError, match=r"list\.tsv: line 2: expected a photograph, a tab and"):
        read_image_list(write_list(tmp_path, f"\n{line}\n"))


def test_photographs_that_are_not_there_are_counted(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "folder").mkdir()
    names = ["a.jpg", "folder", "x" * 300, "b.jpg"]
    path = write_list(tmp_path, "".join(f"{name}\tzebra\n" for name in names))
    with pytest.raises(FileNotFoundError, match=r"3 photographs are not there: 'folder', 'xxx"):
        read_image_list(path)


def test_what_is_no_list_is_refused(tmp_path):
    with pytest.raises(FormatError, match="there is no photograph in it"):
        read_image_list(write_list(tmp_path, "\n\n"))
    with pytest.raises(FormatError, match="line 1: not UTF-8"):
        read_image_list(write_list(tmp_path, b"caf\xe9.jpg\tzebra\n"))
    with pytest.raises(FileNotFoundError, match="no such folder of classes or list"):
        read_labelled_images(tmp_path / "gone")


def test_two_classes_that_look_alike_are_told(tmp_path):
    touch(tmp_path, "stop sign/a.jpg", "Stop_Sign/b.jpg", "okapi/c.jpg")
    found = read_class_folders(tmp_path)
    assert len(found.classes) == 3
    assert found.notes == (
        "classes 'Stop_Sign' and 'stop sign' differ in capitals, blanks and underscores only",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("stop_sign", "stop sign"),
        ("__stop__ \t sign_", "stop sign"),
        ("n01440764", "n01440764"),
        ("n01440764_Tinca_tinca", "n01440764 Tinca tinca"),
        ("T-shirt", "T-shirt"),
        ("cafe\u0301", "café"),
    ],
)
def test_a_folder_s_name_becomes_a_label(name, text):
    assert text_of_class(name) == text


def test_a_folder_named_by_id_and_words_is_a_label_with_that_id():
    assert read_label(text_of_class("n01440764_Tinca_tinca")) == Label("Tinca tinca", "n01440764")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    touch(tmp_path, "cat/a.jpg", "cat/shut/b.jpg")
    (tmp_path / "cat/shut").chmod(0)
    try:
        with pytest.raises(PermissionError):
            read_class_folders(tmp_path)
    finally:
        (tmp_path / "cat/shut").chmod(0o700)


def test_photographs_with_embeddings_are_known_by_those_and_need_not_be_there(tmp_path):
    path = write_list(tmp_path, "deep/a.jpg\tcat\n\n../b.jpg\tdog\n")
    found = read_image_list(path, embedded={"deep/a.jpg", "../b.jpg", "c.jpg"})
    assert found.photographs == (
        LabelledImage(tmp_path / "deep/a.jpg", "deep/a.jpg", "cat"),
        LabelledImage(tmp_path / "../b.jpg", "../b.jpg", "dog"),
    )
    assert found.notes == ("left out, as empty: 1 lines",)
    assert read_labelled_images(path, embedded={"deep/a.jpg", "../b.jpg"}) == found
    touch(tmp_path / "photos", "cat/a.jpg")  # of a folder the files are what there is
    assert read_labelled_images(tmp_path / "photos", embedded=()).photographs[0].name == "cat/a.jpg"


def test_photographs_without_an_embedding_are_all_counted(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    path = write_list(tmp_path, "a.jpg\tcat\nb.jpg\tcat\n./a.jpg\tdog\n")
    with pytest.raises(FileNotFoundError, match=r"2 photographs have no embedding: 'b.*', './a"):
        read_image_list(path, embedded={"a.jpg"})
    path = write_list(tmp_path, "a.jpg\tcat\na.jpg\tdog\n")
    with pytest.raises(FormatError, match=r"line 2: there is a photograph 'a.jpg' on line 1 al"):
        read_image_list(path, embedded={"a.jpg"})
