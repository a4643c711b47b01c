"""What to evaluate, and how; the command shows it as flags, and it imports no NumPy."""

from dataclasses import dataclass
from typing import Annotated

import tyro
from annotated_types import Interval

from vl.data.bounds import InputPath, NonNegativeInt, OpenFraction
from vl.metrics.names import DEFAULT_METRICS, EvaluationMetric


@dataclass(frozen=True)
class EvaluationRequest:
    """Captions to evaluate against references."""

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
    def source(self) -> str:
        """The references' files, for messages."""
        return ", ".join(map(str, self.references))
