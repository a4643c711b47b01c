"""Captions paired with references by id or file name, and mismatches."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from vl.data.captions.captions import CaptionedImage, ImageId
from vl.data.errors import FormatError
from vl.evaluation.caption_records import CandidateCaptions
from vl.evaluation.pairing import (
    PairedCaptions,
    check_same_format,
    common_images,
    pair_captions,
)

IMAGES = [
    CaptionedImage(7, "val/b.jpg", ("A dog.",), ""),
    CaptionedImage(3, "val/a.jpg", ("A cat.", "One cat."), ""),
    CaptionedImage(5, "val/c.jpg", ("A cow.",), ""),
]
HERE = Path("here.json")


def pair(
    captions: Mapping[ImageId, str],
    images: list[CaptionedImage] = IMAGES,
    *,
    subset: bool = False,
) -> PairedCaptions:
    return pair_captions(
        CandidateCaptions(HERE, "JSON", captions), images, source="there", subset=subset
    )


@pytest.mark.parametrize(
    "ids", [(3, 5, 7), ("a.jpg", "val/c.jpg", 7), ("val/a.jpg", "c.jpg", "b.jpg")]
)
def test_captions_are_in_the_order_of_the_references(ids: tuple[ImageId, ...]) -> None:
    pairs = pair(dict(zip(ids, ("cat", "cow", "dog"), strict=True)))
    assert pairs == PairedCaptions(IMAGES, ["dog", "cat", "cow"], 0, 0)


def test_subset_leaves_out_images_of_one_side_only() -> None:
    pairs = pair({5: "cow", 8: "hen", "z.jpg": "ox", 7: "dog"}, subset=True)
    assert pairs == PairedCaptions([IMAGES[0], IMAGES[2]], ["dog", "cow"], 1, 2)


@pytest.mark.parametrize(
    ("captions", "subset", "message"),
    [
        ({7: "a", 3: "a"}, False, "1 image (5) of there has no caption here; --subset scores"),
        ({}, True, "3 images (7, 3, 5) of there have no caption here"),
        ({7: "", 3: "", 5: "", 9: ""}, False, "1 image (9) is not among those selected; --sub"),
        ({8: "a", 9: "a"}, True, "2 images (8, 9) are not among those selected from there"),
        ({1: "", 2: "", 4: "", "x": "", 7: ""}, False, "4 images (1, 2, 4, ...) are; --subset"),
        ({7: "a", "b.jpg": "a"}, True, "image 'b.jpg': it is image 7 of there"),
        ({"7": "a"}, True, 'image "7": the id is a string here and an integer in there'),
        ({"0007": "a"}, True, 'image "0007": the id is a string here'),
    ],
)
def test_mismatches_are_refused(
    captions: Mapping[ImageId, str], subset: bool, message: str
) -> None:
    with pytest.raises(FormatError) as error:
        pair(captions, subset=subset)
    problem, _, cure = message.partition("; ")
    assert str(error.value).startswith(f"here.json: {problem}")
    assert ("--subset" in str(error.value)) == bool(cure)


def test_an_integer_id_that_is_a_string_in_the_references() -> None:
    images = [CaptionedImage("42", "42", ("A dog.",), "")]
    message = 'image 42: the id is an integer here and a string in there: write it as "42"'
    with pytest.raises(FormatError, match=message):
        pair({42: "a"}, images)
    assert pair({"42": "a", "042": "b"}, images, subset=True).num_unmatched == 1  # another string


def test_a_string_of_very_many_digits_is_unmatched() -> None:
    with pytest.raises(FormatError, match=r"2 images \(.*\) are not among"):
        pair({"9" * 10_000: "a", "²": "a"})


def test_an_ambiguous_file_name_is_refused() -> None:
    images = [*IMAGES, CaptionedImage(9, "train/a.jpg", ("An ape.",), "")]
    problem = r"image 'a\.jpg': 2 images \(3, 9\) of there have this file name"
    with pytest.raises(FormatError, match=problem):
        pair({"a.jpg": "a"}, images)
    by_path = {"val/a.jpg": "cat", "train/a.jpg": "ape", 5: "cow", 7: "dog"}
    assert pair(by_path, images).captions == ["dog", "cat", "cow", "ape"]


NUMBERED = [  # 000000000001.jpg has id 2, and so on round
    CaptionedImage(number % 3 + 1, f"{number:012}.jpg", (f"It is {number}.",), "")
    for number in (1, 2, 3)
]


def test_file_names_count_where_ids_are_of_other_images(caplog: pytest.LogCaptureFixture) -> None:
    names = {number: f"{number:012}.jpg" for number in (1, 2, 3)}
    captions = {number: str(number) for number in names}
    results = CandidateCaptions(HERE, "JSON", captions, names)
    assert pair_captions(results, NUMBERED, source="there").captions == ["1", "2", "3"]
    assert "000000000001.jpg is image 2 of there, not 1" in caplog.text
    caplog.clear()
    # Ids alone are COCO's, but they could also be numbers of file names.
    assert pair(captions, NUMBERED).captions == ["2", "3", "1"]
    assert "000000000001.jpg is image 2" in caplog.text and '"file_name"' in caplog.text
    caplog.clear()
    renamed = [
        image._replace(image_id=number, file_name=f"COCO_val2014_{number:012}.jpg")
        for number, image in enumerate(NUMBERED, 1)
    ]
    assert pair_captions(results, renamed, source="there").captions == ["1", "2", "3"]
    assert pair(captions, renamed).captions == ["1", "2", "3"]
    assert not caplog.text


def test_numbers_of_references_that_have_names_alone() -> None:
    images = [CaptionedImage(name, name, ("A dog.",), "") for name in ("x.jpg", f"{7:012}.jpg")]
    assert pair({"x.jpg": "a", 7: "b"}, images).captions == ["a", "b"]


def test_names_with_other_folders_are_other_images() -> None:
    images = [
        CaptionedImage(name, name, ("A dog.",), "") for name in ("kitchen/1.jpg", "street/1.jpg")
    ]
    by_path: dict[ImageId, str] = {"photos/street/1.jpg": "s", "photos/kitchen/1.jpg": "k"}
    assert pair(by_path, images).captions == ["k", "s"]
    with pytest.raises(FormatError, match=r"'1\.jpg' can be .*'kitchen/1\.jpg', 'street/1\.jpg'"):
        pair({"1.jpg": "a"}, images)
    with pytest.raises(FormatError, match="not among"):
        pair({"house/1.jpg": "a"}, images)


def test_two_systems_are_compared_on_their_common_images() -> None:
    first = pair({7: "dog", 3: "cat"}, subset=True)
    second = pair({3: "a", 5: ""}, subset=True)
    paths = (Path("a.json"), Path("b.json"))
    a, b = common_images([first, second], paths=paths)
    assert (a.captions, a.num_missing) == (["cat"], 2)
    assert (b.captions, b.num_missing) == (["a"], 2)
    assert a.images == b.images == [IMAGES[1]]
    assert common_images([first, first], paths=paths) == [first, first]
    alone = pair({5: ""}, subset=True)
    with pytest.raises(FormatError, match=r"^b\.json: none of its images has a caption in a"):
        common_images([first, alone], paths=paths)


def test_two_systems_must_have_the_same_format() -> None:
    lines = CandidateCaptions(Path("a.txt"), "plain text", {1: "a", 2: "b"})
    check_same_format(lines, lines)
    with pytest.raises(FormatError, match=r"^b\.json: this is JSON, but a\.txt is plain text$"):
        check_same_format(lines, CandidateCaptions(Path("b.json"), "JSON", {1: "a", 2: "b"}))
    with pytest.raises(FormatError, match=r"^b\.txt: 1 lines, but a\.txt has 2$"):
        check_same_format(lines, CandidateCaptions(Path("b.txt"), "plain text", {1: "a"}))
