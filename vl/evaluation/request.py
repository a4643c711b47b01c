"""What to evaluate, and how; the command shows it as flags, and it imports no NumPy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval
from tyro.constructors import PrimitiveConstructorSpec

from vl.data.bounds import InputPath, NonNegativeInt, OpenFraction
from vl.evaluation.columns import Columns
from vl.metrics.names import DEFAULT_METRICS, EvaluationMetric, plain_name

_AnyCase = Annotated[
    EvaluationMetric,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="METRIC",
        instance_from_str=lambda texts: plain_name(texts[0]),
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda metric: [metric],
    ),
]


@dataclass(frozen=True)
class EvaluationRequest:
    """Captions to evaluate against references."""

    results: Annotated[
        tyro.conf.Positional[tuple[InputPath, ...]], tyro.conf.arg(metavar="RESULTS ...")
    ]
    """Captions of a system, or files of several, which are compared with the first: COCO's results,
    {id: [caption]}, JSON lines as of vl caption --json, CSV, TSV, or plain text, one caption per
    line. Images are named by id or file name. - is stdin."""
    references: Annotated[tuple[InputPath, ...], tyro.conf.arg(metavar="FILE ...")] = ()
    """Reference captions: a file of COCO, Karpathy, Flickr8k or one of the formats of results; only
    diversity needs none. For plain text one or more files, whose line i is a reference of line i,
    or blank."""
    image_column: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Column of a table, or key of a JSON record, that has the image's id or file name; of several
    names the first that is there. By default found by its name: image_id, file_name, path, ..."""
    caption_column: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """The same for the caption. By default caption, captions, text, ..."""
    metrics: Annotated[tuple[_AnyCase, ...], tyro.conf.arg(metavar="METRIC ...")] = DEFAULT_METRICS
    """Any of bleu, rouge-l, cider-d, cider, meteor, spice (these two need Java), diversity."""
    fraction: bool = False
    """Scores as coco-caption prints them, in 0 to 1, CIDEr in 0 to 10; by default times 100, as in
    papers. What coco-caption calls CIDEr is cider-d."""
    split: str | None = None
    """Only the images of this split of the references."""
    image_list: InputPath | None = None
    """Only the images listed in this file, one file name per line."""
    subset: bool = False
    """Score the images that both files have, and report how many were left out."""
    compare_with: InputPath | None = None
    """Another system's captions of the same images: test whether differences are significant.
    By default the first of several results."""
    num_resamples: Annotated[int, Interval(ge=0, le=1_000_000)] = 1000
    """Bootstrap resamples for intervals and comparisons; 0 for no intervals.
    1,000 as in Koehn 2004."""
    confidence: OpenFraction = 0.95
    """Level of the confidence intervals."""
    seed: NonNegativeInt = 0
    """Seed of the resamples."""
    document_frequencies: InputPath | None = None
    """Document frequencies for CIDEr, a file of --save-document-frequencies.
    By default they are computed from the references."""
    train_captions: InputPath | None = None
    """Training captions, in any of these formats, for the novelty that diversity reports.
    Of a file with splits, the training split is used."""
    train_list: InputPath | None = None
    """Only the training captions of the images listed in this file, one file name per line."""

    @property
    def systems(self) -> tuple[Path, ...]:
        """The files of all systems: the results, and the one to compare with."""
        return self.results + ((self.compare_with,) if self.compare_with else ())

    @property
    def columns(self) -> Columns:
        """Where records of captions have image and caption."""
        return Columns(self.image_column, self.caption_column)

    @property
    def source(self) -> str:
        """The references' files, for messages."""
        return ", ".join(map(str, self.references))
