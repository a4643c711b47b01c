"""`vl evaluate`: evaluates captions against references."""

import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Interval

from vl.data.bounds import InputPath, NonNegativeInt
from vl.data.files import check_writable
from vl.metrics.names import (
    DEFAULT_METRICS,
    TFIDF_METRICS,
    EvaluationMetric,
    caption_metrics,
    score_names,
)

if TYPE_CHECKING:
    from vl.evaluation.output import CaptionEvaluation  # NumPy takes a while to import

_log = logging.getLogger(__name__)

_STDIN = Path("-")


@dataclass(frozen=True)
class EvaluateFlags:
    """Evaluate captions against references: BLEU, ROUGE-L, CIDEr-D and more."""

    results: tyro.conf.Positional[InputPath]
    """Captions in COCO's results format, [{"image_id": 1, "caption": "a dog"}]; - is stdin.
    An image_id may be a file name. Or plain text, one caption per line. May be gzip."""
    references: Annotated[tuple[InputPath, ...], tyro.conf.arg(metavar="FILE ...")] = ()
    """Reference captions: a file of COCO, Karpathy or Flickr8k; only diversity needs none.
    For plain text one or more files, whose line i is a reference of line i, or blank."""
    metrics: Annotated[tuple[EvaluationMetric, ...], tyro.conf.arg(metavar="METRIC ...")] = (
        DEFAULT_METRICS
    )
    """Any of bleu, rouge-l, cider-d, cider, meteor, spice (these two need Java), diversity."""
    split: str | None = None
    """Only the images of this split of the references."""
    image_list: InputPath | None = None
    """Only the images listed in this file, one file name per line."""
    subset: bool = False
    """Score the images that both files have, and report how many were left out."""
    compare_with: InputPath | None = None
    """Another system's captions of the same images: test whether the difference is significant."""
    num_resamples: Annotated[int, Interval(ge=0, le=1_000_000)] = 1000
    """Bootstrap resamples for intervals and --compare-with; 0 for no intervals.
    1,000 as in Koehn 2004."""
    confidence: Annotated[float, Interval(gt=0, lt=1)] = 0.95
    """Level of the confidence intervals."""
    seed: NonNegativeInt = 0
    """Seed of the resamples."""
    document_frequencies: InputPath | None = None
    """Document frequencies for CIDEr, a file of --save-document-frequencies.
    By default they are computed from the references."""
    save_document_frequencies: Path | None = None
    """Write the document frequencies of the references; with gzip if the name ends in .gz."""
    train_captions: InputPath | None = None
    """Training captions, in any of these formats, for the novelty that diversity reports.
    Of a file with splits, the training split is used."""
    train_list: InputPath | None = None
    """Only the training captions of the images listed in this file, one file name per line."""
    json: bool = False
    """Print one JSON object instead of text."""
    per_image: Path | None = None
    """Write a line of JSON per image: captions, tokens, scores."""
    html: Path | None = None
    """Write an HTML page: captions beside references, the worst first."""
    image_dir: InputPath | None = None
    """Folder of the images for the page, found by the references' file names."""
    embed_images: bool = False
    """Embed thumbnails of at most 320 pixels into the page instead of linking the images."""
    sort_by: str | None = None
    """Score by which the page is sorted; by default CIDEr-D, or else the first metric."""


def run(flags: EvaluateFlags) -> int:
    """Evaluate, write the output files, and print the scores."""
    _check_requirements(flags)
    _check_files(flags)
    sort_by = _sort_key(flags)
    from vl.evaluation.evaluate import EvaluationRequest, evaluate_files
    from vl.evaluation.output import signatures, tables, write_per_image
    from vl.metrics.cider import write_frequencies
    from vl.metrics.significance import Resampling

    evaluation = evaluate_files(
        EvaluationRequest(
            flags.results,
            flags.references,
            metrics=flags.metrics,
            split=flags.split,
            image_list=flags.image_list,
            subset=flags.subset,
            compare_with=flags.compare_with,
            document_frequencies=flags.document_frequencies,
            train_captions=flags.train_captions,
            train_list=flags.train_list,
            needs_file_names=flags.image_dir is not None,
            resampling=Resampling(flags.num_resamples, flags.confidence, flags.seed),
        )
    )
    if flags.save_document_frequencies:
        frequencies = evaluation.evaluator.document_frequencies()
        write_frequencies(flags.save_document_frequencies, frequencies)
    if flags.per_image:
        write_per_image(flags.per_image, evaluation)
    if flags.html:
        _write_page(flags, flags.html, evaluation, sort_by)
    if flags.json:
        print(json.dumps(evaluation.to_dict()))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(*tables(evaluation), sep="\n")
        print("\n".join(signatures(evaluation)))
    else:
        print(evaluation)
    return 0


def _check_requirements(flags: EvaluateFlags) -> None:
    """Refuse a flag that has no effect without another one."""
    metrics = caption_metrics(flags.metrics)
    if not flags.metrics:
        raise ValueError("--metrics needs at least one")
    if metrics and not flags.references:
        raise ValueError("--references needs a file; only diversity does without")
    has_diversity = "diversity" in flags.metrics
    tfidf = TFIDF_METRICS & {*metrics}
    requirements = [
        ("train_captions", has_diversity, "--metrics diversity"),
        ("train_list", flags.train_captions, "--train-captions"),
        ("document_frequencies", tfidf, "--metrics cider-d or cider"),
        ("split", flags.references, "--references"),
        ("image_list", flags.references, "--references"),
        ("subset", flags.references, "--references"),
        ("save_document_frequencies", flags.references, "--references"),
        ("compare_with", metrics, "a metric besides diversity"),
        ("compare_with", flags.num_resamples, "--num-resamples above 0"),
        ("image_dir", flags.html, "--html"),
        ("sort_by", flags.html, "--html"),
        ("embed_images", flags.image_dir, "--image-dir"),
    ]
    for name, requirement, description in requirements:
        if getattr(flags, name) and not requirement:
            raise ValueError(f"--{name.replace('_', '-')} requires {description}")
    if flags.image_dir and not flags.image_dir.is_dir():
        raise NotADirectoryError(f"{flags.image_dir}: expected a folder of images")


def _sort_key(flags: EvaluateFlags) -> str | None:
    """The score by which to sort the page; None for the order of the references."""
    metrics = caption_metrics(flags.metrics)
    names = score_names(metrics)
    if flags.sort_by is None:
        if not metrics:
            return None
        # Of BLEU-1 to BLEU-4 the last is the usual one.
        return "CIDEr-D" if "CIDEr-D" in names else score_names(metrics[:1])[-1]
    for name in names:
        if name.lower() == flags.sort_by.lower():
            return name
    expected = ", ".join(names) or "none without a metric"
    raise ValueError(f"--sort-by is {flags.sort_by!r}; expected one of {expected}")


def _check_files(flags: EvaluateFlags) -> None:
    """Check that only the results come from stdin, and that no input is overwritten."""
    inputs = [
        *flags.references,
        *(flags.compare_with, flags.image_list, flags.document_frequencies),
        *(flags.train_captions, flags.train_list),
    ]
    if _STDIN in inputs:
        raise ValueError("only RESULTS can be standard input, -")
    used = {path.resolve() for path in (flags.results, *inputs) if path}
    for path in (flags.per_image, flags.html, flags.save_document_frequencies):
        if path is None:
            continue
        if path == _STDIN or (path.exists() and os.path.samestat(path.stat(), os.fstat(1))):
            raise ValueError(f"standard output has the scores; name a file instead of {path}")
        if path.resolve() in used:
            raise ValueError(f"{path} is read or written already; choose another name")
        used.add(path.resolve())
        check_writable(path)  # before the work, not after it


def _write_page(
    flags: EvaluateFlags, path: Path, evaluation: "CaptionEvaluation", sort_by: str | None
) -> None:
    from vl.evaluation.page_images import PageImages
    from vl.evaluation.report import write_report

    if flags.image_dir is None:
        write_report(path, evaluation, sort_by=sort_by)
        return
    images = PageImages(flags.image_dir, page=path, embed=flags.embed_images)
    write_report(path, evaluation, sort_by=sort_by, address=images)
    for names, problem in ((images.missing, "are missing"), (images.broken, "do not decode")):
        if names:
            message = "%s: %d images %s, such as %s"
            _log.warning(message, flags.image_dir, len(names), problem, names[0])
