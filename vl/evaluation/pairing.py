"""Pairs captions with the references of the same images, by image id or file name."""

import json
from collections.abc import Container, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vl.data.captions.captions import CaptionedImage, ImageId
from vl.data.errors import FormatError
from vl.data.files import first_few
from vl.evaluation.read import CandidateCaptions

_ID_TYPES = {int: "an integer", str: "a string"}


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
        CaptionedImage(image, image if isinstance(image, str) else "", (), "")
        for image in candidates.captions
    ]
    return PairedCaptions(images, list(candidates.captions.values()), 0, 0)


def check_same_format(candidates: CandidateCaptions, baseline: CandidateCaptions) -> None:
    """Check that two files of captions identify their images the same way.

    Raises:
        FormatError: one is plain text and the other is not, or their numbers of lines differ.
    """
    path, file_format, captions = candidates
    if baseline.format != file_format:
        raise FormatError(baseline.path, f"this is {baseline.format}, but {path} is {file_format}")
    if file_format == "plain text" and len(baseline.captions) != len(captions):
        problem = f"{len(baseline.captions)} lines, but {path} has {len(captions)}"
        raise FormatError(baseline.path, problem)


def common_images(
    first: PairedCaptions, second: PairedCaptions, *, paths: tuple[Path, Path]
) -> tuple[PairedCaptions, PairedCaptions]:
    """Only the images that two systems captioned; those of one alone count as missing.

    Raises:
        FormatError: there is none.
    """
    ids = [{image.image_id for image in pairs.images} for pairs in (first, second)]
    if not ids[0] & ids[1]:
        raise FormatError(paths[1], f"none of its images has a caption in {paths[0]}")
    return _select(first, ids[1]), _select(second, ids[0])


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
    ids = {image.image_id for image in references}
    by_text = {_id_text(image): image for image in ids}
    by_name: dict[str, list[ImageId]] = {}
    for image in references:  # with the folder that the references have, and without
        for name in {image.file_name, PurePosixPath(image.file_name).name} - {""}:
            by_name.setdefault(name, []).append(image.image_id)
    captions: dict[ImageId, str] = {}
    unmatched: list[ImageId] = []
    for candidate_id, caption in candidates.captions.items():
        matches = [candidate_id] if candidate_id in ids else []
        if not matches and isinstance(candidate_id, str):
            matches = by_name.get(candidate_id, [])
        record = f"image {candidate_id!r}"
        if len(matches) > 1:
            problem = f"{_count(matches)} of {source} have this file name"
            raise FormatError(candidates.path, problem, record=record)
        if not matches:
            similar = by_text.get(_id_text(candidate_id))
            if similar is not None and type(similar) is not type(candidate_id):
                here, there = (_ID_TYPES[type(image)] for image in (candidate_id, similar))
                problem = f"the id is {here} here and {there} in {source}"
                cure = f"write it as {json.dumps(similar)}"
                record = f"image {json.dumps(candidate_id)}"
                raise FormatError(candidates.path, f"{problem}: {cure}", record=record)
            unmatched.append(candidate_id)
        elif matches[0] in captions:
            problem = f"it is image {matches[0]!r} of {source}, which has a caption already"
            raise FormatError(candidates.path, problem, record=record)
        else:
            captions[matches[0]] = caption
    return captions, unmatched


def _id_text(image: ImageId) -> str:
    """The same for 7, "7" and "0007"."""
    return str(image).lstrip("0") or "0"


def _count(images: Sequence[ImageId]) -> str:
    """How many, and the first three."""
    plural = "s" if len(images) > 1 else ""
    return f"{len(images)} image{plural} ({first_few(images)})"
