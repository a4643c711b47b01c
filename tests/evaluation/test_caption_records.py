"""Kinds of caption files: each is scored as it is, as pycocoevalcap scores it, or refused."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.helpers.scored_captions import (
    CANDIDATES,
    REFERENCES,
    coco_caption_scores,
    references_file,
    run_evaluate,
)
from vl.captioning.captioner import Caption
from vl.data.captions.captions import CaptionedImage, ImageId
from vl.data.errors import FormatError
from vl.data.tsv import tsv_line
from vl.evaluation.caption_records import CandidateCaptions, caption_kind, resolve_ids
from vl.evaluation.columns import Columns
from vl.evaluation.read import DEFAULT_COLUMNS, read_candidates, read_references

Captions = Mapping[int, str]


def old_name(image: int) -> str:
    """COCO's name of an image until 2015; the references have the newer one."""
    return f"COCO_val2014_{image:012}.jpg"


def table(captions: Captions, header: tuple[str, ...], delimiter: str = ",") -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(header)
    for image, caption in captions.items():
        cells = {"id": 9, "image_id": image, "Image ID": image}
        writer.writerow([cells.get(name, caption) for name in header])
    return file.getvalue()


def json_lines(captions: Captions) -> str:
    """What ``vl caption --json --n-best 2`` prints."""
    records = [
        {
            "path": f"photos/{old_name(image)}",
            "captions": [
                Caption(text, -1.5, True)._asdict() for text in (caption, "worse and worse")
            ],
        }
        for image, caption in captions.items()
    ]
    return "".join(json.dumps(record) + "\n" for record in records)


RESULTS: dict[str, tuple[str, Callable[[Captions], str]]] = {
    "COCO's results": (
        "a.json",
        lambda captions: json.dumps([{"image_id": i, "caption": c} for i, c in captions.items()]),
    ),
    "COCO's file names": (
        "a.json",
        lambda captions: json.dumps(
            [{"image": old_name(i), "caption": c} for i, c in captions.items()]
        ),
    ),
    "pycocoevalcap": ("a.json", lambda captions: json.dumps({i: [c] for i, c in captions.items()})),
    "pycocoevalcap before its tokenizer": (
        "a.txt",
        lambda captions: json.dumps({i: [{"caption": c}] for i, c in captions.items()}, indent=1),
    ),
    "names and captions": (
        "a",
        lambda captions: json.dumps({old_name(i): c for i, c in captions.items()}),
    ),
    "vl caption --json": ("a.jsonl", json_lines),
    "vl caption": (
        "a",
        lambda captions: "".join(
            tsv_line(f"photos/{old_name(i)}", c) + "\n" for i, c in captions.items()
        ),
    ),
    "vl caption --n-best": (
        "a.tsv",
        lambda captions: "".join(
            tsv_line(old_name(i), *fields) + "\n"
            for i, c in captions.items()
            for fields in (("-1.500", c), ("-2.500", "a worse one"))
        ),
    ),
    "CSV": ("a.csv", lambda captions: table(captions, ("id", "image_id", "caption"))),
    "TSV": ("a.txt", lambda captions: table(captions, ("Image ID", "Generated caption"), "\t")),
    "semicolons": ("a", lambda captions: table(captions, ("image_id", "text"), ";")),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_scores_of_each_kind_equal_pycocoevalcap(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, text = RESULTS[kind]
    path = tmp_path / name
    path.write_text(text(CANDIDATES), encoding="utf-8", newline="")
    assert run_evaluate(path, "--references", references_file(tmp_path), "--json") == 0
    content = json.loads(capsys.readouterr().out)
    expected = coco_caption_scores(CANDIDATES)
    assert {name: content[name] for name in expected} == pytest.approx(expected, rel=0, abs=1e-9)


FLAT = [(image, caption) for image, captions in REFERENCES.items() for caption in captions]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.json", json.dumps(REFERENCES)),
        ("r.json", json.dumps({i: [{"caption": c} for c in r] for i, r in REFERENCES.items()})),
        ("r.json", json.dumps([{"image_id": i, "caption": c} for i, c in FLAT])),
        (
            "r.jsonl",
            "\n".join(json.dumps({"image_id": i, "captions": r}) for i, r in REFERENCES.items()),
        ),
        ("r.csv", "image,caption\n" + "".join(f'{i},"{c}"\n' for i, c in FLAT)),
        (
            "r",
            "image_name| comment_number| comment\n"
            + "".join(f"{old_name(i)}| 0| {c}\n" for i, c in FLAT),
        ),
    ],
)
def test_references_of_each_kind(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    references, results = tmp_path / name, tmp_path / "results.jsonl"
    references.write_text(text)
    results.write_text(json_lines(CANDIDATES))
    assert run_evaluate(results, "--references", references, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    expected = coco_caption_scores(CANDIDATES)
    assert {name: content[name] for name in expected} == pytest.approx(expected, rel=0, abs=1e-9)


def read(
    folder: Path, name: str, text: str, columns: Columns = DEFAULT_COLUMNS
) -> CandidateCaptions:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_candidates(path, columns)


def test_columns_by_name(tmp_path: Path) -> None:
    text = "photo,caption,human,file_name\n7,a,the dog,x.jpg\n"
    columns = Columns(("img", "PHOTO"), ("human",))
    candidates = read(tmp_path, "a.txt", text, columns)
    assert (candidates.captions, candidates.file_names) == ({"7": "the dog"}, {"7": "x.jpg"})
    records = '[{"photo": 7, "caption": "a", "human": "the dog"}]'
    assert read(tmp_path, "a.json", records, columns).captions == {7: "the dog"}


def test_cells_may_be_quoted(tmp_path: Path) -> None:
    text = 'image,caption\n\nb.jpg,"a dog, and\na ""cat"""\nc.jpg,\n'
    captions = {"b.jpg": 'a dog, and\na "cat"', "c.jpg": ""}
    assert read(tmp_path, "a.csv", text).captions == captions


@pytest.mark.parametrize(
    ("name", "text", "record", "words"),
    [
        ("a.csv", "image,words\n1,a dog\n", "line 1", ["'caption'", "'words'", "--caption-column"]),
        ("a.tsv", "\nphoto\tcaption\n1\ta\n", "line 2", ["'image_id'", "'photo'", "--image-col"]),
        ("a.csv", "a dog runs\na cat\n", "line 1", ["'image_id'", "'a dog runs'"]),
        ("a.csv", "", None, ["empty"]),
        ("a.csv", "id,caption\n1,a\n2,a dog, a cat\n", "line 3", ["3 cells", "2 columns", "quote"]),
        ("a.csv", "id,caption\n1\n", "line 2", ["1 cells"]),
        ("a.csv", 'id,caption\n1,"a" dog\n', "line 2", ["not a table"]),
        ("a.csv", "id,caption\n,a\n", "line 2", ["'id' is empty"]),
        ("a.csv", "id,caption\n1,a\n1,b\n", "line 3", ["'1'", "already"]),
        ("a.jsonl", '{"path": "a", "captions": ["b"]}\n{"path": "c", "ca', "line 2", ["not JSON"]),
        ("a.jsonl", '{"path": "a"}\n{"path": "b"}\n', "line 1", ["'caption'", "'path'"]),
        ("a.json", '{"path": "a", "captions": []}', "line 1", ["0 captions"]),
        ("a.json", '{"1": ["a", "b"]}', 'key "1"', ["2 captions"]),
        ("a.json", '{"1": 2}', 'key "1"', ["string", "2"]),
        ("a.json", '{"annotations": []}', None, ["references", "COCO's results", "CSV", "TSV"]),
        ("a.json", '"a dog"', None, ["a string", "JSON lines", "plain text"]),
        ("a", "x.jpg\ta dog\ny.jpg\n", "line 2", ["1 fields"]),
        ("a", "x.jpg#0\ta dog\n", None, ["Flickr8k", "COCO's results", "plain text"]),
    ],
)
def test_errors_name_the_record_and_what_is_there(
    name: str, text: str, record: str | None, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(FormatError) as caught:
        read(tmp_path, name, text)
    assert (caught.value.path, caught.value.record) == (tmp_path / name, record)
    for word in words:
        assert word in caught.value.problem


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.json", "a dog", "JSON"),  # broken, but named JSON
        ("a.JSON.gz", "", "JSON"),
        ("a.txt", '\n [ {"image_id"', "JSON"),
        ("a.txt", '{"images": [', "JSON"),
        ("a", "[]", "JSON"),
        ("a", "[[", "JSON"),
        ("a", "{}", "JSON"),
        ("a.json", '{"path": "a"}\r\n\n{"path"', "JSON lines"),
        ("a.json", '{"7": [\n{"caption": "a"}]}\n', "JSON"),
        ("a", "[unk] dog", "plain text"),
        ("a.txt", "", "plain text"),
        ("a.gz", "a dog", "plain text"),
        ("a", "b.jpg#0\ta dog", "Flickr8k"),
        ("a", "with space.jpg#12\ta dog", "Flickr8k"),
        ("a", "a dog\nb.jpg#0\ta dog", "plain text"),
        ("a", "#0\ta dog", "plain text"),
        ("json.gz", "a dog", "plain text"),
        ("a", "b/c.JPEG\ta dog", "lines of vl caption"),
        ("a", "an image, with a caption", "plain text"),
        ("a", "a dog\ta cat", "plain text"),
        ("a", " Image , CAPTION", "table"),
        ("a.csv.xz", "a dog", "table"),
    ],
)
def test_the_kind_is_found_by_content_and_else_by_name(name: str, text: str, expected: str) -> None:
    assert caption_kind(Path("folder.json") / name, text, Columns()).name == expected


@pytest.mark.parametrize(
    ("captions", "untyped", "file_name", "expected"),
    [
        ({"7": "a"}, True, "b.jpg", {7: "a"}),
        ({"7": "a"}, True, "7", {"7": "a"}),  # a file name
        ({"7": "a"}, False, "b.jpg", {"7": "a"}),  # JSON has integers, and this is none
        ({"x/COCO_val2014_000000000007.jpg": "a"}, False, "", {7: "a"}),
        ({"000000000007.jpg": "a"}, False, "", {7: "a"}),
        ({"000000000008.jpg": "a"}, False, "", {"000000000008.jpg": "a"}),
        ({"9" * 5000: "a"}, True, "", {"9" * 5000: "a"}),
    ],
)
def test_text_becomes_the_references_type_of_id(
    captions: dict[ImageId, str], untyped: bool, file_name: str, expected: dict[ImageId, str]
) -> None:
    references = [CaptionedImage(7, file_name, ("A dog",), "")]
    candidates = CandidateCaptions(Path("a"), "table", captions, untyped=untyped)
    assert resolve_ids(candidates, references).captions == expected


def test_two_texts_of_one_id_are_refused() -> None:
    candidates = CandidateCaptions(Path("a"), "table", {"7": "a", "07": "b"}, untyped=True)
    with pytest.raises(FormatError, match=r"^a: image '07': it is image 7, which has"):
        resolve_ids(candidates, [CaptionedImage(7, "b.jpg", ("A dog",), "")])


def test_a_table_of_references_can_be_selected_by_a_list(tmp_path: Path) -> None:
    references, images = tmp_path / "r.csv", tmp_path / "list.txt"
    references.write_text("image,caption\na.jpg,a dog\nb.jpg,a cat\na.jpg,the dog\n")
    images.write_text("a.jpg\n")
    candidates = CandidateCaptions(Path("c"), "JSON", {"a.jpg": "dog"})
    assert read_references([references], candidates, image_list=images) == [
        CaptionedImage("a.jpg", "a.jpg", ("a dog", "the dog"), "")
    ]
    with pytest.raises(ValueError, match="no image is of split 'test'"):
        read_references([references], candidates, split="test")
