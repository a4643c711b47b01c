"""COCO's results format: what is written is read, and every fault names file and record."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vl.data.captions.captions import ImageId
from vl.data.errors import FormatError
from vl.evaluation.results import read_results, write_results


@pytest.mark.parametrize(
    "captions",
    [
        {},
        {9: "a dog", 2: "two cats", 5: ""},
        {"1000_a.jpg": 'a "quoted" word', "b.jpg": "ein Hund läuft\nhinaus", 3: "犬"},
    ],
)
def test_what_is_written_is_read(captions: dict[ImageId, str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    write_results(path, captions)
    assert list(read_results(path).items()) == list(captions.items())
    assert json.loads(path.read_text(encoding="utf-8")) == [
        {"image_id": image, "caption": caption} for image, caption in captions.items()
    ]


def test_other_keys_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    record = {"id": 0, "image_id": 1, "caption": "a dog", "log_prob": -3.5}
    path.write_text(json.dumps([record]), encoding="utf-8-sig")
    assert read_results(path) == {1: "a dog"}


def test_gzip_is_unpacked_whatever_its_name(tmp_path: Path) -> None:
    for name in ("results.json.gz", "results.json"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(b'[{"image_id": 1, "caption": "a dog"}]'))
        assert read_results(path) == {1: "a dog"}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_dash_is_standard_input(
    pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = pack(b'[{"image_id": 1, "caption": "a dog"}]')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert read_results(Path("-")) == {1: "a dog"}


@pytest.mark.parametrize(
    ("text", "record", "problem"),
    [
        ("", None, "the file is empty"),
        (" \n", None, "the file is empty"),
        ("a dog", "line 1 column 1", "not JSON: Expecting value"),
        (b"\x1f\x8b[]", None, "damaged gzip"),
        ('[\n{"image_id": 1,}]', "line 2 column", "not JSON"),
        ("[" * 100_000, None, "this JSON cannot be read"),
        ('[{"image_id": ' + "9" * 5000 + "}]", None, "this JSON cannot be read"),
        (b"[\xff]", "byte 1", "not UTF-8"),
        ('{"annotations": []}', None, "a list of captions was expected, not an object"),
        ("null", None, "a list of captions was expected, not null"),
        ("[7]", "record 1", "was expected, not the number 7"),
        ('[{"caption": "a"}]', "record 1", "there is no 'image_id'"),
        ('[{"image_id": 1}]', "record 1", "there is no 'caption'"),
        (
            '[{"image_id": 1, "caption": "a"}, {"image_id": 2, "caption": null}]',
            "record 2",
            "the caption of image 2 must be a string, not null",
        ),
        ('[{"image_id": 1, "caption": ["a"]}]', "record 1", "must be a string, not a list"),
        (
            '[{"image_id": 1.5, "caption": "a"}]',
            "record 1",
            "must be a whole number or a file name, not the number 1.5",
        ),
        ('[{"image_id": NaN, "caption": "a"}]', "record 1", "not the number nan"),
        ('[{"image_id": 1, "caption": NaN}]', "record 1", "must be a string, not the number nan"),
        ('[{"image_id": true, "caption": "a"}]', "record 1", "not true or false"),
        (
            '[{"image_id": "b", "caption": "a"}, {"image_id": "b", "caption": "a"}]',
            "record 2",
            "image 'b' has a caption already",
        ),
    ],
)
def test_a_fault_names_file_and_record(
    text: str | bytes, record: str | None, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(FormatError) as caught:
        read_results(path)
    assert caught.value.path == path
    assert problem in caught.value.problem
    if record is None:
        assert caught.value.record is None
    else:
        assert (caught.value.record or "").startswith(record)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_results(tmp_path / "none.json")
