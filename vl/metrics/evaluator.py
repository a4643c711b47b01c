"""Captions scored against what people said of the same images, each figure with its signature.

The library's face of evaluation; it knows nothing of the files that captions come from.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Literal, NamedTuple

from vl.data.captions.ptb.tokens import tokens, words
from vl.metrics.bleu import bleu_scores
from vl.metrics.cider import DocumentFrequencies, cider, cider_d, document_frequencies
from vl.metrics.diversity import Diversity, diversity
from vl.metrics.meteor_spice import meteor, spice
from vl.metrics.ngrams import Corpus, corpus
from vl.metrics.rouge import rouge_l
from vl.metrics.score import Score
from vl.metrics.significance import Comparison, Interval, compare, intervals
from vl.version import __version__

Measure = Literal["bleu", "rouge-l", "cider-d", "cider", "meteor", "spice"]

MEASURES: dict[Measure, tuple[str, ...]] = {  # and the names of the scores that each gives
    "bleu": ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"),
    "rouge-l": ("ROUGE-L",),
    "cider-d": ("CIDEr-D",),
    "cider": ("CIDEr",),
    "meteor": ("METEOR",),
    "spice": ("SPICE",),
}
BY_RARENESS: frozenset[Measure] = frozenset(["cider-d", "cider"])  # of words among the images
_BY_RARENESS = {name for measure in BY_RARENESS for name in MEASURES[measure]}
DEFAULT: tuple[Measure, ...] = ("bleu", "rouge-l", "cider-d")
_TOKENISER = "ptb"

# Of several captions. Tuples of strings are passed over by the garbage collector, which would go
# through 240,000 lists of words again and again.
Words = list[tuple[str, ...]]


class Evaluated(NamedTuple):
    """Captions, one an image, and what they score."""

    words: Words  # but that a fraction as 2 1/2 is one, as data.tokens.tokens has it
    scores: list[Score]


class Figure(NamedTuple):
    """A score of all images together."""

    name: str
    value: float
    interval: Interval | None  # not known where nobody asked, nor of a single image
    signature: str  # the value with all that could change it


class Paired(NamedTuple):
    """A score of two systems on the same images."""

    first: float
    second: float
    comparison: Comparison

    @property
    def name(self) -> str:
        """The score's."""
        return self.comparison.name


class Evaluator:
    """Scores captions of images; what people said of them is cut into words once.

    Args:
        references: of each image at least one true caption; none will do for no measure.
        measures: what to score by; nothing else is computed.
        frequencies: how common runs of words are, for CIDEr and CIDEr-D; as common as in these
            references by default.

    Raises:
        ValueError: a measure is not known, or is there twice; an image's references are a string.
    """

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        *,
        measures: Sequence[Measure] = DEFAULT,
        frequencies: DocumentFrequencies | None = None,
    ) -> None:
        self.names = names_of(measures)
        for captions in references:
            if isinstance(captions, str):  # whose letters would be captions
                problem = f"an image's references must be a list, not the string {captions!r}"
                raise ValueError(problem)
        self.references: list[Words] = [
            [tuple(tokens(caption)) for caption in captions] for captions in references
        ]
        self._measures = measures
        self._frequencies = frequencies

    def __call__(self, captions: Sequence[str]) -> Evaluated:
        """Score captions, one an image, in the order of the references.

        Raises:
            ValueError: there is no image, one has no reference, the numbers differ, or one string
                is given instead of a list.
            OSError: METEOR or SPICE cannot be run.
        """
        if isinstance(captions, str):
            raise ValueError(f"a list of captions was expected, not the string {captions!r}")
        words = [tuple(tokens(caption)) for caption in captions]
        if not self._measures:  # nothing is compared with references, which may be missing
            return Evaluated(words, [])
        counted = corpus(words, self.references)
        scores = [self._score(measure, words, counted) for measure in self._measures]
        return Evaluated(words, list(chain.from_iterable(scores)))

    def frequencies(self) -> DocumentFrequencies:
        """How common runs of words are in the references, to score other captions by."""
        return document_frequencies(corpus([[] for _ in self.references], self.references))

    def figures(
        self,
        scores: Sequence[Score],
        *,
        resamples: int = 1000,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> list[Figure]:
        """The scores of all images together, with intervals and signatures.

        Args:
            scores: of the images of this evaluator.
            resamples: of the bootstrap; 0 for no intervals.
            confidence: share of the resamples within an interval.
            seed: of the resamples.
        """
        found: Sequence[Interval | None] = [None] * len(scores)
        if scores and resamples and len(self.references) > 1:
            found = intervals(scores, resamples=resamples, confidence=confidence, seed=seed)
        return [
            Figure(score.name, score.corpus, interval, self._signature(score))
            for score, interval in zip(scores, found, strict=True)
        ]

    def _score(self, measure: Measure, words: Words, counted: Corpus) -> list[Score]:
        if measure == "bleu":
            return bleu_scores(counted)
        if measure == "rouge-l":
            return [rouge_l(counted)]
        if measure == "cider-d":
            return [cider_d(counted, self._frequencies)]
        if measure == "cider":
            return [cider(counted, self._frequencies)]
        java = meteor if measure == "meteor" else spice
        return [java(_spaced(words), [_spaced(captions) for captions in self.references])]

    def _signature(self, score: Score) -> str:
        """As ``BLEU-4 <score> | refs 5 | tok ptb | closest | vl 0.1``."""
        numbers = [len(captions) for captions in self.references]
        fewest, most = min(numbers), max(numbers)
        parts = [
            f"{score.name} {score.corpus:.4f}",
            f"refs {fewest}" if fewest == most else f"refs {fewest}-{most}",
            f"tok {_TOKENISER}",
            score.detail,
            f"images {len(numbers)}" if score.name in _BY_RARENESS else "",
            f"vl {__version__}",
        ]
        return " | ".join(part for part in parts if part)


def names_of(measures: Sequence[Measure]) -> list[str]:
    """The names of the scores that measures give, in their order.

    Raises:
        ValueError: a measure is not known, or is there twice.
    """
    unknown = [measure for measure in measures if measure not in MEASURES]
    if unknown:
        raise ValueError(f"no score {unknown[0]!r}; there are {', '.join(MEASURES)}")
    twice = [measure for measure in MEASURES if measures.count(measure) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is asked for twice")
    return [name for measure in measures for name in MEASURES[measure]]


def variety(captions: Sequence[str], training: Sequence[str] | None = None) -> Diversity:
    """How varied captions are, and how many of them are no training caption if those are given."""
    known = None if training is None else [words(caption) for caption in training]
    return diversity([words(caption) for caption in captions], known)


def paired(
    first: Sequence[Score],
    second: Sequence[Score],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Paired]:
    """Two systems' scores on the same images, and whether they differ by more than chance."""
    found = compare(first, second, resamples=resamples, confidence=confidence, seed=seed)
    return [
        Paired(one.corpus, other.corpus, comparison)
        for one, other, comparison in zip(first, second, found, strict=True)
    ]


def _spaced(captions: Words) -> list[str]:
    """Captions as METEOR and SPICE take them."""
    return [" ".join(words) for words in captions]
