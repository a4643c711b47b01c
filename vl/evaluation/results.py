"""Captions of images in COCO's results format: ``[{"image_id": 1, "caption": "a dog"}, ...]``."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from vl.data.captions.captions import ImageId
from vl.data.errors import FormatError
from vl.data.files import decode_text, json_type, parse_json, write_text

STDIN = Path("-")


def read_results(path: Path) -> dict[ImageId, str]:
    """The caption of each image, in the file's order.

    Args:
        path: the file; ``-`` is standard input. Keys other than the two are not looked at.

    Raises:
        FormatError: it is not a list of such records, or an image comes twice.
        OSError: it cannot be read.
    """
    return results_in(read_text(path), path)


def results_in(text: str, path: Path) -> dict[ImageId, str]:
    """The caption of each image in a file's text, in its order.

    Args:
        text: the JSON.
        path: where it is from, for the messages.

    Raises:
        FormatError: it is not a list of such records, or an image comes twice.
    """
    records = parse_json(path, text)
    if not isinstance(records, list):
        raise FormatError(path, f"a list of captions was expected, not {json_type(records)}")
    captions: dict[ImageId, str] = {}
    for number, record in enumerate(records, 1):
        image_id, caption = _checked(record, path, f"record {number}")
        if image_id in captions:
            problem = f"image {image_id!r} has a caption already; one an image was expected"
            raise FormatError(path, problem, record=f"record {number}")
        captions[image_id] = caption
    return captions


def read_text(path: Path) -> str:
    """A file's text, from gzip if it is that.

    Args:
        path: the file; ``-`` is standard input.

    Raises:
        FormatError: it is not UTF-8, or a broken gzip.
        OSError: it cannot be read.
    """
    return decode_text(path, sys.stdin.buffer.read() if path == STDIN else path.read_bytes())


def write_results(path: Path, captions: Mapping[ImageId, str]) -> None:
    """Write a caption an image, in the mapping's order; the file is whole or as it was before."""
    records = [{"image_id": image, "caption": caption} for image, caption in captions.items()]
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    write_text(path, f"[\n{lines}\n]\n" if lines else "[]\n")


def _checked(record: object, path: Path, place: str) -> tuple[ImageId, str]:
    if not isinstance(record, dict):
        problem = f'{{"image_id": ..., "caption": ...}} was expected, not {json_type(record)}'
        raise FormatError(path, problem, record=place)
    for key in ("image_id", "caption"):
        if key not in record:
            raise FormatError(path, f"there is no {key!r}", record=place)
    image_id, caption = record["image_id"], record["caption"]
    if isinstance(image_id, bool) or not isinstance(image_id, int | str):
        problem = f"image_id must be a whole number or a file name, not {json_type(image_id)}"
        raise FormatError(path, problem, record=place)
    if not isinstance(caption, str):
        problem = f"the caption of image {image_id!r} must be a string, not {json_type(caption)}"
        raise FormatError(path, problem, record=place)
    return image_id, caption
