import gzip
import json
from pathlib import Path

import pytest

from vl.data.captions.captions import (
    CaptionedImage,
    check_disjoint,
    coco_id,
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


def karpathy(name: str, split: str, image_id: int, **more: object) -> dict[str, object]:
    sentences = [{"raw": f"{name} one.", "tokens": [name, "one"]}, {"raw": "Two."}]
    return {"filename": name, "split": split, "imgid": image_id, "sentences": sentences, **more}


KARPATHY = {
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


def test_coco_in_order_of_images(write, capfd):
    assert read_captions(write(COCO)) == COCO_IMAGES
    assert capfd.readouterr() == ("", "")  # pycocotools prints


def test_flickr8k_with_both_line_ends(write):
    assert read_captions(write(FLICKR)) == FLICKR_IMAGES
    assert read_captions(write(FLICKR.replace("\n", "\r\n") + "\r\n")) == FLICKR_IMAGES


def test_image_list_selects_and_orders(write):
    assert read_captions(write(FLICKR), images=write("a.jpg\nb.jpg\n", "l")) == FLICKR_IMAGES[::-1]
    assert read_captions(write(FLICKR), images=write("a.jpg", "l")) == FLICKR_IMAGES[1:]
    assert read_captions(write(COCO), images=write("a.jpg", "l")) == COCO_IMAGES[1:]


def test_names_of_an_image_list_may_lack_folders_where_unique(write):
    text = "kitchen/1.jpg#0\ta\nstreet/1.jpg#0\tb\nstreet/2.jpg#0\tc\n"
    selected = read_captions(write(text), images=write("2.jpg\nstreet/1.jpg", "l"))
    assert [image.file_name for image in selected] == ["street/2.jpg", "street/1.jpg"]
    with pytest.raises(FormatError, match=r"'1\.jpg'.*'kitchen/1\.jpg', 'street/1\.jpg'") as caught:
        read_captions(write(text), images=write("2.jpg\n1.jpg", "l"))
    assert caught.value.record == "line 2"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("COCO_val2014_000000190236.jpg", 190236),
        ("val2017/000000000042.jpg", 42),
        ("IMG_202401021530.jpg", None),
        ("202401021530.jpg", None),
        ("IMG_000000000042.jpg", None),
        ("20240102_000000000042.jpg", None),
        ("42.jpg", None),
        ("0000000000042.jpg", None),
    ],
)
def test_only_names_of_cocos_own_form_have_an_id(name, number):
    assert coco_id(name) == number


def test_karpathy_splits_with_restval_in_training(write):
    path = write(KARPATHY)
    assert read_captions(path) == KARPATHY_IMAGES
    assert read_captions(path, split="train") == KARPATHY_IMAGES[1:]
    assert read_captions(path, split="restval") == KARPATHY_IMAGES[1:2]
    assert read_captions(path, split="test") == KARPATHY_IMAGES[:1]


@pytest.mark.parametrize(
    ("content", "split", "available"),
    [(KARPATHY, "val", "restval, test, train"), (COCO, "train", "none"), (FLICKR, "train", "none")],
)
def test_refuses_unknown_split(write, content, split, available):
    with pytest.raises(ValueError, match=f"'{split}'.*: {available}$"):
        read_captions(write(content), split=split)


def test_format_is_detected_after_byte_order_mark(write):
    assert read_captions(write("\ufeff" + json.dumps(COCO))) == COCO_IMAGES
    assert read_captions(write("\ufeff" + FLICKR)) == FLICKR_IMAGES
    assert read_captions(write("\ufeff" + json.dumps(KARPATHY))) == KARPATHY_IMAGES


@pytest.mark.parametrize("name", ["captions.json.gz", "captions"])
def test_gzip_of_any_name(write, name):
    assert read_captions(write(gzip.compress(json.dumps(COCO).encode()), name)) == COCO_IMAGES
    assert read_captions(write(gzip.compress(FLICKR.encode()), name)) == FLICKR_IMAGES


def changed(content: dict, keys: list, value: object) -> bytes:
    """As JSON with one value replaced, or removed where ``value`` is ``...``."""
    copy = json.loads(json.dumps(content))
    *outer, last = keys
    inside = copy
    for key in outer:
        inside = inside[key]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return json.dumps(copy).encode()


@pytest.mark.parametrize(
    ("keys", "value", "record", "word"),
    [
        (["images"], ..., "", "no 'images'"),
        (["images"], {}, "", "list"),
        (["images"], [], "", "no images"),
        (["annotations"], [], "", "no annotations"),
        (["images", 0, "id"], ..., "image at position 0", "no 'id'"),
        (["images", 0, "id"], "7", "image at position 0", "integer"),
        (["images", 0, "id"], True, "image at position 0", "integer"),
        (["images", 0, "id"], 3, "image 3", "twice"),
        (["images", 0, "file_name"], ..., "image 7", "no 'file_name'"),
        (["images", 0, "file_name"], 1.5, "image 7", "1.5"),
        (["images", 0], "b.jpg", "image at position 0", "object"),
        (["annotations", 2, "caption"], ..., "annotation 12", "no 'caption'"),
        (["annotations", 2, "caption"], None, "annotation 12", "null"),
        (["annotations", 2, "image_id"], 8, "annotation 12", "no image 8"),
        (["annotations", 2, "image_id"], "3", "annotation 12", "integer"),
        (["annotations", 2, "id"], 1, "annotation 1", "twice"),
        (["annotations", 1, "image_id"], 3, "image 7", "no captions"),
    ],
)
def test_refuses_broken_coco_file(write, keys, value, record, word):
    path = write(changed(COCO, keys, value))
    with pytest.raises(FormatError, match=word) as caught:
        read_captions(path)
    assert (caught.value.path, caught.value.record or "") == (path, record)


@pytest.mark.parametrize(
    ("keys", "value", "record", "word"),
    [
        (["images"], ..., "", "no 'images'"),
        (["images", 1, "filename"], ..., "image at position 1", "no 'filename'"),
        (["images", 1, "filepath"], 4, "image at position 1", "string"),
        (["images", 1, "cocoid"], "55", "image at position 1", "integer"),
        (["images", 1, "cocoid"], 0, "image at position 1", "twice"),
        (["images", 2, "imgid"], ..., "image at position 2", "no 'imgid'"),
        (["images", 2, "split"], None, "image at position 2", "null"),
        (["images", 2, "sentences"], [], "image at position 2", "no captions"),
        (["images", 2, "sentences", 1], "two", "image at position 2, sentence 1", "object"),
        (["images", 2, "sentences", 1, "raw"], ..., "image at position 2, sentence 1", "no 'raw'"),
    ],
)
def test_refuses_broken_karpathy_file(write, keys, value, record, word):
    path = write(changed(KARPATHY, keys, value))
    with pytest.raises(FormatError, match=word) as caught:
        read_captions(path)
    assert (caught.value.path, caught.value.record or "") == (path, record)


ZIPPED = gzip.compress(FLICKR.encode(), mtime=0)  # ids of tests are the same in every process


@pytest.mark.parametrize(
    ("content", "record", "word"),
    [
        ("", "", "no captions"),
        ("a.jpg#0\tA cat\nno tab", "line 2", "tab"),
        ("a.jpg\tA cat", "line 1", "expected"),
        ("a.jpg#x\tA cat", "line 1", "expected"),
        ("#0\tA cat", "line 1", "expected"),
        ("a.jpg#0\tA\n\nb.jpg#0\tB", "line 2", "expected"),
        ("a.jpg#0\tA\na.jpg#0\tB", "line 2", "twice"),
        ("{", "line 1 column 2", "JSON"),
        ("[" * 100_000, "", "JSON"),
        ("[]", "", "list"),
        (b"a.jpg#0\tcaf\xe9", "byte 11", "UTF-8"),
        (b"\x89PNG\r\n", "byte 0", "UTF-8"),
        (ZIPPED[:-9], "", "gzip"),
        (ZIPPED[:12] + b"\xff\xff" + ZIPPED[14:], "", "gzip"),
        (b"\x1f\x8bno gzip", "", "gzip"),
    ],
)
def test_refuses_other_files(write, content, record, word):
    path = write(content)
    with pytest.raises(FormatError, match=word) as caught:
        read_captions(path)
    assert (caught.value.path, caught.value.record or "") == (path, record)


@pytest.mark.parametrize(
    ("text", "record", "word"),
    [
        ("a.jpg\nz.jpg", "line 2", "'z.jpg'"),
        ("a.jpg\na.jpg", "line 2", "twice"),
        ("\n", "", "no images"),
    ],
)
def test_refuses_broken_image_list(write, text, record, word):
    path = write(text, "list")
    with pytest.raises(FormatError, match=word) as caught:
        read_captions(write(FLICKR), images=path)
    assert (caught.value.path, caught.value.record or "") == (path, record)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_captions(tmp_path / "none.json")


def images(*names: str) -> list[CaptionedImage]:
    return [CaptionedImage(name, name, ("A cat.",), "") for name in names]


def test_check_disjoint():
    check_disjoint(images("a.jpg", "b.jpg"), images("A.jpg", "c.jpg"))
    check_disjoint([], images("a.jpg"))
    check_disjoint(images("a.jpg", "kitchen/1.jpg"), images("street/1.jpg"))
    for name in ("1.jpg", "kitchen/1.jpg", "./kitchen//1.jpg", "photos/kitchen/1.jpg"):
        with pytest.raises(ValueError, match=rf"^1 .*: '{name}'"):
            check_disjoint(images("a.jpg", "kitchen/1.jpg", "street/1.jpg"), images(name))
    names = ["e.jpg", "d.jpg", "c.jpg", "b.jpg"]
    with pytest.raises(ValueError, match=r"^4 .*: 'e\.jpg', 'd\.jpg', 'c\.jpg', \.\.\.$"):
        check_disjoint(images(*names[::-1]), images(*names))


def test_real_files(shared_data):
    flickr = shared_data / "flickr8k"
    path = flickr / "Flickr8k.token.txt"
    training = read_captions(path, images=flickr / "Flickr_8k.trainImages.txt")
    development = read_captions(path, images=flickr / "Flickr_8k.devImages.txt")
    assert len(training) == 6000 and len(development) == 1000
    assert {len(image.captions) for image in training + development} == {5}
    check_disjoint(training, development)
    coco = read_captions(shared_data / "coco" / "captions_val2017_half.json")
    assert len(coco) == 2500 and sum(len(image.captions) for image in coco) == 12506
