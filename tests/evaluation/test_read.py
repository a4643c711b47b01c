"""Caption files: results format, plain text, references and training captions."""

import gzip
import json
from pathlib import Path

import pytest

from vl.data.captions.captions import CaptionedImage, ImageId
from vl.data.errors import FormatError
from vl.evaluation.caption_records import CandidateCaptions
from vl.evaluation.read import (
    read_candidates,
    read_references,
    read_results,
    read_training_captions,
    write_results,
)


@pytest.mark.parametrize(
    "captions",
    [
        {},
        {9: "a dog", 2: "two cats", 5: ""},
        {"1000_a.jpg": 'a "quoted" word', "b.jpg": "ein Hund läuft\nhinaus", 3: "犬"},
    ],
)
def test_results_survive_a_round_trip(captions: dict[ImageId, str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    write_results(path, captions)
    assert list(read_results(path).items()) == list(captions.items())
    assert json.loads(path.read_text(encoding="utf-8")) == [
        {"image_id": image, "caption": caption} for image, caption in captions.items()
    ]


def test_other_keys_and_a_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    record = {"id": 0, "image_id": 1, "caption": "a dog", "log_prob": -3.5}
    path.write_text(json.dumps([record]), encoding="utf-8-sig")
    assert read_results(path) == {1: "a dog"}


@pytest.mark.parametrize(
    ("text", "record", "problem"),
    [
        ('[\n{"image_id": 1,}]', "line 2 column", "not JSON"),
        (b"[\xff]", "byte 1", "not UTF-8"),
        ('{"annotations": []}', None, "an object"),
        ("null", None, "null"),
        ("[7]", "record 1", "7"),
        ('[{"caption": "a"}]', "record 1", "'image_id'"),
        ('[{"image_id": 1}]', "record 1", "'caption'"),
        ('[{"image_id": 1, "caption": ["a", "b"]}]', "record 1", "2 captions"),
        ('[{"image_id": 1.5, "caption": "a"}]', "record 1", "1.5"),
        ('[{"image_id": true, "caption": "a"}]', "record 1", "true or false"),
        (
            '[{"image_id": "b", "caption": "a"}, {"image_id": "b", "caption": "a"}]',
            "record 2",
            "image 'b' has a caption already",
        ),
    ],
)
def test_errors_name_file_and_record(
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


LINES = CandidateCaptions(Path("here.txt"), "plain text", {1: "a dog", 2: "a cat"})
JSON = CandidateCaptions(Path("here.json"), "JSON", {1: "a dog"})


def test_candidates_are_json_or_lines(tmp_path: Path) -> None:
    packed, lines, flickr8k = tmp_path / "a.json.gz", tmp_path / "a.txt", tmp_path / "f.txt"
    packed.write_bytes(gzip.compress(b'[{"image_id": 4, "caption": "a dog"}]'))
    assert read_candidates(packed) == CandidateCaptions(packed, "JSON", {4: "a dog"})
    lines.write_bytes(gzip.compress(b"a dog\n\na cat\n"))
    captions = {1: "a dog", 2: "", 3: "a cat"}  # a blank line is an empty caption
    assert read_candidates(lines) == CandidateCaptions(lines, "plain text", captions)
    flickr8k.write_text("a.jpg#0\ta dog\n")
    with pytest.raises(FormatError, match="Flickr8k"):
        read_candidates(flickr8k)
    lines.write_text("")
    with pytest.raises(FormatError, match="empty"):
        read_candidates(lines)


def test_broken_json_is_not_plain_text(tmp_path: Path) -> None:
    for name, text in (("a.json", "a dog\n"), ("a.txt", '[{"image_id": 1,}]'), ("a", "[{")):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(FormatError, match="JSON") as error:
            read_candidates(path)
        assert error.value.path == path


def write_lines(folder: Path, *texts: str) -> list[Path]:
    paths = [folder / f"references{index}.txt" for index in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8", newline="")
    return paths


def test_line_i_of_each_file_is_a_reference_of_line_i(tmp_path: Path) -> None:
    paths = write_lines(tmp_path, "a dog\na cat\n", "the dog\r\n \r\n", "\none cat")
    assert read_references(paths, LINES) == [
        CaptionedImage(1, "", ("a dog", "the dog"), ""),
        CaptionedImage(2, "", ("a cat", "one cat"), ""),
    ]


def test_invalid_plain_references_are_refused(tmp_path: Path) -> None:
    first, blank, short = write_lines(tmp_path, "a\n\n", "a\n \n", "a\n")
    with pytest.raises(FormatError, match=f"^{first}: line 2: each of {first}, {blank} is blank"):
        read_references([first, blank], LINES)
    with pytest.raises(FormatError, match=rf"^{short}: 1 lines, but here\.txt has 2$"):
        read_references([blank, short], LINES)
    for text, name in (("a.jpg#0\ta dog", "Flickr8k"), ('{"images": []}', "JSON")):
        short.write_text(text)
        with pytest.raises(FormatError, match=f"^{short}: this is {name}"):
            read_references([short], LINES)
    for selection in ({"split": "test"}, {"image_list": first}):
        with pytest.raises(ValueError, match="--split and --image-list"):
            read_references([first], LINES, **selection)


def test_references_of_json_are_one_file_with_image_ids(tmp_path: Path) -> None:
    (lines,) = write_lines(tmp_path, "a dog\n")
    with pytest.raises(FormatError, match=f"^{lines}: this is plain text"):
        read_references([lines], JSON)
    with pytest.raises(ValueError, match=r"here\.json has image ids: pass one file"):
        read_references([lines, lines], JSON)


def test_training_captions_are_lines_or_the_training_split(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    images = [
        {"filename": f"{split}.jpg", "imgid": index, "split": split, "sentences": [{"raw": split}]}
        for index, split in enumerate(("train", "restval", "val", "test"))
    ]
    path.write_text(json.dumps({"images": images}))
    evaluation = [CaptionedImage(3, "test.jpg", ("a",), "test")]
    captions = read_training_captions(path, image_list=None, evaluation=evaluation)
    assert captions == ["train", "restval"]
    (lines,) = write_lines(tmp_path, "a dog\n\na cat\n")
    captions = read_training_captions(lines, image_list=None, evaluation=evaluation)
    assert captions == ["a dog", "a cat"]
    with pytest.raises(ValueError, match="--train-list"):
        read_training_captions(lines, image_list=lines, evaluation=evaluation)


def test_an_image_cannot_be_both_trained_on_and_evaluated(tmp_path: Path) -> None:
    tokens, names = tmp_path / "tokens.txt", tmp_path / "names.txt"
    tokens.write_text("a.jpg#0\ta dog\nb.jpg#0\ta cat\nb.jpg#1\tone cat\n")
    names.write_text("b.jpg\n")
    evaluation = [CaptionedImage("a.jpg", "a.jpg", ("a",), "")]
    captions = read_training_captions(tokens, image_list=names, evaluation=evaluation)
    assert captions == ["a cat", "one cat"]
    with pytest.raises(ValueError, match="--train-list"):
        read_training_captions(tokens, image_list=None, evaluation=evaluation)
