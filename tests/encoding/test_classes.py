"""Classes of a classifier, and the classes of images among them."""

import pytest

from vl.data.errors import FormatError
from vl.encoding.classes import check_same_classes, class_indices, read_classes

IMAGENET = (
    "n01440764 tench, Tinca tinca",
    "n02012849 crane",
    "n03126707 crane",
    "n04296562 stage",
    "n06794110 street sign",
)


@pytest.mark.parametrize(
    ("name", "classes", "index"),
    [
        ("n01440764", IMAGENET, 0),
        ("n01440764_tench", IMAGENET, 0),
        ("n03126707_crane", IMAGENET, 2),
        ("n03126707", IMAGENET, 2),
        ("n06794110_whatever", IMAGENET, 4),  # the id decides
        ("tench", IMAGENET, 0),
        ("Tinca_tinca", IMAGENET, 0),
        ("Street  Sign", IMAGENET, 4),
        ("n02012849 crane", IMAGENET, 1),
        ("n01440764_tench", ("ring", "tench"), 1),  # these have no ids
        ("n01440764", ("n01440764", "n01443537"), 0),
        ("stop_sign", ("stop sign", "Stop_sign", "stop_sign"), 2),  # the same spelling
        ("a", ("a, b", "a"), 1),  # the same words precede a synonym
        ("été", ("e", "été"), 1),  # in any Unicode form
        (",", ("x", ","), 1),
    ],
)
def test_finds_a_class_by_its_text_id_words_or_synonym(name, classes, index):
    assert class_indices([name], classes) == {name: index}


def test_finds_several_classes():
    assert class_indices(["stage", "n01440764"], IMAGENET) == {"stage": 3, "n01440764": 0}
    assert class_indices([], IMAGENET) == {}


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [
        ("crane", IMAGENET, "'n02012849 crane' and 'n03126707"),
        ("STOP SIGN", ("stop sign", "Stop sign"), "'stop sign' and 'Stop sign'"),
        ("b", ("a, b", "b, c"), "'a, b' and 'b, c'"),
        ("okapi", IMAGENET, r"'okapi'"),
        ("n09999999_stage", IMAGENET, "not among the encoder's"),  # another stage
        ("n09999999", ("ring", "box"), "not among the encoder's"),
        (",", ("ring", "box"), "not among the encoder's"),
    ],
)
def test_refuses_missing_and_ambiguous_classes(name, classes, message):
    with pytest.raises(ValueError, match=message):
        class_indices([name], classes)


def test_names_some_of_many_missing_classes():
    with pytest.raises(ValueError, match=r"4 of 5 classes .* 'a', 'b', 'c', \.\.\.$"):
        class_indices(["a", "b", "tench", "c", "d"], IMAGENET)


def test_reads_classes_in_order(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("n02 b\r\n  a, c \nb\n\n \n", encoding="utf-8")
    assert read_classes(path) == ("n02 b", "a, c", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n\nb\n", "line 2: .*empty"),
        ("a\nb\na\n", "line 3: .*'a'"),
        ("\n \n", "no classes"),
    ],
)
def test_refuses_invalid_files_of_classes(tmp_path, text, message):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(FormatError, match=rf"classes\.txt: .*{message}"):
        read_classes(path)


def test_same_classes():
    check_same_classes({"one": ("a", "b")})
    check_same_classes({"one": ("a", "b"), "two": ("a", "b")})


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("b", "a"), "'b' and 'a'"),
        (("a", "c"), "'c' and 'b'"),
        (("a",), "None and 'b'"),
    ],
)
def test_refuses_different_classes(classes, message):
    with pytest.raises(ValueError, match=message):
        check_same_classes({"one": ("a", "b"), "three": ("a", "b"), "two": classes})
