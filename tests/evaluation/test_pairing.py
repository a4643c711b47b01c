"""Captions beside references: by id or file name, and every way in which they do not fit."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from vl.data.captions.captions import CaptionedImage, ImageId
from vl.data.errors import FormatError
from vl.evaluation.pairing import (
    Aligned,
    Candidates,
    align,
    check_alike,
    of_both,
    read_candidates,
    read_references,
    read_training,
)

IMAGES = [
    CaptionedImage(7, "val/b.jpg", ("A dog.",), ""),
    CaptionedImage(3, "val/a.jpg", ("A cat.", "One cat."), ""),
    CaptionedImage(5, "val/c.jpg", ("A cow.",), ""),
]
HERE = Path("here.json")


def aligned(
    captions: Mapping[ImageId, str],
    images: list[CaptionedImage] = IMAGES,
    *,
    subset: bool = False,
) -> Aligned:
    return align(Candidates(HERE, "JSON", captions), images, source="there", subset=subset)


@pytest.mark.parametrize(
    "ids", [(3, 5, 7), ("a.jpg", "val/c.jpg", 7), ("val/a.jpg", "c.jpg", "b.jpg")]
)
def test_captions_come_in_the_order_of_the_references(ids: tuple[ImageId, ...]) -> None:
    found = aligned(dict(zip(ids, ("cat", "cow", "dog"), strict=True)))
    assert found == Aligned(IMAGES, ["dog", "cat", "cow"], 0, 0)


def test_a_subset_leaves_out_what_either_side_has_alone() -> None:
    found = aligned({5: "cow", 8: "hen", "z.jpg": "ox", 7: "dog"}, subset=True)
    assert found == Aligned([IMAGES[0], IMAGES[2]], ["dog", "cow"], 1, 2)


@pytest.mark.parametrize(
    ("captions", "subset", "message"),
    [
        ({7: "a", 3: "a"}, False, "1 image (5) of there has no caption here; --subset scores"),
        ({7: "a"}, False, "2 images (3, 5) of there have no caption here; --subset scores the"),
        ({}, True, "3 images (7, 3, 5) of there have no caption here"),
        (
            {7: "", 3: "", 5: "", 9: ""},
            False,
            "1 image (9) is not among those taken from there; --sub",
        ),
        ({8: "a", 9: "a"}, True, "2 images (8, 9) are not among those taken from there"),
        (
            {1: "", 2: "", 4: "", "x": "", 7: ""},
            False,
            "4 images (1, 2, 4, ...) are not among those taken from there; --subset scores the",
        ),
        ({7: "a", "b.jpg": "a"}, True, "image 'b.jpg': it is image 7 of there, which has a"),
        (
            {"7": "a"},
            True,
            'image "7": the id is a string here and a number in there: write it as',
        ),
        ({"0007": "a"}, True, 'image "0007": the id is a string here and a number in there'),
    ],
)
def test_what_does_not_fit_is_named(
    captions: Mapping[ImageId, str], subset: bool, message: str
) -> None:
    with pytest.raises(FormatError) as caught:
        aligned(captions, subset=subset)
    assert str(caught.value).startswith(f"here.json: {message}")
    assert ("--subset" in str(caught.value)) == ("--sub" in message)


def test_a_number_here_that_is_a_string_there_is_named() -> None:
    images = [CaptionedImage("42", "42", ("A dog.",), "")]
    message = 'image 42: the id is a number here and a string in there: write it as "42"'
    with pytest.raises(FormatError, match=message):
        aligned({42: "a"}, images)


def test_a_string_of_very_many_digits_is_only_unknown() -> None:
    with pytest.raises(FormatError, match=r"2 images \(.*\) are not among"):
        aligned({"9" * 10_000: "a", "²": "a"})


def test_a_name_that_two_images_have_is_no_name() -> None:
    images = [*IMAGES, CaptionedImage(9, "train/a.jpg", ("An ape.",), "")]
    problem = r"image 'a\.jpg': 2 images \(3, 9\) of there have this file name"
    with pytest.raises(FormatError, match=problem):
        aligned({"a.jpg": "a"}, images)
    named = {"val/a.jpg": "cat", "train/a.jpg": "ape", 5: "cow", 7: "dog"}
    assert aligned(named, images).captions == ["dog", "cat", "cow", "ape"]


def test_two_systems_are_compared_on_the_images_of_both() -> None:
    first, second = (
        aligned({7: "dog", 3: "cat"}, subset=True),
        aligned({3: "a", 5: ""}, subset=True),
    )
    names = (Path("a.json"), Path("b.json"))
    one, other = of_both(first, second, names=names)
    assert (one.captions, one.left_out) == (["cat"], 2)
    assert (other.captions, other.left_out) == (["a"], 2)
    assert one.images == other.images == [IMAGES[1]]
    assert of_both(first, first, names=names) == (first, first)
    alone = aligned({5: ""}, subset=True)
    with pytest.raises(FormatError, match=r"^b\.json: none of its images has a caption in a"):
        of_both(first, alone, names=names)


def test_two_systems_must_come_in_one_format() -> None:
    lines = Candidates(Path("a.txt"), "plain text", {1: "a", 2: "b"})
    check_alike(lines, lines)
    with pytest.raises(FormatError, match=r"^b\.json: this is JSON, but a\.txt is plain text$"):
        check_alike(lines, Candidates(Path("b.json"), "JSON", {1: "a", 2: "b"}))
    with pytest.raises(FormatError, match=r"^b\.txt: 1 lines, but a\.txt has 2$"):
        check_alike(lines, Candidates(Path("b.txt"), "plain text", {1: "a"}))


def test_captions_to_score_are_json_or_lines(tmp_path: Path) -> None:
    text = '[{"image_id": 4, "caption": "a dog"}]'
    packed, lines, flickr = tmp_path / "a.json.gz", tmp_path / "a.txt", tmp_path / "f.txt"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_candidates(packed) == Candidates(packed, "JSON", {4: "a dog"})
    lines.write_bytes(gzip.compress(b"a dog\n\n"))
    assert read_candidates(lines) == Candidates(lines, "plain text", {1: "a dog", 2: ""})
    flickr.write_text("a.jpg#0\ta dog\n")
    with pytest.raises(FormatError, match="this is Flickr8k's format, of references"):
        read_candidates(flickr)


def test_json_that_is_broken_is_never_taken_for_lines(tmp_path: Path) -> None:
    for name, text in (("a.json", "a dog\n"), ("a.txt", '[{"image_id": 1,}]'), ("a", "[{")):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(FormatError, match="not JSON") as caught:
            read_candidates(path)
        assert caught.value.path == path


JSON = Candidates(HERE, "JSON", {1: "a dog"})
LINES = Candidates(Path("here.txt"), "plain text", {1: "a dog"})


def test_references_must_be_of_the_results_kind(tmp_path: Path) -> None:
    plain, coco = tmp_path / "a.txt", tmp_path / "a.json"
    plain.write_text("a dog\n")
    coco.write_text('{"images": []}')
    with pytest.raises(FormatError) as caught:
        read_references([plain], JSON)
    assert str(caught.value) == (
        f"{plain}: this is plain text, but here.json is JSON, whose images go by id; "
        "COCO's, Flickr8k's or Karpathy's captions file goes with it"
    )
    with pytest.raises(FormatError, match=r"a\.json: this is JSON, but here\.txt is plain text"):
        read_references([coco], LINES)
    assert read_references([plain], LINES) == [CaptionedImage(1, "", ("a dog",), "")]


def test_several_files_of_references_are_for_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"^2 files of .* here\.json is JSON: give one file$"):
        read_references([path, path], JSON)
    with pytest.raises(ValueError, match="--references wants a file"):
        read_references([], JSON)


def test_lines_cannot_be_chosen_by_split_or_image(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a dog\n")
    message = r"^here\.txt is plain text, .*: leave --split and --images out$"
    with pytest.raises(ValueError, match=message):
        read_references([path], LINES, split="test")
    with pytest.raises(ValueError, match=message):
        read_references([path], LINES, images=path)


def karpathy(folder: Path) -> Path:
    path = folder / "dataset.json"
    images = [
        {"filename": f"{split}.jpg", "imgid": number, "split": split, "sentences": [{"raw": split}]}
        for number, split in enumerate(("train", "restval", "val", "test"))
    ]
    path.write_text(json.dumps({"images": images}))
    return path


def test_training_captions_are_lines_or_those_of_the_training_split(tmp_path: Path) -> None:
    scored = Aligned([CaptionedImage(3, "test.jpg", ("a",), "test")], ["a"], 0, 0)
    assert read_training(karpathy(tmp_path), images=None, scored=scored) == ["train", "restval"]
    lines = tmp_path / "train.txt"
    lines.write_text("a dog\n\na cat\n")
    assert read_training(lines, images=None, scored=scored) == ["a dog", "a cat"]
    with pytest.raises(ValueError, match="is plain text: leave --training-images out"):
        read_training(lines, images=lines, scored=scored)


def test_nothing_is_trained_on_that_is_scored(tmp_path: Path) -> None:
    tokens, names = tmp_path / "tokens.txt", tmp_path / "names.txt"
    tokens.write_text("a.jpg#0\ta dog\nb.jpg#0\ta cat\nb.jpg#1\tone cat\n")
    names.write_text("b.jpg\n")
    scored = Aligned([CaptionedImage("a.jpg", "a.jpg", ("a",), "")], ["a"], 0, 0)
    assert read_training(tokens, images=names, scored=scored) == ["a cat", "one cat"]
    with pytest.raises(ValueError, match=r"1 images are in both .* --training-images chooses"):
        read_training(tokens, images=None, scored=scored)
