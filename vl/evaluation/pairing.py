"""The captions to score beside what people said of the same images, in the references' order."""

import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vl.data.captions.captions import (
    CaptionedImage,
    ImageId,
    check_disjoint,
    of_split,
    read_captions,
)
from vl.data.errors import FormatError
from vl.data.files import first_few
from vl.evaluation.plain_captions import (
    Kind,
    kind_of,
    lines_of,
    plain_results,
    read_plain_references,
)
from vl.evaluation.results import read_text, results_in

_DIGITS = 18  # of an id that is a string; longer ones are no COCO number, and slow to convert


class Candidates(NamedTuple):
    """A file of captions to score."""

    path: Path
    kind: Kind
    captions: Mapping[ImageId, str]  # in the file's order; plain text by the number of the line


class Aligned(NamedTuple):
    """Captions and the images they are of, one for one."""

    images: list[CaptionedImage]  # in the references' order
    captions: list[str]
    left_out: int  # images of the references that have no caption
    unknown: int  # captions of images that the references do not have


def read_candidates(path: Path) -> Candidates:
    """Captions in COCO's results format, or plain text, one a line.

    Args:
        path: the file, perhaps packed by gzip; ``-`` is standard input.

    Raises:
        FormatError: it is neither.
        OSError: it cannot be read.
    """
    text = read_text(path)
    kind = kind_of(text, path)
    if kind == "Flickr8k":
        problem = (
            "this is Flickr8k's format, of references; captions to score come in COCO's results "
            "format, or as plain text, one a line"
        )
        raise FormatError(path, problem)
    if kind == "plain text":
        return Candidates(path, kind, plain_results(text, path))
    return Candidates(path, kind, results_in(text, path))


def read_references(
    paths: Sequence[Path],
    candidates: Candidates,
    *,
    split: str | None = None,
    images: Path | None = None,
) -> list[CaptionedImage]:
    """What people said: one file of COCO, Flickr8k or Karpathy, or plain text beside plain text.

    Args:
        paths: one file, or of plain text several, each with a true caption of every line.
        candidates: what will be scored.
        split: only images of this split.
        images: a file that names images: only these.

    Raises:
        FormatError: a file is not what it should be.
        ValueError: several files that are not plain text, or a choice among lines of plain text.
        OSError: a file cannot be read.
    """
    if not paths:
        raise ValueError("--references wants a file")
    if candidates.kind == "plain text":
        if split is not None or images is not None:
            problem = f"{candidates.path} is plain text, whose lines have neither split nor image"
            raise ValueError(f"{problem}: leave --split and --images out")
        count = len(candidates.captions)
        return read_plain_references(paths, results=candidates.path, count=count)
    if len(paths) > 1:
        problem = f"{len(paths)} files of references go with plain text, one caption a line"
        raise ValueError(f"{problem}; {candidates.path} is JSON: give one file")
    text = read_text(paths[0])
    if text.strip() and kind_of(text, paths[0]) == "plain text":
        problem = (
            f"this is plain text, but {candidates.path} is JSON, whose images go by id; "
            "COCO's, Flickr8k's or Karpathy's captions file goes with it"
        )
        raise FormatError(paths[0], problem)
    return read_captions(paths[0], split=split, images=images, text=text)


def align(
    candidates: Candidates,
    described: Sequence[CaptionedImage],
    *,
    source: str,
    subset: bool = False,
) -> Aligned:
    """Put each caption beside its image, by the image's id or its file's name.

    Args:
        candidates: what will be scored.
        described: images with what people said.
        source: where those are from, for the messages.
        subset: let either side have images that the other has not: they are left out and counted.

    Raises:
        FormatError: an image has no caption or no reference, or its name could be two images'.
    """
    found, unknown = _by_id(candidates, described, source)
    path = candidates.path
    missing = [image.image_id for image in described if image.image_id not in found]
    cure = "; --subset scores the others" if found else ""
    if unknown and not (subset and found):
        verb = "is" if len(unknown) == 1 else "are"
        problem = f"{_some(unknown)} {verb} not among those taken from {source}"
        raise FormatError(path, problem + cure)
    if missing and not (subset and found):
        verb = "has" if len(missing) == 1 else "have"
        raise FormatError(path, f"{_some(missing)} of {source} {verb} no caption here{cure}")
    images = [image for image in described if image.image_id in found]
    captions = [found[image.image_id] for image in images]
    return Aligned(images, captions, len(missing), len(unknown))


def unpaired(candidates: Candidates) -> Aligned:
    """Captions alone, for what needs no reference.

    Raises:
        FormatError: there is none.
    """
    if not candidates.captions:
        raise FormatError(candidates.path, "there are no captions in it")
    images = [
        CaptionedImage(image, image if isinstance(image, str) else "", (), "")
        for image in candidates.captions
    ]
    return Aligned(images, list(candidates.captions.values()), 0, 0)


def check_alike(candidates: Candidates, others: Candidates) -> None:
    """See that two files of captions name their images the same way.

    Raises:
        FormatError: one is plain text and the other is not, or their numbers of lines differ.
    """
    path, kind, captions = candidates
    if others.kind != kind:
        raise FormatError(others.path, f"this is {others.kind}, but {path} is {kind}")
    if kind == "plain text" and len(others.captions) != len(captions):
        raise FormatError(
            others.path, f"{len(others.captions)} lines, but {path} has {len(captions)}"
        )


def of_both(
    first: Aligned, second: Aligned, *, names: tuple[Path, Path]
) -> tuple[Aligned, Aligned]:
    """Only the images that two systems captioned; those of one alone count as left out.

    Raises:
        FormatError: there is none.
    """
    ids = [{image.image_id for image in aligned.images} for aligned in (first, second)]
    if not ids[0] & ids[1]:
        raise FormatError(names[1], f"none of its images has a caption in {names[0]}")
    return _only(first, ids[1]), _only(second, ids[0])


def _only(aligned: Aligned, ids: Container[ImageId]) -> Aligned:
    kept = [place for place, image in enumerate(aligned.images) if image.image_id in ids]
    return aligned._replace(
        images=[aligned.images[place] for place in kept],
        captions=[aligned.captions[place] for place in kept],
        left_out=aligned.left_out + len(aligned.images) - len(kept),
    )


def read_training(path: Path, *, images: Path | None, scored: Aligned) -> list[str]:
    """The captions that a captioner was trained on; of a file with splits, those of training.

    Args:
        path: COCO's, Flickr8k's or Karpathy's file, or plain text, one caption a line.
        images: a file that names images: only these.
        scored: what is scored, of which nothing may be among them.

    Raises:
        FormatError: a file is not what it should be.
        ValueError: an image is scored and trained on, or plain text is to be chosen from.
        OSError: a file cannot be read.
    """
    text = read_text(path)
    if text.strip() and kind_of(text, path) == "plain text":
        if images is not None:
            raise ValueError(f"{path} is plain text: leave --training-images out")
        return [line for line in lines_of(text) if line.strip()]
    described = read_captions(path, images=images, text=text)
    if images is None and any(image.split for image in described):
        described = of_split(path, described, "train")
    try:
        check_disjoint(described, [image for image in scored.images if image.file_name])
    except ValueError as error:
        raise ValueError(f"{path}: {error}; --training-images chooses those of training") from error
    return [caption for image in described for caption in image.captions]


def _by_id(
    candidates: Candidates, described: Sequence[CaptionedImage], source: str
) -> tuple[dict[ImageId, str], list[ImageId]]:
    """The captions by the references' ids, and the ids of those that the references lack."""
    ids = {image.image_id for image in described}
    named: dict[str, list[ImageId]] = {}
    for image in described:  # with the folder as the references have it, and without
        for name in {image.file_name, PurePosixPath(image.file_name).name} - {""}:
            named.setdefault(name, []).append(image.image_id)
    found: dict[ImageId, str] = {}
    unknown: list[ImageId] = []
    for given, caption in candidates.captions.items():
        known = [given] if given in ids else []
        if not known and isinstance(given, str):
            known = named.get(given, [])
        if len(known) > 1:
            problem = f"{_some(known)} of {source} have this file name"
            raise FormatError(candidates.path, problem, record=f"image {given!r}")
        if not known:
            _check_type(given, ids, candidates.path, source)
            unknown.append(given)
        elif known[0] in found:
            problem = f"it is image {known[0]!r} of {source}, which has a caption already"
            raise FormatError(candidates.path, problem, record=f"image {given!r}")
        else:
            found[known[0]] = caption
    return found, unknown


def _check_type(given: ImageId, ids: set[ImageId], path: Path, source: str) -> None:
    """See that an unknown id would not be known if its number were a string, or the reverse."""
    other: ImageId | None = str(given)
    here, there = "a number", "a string"
    if isinstance(given, str):
        here, there = there, here
        digits = given.isascii() and given.isdecimal() and len(given) <= _DIGITS
        other = int(given) if digits else None
    if other is not None and other in ids:
        problem = f"the id is {here} here and {there} in {source}: write it as {_json(other)}"
        raise FormatError(path, problem, record=f"image {_json(given)}")


def _json(image: ImageId) -> str:
    return json.dumps(image)


def _some(images: Sequence[ImageId]) -> str:
    """How many, and the first three."""
    several = "s" if len(images) > 1 else ""
    return f"{len(images)} image{several} ({first_few(images)})"
