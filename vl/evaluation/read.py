"""Reads caption files: candidates in COCO's results format, references, and plain text of both.

Plain text has one caption per line; line i of the candidates is scored by line i of each reference
file, so that an image is the number of its line.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vl.data.captions.captions import (
    CaptionedImage,
    ImageId,
    check_disjoint,
    read_captions,
    select_split,
)
from vl.data.errors import FormatError
from vl.data.files import json_type, parse_json, write_text
from vl.data.text_files import decode_text, split_lines

STDIN = Path("-")

CaptionFormat = Literal["JSON", "Flickr8k", "plain text"]

# "[" may begin a caption, "[unk] dog", but no caption begins as a JSON list or object does.
_JSON = re.compile(r'\s*(?:\[\s*[\[{"\]]|\{\s*["}])')
_FLICKR8K = re.compile(r"[^\t\n]+#\d+\t")


class CandidateCaptions(NamedTuple):
    """A file of captions to evaluate."""

    path: Path
    format: CaptionFormat
    captions: Mapping[ImageId, str]  # in file order; for plain text by line number
    file_names: Mapping[ImageId, str] = {}  # where the file gives them


def read_candidates(path: Path) -> CandidateCaptions:
    """Read captions in COCO's results format, or plain text, one per line; ``-`` is stdin.

    Raises:
        FormatError: it is neither.
        OSError: it cannot be read.
    """
    text = read_text(path)
    file_format = detect_format(text, path)
    if file_format == "Flickr8k":
        expected = "expected COCO's results format, or plain text, one caption per line"
        raise FormatError(path, f"this is Flickr8k's format, of references; {expected}")
    if file_format == "JSON":
        return CandidateCaptions(path, file_format, *_parse_results(text, path))
    lines: dict[ImageId, str] = dict(enumerate(split_lines(text), 1))
    if not lines:
        raise FormatError(path, "the file is empty")
    return CandidateCaptions(path, file_format, lines)


def read_results(path: Path) -> dict[ImageId, str]:
    """Read COCO's results format, ``[{"image_id": 1, "caption": "a dog"}, ...]``, in file order.

    Keys other than the two are ignored.

    Raises:
        FormatError: it is not a list of such records, or an image is duplicated.
        OSError: it cannot be read.
    """
    return _parse_results(read_text(path), path)[0]


def write_results(
    path: Path, captions: Mapping[ImageId, str], file_names: Mapping[ImageId, str] | None = None
) -> None:
    """Write COCO's results format, in the mapping's order; atomic.

    File names, where given, say which image an id means: COCO's ids are not always the numbers in
    its file names.
    """
    lines = ",\n".join(
        result_record(image, caption, (file_names or {}).get(image))
        for image, caption in captions.items()
    )
    write_text(path, f"[\n{lines}\n]\n" if lines else "[]\n")


def result_record(image: ImageId, caption: str, file_name: str | None = None) -> str:
    """A record of COCO's results format as JSON; what UTF-8 cannot hold is escaped."""
    record: dict[str, ImageId] = {"image_id": image}
    if file_name is not None:
        record["file_name"] = file_name
    text = json.dumps({**record, "caption": caption}, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # surrogates as JSON has them


def read_references(
    paths: Sequence[Path],
    candidates: CandidateCaptions,
    *,
    split: str | None = None,
    image_list: Path | None = None,
) -> list[CaptionedImage]:
    """Read references: one file of COCO, Flickr8k or Karpathy, or plain text for plain text.

    Args:
        paths: one file, or several of plain text, each with a reference per line.
        candidates: what will be scored.
        split: only images of this split.
        image_list: a file that lists images: only these.

    Raises:
        FormatError: a file is invalid.
        ValueError: several files that are not plain text, or a selection from plain text.
        OSError: a file cannot be read.
    """
    if candidates.format == "plain text":
        if split is not None or image_list is not None:
            problem = f"{candidates.path} is plain text, whose lines have neither split nor image"
            raise ValueError(f"{problem}: omit --split and --image-list")
        return _read_plain_references(paths, candidates)
    if len(paths) > 1:
        problem = f"{len(paths)} files of references are for plain text, one caption per line"
        raise ValueError(f"{problem}; {candidates.path} is JSON: pass one file")
    text = read_text(paths[0])
    if text.strip() and detect_format(text, paths[0]) == "plain text":
        problem = f"this is plain text, but {candidates.path} is JSON with image ids"
        raise FormatError(paths[0], f"{problem}: expected a file of COCO, Flickr8k or Karpathy")
    return read_captions(paths[0], split=split, images=image_list, text=text)


def read_training_captions(
    path: Path, *, image_list: Path | None, evaluation: Sequence[CaptionedImage]
) -> list[str]:
    """Read the captions that a captioner was trained on; the training split if there are splits.

    Args:
        path: a file of COCO, Flickr8k or Karpathy, or plain text, one caption per line.
        image_list: a file that lists images: only these.
        evaluation: the images that are evaluated, which must not be among them.

    Raises:
        FormatError: a file is invalid.
        ValueError: an image is both evaluated and trained on, or a selection from plain text.
        OSError: a file cannot be read.
    """
    text = read_text(path)
    if text.strip() and detect_format(text, path) == "plain text":
        if image_list is not None:
            raise ValueError(f"{path} is plain text: omit --train-list")
        return [line for line in split_lines(text) if line.strip()]
    training = read_captions(path, images=image_list, text=text)
    if image_list is None and any(image.split for image in training):
        training = select_split(path, training, "train")
    try:
        check_disjoint(training, [image for image in evaluation if image.file_name])
    except ValueError as error:
        raise ValueError(f"{path}: {error}; --train-list selects the training images") from error
    return [caption for image in training for caption in image.captions]


def detect_format(text: str, path: Path) -> CaptionFormat:
    """The format of a caption file, from its name and how it begins.

    A file that is named JSON, or begins as JSON, is JSON: broken JSON is never plain text.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes[-1:] == [".json"] or suffixes == [".json", ".gz"] or _JSON.match(text):
        return "JSON"
    return "Flickr8k" if _FLICKR8K.match(text) else "plain text"


def read_text(path: Path) -> str:
    """Read a text file as ``vl.data.text_files`` does; ``-`` is standard input.

    Raises:
        FormatError: it is not text.
        OSError: it cannot be read.
    """
    return decode_text(path, sys.stdin.buffer.read() if path == STDIN else path.read_bytes())


def _parse_results(text: str, path: Path) -> tuple[dict[ImageId, str], dict[ImageId, str]]:
    """Captions and, where the records have them, file names, by image id."""
    records = parse_json(path, text)
    if not isinstance(records, list):
        raise FormatError(path, f"expected a list of captions, not {json_type(records)}")
    captions: dict[ImageId, str] = {}
    file_names: dict[ImageId, str] = {}
    for index, record in enumerate(records, 1):
        problem = _problem(record)
        if problem is None and record["image_id"] in captions:
            problem = f"image {record['image_id']!r} has a caption already; expected one per image"
        if problem is not None:
            raise FormatError(path, problem, record=f"record {index}")
        captions[record["image_id"]] = record["caption"]
        if isinstance(name := record.get("file_name"), str) and name:
            file_names[record["image_id"]] = name
    return captions, file_names


def _problem(record: Any) -> str | None:
    """What is wrong with a record of results."""
    if not isinstance(record, dict):
        return f'expected {{"image_id": ..., "caption": ...}}, not {json_type(record)}'
    for key in ("image_id", "caption"):
        if key not in record:
            return f"there is no {key!r}"
    image_id, caption = record["image_id"], record["caption"]
    if isinstance(image_id, bool) or not isinstance(image_id, int | str):
        return f"image_id must be an integer or a file name, not {json_type(image_id)}"
    if not isinstance(caption, str):
        return f"the caption of image {image_id!r} must be a string, not {json_type(caption)}"
    return None


def _read_plain_references(
    paths: Sequence[Path], candidates: CandidateCaptions
) -> list[CaptionedImage]:
    """The references of each line, without blank ones; a line may not be blank in all files."""
    columns = []
    for path in paths:
        text = read_text(path)
        file_format = detect_format(text, path)
        if file_format != "plain text":
            problem = f"this is {file_format}, but {candidates.path} is plain text"
            raise FormatError(path, f"{problem}: expected one caption per line")
        lines = split_lines(text)
        if len(lines) != len(candidates.captions):
            count = len(candidates.captions)
            raise FormatError(path, f"{len(lines)} lines, but {candidates.path} has {count}")
        columns.append(lines)
    images = []
    for line_number, row in enumerate(zip(*columns, strict=True), 1):
        captions = tuple(caption for caption in row if caption.strip())
        if not captions:
            files = "it" if len(paths) == 1 else "each of " + ", ".join(map(str, paths))
            problem = f"{files} is blank: there is no reference"
            raise FormatError(paths[0], problem, record=f"line {line_number}")
        images.append(CaptionedImage(line_number, "", captions, ""))
    return images
