"""Caption files in three formats, read into one record type: COCO, Flickr8k, Karpathy's splits."""

import contextlib
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pycocotools.coco import COCO

from vl.data.errors import FormatError
from vl.data.files import first_few, json_type, parse_json
from vl.data.identity import NameIndex
from vl.data.text_files import read_text, split_lines

ImageId = int | str  # COCO's are integers, Flickr8k's are file names

# COCO_val2014_000000000042.jpg until 2015, then 000000000042.jpg; the largest id is 581929.
_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)20[0-9]{2}_)?(0{6}[0-9]{6})\.[A-Za-z0-9]+")


class CaptionedImage(NamedTuple):
    """An image and its reference captions."""

    image_id: ImageId  # COCO's id, Karpathy's cocoid or else imgid, Flickr8k's file name
    file_name: str  # with its folder, where the file gives one
    captions: tuple[str, ...]  # unchanged, at least one
    split: str  # "" where unknown


def read_captions(
    path: Path, *, split: str | None = None, images: Path | None = None, text: str | None = None
) -> list[CaptionedImage]:
    """Read a caption file; the format is detected from the content.

    Args:
        path: COCO's captions, one of Karpathy's ``dataset_*.json``, or Flickr8k's lines of
            ``name.jpg#0``, a tab and a caption; a text file as
            ``vl.data.text_files`` reads it.
        split: only this split, where the file has splits; see ``select_split``.
        images: a list of file names, one a line: only these images, in its order. A name may lack
            folders where it is unique, see ``NameIndex``.
        text: the file's content if it has been read already, as a pipe can be read only once.

    Raises:
        FormatError: the content has none of the three formats; a record is broken, or an image has
            no captions.
        ValueError: no image is of that split.
        OSError: a file cannot be read.

    Source:
        Karpathy and Fei-Fei 2015 for the splits that came with its code.
    """
    text = read_text(path) if text is None else text
    records: list[CaptionedImage]
    if not text.lstrip().startswith(("{", "[")):
        records = _flickr8k(path, text)
    else:
        content = parse_json(path, text)
        records = _coco(path, content) if "annotations" in content else _karpathy(path, content)
    if split is not None:
        records = select_split(path, records, split)
    return records if images is None else select_listed(path, records, images)


def select_split(path: Path, records: Sequence[CaptionedImage], split: str) -> list[CaptionedImage]:
    """The images of one split.

    Args:
        path: their file, for the message.
        records: of all splits.
        split: its name; ``"train"`` includes ``"restval"``, the part of COCO's validation images
            that Karpathy's splits add to training.

    Raises:
        ValueError: no image is of that split.
    """
    splits = {"train", "restval"} if split == "train" else {split}
    selected = [record for record in records if record.split in splits]
    if not selected:
        available = ", ".join(sorted({record.split for record in records} - {""})) or "none"
        raise ValueError(f"{path}: no image is of split {split!r}; its splits are: {available}")
    return selected


def check_disjoint(
    training: Sequence[CaptionedImage], evaluation: Sequence[CaptionedImage]
) -> None:
    """Check that no image is in both, by path; see ``NameIndex`` for names that lack folders.

    Raises:
        ValueError: some are; up to three are named.
    """
    index = NameIndex(image.file_name for image in training)
    shared = [name for name in dict.fromkeys(i.file_name for i in evaluation) if index.find(name)]
    if shared:
        names = [training[index.find(name)[0]].file_name for name in shared]
        some = (
            first_few(shared) if names == shared else f"{first_few(shared)} as {first_few(names)}"
        )
        raise ValueError(f"{len(shared)} images are in both training and evaluation: {some}")


def coco_id(file_name: str) -> int | None:
    """The id in a file name of COCO's own form; None for every other name.

    Digits of other names, as a date and a time of day, are no id.
    """
    match = _COCO_NAME.fullmatch(file_name.rpartition("/")[2])
    return int(match[1]) if match else None


def _coco(path: Path, content: dict[str, Any]) -> list[CaptionedImage]:
    images = _entries(path, content, "images")
    ids: set[int] = set()
    for position, image in enumerate(images):
        record = _record("image", image, position)
        _field(path, image, "file_name", str, record)
        _add(path, ids, _field(path, image, "id", int, record), record)
    annotations = _entries(path, content, "annotations")
    annotation_ids: set[int] = set()
    for position, annotation in enumerate(annotations):
        record = _record("annotation", annotation, position)
        _add(path, annotation_ids, _field(path, annotation, "id", int, record), record)
        _field(path, annotation, "caption", str, record)
        image_id = _field(path, annotation, "image_id", int, record)
        if image_id not in ids:
            raise FormatError(path, f"there is no image {image_id}", record=record)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco = COCO()
        coco.dataset = {"images": images, "annotations": annotations}
        coco.createIndex()
    records = []
    for image_id, image in coco.imgs.items():
        captions = tuple(annotation["caption"] for annotation in coco.imgToAnns[image_id])
        if not captions:
            raise FormatError(path, "no captions", record=f"image {image_id}")
        records.append(CaptionedImage(image_id, image["file_name"], captions, ""))
    return records


def _flickr8k(path: Path, text: str) -> list[CaptionedImage]:
    captions: dict[str, list[str]] = {}
    keys: set[str] = set()
    for number, line in _lines(text):
        record = f"line {number}"
        key, tab, caption = line.partition("\t")
        name, _, index = key.rpartition("#")
        if not (tab and name and index.isdecimal()):
            problem = "expected a file name, '#', a number, a tab and a caption"
            raise FormatError(path, problem, record=record)
        if key in keys:
            raise FormatError(path, f"{key!r} is there twice", record=record)
        keys.add(key)
        captions.setdefault(name, []).append(caption)
    if not captions:
        raise FormatError(path, "there are no captions in it")
    return [CaptionedImage(name, name, tuple(texts), "") for name, texts in captions.items()]


def _karpathy(path: Path, content: dict[str, Any]) -> list[CaptionedImage]:
    records = []
    ids: set[int] = set()
    for position, image in enumerate(_entries(path, content, "images")):
        record = f"image at position {position}"
        name = _field(path, image, "filename", str, record)
        if "filepath" in image:
            name = f"{_field(path, image, 'filepath', str, record)}/{name}"
        key = "cocoid" if "cocoid" in image else "imgid"
        image_id = _field(path, image, key, int, record)
        _add(path, ids, image_id, record)
        sentences = _field(path, image, "sentences", list, record)
        if not sentences:
            raise FormatError(path, "no captions", record=record)
        captions = tuple(
            _field(path, sentence, "raw", str, f"{record}, sentence {number}")
            for number, sentence in enumerate(sentences)
        )
        split = _field(path, image, "split", str, record)
        records.append(CaptionedImage(image_id, name, captions, split))
    return records


def select_listed(
    path: Path, records: Sequence[CaptionedImage], images: Path
) -> list[CaptionedImage]:
    """The images in a list of file names, one a line, in its order.

    Raises:
        FormatError: an image has no captions, or the list names it twice or is empty.
        OSError: the list cannot be read.
    """
    index = NameIndex(record.file_name for record in records)
    selected: dict[int, CaptionedImage] = {}
    for number, line in _lines(read_text(images)):
        name = line.strip()
        record = f"line {number}"
        try:
            row = index.row(name)
        except ValueError as error:
            raise FormatError(images, f"{error} of {path}", record=record) from error
        if row is None:
            raise FormatError(images, f"{name!r} has no captions in {path}", record=record)
        if row in selected:
            raise FormatError(images, f"{name!r} is there twice", record=record)
        selected[row] = records[row]
    if not selected:
        raise FormatError(images, "there are no images in it")
    return list(selected.values())


def _lines(text: str) -> Iterable[tuple[int, str]]:
    """Lines with their numbers from 1, without trailing blank ones.

    ``splitlines`` would also split at the rarer separators that a caption may contain.
    """
    return enumerate(split_lines(text.rstrip()), 1)


def _entries(path: Path, content: dict[str, Any], key: str) -> list[Any]:
    entries: list[Any] = _field(path, content, key, list, None)
    if not entries:
        raise FormatError(path, f"there are no {key} in it")
    return entries


def _record(name: str, entry: Any, position: int) -> str:
    has_id = isinstance(entry, dict) and type(entry.get("id")) is int
    return f"{name} {entry['id']}" if has_id else f"{name} at position {position}"


def _field(path: Path, entry: Any, key: str, expected: type, record: str | None) -> Any:
    if not isinstance(entry, dict):
        raise FormatError(path, f"expected an object, not {json_type(entry)}", record=record)
    if key not in entry:
        raise FormatError(path, f"no {key!r}", record=record)
    if type(entry[key]) is not expected:  # not isinstance: True is no id
        problem = f"{key!r} is {json_type(entry[key])}, not {_NAMES[expected]}"
        raise FormatError(path, problem, record=record)
    return entry[key]


def _add(path: Path, ids: set[int], new_id: int, record: str) -> None:
    if new_id in ids:
        raise FormatError(path, f"the id {new_id} is there twice", record=record)
    ids.add(new_id)


_NAMES = {str: "a string", int: "an integer", list: "a list"}
