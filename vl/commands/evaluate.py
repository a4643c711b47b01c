"""`vl evaluate`: how good captions are, against those that people wrote."""

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vl.evaluation.evaluate import evaluate_files
from vl.evaluation.records import Outcome, summary, write_per_image
from vl.evaluation.results import STDIN
from vl.evaluation.text import lines, signatures, tables
from vl.metrics.cider import write_frequencies
from vl.metrics.evaluator import BY_RARENESS, DEFAULT, Measure, names_of
from vl.metrics.significance import MOST_RESAMPLES

_log = logging.getLogger(__name__)

Asked = Literal[Measure, "diversity"]


@dataclass(frozen=True)
class Evaluation:
    """Score captions against those that people wrote: BLEU, ROUGE-L, CIDEr-D and more."""

    results: tyro.conf.Positional[Path]
    """Captions in COCO's results format, [{"image_id": 1, "caption": "a dog"}]; - is stdin.
    An image may go by its file's name. Or plain text, one caption a line. Gzip is unpacked."""
    references: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE ...")] = ()
    """People's captions: COCO's, Karpathy's or Flickr8k's file. Only diversity does without.
    For plain text one file or more, whose line i is a true caption of line i, or blank."""
    scores: Annotated[tuple[Asked, ...], tyro.conf.arg(metavar="SCORE ...")] = DEFAULT
    """Any of bleu, rouge-l, cider-d, cider, meteor, spice (these two need Java), diversity."""
    split: str | None = None
    """Only the images of this split of the references."""
    images: Path | None = None
    """Only the images named in this file, one a line."""
    subset: bool = False
    """Score the images that both files have, and say how many were left out."""
    against: Path | None = None
    """Another system's captions of the same images: is the difference more than chance?"""
    resamples: int = 1000
    """Of the images, for intervals and --against; 0 for no intervals (Koehn 2004 took 1,000)."""
    confidence: float = 0.95
    """How many of the resamples lie within an interval."""
    seed: int = 0
    """Of the resamples: the same one, the same intervals."""
    frequencies: Path | None = None
    """For CIDEr, how common runs of words are: a file of --save-frequencies.
    By default they are as common as in the references."""
    save_frequencies: Path | None = None
    """Write how common runs of words are in the references; by gzip if it ends in .gz."""
    training_captions: Path | None = None
    """For diversity, captions trained on, in any of these formats: how many captions are new?
    Of a file with splits, those of training are taken."""
    training_images: Path | None = None
    """Only the training captions of the images named in this file, one a line."""
    json: bool = False
    """One JSON object instead of lines."""
    per_image: Path | None = None
    """Write a JSON line an image: captions, words, scores."""
    html: Path | None = None
    """Write a page for a browser: captions beside references, the worst first."""
    photographs: Path | None = None
    """Folder of the photographs, for the page; they are found by the references' file names."""
    embed_images: bool = False
    """Copy the photographs into the page, at most 320 pixels wide; else it has their paths."""
    sort: str | None = None
    """Score by which the page is sorted; CIDEr-D, or else the first that is asked for."""


def run(flags: Evaluation) -> int:
    """Score, write what is asked for, and print what came out."""
    measures = [measure for measure in flags.scores if measure != "diversity"]
    sort = _checked(flags, measures)
    outcome = evaluate_files(
        flags.results,
        flags.references,
        measures=measures,
        diversity="diversity" in flags.scores,
        split=flags.split,
        images=flags.images,
        subset=flags.subset,
        against=flags.against,
        frequencies=flags.frequencies,
        training_captions=flags.training_captions,
        training_images=flags.training_images,
        photographs=flags.photographs is not None,
        resamples=flags.resamples,
        confidence=flags.confidence,
        seed=flags.seed,
    )
    if flags.save_frequencies:
        write_frequencies(flags.save_frequencies, outcome.evaluator.frequencies())
    if flags.per_image:
        write_per_image(flags.per_image, outcome)
    if flags.html:
        _write_page(flags, flags.html, outcome, sort)
    if flags.json:
        print(dumps(summary(outcome)))
    elif sys.stdout.isatty():
        _draw(outcome)
    else:
        print("\n".join(lines(outcome)))
    return 0


def _checked(flags: Evaluation, measures: Sequence[Measure]) -> str | None:
    """See that flags go together and that all files can be written; by what to sort the page."""
    names = names_of(measures)
    if not flags.scores:
        raise ValueError("--scores wants at least one")
    if measures and not flags.references:
        raise ValueError("--references wants a file; only diversity does without")
    if flags.scores.count("diversity") > 1:
        raise ValueError("diversity is asked for twice")
    trained, by_rareness = flags.training_captions, BY_RARENESS & {*measures}
    chosen = [
        ("--split", flags.split),
        ("--images", flags.images),
        ("--subset", flags.subset),
        ("--save-frequencies", flags.save_frequencies),
    ]
    needs = [
        ("--training-captions", trained, "diversity" in flags.scores, "diversity"),
        ("--training-images", flags.training_images, trained, "--training-captions"),
        ("--frequencies", flags.frequencies, by_rareness, "cider-d or cider"),
        *((flag, given, flags.references, "--references") for flag, given in chosen),
        ("--against", flags.against, measures, "a score besides diversity"),
        ("--against", flags.against, flags.resamples, "--resamples"),
        ("--photographs", flags.photographs, flags.html, "--html"),
        ("--sort", flags.sort, flags.html, "--html"),
        ("--embed-images", flags.embed_images, flags.photographs, "--photographs"),
    ]
    for flag, given, needed, name in needs:
        if given and not needed:
            raise ValueError(f"{flag} goes with {name}, which is not asked for")
    if not 0 <= flags.resamples <= MOST_RESAMPLES:
        raise ValueError(f"--resamples is {flags.resamples}; 0 to {MOST_RESAMPLES:,} was expected")
    if flags.seed < 0:
        raise ValueError(f"--seed is {flags.seed}; 0 or more was expected")
    if not 0 < flags.confidence < 1:
        raise ValueError(f"--confidence is {flags.confidence:g}; between 0 and 1 was expected")
    if flags.photographs and not flags.photographs.is_dir():
        raise NotADirectoryError(f"{flags.photographs}: a folder of photographs was expected")
    _check_files(flags)
    if flags.sort is None:
        # Of BLEU's four the last, which is the usual figure.
        first = names_of(measures[:1])[-1:]
        return "CIDEr-D" if "CIDEr-D" in names else (first[0] if first else None)
    for name in names:
        if name.lower() == flags.sort.lower():
            return name
    raise ValueError(f"--sort is {flags.sort!r}; asked for are {', '.join(names) or 'no scores'}")


def _check_files(flags: Evaluation) -> None:
    """See that only the results are standard input, and that nothing read is written over."""
    read = [
        *flags.references,
        *(flags.against, flags.images, flags.frequencies),
        *(flags.training_captions, flags.training_images),
    ]
    if STDIN in read:
        raise ValueError("of all files only RESULTS can be standard input, -")
    taken = {path.resolve() for path in (flags.results, *read) if path}
    for path in (flags.per_image, flags.html, flags.save_frequencies):
        if path is None:
            continue
        if path == STDIN or (path.exists() and os.path.samestat(path.stat(), os.fstat(1))):
            raise ValueError(f"standard output has the scores; name a file instead of {path}")
        if path.resolve() in taken:
            raise ValueError(f"{path} is read or written already; choose another name")
        taken.add(path.resolve())
        _check_writable(path)  # before the work, not after it


def _check_writable(path: Path) -> None:
    """See that a file can be written, by one that is gone at once, and make no folder."""
    place = path.resolve()
    if place.exists() and not place.is_file():
        raise OSError(f"{path}: not a regular file, cannot be replaced")
    folder = next(folder for folder in place.parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as cause:
        raise OSError(f"{path}: cannot be written: {cause.strerror}") from cause


def _write_page(flags: Evaluation, path: Path, outcome: Outcome, sort: str | None) -> None:
    from vl.evaluation.photographs import Photographs
    from vl.evaluation.report import write_report  # jinja2 and Pillow take a while to import

    if flags.photographs is None:
        write_report(path, outcome, sort=sort)
        return
    photographs = Photographs(flags.photographs, page=path, embed=flags.embed_images)
    write_report(path, outcome, sort=sort, address=photographs)
    for names, what in (
        (photographs.missing, "are not there"),
        (photographs.broken, "do not decode"),
    ):
        if names:
            count, first = len(names), names[0]
            _log.warning("%s: %d photographs %s, as %s", flags.photographs, count, what, first)


def _draw(outcome: Outcome) -> None:
    from rich.console import Console

    console = Console()
    for table in tables(outcome):
        console.print(table)
    print("\n".join(signatures(outcome)))
