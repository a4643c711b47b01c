"""Captions as plain text, one a line: line i of the results against line i of each reference file.

It knows nothing of image ids: an image is the number of its line.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vl.data.captions.captions import CaptionedImage, ImageId
from vl.data.errors import FormatError
from vl.evaluation.results import read_text

Kind = Literal["JSON", "Flickr8k", "plain text"]

# "[" may open a caption, "[unk] dog", but no caption opens as a list or an object of JSON does.
_JSON = re.compile(r'\s*(?:\[\s*[\[{"\]]|\{\s*["}])')
_FLICKR8K = re.compile(r"[^\t\n]+#\d+\t")


def kind_of(text: str, path: Path) -> Kind:
    """What a file of captions is, by how it begins, and else by its name.

    A file that is called JSON, or begins as JSON, is that: broken JSON is never plain text.

    Args:
        text: the file's content.
        path: its name.
    """
    names = [suffix.lower() for suffix in path.suffixes[-2:]]
    called_json = names[-1:] == [".json"] or names == [".json", ".gz"]
    if called_json or _JSON.match(text):
        return "JSON"
    return "Flickr8k" if _FLICKR8K.match(text) else "plain text"


def lines_of(text: str) -> list[str]:
    """The captions of a plain text, blank ones too; the last line may do without its end.

    Not ``splitlines``, which would also cut at the rarer separators that a caption may hold.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if not lines[-1] else lines


def plain_results(text: str, path: Path) -> dict[ImageId, str]:
    """The caption of each line, by the line's number from 1; a blank line is an empty caption.

    Args:
        text: the file's content.
        path: the file, for the message.

    Raises:
        FormatError: there is no line.
    """
    captions: dict[ImageId, str] = dict(enumerate(lines_of(text), 1))
    if not captions:
        raise FormatError(path, "the file is empty")
    return captions


def read_plain_references(
    paths: Sequence[Path], *, results: Path, count: int
) -> list[CaptionedImage]:
    """The true captions of each line: those that the files have there, blank ones left out.

    Args:
        paths: at least one file, one caption a line.
        results: the captions to score, for the message.
        count: lines of ``results``.

    Raises:
        FormatError: a file is of another kind or has another number of lines, or a line is blank
            in all of them.
        OSError: a file cannot be read.
    """
    columns = []
    for path in paths:
        text = read_text(path)
        kind = kind_of(text, path)
        if kind != "plain text":
            problem = (
                f"this is {kind}, but {results} is plain text, whose lines name no images; "
                "plain references, one caption a line, go with it"
            )
            raise FormatError(path, problem)
        lines = lines_of(text)
        if len(lines) != count:
            raise FormatError(path, f"{len(lines)} lines, but {results} has {count}")
        columns.append(lines)
    images = []
    for number, row in enumerate(zip(*columns, strict=True), 1):
        captions = tuple(caption for caption in row if caption.strip())
        if not captions:
            others = f" and in {', '.join(map(str, paths[1:]))}" if paths[1:] else ""
            problem = f"it is blank{' here' if others else ''}{others}: no reference to score by"
            raise FormatError(paths[0], problem, record=f"line {number}")
        images.append(CaptionedImage(number, "", captions, ""))
    return images
