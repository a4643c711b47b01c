import gzip
import json
from pathlib import Path

import pytest

from vl.data.captions.captions import (
    CaptionedImage,
    check_disjoint,
    read_captions,
)
from vl.data.errors import FormatError

COCO = {
    "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 3, "caption": "A cat."},
        {"id": 2, "image_id": 7, "caption": "A dog."},
        {"id": 12, "image_id": 3, "caption": "Caf\u00e9 cat."},
    ],
}
COCO_IMAGES = [
    CaptionedImage(7, "b.jpg", ("A dog.",), ""),
    CaptionedImage(3, "a.jpg", ("A cat.", "Caf\u00e9 cat."), ""),
]
FLICKR = "b.jpg#0\tA dog .\nb.jpg#1\tThe dog .\na.jpg#0\tA\u2028cat .\n"
FLICKR_IMAGES = [
    CaptionedImage("b.jpg", "b.jpg", ("A dog .", "The dog ."), ""),
    CaptionedImage("a.jpg", "a.jpg", ("A\u2028cat .",), ""),
]


def karpathy(name: str, split: str, number: int, **more: object) -> dict[str, object]:
    sentences = [
        {"raw": f"{name} one.", "tokens": [name, "one"]},
        {"raw": "Two.", "tokens": ["two"]},
    ]
    return {"filename": name, "split": split, "imgid": number, "sentences": sentences, **more}


KARPATHY = {
    "dataset": "coco",
    "images": [
        karpathy("a.jpg", "test", 0),
        karpathy("b.jpg", "restval", 1, cocoid=55, filepath="val2014"),
        karpathy("c.jpg", "train", 2),
    ],
}
KARPATHY_IMAGES = [
    CaptionedImage(0, "a.jpg", ("a.jpg one.", "Two."), "test"),
    CaptionedImage(55, "val2014/b.jpg", ("b.jpg one.", "Two."), "restval"),
    CaptionedImage(2, "c.jpg", ("c.jpg one.", "Two."), "train"),
]


@pytest.fixture
def write(tmp_path):
    def write(content: object, name: str = "captions") -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, encoding="utf-8", newline="")
        return path

    return write


def test_coco_gives_images_in_order_with_their_captions(write, capfd):
    assert read_captions(write(COCO)) == COCO_IMAGES
    assert capfd.readouterr() == ("", "")  # pycocotools prints


def test_flickr8k_gives_images_in_order_with_their_captions(write):
    assert read_captions(write(FLICKR)) == FLICKR_IMAGES
    assert read_captions(write(FLICKR.replace("\n", "\r\n") + "\r\n")) == FLICKR_IMAGES


def test_a_list_chooses_images_and_their_order(write):
    assert read_captions(write(FLICKR), images=write("a.jpg\nb.jpg\n", "l")) == FLICKR_IMAGES[::-1]
    assert read_captions(write(FLICKR), images=write("a.jpg", "l")) == FLICKR_IMAGES[1:]
    assert read_captions(write(COCO), images=write("a.jpg", "l")) == COCO_IMAGES[1:]


def test_karpathys_splits_are_told_apart_and_restval_is_for_training(write):
    path = write(KARPATHY)
    assert read_captions(path) == KARPATHY_IMAGES
    assert read_captions(path, split="train") == KARPATHY_IMAGES[1:]
    assert read_captions(path, split="restval") == KARPATHY_IMAGES[1:2]
    assert read_captions(path, split="test") == KARPATHY_IMAGES[:1]
    with pytest.raises(ValueError, match="'val'; its splits are: restval, test, train"):
        read_captions(path, split="val")


@pytest.mark.parametrize("mark", ["", "\ufeff"])  # some editors put the second before a text
def test_the_kind_of_file_is_told_by_content(write, mark):
    assert read_captions(write(mark + json.dumps(COCO))) == COCO_IMAGES
    assert read_captions(write(mark + FLICKR)) == FLICKR_IMAGES
    assert read_captions(write(mark + json.dumps(KARPATHY)), split="train") == KARPATHY_IMAGES[1:]


@pytest.mark.parametrize("name", ["captions.json.gz", "captions"])
def test_gzip_is_unpacked_whatever_its_name(write, name):
    assert read_captions(write(gzip.compress(json.dumps(COCO).encode()), name)) == COCO_IMAGES
    assert read_captions(write(gzip.compress(FLICKR.encode()), name)) == FLICKR_IMAGES


def test_a_gzip_that_is_cut_short_or_damaged_is_named(write):
    whole = gzip.compress(FLICKR.encode())
    for damaged in (whole[:-9], whole[:12] + b"\xff\xff" + whole[14:], b"\x1f\x8bno gzip"):
        path = write(damaged)
        with pytest.raises(FormatError, match="damaged gzip") as caught:
            read_captions(path)
        assert caught.value.path == path


def test_a_split_that_the_file_cannot_know_is_refused(write):
    for content in (COCO, FLICKR):
        with pytest.raises(ValueError, match=r"no image is of split 'train'; .* are: none"):
            read_captions(write(content), split="train")


def changed(content: dict, place: list, value: object) -> dict:
    """A copy with one value replaced, or taken out where ``value`` is ``...``."""
    copy = json.loads(json.dumps(content))
    inside = copy
    for key in place[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    return copy


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["images"], ..., "no 'images'"),
        (["images"], {}, "'images' is an object, not a list"),
        (["images"], [], "there are no images in it"),
        (["annotations"], [], "there are no annotations in it"),
        (["images", 0, "id"], ..., "image at position 0: no 'id'"),
        (["images", 0, "id"], "7", "image at position 0: 'id' is a string, not an integer"),
        (["images", 0, "id"], True, "'id' is true or false, not an integer"),
        (["images", 0, "id"], 3, "image 3: the id 3 is there twice"),
        (["images", 0, "file_name"], ..., "image 7: no 'file_name'"),
        (["images", 0, "file_name"], 1.5, "'file_name' is the number 1.5, not a string"),
        (["images", 0], "b.jpg", "image at position 0: expected an object, not a string"),
        (["annotations", 2, "caption"], ..., "annotation 12: no 'caption'"),
        (["annotations", 2, "caption"], None, "annotation 12: 'caption' is null, not a string"),
        (["annotations", 2, "caption"], ["a"], "annotation 12: 'caption' is a list, not a string"),
        (["annotations", 2, "image_id"], 8, "annotation 12: there is no image 8"),
        (["annotations", 2, "image_id"], "3", "'image_id' is a string, not an integer"),
        (["annotations", 2, "id"], 1, "annotation 1: the id 1 is there twice"),
        (["annotations", 1, "image_id"], 3, "image 7: no captions"),
    ],
)
def test_a_fault_in_a_coco_file_is_named_with_its_record(write, place, value, message):
    path = write(changed(COCO, place, value))
    with pytest.raises(FormatError) as caught:
        read_captions(path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["images"], ..., "no 'images'"),
        (["images", 1, "filename"], ..., "image at position 1: no 'filename'"),
        (["images", 1, "filepath"], 4, "'filepath' is the number 4, not a string"),
        (["images", 1, "cocoid"], "55", "'cocoid' is a string, not an integer"),
        (["images", 1, "cocoid"], 0, "image at position 1: the id 0 is there twice"),
        (["images", 2, "imgid"], ..., "image at position 2: no 'imgid'"),
        (["images", 2, "split"], None, "'split' is null, not a string"),
        (["images", 2, "sentences"], [], "image at position 2: no captions"),
        (["images", 2, "sentences", 1], "two", "position 2, sentence 1: expected an object"),
        (["images", 2, "sentences", 1, "raw"], ..., "position 2, sentence 1: no 'raw'"),
    ],
)
def test_a_fault_in_karpathys_file_is_named_with_its_record(write, place, value, message):
    path = write(changed(KARPATHY, place, value))
    with pytest.raises(FormatError) as caught:
        read_captions(path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no captions in it"),
        ("a.jpg#0\tA cat\nno tab", "line 2: expected a file name, '#', a number, a tab"),
        ("a.jpg\tA cat", "line 1: expected"),
        ("a.jpg#x\tA cat", "line 1: expected"),
        ("#0\tA cat", "line 1: expected"),
        ("a.jpg#0\tA\n\nb.jpg#0\tB", "line 2: expected"),
        ("a.jpg#0\tA\na.jpg#0\tB", "line 2: 'a.jpg#0' is there twice"),
        ("{", "line 1 column 2: not JSON: "),
        ('{"images": [\n{"id": 3,\n', "line 3 column 1: not JSON: "),
        ("[" * 100_000, "this JSON cannot be read: "),
        ("[]", "expected an object with 'images', not a list"),
        (b"a.jpg#0\tcaf\xe9", "byte 11: not UTF-8"),
        (b"\x89PNG\r\n", "byte 0: not UTF-8"),
    ],
)
def test_what_is_no_captions_file_is_refused(write, text, message):
    path = write(text)
    with pytest.raises(FormatError) as caught:
        read_captions(path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg\nz.jpg", "line 2: 'z.jpg' has no captions in"),
        ("a.jpg\na.jpg", "line 2: 'a.jpg' is there twice"),
        ("\n", "there are no images in it"),
    ],
)
def test_a_fault_in_a_list_of_images_is_named(write, text, message):
    listed = write(text, "list")
    with pytest.raises(FormatError) as caught:
        read_captions(write(FLICKR), images=listed)
    assert str(caught.value).startswith(f"{listed}: ") and message in str(caught.value)


def test_a_file_that_is_not_there_is_the_file_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_captions(tmp_path / "none.json")


def named(*names: str) -> list[CaptionedImage]:
    return [CaptionedImage(name, name, ("A cat.",), "") for name in names]


def test_sets_that_share_an_image_are_refused_whatever_the_folder():
    check_disjoint(named("a.jpg", "b.jpg"), named("A.jpg", "c.jpg"))
    check_disjoint([], named("a.jpg"))
    with pytest.raises(
        ValueError, match=r"1 images are in both training and evaluation: 'b\.jpg'$"
    ):
        check_disjoint(named("a.jpg", "train/b.jpg"), named("val/b.jpg"))
    names = ["e.jpg", "d.jpg", "c.jpg", "b.jpg"]
    with pytest.raises(ValueError, match=r"4 images .*: 'e\.jpg', 'd\.jpg', 'c\.jpg', \.\.\.$"):
        check_disjoint(named(*names[::-1]), named(*names))


def test_the_real_files_are_read(shared_data):
    flickr = shared_data / "flickr8k"
    tokens = flickr / "Flickr8k.token.txt"
    training = read_captions(tokens, images=flickr / "Flickr_8k.trainImages.txt")
    development = read_captions(tokens, images=flickr / "Flickr_8k.devImages.txt")
    assert len(training) == 6000 and len(development) == 1000
    assert {len(image.captions) for image in training + development} == {5}
    check_disjoint(training, development)
    coco = read_captions(shared_data / "coco" / "captions_val2017_half.json")
    assert len(coco) == 2500 and sum(len(image.captions) for image in coco) == 12506
