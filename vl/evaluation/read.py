"""Reads caption files: candidates, references and training captions, of any kind.

Plain text has one caption per line; line i of the candidates is scored by line i of each reference
file, so that an image is the number of its line.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vl.data.captions.captions import (
    CaptionedImage,
    ImageId,
    check_disjoint,
    read_captions,
    select_listed,
    select_split,
)
from vl.data.errors import FormatError
from vl.data.files import write_text
from vl.data.text_files import decode_text, split_lines
from vl.evaluation.caption_records import (
    CandidateCaptions,
    candidates_of,
    caption_kind,
    described_kinds,
    references_of,
)
from vl.evaluation.columns import Columns

STDIN = Path("-")
DEFAULT_COLUMNS = Columns()
_ANNOTATED = re.compile(r'"(?:annotations|images|sentences)"\s*:')  # keys of COCO or Karpathy


def read_candidates(path: Path, columns: Columns = DEFAULT_COLUMNS) -> CandidateCaptions:
    """Read a caption for each image, or plain text, one per line; ``-`` is stdin.

    Args:
        path: of any kind in `vl.evaluation.caption_records`, found by its content.
        columns: where tables and records have image and caption.

    Raises:
        FormatError: it is of no such kind, or a record is broken.
        OSError: it cannot be read.
    """
    text = read_text(path)
    kind = caption_kind(path, text, columns)
    if kind.records:
        return candidates_of(path, kind, kind.records(path, text, columns))
    if kind.name == "Flickr8k":
        problem = "this is Flickr8k's format, of references"
        raise FormatError(path, f"{problem}; expected {described_kinds()}")
    lines: dict[ImageId, str] = dict(enumerate(split_lines(text), 1))
    if not lines:
        raise FormatError(path, "the file is empty")
    return CandidateCaptions(path, kind.name, lines)


def read_results(path: Path) -> dict[ImageId, str]:
    """The captions of a file that `write_results` wrote, in its order.

    Raises:
        FormatError: a record is broken, or an image is duplicated.
        OSError: it cannot be read.
    """
    return dict(read_candidates(path).captions)


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
    columns: Columns = DEFAULT_COLUMNS,
) -> list[CaptionedImage]:
    """Read references: one file that names its images, or plain text for plain text.

    Args:
        paths: one file of COCO, Flickr8k or Karpathy or of a kind that candidates have; or several
            of plain text, each with a reference per line.
        candidates: what will be scored.
        split: only images of this split.
        image_list: a file that lists images: only these.
        columns: where tables and records have image and caption.

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
        raise ValueError(f"{problem}; {candidates.path} has image ids: pass one file")
    text = read_text(paths[0])
    images = _read_images(paths[0], text, columns, split=split, image_list=image_list)
    if images is None:
        problem = f"this is plain text, but {candidates.path} has image ids"
        expected = "a file of COCO, Karpathy or Flickr8k, or a table or JSON of images and captions"
        raise FormatError(paths[0], f"{problem}: expected {expected}")
    return images


def read_training_captions(
    path: Path, *, image_list: Path | None, evaluation: Sequence[CaptionedImage]
) -> list[str]:
    """Read the captions that a captioner was trained on; the training split if there are splits.

    Args:
        path: as of references, or plain text, one caption per line.
        image_list: a file that lists images: only these.
        evaluation: the images that are evaluated, which must not be among them.

    Raises:
        FormatError: a file is invalid.
        ValueError: an image is both evaluated and trained on, or a selection from plain text.
        OSError: a file cannot be read.
    """
    text = read_text(path)
    training = _read_images(path, text, DEFAULT_COLUMNS, split=None, image_list=image_list)
    if training is None:
        if image_list is not None:
            raise ValueError(f"{path} is plain text: omit --train-list")
        return [line for line in split_lines(text) if line.strip()]
    if image_list is None and any(image.split for image in training):
        training = select_split(path, training, "train")
    try:
        check_disjoint(training, [image for image in evaluation if image.file_name])
    except ValueError as error:
        raise ValueError(f"{path}: {error}; --train-list selects the training images") from error
    return [caption for image in training for caption in image.captions]


def read_text(path: Path) -> str:
    """Read a text file as ``vl.data.text_files`` does; ``-`` is standard input.

    Raises:
        FormatError: it is not text.
        OSError: it cannot be read.
    """
    return decode_text(path, sys.stdin.buffer.read() if path == STDIN else path.read_bytes())


def _read_images(
    path: Path, text: str, columns: Columns, *, split: str | None, image_list: Path | None
) -> list[CaptionedImage] | None:
    """Images with their captions, of a file that names them; None if it is plain text."""
    kind = caption_kind(path, text, columns)
    if text.strip() and kind.name == "plain text":
        return None
    if not kind.records or (kind.name == "JSON" and _ANNOTATED.search(text)):
        return read_captions(path, split=split, images=image_list, text=text)
    images = references_of(path, kind.records(path, text, columns))
    if split is not None:
        images = select_split(path, images, split)
    return images if image_list is None else select_listed(path, images, image_list)


def _read_plain_references(
    paths: Sequence[Path], candidates: CandidateCaptions
) -> list[CaptionedImage]:
    """The references of each line, without blank ones; a line may not be blank in all files."""
    columns = []
    for path in paths:
        text = read_text(path)
        kind = caption_kind(path, text, DEFAULT_COLUMNS)
        if kind.name != "plain text":
            problem = f"this is {kind.name}, but {candidates.path} is plain text"
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
