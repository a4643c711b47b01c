"""Plain text against plain text: what is taken for it, and how lines are counted."""

from pathlib import Path

import pytest

from vl.data.captions.captions import CaptionedImage
from vl.data.errors import FormatError
from vl.evaluation.plain_captions import kind_of, lines_of, plain_results, read_plain_references


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.json", "a dog", "JSON"),  # broken, but called so
        ("a.JSON.gz", "a dog", "JSON"),
        ("a.json", "", "JSON"),
        ("a", '[{"image_id": 1', "JSON"),
        ("a.txt", '\n [ {"image_id"', "JSON"),
        ("a.txt", '{"images": [', "JSON"),
        ("a", "[]", "JSON"),
        ("a", "[[", "JSON"),
        ("a", "{}", "JSON"),
        ("a", "[unk] dog", "plain text"),
        ("a.txt", "[ a dog", "plain text"),
        ("a.txt", "a dog\na cat", "plain text"),
        ("a.txt", "", "plain text"),
        ("a.gz", "a dog", "plain text"),
        ("-", "a dog", "plain text"),
        ("a", "b.jpg#0\ta dog", "Flickr8k"),
        ("a", "with space.jpg#12\ta dog", "Flickr8k"),
        ("a", "a dog\nb.jpg#0\ta dog", "plain text"),
        ("a", "#0\ta dog", "plain text"),
        ("json.gz", "a dog", "plain text"),
    ],
)
def test_a_file_is_known_by_how_it_begins_and_else_by_its_name(
    name: str, text: str, kind: str
) -> None:
    assert kind_of(text, Path("folder.json") / name) == kind


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("\n", [""]),
        ("a", ["a"]),
        ("a\n", ["a"]),
        ("a\n\n", ["a", ""]),
        ("\na", ["", "a"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("a\u2028b\x0bc\x85d\n", ["a\u2028b\x0bc\x85d"]),
    ],
)
def test_lines_are_counted_as_editors_count_them(text: str, lines: list[str]) -> None:
    assert lines_of(text) == lines


def test_a_blank_line_of_the_results_is_an_empty_caption() -> None:
    assert plain_results("a dog\n\na cat\n", Path("a.txt")) == {1: "a dog", 2: "", 3: "a cat"}


def test_results_without_a_line_are_refused() -> None:
    with pytest.raises(FormatError, match=r"^a\.txt: the file is empty$"):
        plain_results("", Path("a.txt"))


def written(folder: Path, *texts: str) -> list[Path]:
    paths = [folder / f"references{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8", newline="")
    return paths


def test_line_i_of_each_file_is_of_line_i(tmp_path: Path) -> None:
    paths = written(tmp_path, "a dog\na cat\n", "the dog\r\n \r\n", "\none cat")
    assert read_plain_references(paths, results=Path("r.txt"), count=2) == [
        CaptionedImage(1, "", ("a dog", "the dog"), ""),
        CaptionedImage(2, "", ("a cat", "one cat"), ""),
    ]


def test_a_line_that_is_blank_in_all_files_is_named(tmp_path: Path) -> None:
    one, other, third = written(tmp_path, "a\n\nb\n", "a\n \nb\n", "a\n\t\nb\n")
    with pytest.raises(FormatError) as caught:
        read_plain_references([one, other, third], results=Path("r.txt"), count=3)
    problem = f"it is blank here and in {other}, {third}: no reference to score by"
    assert str(caught.value) == f"{one}: line 2: {problem}"
    with pytest.raises(FormatError) as caught:
        read_plain_references([one], results=Path("r.txt"), count=3)
    assert str(caught.value) == f"{one}: line 2: it is blank: no reference to score by"


@pytest.mark.parametrize(("text", "lines"), [("a\n", 1), ("a\nb\n\n", 3), ("", 0)])
def test_another_number_of_lines_is_named_with_both_files(
    text: str, lines: int, tmp_path: Path
) -> None:
    good, bad = written(tmp_path, "a\nb\n", text)
    with pytest.raises(FormatError) as caught:
        read_plain_references([good, bad], results=Path("r.txt"), count=2)
    assert str(caught.value) == f"{bad}: {lines} lines, but r.txt has 2"


@pytest.mark.parametrize(
    ("text", "kind"), [("a.jpg#0\ta dog", "Flickr8k"), ('{"images": []}', "JSON")]
)
def test_references_of_another_kind_are_refused(text: str, kind: str, tmp_path: Path) -> None:
    (path,) = written(tmp_path, text)
    with pytest.raises(FormatError) as caught:
        read_plain_references([path], results=Path("r.txt"), count=1)
    assert str(caught.value) == (
        f"{path}: this is {kind}, but r.txt is plain text, whose lines name no images; "
        "plain references, one caption a line, go with it"
    )
