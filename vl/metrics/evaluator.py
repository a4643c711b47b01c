"""Evaluates captions against references in memory; every score has a signature.

It does not know the files that captions come from.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Literal, NamedTuple

from vl.data.captions.ptb.tokens import tokens
from vl.data.choices import Metric
from vl.metrics.bleu import bleu_scores
from vl.metrics.cider import DocumentFrequencies, cider, cider_d, document_frequencies
from vl.metrics.meteor_spice import meteor, spice
from vl.metrics.names import DEFAULT_METRICS
from vl.metrics.ngrams import index_captions
from vl.metrics.rouge import rouge_l
from vl.metrics.score import Score
from vl.metrics.significance import Interval, Resampling, bootstrap_intervals
from vl.version import __version__

Tokenizer = Literal["ptb", "whitespace"]
TokenizedCaptions = list[tuple[str, ...]]
"""Tuples, as the garbage collector skips tuples of strings; 240,000 lists it would visit often."""


class ScoredCaptions(NamedTuple):
    """Captions, one per image, and their scores."""

    tokens: TokenizedCaptions  # a fraction such as 2 1/2 is one token
    scores: list[Score]


class CorpusScore(NamedTuple):
    """A score of all images together."""

    name: str
    value: float
    interval: Interval | None  # None without resamples, or for a single image
    signature: str  # the value with all that could change it


class Evaluator:
    """Scores captions of images; the references are tokenized once.

    Args:
        references: one or more captions for each image; may be empty if there are no metrics.
        metrics: what to compute.
        frequencies: document frequencies for CIDEr and CIDEr-D; computed from the references by
            default.
        fraction: scores as coco-caption computes them, most of them in [0, 1], instead of in
            hundredths, as papers print them.
        tokenizer: ``"ptb"`` is Stanford's tokenizer without punctuation, as in coco-caption;
            ``"whitespace"`` splits captions that are tokenized already.
    """

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        *,
        metrics: Sequence[Metric] = DEFAULT_METRICS,
        frequencies: DocumentFrequencies | None = None,
        fraction: bool = False,
        tokenizer: Tokenizer = "ptb",
    ) -> None:
        self.tokenizer = tokenizer
        self.scale = 1 if fraction else 100
        self.digits = 4 if fraction else 2  # decimals of a printed score
        self.references: list[TokenizedCaptions] = [
            self._tokenize(captions) for captions in references
        ]
        self._metrics = metrics
        self._frequencies = frequencies

    def __call__(self, captions: Sequence[str]) -> ScoredCaptions:
        """Score captions, one per image, in the order of the references.

        Raises:
            ValueError: there is no image, one has no reference, or the lengths differ.
            OSError: METEOR or SPICE cannot be run.
        """
        tokenized = self._tokenize(captions)
        if not self._metrics:  # then there may be no references
            return ScoredCaptions(tokenized, [])
        corpus = index_captions(tokenized, self.references)
        compute: dict[Metric, Callable[[], list[Score]]] = {
            "bleu": lambda: bleu_scores(corpus),
            "rouge-l": lambda: [rouge_l(corpus)],
            "cider-d": lambda: [cider_d(corpus, self._frequencies)],
            "cider": lambda: [cider(corpus, self._frequencies)],
            "meteor": lambda: [meteor(_join(tokenized), list(map(_join, self.references)))],
            "spice": lambda: [spice(_join(tokenized), list(map(_join, self.references)))],
        }
        scores = chain.from_iterable(compute[metric]() for metric in self._metrics)
        return ScoredCaptions(tokenized, [score.scaled(self.scale) for score in scores])

    def document_frequencies(self) -> DocumentFrequencies:
        """Document frequencies of the references, to score other captions with."""
        return document_frequencies(index_captions([[] for _ in self.references], self.references))

    def corpus_scores(self, scores: Sequence[Score], resampling: Resampling) -> list[CorpusScore]:
        """The scores of all images together, with intervals and signatures."""
        intervals: Sequence[Interval | None] = [None] * len(scores)
        if scores and resampling.num_resamples and len(self.references) > 1:
            intervals = bootstrap_intervals(scores, resampling)
        return [
            CorpusScore(score.name, score.corpus, interval, self._signature(score))
            for score, interval in zip(scores, intervals, strict=True)
        ]

    def _tokenize(self, captions: Sequence[str]) -> TokenizedCaptions:
        split = tokens if self.tokenizer == "ptb" else str.split
        return [tuple(split(caption)) for caption in captions]

    def _signature(self, score: Score) -> str:
        """As ``BLEU-4 <score> | x 100 | refs 5 | tok ptb | closest | vl 0.1``."""
        counts = {len(captions) for captions in self.references}
        low, high = min(counts), max(counts)
        references = f"refs {low}" if low == high else f"refs {low}-{high}"
        tokenizer, version = f"tok {self.tokenizer}", f"vl {__version__}"
        value, scale = f"{score.name} {score.corpus:.{self.digits}f}", f"x {self.scale}"
        return " | ".join([value, scale, references, tokenizer, score.settings, version])


def _join(captions: TokenizedCaptions) -> list[str]:
    """Captions as METEOR and SPICE take them."""
    return [" ".join(words) for words in captions]
