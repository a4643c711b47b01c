"""Files of captions that name their images: their kinds, found by content, and their records.

It does not know whether captions are candidates or references; `vl.evaluation.read` does.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vl.data.captions.captions import CaptionedImage, ImageId, coco_id
from vl.data.errors import FormatError
from vl.data.files import first_few, json_type, parse_json
from vl.data.text_files import split_lines, suffix_of_text
from vl.data.tsv import unescape_field
from vl.evaluation.columns import Columns

CaptionFormat = Literal[
    "JSON lines", "JSON", "Flickr8k", "lines of vl caption", "table", "plain text"
]

# "[" may begin a caption, "[unk] dog", but no caption begins as a JSON list or object does.
_JSON = re.compile(r'\s*(?:\[\s*[\[{"\]]|\{\s*["}])')
_JSON_LINES = re.compile(r"\s*\{.*\}[ \t\r]*\n\s*\{")  # an object on a line, then another
_FLICKR8K = re.compile(r"[^\t\n]+#\d+\t")
_NAME = r"[^\t\n]+\.(?i:jpe?g|png|gif|webp|bmp|tiff?|avif|heic|jp2)"
_CAPTION_LINE = re.compile(rf"{_NAME}\t(?:-?\d+\.\d+\t)?[^\t\n]*(?:\n|$)")
_DELIMITERS = ",\t;|"  # Flickr30k's table has the last


class CaptionRecord(NamedTuple):
    """The captions of an image in one place of a file."""

    record: str  # "line 3", for messages
    image: ImageId  # its id or file name
    captions: tuple[str, ...]
    file_name: str = ""  # beside an id, where the file has it
    ranked: bool = False  # captions of one search, the best first
    untyped: bool = False  # the image is text, as cells and the keys of JSON have no other type


class CandidateCaptions(NamedTuple):
    """A file of captions to evaluate."""

    path: Path
    format: CaptionFormat
    captions: Mapping[ImageId, str]  # in file order; for plain text by line number
    file_names: Mapping[ImageId, str] = {}  # where the file gives them
    untyped: bool = False  # some ids are text that may be numbers


class CaptionKind(NamedTuple):
    """A kind of caption file."""

    name: CaptionFormat
    description: str
    matches: Callable[[Path, str, Columns], bool]  # tried in order, with the file's text
    records: Callable[[Path, str, Columns], Iterator[CaptionRecord]] | None = None


def caption_kind(path: Path, text: str, columns: Columns) -> CaptionKind:
    """The kind of a caption file, from how it begins, and where that says nothing from its name.

    A file that is named JSON, or begins as JSON, is JSON: broken JSON is never plain text.
    """
    return next(kind for kind in KINDS if kind.matches(path, text, columns))


def candidates_of(
    path: Path, kind: CaptionKind, records: Iterator[CaptionRecord]
) -> CandidateCaptions:
    """One caption for each image; of captions of one search the first.

    Raises:
        FormatError: a record is broken, or an image has several captions or none.
    """
    captions: dict[ImageId, str] = {}
    file_names: dict[ImageId, str] = {}
    any_untyped = False
    for record, image, texts, file_name, ranked, untyped in records:
        problem = None
        if image in captions:
            problem = f"image {image!r} has a caption already; expected one per image"
        elif not texts or (len(texts) > 1 and not ranked):
            problem = f"image {image!r} has {len(texts)} captions; expected one per image"
        if problem:
            raise FormatError(path, problem, record=record)
        captions[image] = texts[0]
        any_untyped |= untyped
        if file_name:
            file_names[image] = file_name
    return CandidateCaptions(path, kind.name, captions, file_names, any_untyped)


def references_of(path: Path, records: Iterator[CaptionRecord]) -> list[CaptionedImage]:
    """The captions of each image, which may be in several records.

    Raises:
        FormatError: a record is broken, or an image has no captions.
    """
    captions: dict[ImageId, list[str]] = {}
    file_names: dict[ImageId, str] = {}
    any_untyped = False
    for record, image, texts, file_name, _, untyped in records:
        if not texts:
            raise FormatError(path, "no captions", record=record)
        captions.setdefault(image, []).extend(texts)
        file_names.setdefault(image, file_name)
        any_untyped |= untyped
    if not captions:
        raise FormatError(path, "there are no captions in it")
    numbers = any_untyped and all(map(_is_number, captions))
    return [
        CaptionedImage(
            int(image) if numbers else image,
            file_names[image] or ("" if numbers or isinstance(image, int) else str(image)),
            tuple(texts),
            "",
        )
        for image, texts in captions.items()
    ]


def resolve_ids(
    candidates: CandidateCaptions, references: Sequence[CaptionedImage]
) -> CandidateCaptions:
    """Candidates with ids of the references' type, where the file leaves it open.

    A table's "7" is the id 7; ``COCO_val2014_000000000007.jpg`` is so if the references have ids
    alone, and no file names to pair by.

    Raises:
        FormatError: two ids become one.
    """
    ids = {image.image_id for image in references if isinstance(image.image_id, int)}
    if not ids or candidates.format == "plain text":
        return candidates
    names = {image.file_name for image in references}
    captions: dict[ImageId, str] = {}
    file_names: dict[ImageId, str] = {}
    for image, caption in candidates.captions.items():
        resolved = image
        if isinstance(image, str) and image not in names:
            if candidates.untyped and _is_number(image):
                resolved = int(image)
            elif names == {""} and coco_id(image) in ids:
                resolved = coco_id(image) or image
        if resolved in captions:
            problem = f"it is image {resolved!r}, which has a caption already"
            raise FormatError(candidates.path, problem, record=f"image {image!r}")
        captions[resolved] = caption
        if image in candidates.file_names:
            file_names[resolved] = candidates.file_names[image]
    return candidates._replace(captions=captions, file_names=file_names)


def _is_number(image: ImageId) -> bool:
    text = str(image)
    return text.isascii() and text.isdecimal() and len(text) < 19  # 2 ** 63 has 19 digits


def _json_lines(path: Path, text: str, columns: Columns) -> Iterator[CaptionRecord]:
    for number, line in enumerate(split_lines(text), 1):
        if line.strip():
            record = f"line {number}"
            try:
                item = parse_json(path, line)
            except FormatError as error:
                raise FormatError(path, error.problem, record=record) from error
            yield _json_record(path, record, item, columns)


def _json(path: Path, text: str, columns: Columns) -> Iterator[CaptionRecord]:
    content = parse_json(path, text)
    if isinstance(content, list):
        for number, item in enumerate(content, 1):
            yield _json_record(path, f"record {number}", item, columns)
        return
    if not isinstance(content, dict) or {"annotations", "images"} & {*content}:
        what = json_type(content)
        if isinstance(content, dict):
            what = f"an object with {first_few(list(content))}, as files of references are"
        raise FormatError(path, f"expected {described_kinds()}; this is {what}")
    keys = columns.keys([*content])
    if keys.image and keys.caption:  # JSON lines of a single line
        yield _json_record(path, "line 1", content, columns)
        return
    for key, value in content.items():
        record = f"key {json.dumps(key)}"
        captions, ranked = _captions(path, record, value)
        yield CaptionRecord(record, key, captions, ranked=ranked, untyped=True)


def _json_record(path: Path, record: str, item: Any, columns: Columns) -> CaptionRecord:
    if not isinstance(item, dict):
        problem = f'expected {{"image_id": ..., "caption": ...}}, not {json_type(item)}'
        raise FormatError(path, problem, record=record)
    keys = columns.keys([*item])
    image_key, caption_key = _required_keys(path, record, keys[:2], [*item], columns)
    image = item[image_key]
    if isinstance(image, bool) or not isinstance(image, int | str):
        problem = f"{image_key} must be an integer or a file name, not {json_type(image)}"
        raise FormatError(path, problem, record=record)
    captions, ranked = _captions(path, record, item[caption_key])
    file_name = item[keys.file_name] if keys.file_name else ""
    return CaptionRecord(
        record, image, captions, file_name if isinstance(file_name, str) else "", ranked
    )


def _required_keys(
    path: Path,
    record: str,
    keys: Sequence[str | None],
    names: Sequence[str],
    columns: Columns,
) -> list[str]:
    """The names of image and caption; FormatError if one is missing."""
    expected_keys = {
        "image": columns.image or ("image_id",),
        "caption": columns.caption or ("caption",),
    }
    for name, (what, expected) in zip(keys, expected_keys.items(), strict=True):
        if name is None:
            problem = (
                f"there is no {' or '.join(map(repr, expected))}; it has "
                f"{first_few(names, limit=20) or 'nothing'} (--{what}-column names it)"
            )
            raise FormatError(path, problem, record=record)
    return [name for name in keys if name is not None]


def _captions(path: Path, record: str, value: Any) -> tuple[tuple[str, ...], bool]:
    """A caption, a list of them, or a list of objects; whether they are of one search."""
    items = value if isinstance(value, list) else [value]
    captions = []
    for item in items:
        if isinstance(item, dict):  # vl caption --json has the text, pycocoevalcap the caption
            item = item.get("text", item.get("caption"))
        if not isinstance(item, str):
            problem = f"a caption must be a string, not {json_type(item)}"
            raise FormatError(path, problem, record=record)
        captions.append(item)
    return tuple(captions), all(isinstance(item, dict) and "log_prob" in item for item in items)


def _caption_lines(path: Path, text: str, columns: Columns) -> Iterator[CaptionRecord]:
    lines = [
        (f"line {number}", [unescape_field(field) for field in line.split("\t")])
        for number, line in enumerate(split_lines(text), 1)
    ]
    for record, fields in lines:
        if len(fields) not in (2, 3):
            problem = f"expected a path, a tab and a caption, not {len(fields)} fields"
            raise FormatError(path, problem, record=record)
    for image, group in groupby(lines, key=lambda line: line[1][0]):
        same = list(group)
        ranked = all(len(fields) == 3 for _, fields in same)  # with log-probabilities
        yield CaptionRecord(same[0][0], image, tuple(f[-1] for _, f in same), ranked=ranked)


def _table(path: Path, text: str, columns: Columns) -> Iterator[CaptionRecord]:
    lines = split_lines(text)
    delimiter = _delimiter(lines, columns)
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        record = f"line {reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise FormatError(path, f"not a table: {error}", record=record) from error
        if not any(map(str.strip, cells)):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            keys = columns.keys(header)
            names = _required_keys(path, record, keys[:2], header, columns)
            image, caption = (header.index(name) for name in names)
            file_name = header.index(keys.file_name) if keys.file_name else None
            continue
        if len(cells) != len(header):
            cure = ": quote what has a delimiter" if len(cells) > len(header) else ""
            problem = f"{len(cells)} cells, but {len(header)} columns{cure}"
            raise FormatError(path, problem, record=record)
        if not cells[image].strip():
            raise FormatError(path, f"{header[image]!r} is empty", record=record)
        name = "" if file_name is None else cells[file_name].strip()
        captions = (cells[caption].strip(),)
        yield CaptionRecord(record, cells[image].strip(), captions, name, untyped=True)
    if header is None:
        raise FormatError(path, "the file is empty")


def _delimiter(lines: Sequence[str], columns: Columns) -> str:
    """What separates the header's cells: with it, most names are found, or there are most cells."""
    head = next((line for line in lines if line.strip()), "")

    def quality(delimiter: str) -> tuple[int, int]:
        cells = [cell.strip(' "') for cell in head.split(delimiter)]
        keys = columns.keys(cells)
        return sum(key is not None for key in keys[:2]), len(cells)

    return max(_DELIMITERS, key=quality)


def _is_json(path: Path, text: str, columns: Columns) -> bool:
    return suffix_of_text(path) == ".json" or bool(_JSON.match(text))


def _is_table(path: Path, text: str, columns: Columns) -> bool:
    if suffix_of_text(path) in (".csv", ".tsv") or columns != Columns():
        return True
    head = text.lstrip().partition("\n")[0]
    cells = [cell.strip(' "\r') for cell in head.split(_delimiter([head], columns))]
    return None not in columns.keys(cells)[:2]


def described_kinds() -> str:
    """What captions can be in, for messages."""
    return ", ".join(kind.description for kind in KINDS if kind.description)


KINDS: tuple[CaptionKind, ...] = (
    CaptionKind(
        "JSON lines",
        "JSON lines with image and caption",
        lambda path, text, columns: bool(_JSON_LINES.match(text)),
        _json_lines,
    ),
    CaptionKind(
        "JSON",
        "JSON as COCO's results, [{image_id, caption}], or pycocoevalcap's {id: [caption]}",
        _is_json,
        _json,
    ),
    CaptionKind("Flickr8k", "", lambda path, text, columns: bool(_FLICKR8K.match(text))),
    CaptionKind(
        "lines of vl caption",
        "lines of a path, a tab and a caption",
        lambda path, text, columns: bool(_CAPTION_LINE.match(text)),
        _caption_lines,
    ),
    CaptionKind("table", "CSV or TSV with a header", _is_table, _table),
    CaptionKind("plain text", "plain text, a caption per line", lambda path, text, columns: True),
)
