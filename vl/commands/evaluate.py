"""`vl evaluate`: evaluates captions against references."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vl.commands.options import OutputOptions
from vl.data.bounds import InputPath
from vl.data.choices import TableFormat
from vl.data.outputs import CAPTION_SCORES, FREQUENCIES, HTML
from vl.evaluation.request import EvaluationRequest
from vl.metrics.names import SCORE_NAMES, TFIDF_METRICS, caption_metrics

_STDIN = Path("-")


@dataclass(frozen=True)
class EvaluateFlags(OutputOptions, EvaluationRequest):
    """Evaluate captions against references: BLEU, ROUGE-L, CIDEr-D and more, of any systems."""

    save_document_frequencies: Annotated[Path, FREQUENCIES] | None = None
    """Write the document frequencies of the references; with gzip if the name ends in .gz."""
    format: TableFormat = "text"
    """How scores are printed: text, json, or a table of systems as markdown, latex or csv."""
    json: bool = False
    """The same as --format json."""
    per_image: Annotated[Path, CAPTION_SCORES] | None = None
    """Write a line of JSON per image: captions, tokens, scores."""
    html: Annotated[Path, HTML] | None = None
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
    _check_stdin(flags)
    sort_by = _sort_key(flags)
    from vl.evaluation.evaluate import evaluate_files
    from vl.evaluation.output import signatures, tables, write_per_image
    from vl.evaluation.page_images import PageImages
    from vl.evaluation.report import write_report
    from vl.evaluation.tables import write_table
    from vl.metrics.cider import write_frequencies

    evaluations = evaluate_files(flags)
    evaluation = evaluations[-1]
    if flags.image_dir and not any(image.file_name for image in evaluation.system.pairs.images):
        raise ValueError(f"{flags.results[0]} names no image files: omit --image-dir")
    if flags.save_document_frequencies:
        frequencies = evaluation.evaluator.document_frequencies()
        write_frequencies(flags.save_document_frequencies, frequencies)
    if flags.per_image:
        write_per_image(flags.per_image, evaluation)
    if flags.html:
        images = None
        if flags.image_dir:
            images = PageImages(flags.image_dir, page=flags.html, embed=flags.embed_images)
        write_report(flags.html, evaluation, sort_by=sort_by, images=images)
    table_format: TableFormat = "json" if flags.json else flags.format
    if len(flags.results) > 1 or table_format in ("markdown", "latex", "csv"):
        print(write_table(evaluations, table_format))
    elif table_format == "json":
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
    if not flags.results:
        raise ValueError("RESULTS needs at least one file")
    if flags.json and flags.format not in ("text", "json"):
        raise ValueError(f"--json is not --format {flags.format}; omit one")
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
        ("html", len(flags.results) == 1, "a single file of RESULTS"),
        ("per_image", len(flags.results) == 1, "a single file of RESULTS"),
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
    if flags.sort_by is None:
        if not metrics:
            return None
        # Of BLEU-1 to BLEU-4 the last is the usual one.
        return "CIDEr-D" if "cider-d" in metrics else SCORE_NAMES[metrics[0]][-1]
    names = {name.lower(): name for metric in metrics for name in SCORE_NAMES[metric]}
    if flags.sort_by.lower() not in names:
        expected = ", ".join(names.values()) or "none without a metric"
        raise ValueError(f"--sort-by is {flags.sort_by!r}; expected one of {expected}")
    return names[flags.sort_by.lower()]


def _check_stdin(flags: EvaluateFlags) -> None:
    """Check that only the results come from stdin."""
    inputs = [
        *flags.references,
        *(flags.compare_with, flags.image_list, flags.document_frequencies),
        *(flags.train_captions, flags.train_list),
    ]
    if _STDIN in inputs or flags.results.count(_STDIN) > 1:
        raise ValueError("only RESULTS can be standard input, -, and once")
