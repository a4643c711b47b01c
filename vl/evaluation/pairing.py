"""Pairs captions with the references of the same images, by file name or image id."""

import json
import logging
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vl.data.captions.captions import CaptionedImage, ImageId, coco_id
from vl.data.errors import FormatError
from vl.data.files import first_few
from vl.data.identity import NameIndex, ambiguous
from vl.evaluation.caption_records import CandidateCaptions

_ID_TYPES = {int: "an integer", str: "a string"}
_log = logging.getLogger(__name__)


class PairedCaptions(NamedTuple):
    """Captions and their images, one to one."""

    images: list[CaptionedImage]  # in the references' order
    captions: list[str]
    num_missing: int  # images of the references that have no caption
    num_unmatched: int  # captions of images that are not in the references


def pair_captions(
    candidates: CandidateCaptions,
    references: Sequence[CaptionedImage],
    *,
    source: str,
    subset: bool = False,
) -> PairedCaptions:
    """Pair each caption with its image, by the image's id or its file name.

    Where a record has both, and they are of two images, the file name counts: COCO's ids need not
    be the numbers in its file names. A warning says so.

    Args:
        candidates: what will be scored.
        references: images and their reference captions.
        source: where they are from, for the messages.
        subset: leave out and count images that only one side has, instead of refusing them.

    Raises:
        FormatError: an image has no caption or no reference, or its name is ambiguous.
    """
    captions, unmatched = _match(candidates, references, source)
    path = candidates.path
    missing = [image.image_id for image in references if image.image_id not in captions]
    cure = "; --subset scores the others" if captions else ""
    allowed = subset and captions
    if unmatched and not allowed:
        verb = "is" if len(unmatched) == 1 else "are"
        problem = f"{_count(unmatched)} {verb} not among those selected from {source}"
        raise FormatError(path, problem + cure)
    if missing and not allowed:
        verb = "has" if len(missing) == 1 else "have"
        raise FormatError(path, f"{_count(missing)} of {source} {verb} no caption here{cure}")
    images = [image for image in references if image.image_id in captions]
    ordered = [captions[image.image_id] for image in images]
    return PairedCaptions(images, ordered, len(missing), len(unmatched))


def without_references(candidates: CandidateCaptions) -> PairedCaptions:
    """Captions alone, for what needs no reference.

    Raises:
        FormatError: there is none.
    """
    if not candidates.captions:
        raise FormatError(candidates.path, "there are no captions in it")
    images = [
        CaptionedImage(image, _file_name(candidates, image) or "", (), "")
        for image in candidates.captions
    ]
    return PairedCaptions(images, list(candidates.captions.values()), 0, 0)


def check_same_format(candidates: CandidateCaptions, other: CandidateCaptions) -> None:
    """Check that two files of captions identify their images the same way, by name or by line.

    Raises:
        FormatError: one is plain text and the other is not, or their numbers of lines differ.
    """
    path, formats = candidates.path, (other.format, candidates.format)
    if "plain text" in formats and len({*formats}) > 1:
        raise FormatError(other.path, f"this is {formats[0]}, but {path} is {formats[1]}")
    if "plain text" in formats and len(other.captions) != len(candidates.captions):
        problem = f"{len(other.captions)} lines, but {path} has {len(candidates.captions)}"
        raise FormatError(other.path, problem)


def common_images(
    systems: Sequence[PairedCaptions], *, paths: Sequence[Path]
) -> list[PairedCaptions]:
    """Only the images that all systems captioned; those of some alone count as missing.

    Raises:
        FormatError: there is none.
    """
    common = {image.image_id for image in systems[0].images}
    for pairs, path in zip(systems, paths, strict=True):
        common &= {image.image_id for image in pairs.images}
        if not common:
            others = ", ".join(map(str, paths[: paths.index(path)]))
            raise FormatError(path, f"none of its images has a caption in {others}")
    return [_select(pairs, common) for pairs in systems]


def _select(pairs: PairedCaptions, ids: Container[ImageId]) -> PairedCaptions:
    rows = [row for row, image in enumerate(pairs.images) if image.image_id in ids]
    return pairs._replace(
        images=[pairs.images[row] for row in rows],
        captions=[pairs.captions[row] for row in rows],
        num_missing=pairs.num_missing + len(pairs.images) - len(rows),
    )


def _match(
    candidates: CandidateCaptions, references: Sequence[CaptionedImage], source: str
) -> tuple[dict[ImageId, str], list[ImageId]]:
    """The captions by the references' ids, and the ids that are not in the references."""
    finder = _Finder(references)
    captions: dict[ImageId, str] = {}
    unmatched: list[ImageId] = []
    disagreeing: list[str] = []
    for candidate_id, caption in candidates.captions.items():
        name = _file_name(candidates, candidate_id)
        matches = finder.find(candidate_id, name)
        record = f"image {candidate_id!r}"
        if len(matches) > 1:
            problem = f"{_count([image.image_id for image in matches])} of {source} have this file"
            names = ambiguous(str(name), [image.file_name for image in matches])
            raise FormatError(candidates.path, f"{problem} name: {names}", record=record)
        if not matches:
            _check_type(candidates.path, candidate_id, finder.by_text, source)
            unmatched.append(candidate_id)
            continue
        image = matches[0].image_id
        if image in captions:
            problem = f"it is image {image!r} of {source}, which has a caption already"
            raise FormatError(candidates.path, problem, record=record)
        captions[image] = caption
        if image != candidate_id and candidate_id in finder.by_id:
            disagreeing.append(f"{name} is image {image} of {source}, not {candidate_id}")
    if disagreeing:
        message = "%s: %d images are paired by file name, as ids and names disagree: %s"
        _log.warning(message, candidates.path, len(disagreeing), disagreeing[0])
    elif not candidates.file_names:
        _warn_of_numbers(candidates, finder.by_id, captions)
    return captions, unmatched


class _Finder:
    """The images of references by id and by name."""

    def __init__(self, references: Sequence[CaptionedImage]) -> None:
        self._references = references
        self._names = NameIndex(image.file_name for image in references)
        self._by_number: dict[int, list[CaptionedImage]] = {}
        for image in references:
            if (number := coco_id(image.file_name)) is not None:
                self._by_number.setdefault(number, []).append(image)
        self.by_id = {image.image_id: image for image in references}
        self.by_text = {_id_text(image): image for image in self.by_id}

    def find(self, image: ImageId, name: str | None) -> list[CaptionedImage]:
        """The images that an id and a file name can mean."""
        by_id = [self.by_id[image]] if image in self.by_id else []
        if by_id and (name is None or isinstance(image, str)):
            return by_id
        by_name = [self._references[row] for row in self._names.find(name)] if name else []
        if not by_name:  # COCO has renamed its images; or only the number of a name is given
            number = coco_id(name) if name else image
            by_name = self._by_number.get(number, []) if isinstance(number, int) else []
        return by_id if by_id and (not by_name or by_id[0] in by_name) else by_name


def _file_name(candidates: CandidateCaptions, image: ImageId) -> str | None:
    name = candidates.file_names.get(image)
    return image if name is None and isinstance(image, str) else name


def _check_type(path: Path, image: ImageId, by_text: Mapping[str, ImageId], source: str) -> None:
    """Check that an unknown id is not a known one of the other type."""
    similar = by_text.get(_id_text(image))
    if similar is not None and type(similar) is not type(image):
        here, there = (_ID_TYPES[type(each)] for each in (image, similar))
        problem = f"the id is {here} here and {there} in {source}"
        cure = f"write it as {json.dumps(similar)}"
        raise FormatError(path, f"{problem}: {cure}", record=f"image {json.dumps(image)}")


def _warn_of_numbers(
    candidates: CandidateCaptions,
    by_id: Mapping[ImageId, CaptionedImage],
    paired: Container[ImageId],
) -> None:
    """Warn where ids could be numbers of file names, which other images have as ids."""
    for image in by_id.values():
        number = coco_id(image.file_name)
        if number not in (None, image.image_id) and number in by_id and image.image_id in paired:
            message = (
                "%s: paired by id, but %s is image %s of the references: if the ids here are the "
                'numbers of file names, add a "file_name" to each record'
            )
            _log.warning(message, candidates.path, image.file_name, image.image_id)
            return


def _id_text(image: ImageId) -> str:
    """The same for 7, "7" and "0007"."""
    return str(image).lstrip("0") or "0"


def _count(images: Sequence[ImageId]) -> str:
    """How many, and the first three."""
    plural = "s" if len(images) > 1 else ""
    return f"{len(images)} image{plural} ({first_few(images)})"
