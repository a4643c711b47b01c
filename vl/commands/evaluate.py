"""`vl evaluate`: how good captions are, against those that people wrote."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import tyro
from rich.console import Console
from rich.table import Table

from data.captions import CaptionedImage, read_captions
from data.errors import FormatError
from data.tokens import words
from vl import __version__
from vl.metrics.bleu import Bleu, corpus_bleu, signature
from vl.results import ImageId, read_results

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """BLEU-1 to BLEU-4 of captions, against those that people wrote."""

    results: tyro.conf.Positional[Path]
    """Captions in COCO's results format, [{"image_id": 1, "caption": "a dog"}]; - is stdin.

    An image may go by its file's name."""
    references: Path
    """People's captions: COCO's, Karpathy's or Flickr8k's file."""
    split: str | None = None
    """Only the images of this split of the references."""
    images: Path | None = None
    """Only the images named in this file, one a line."""
    subset: bool = False
    """Let images have no result: score the others, and say how many were left out."""
    json: bool = False
    """One JSON object instead of lines."""


def run(flags: Evaluation) -> int:
    """Score, and print what came out."""
    results = read_results(flags.results)
    described = read_captions(flags.references, split=flags.split, images=flags.images)
    references = {image.image_id: image.captions for image in described}
    captions = _by_id(results, described, results=flags.results, source=flags.references)
    missing = [image for image in references if image not in captions]
    if missing and not (flags.subset and captions):
        problem = f"{_some(missing)} of {flags.references} have no caption here"
        cure = "; --subset scores the others" if captions else ""
        raise FormatError(flags.results, problem + cure)
    if missing:
        _LOG.info("%d of %d images have no result and are left out", len(missing), len(references))
    result = score(captions, references)
    if flags.json:
        print(json.dumps(_figures(result, left_out=len(missing))))
    elif sys.stdout.isatty():
        _draw(result)
    else:
        for size, value in enumerate(result.scores, 1):
            print(f"BLEU-{size} {value:.4f}")
        print(f"images {len(result.images)}")
        print(_signature(result))
    return 0


def score(captions: Mapping[ImageId, str], references: Mapping[ImageId, Sequence[str]]) -> Bleu:
    """BLEU of sentences, cut into words as Stanford's PTB tokeniser cuts them.

    Args:
        captions: one an image.
        references: the true captions of at least those images.
    """
    candidates = [words(caption) for caption in captions.values()]
    empty = sum(not candidate for candidate in candidates)
    if empty:
        _LOG.warning("%d of %d captions have no words", empty, len(candidates))
    return corpus_bleu(
        candidates, [[words(caption) for caption in references[image]] for image in captions]
    )


def _by_id(
    captions: Mapping[ImageId, str],
    described: Sequence[CaptionedImage],
    *,
    results: Path,
    source: Path,
) -> dict[ImageId, str]:
    """The captions by the references' ids, where some go by their file's name."""
    ids = {image.image_id for image in described}
    named: dict[str, list[ImageId]] = {}
    for image in described:  # with the folder as the references have it, and without
        for name in {image.file_name, PurePosixPath(image.file_name).name}:
            named.setdefault(name, []).append(image.image_id)
    found: dict[ImageId, str] = {}
    unknown = []
    for given, caption in captions.items():
        known = [given] if given in ids else []
        if not known and isinstance(given, str):
            known = named.get(given, [])
        if len(known) > 1:
            problem = f"{_some(known)} of {source} have this file name"
            raise FormatError(results, problem, record=f"image {given!r}")
        if not known:
            unknown.append(given)
        elif known[0] in found:
            problem = f"it is image {known[0]!r} of {source}, which has a caption already"
            raise FormatError(results, problem, record=f"image {given!r}")
        else:
            found[known[0]] = caption
    if unknown:
        raise FormatError(results, f"{_some(unknown)} are not among those taken from {source}")
    return found


def _some(images: Sequence[ImageId]) -> str:
    """How many, and the first three."""
    named = ", ".join(repr(image) for image in images[:3])
    return f"{len(images)} images ({named}{', ...' if len(images) > 3 else ''})"


def _figures(result: Bleu, *, left_out: int) -> dict[str, float | int | str]:
    scores = {f"BLEU-{size}": value for size, value in enumerate(result.scores, 1)}
    return {
        **scores,
        "images": len(result.images),
        "left_out": left_out,
        "candidate_length": result.counts.candidate_length,
        "reference_length": result.counts.reference_length,
        "signature": _signature(result),
    }


def _draw(result: Bleu) -> None:
    table = Table("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "images")
    table.add_row(*(f"{value:.4f}" for value in result.scores), str(len(result.images)))
    Console().print(table)
    print(_signature(result))


def _signature(result: Bleu) -> str:
    return signature(result, tokeniser="ptb", version=__version__)
