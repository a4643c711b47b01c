"""BLEU, the share of a caption's word runs that people also wrote (Papineni et al. 2002)."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from vl.metrics.ngrams import LONGEST, Corpus, Ints, changes, corpus
from vl.metrics.score import Floats, Score

# coco-caption adds these above and below each fraction, so that nothing is divided by zero.
_TINY = 1e-15
_SMALL = 1e-9


def bleu_scores(corpus: Corpus) -> list[Score]:
    """BLEU-1, BLEU-2, BLEU-3 and BLEU-4, each in [0, 1].

    A corpus's figure is of all captions counted together, not the mean of the images'.

    Source:
        The figures of coco-caption's BleuScorer (closest reference length).
    """
    statistics = bleu_statistics(corpus).astype(np.float64)
    values = {size: partial(bleu, size=size) for size in range(1, LONGEST + 1)}
    return [
        Score(f"BLEU-{size}", value(statistics), statistics, value, "closest")
        for size, value in values.items()
    ]


def bleu_statistics(corpus: Corpus) -> Ints:
    """All that BLEU needs to know of each image, ``(I, 10)``; of several images, it adds up.

    Returns:
        Words of the candidate; words of the reference closest in length, the shorter one of two;
        runs of one, two, three and four words of the candidate that are also in a reference, each
        as often as in one of them at most; runs of each size in the candidate.
    """
    lengths = corpus.words.lengths
    own = lengths[corpus.candidate]
    possible = [np.maximum(own - size, 0) for size in range(LONGEST)]
    matches = [_matches(corpus, size) for size in range(1, LONGEST + 1)]
    return np.stack([own, _closest(corpus, lengths), *matches, *possible], 1)


def bleu(sums: Floats, *, size: int) -> Floats:
    """BLEU of what was counted.

    Args:
        sums: of `bleu_statistics`, ``(..., 10)``.
        size: words of the longest run, 1 to 4.

    Returns:
        ``(...,)``, in [0, 1].
    """
    lengths, matches, possible = np.split(np.asarray(sums, np.float64), [2, 2 + LONGEST], axis=-1)
    precisions = (matches + _TINY) / (possible + _SMALL)
    inverse = (lengths[..., 1] + _SMALL) / (lengths[..., 0] + _TINY)
    brevity = np.exp(np.minimum(1 - inverse, 0))
    figure: Floats = precisions[..., :size].prod(-1) ** (1 / size) * brevity
    return figure


def smoothed_bleu(statistics: Ints) -> Floats:
    """BLEU-4 of single captions, with one added to the counts of n-grams longer than a word.

    Args:
        statistics: of `bleu_statistics`, ``(..., 10)``.

    Returns:
        ``(...,)``, in [0, 1]; 0 where no word matches.

    Source:
        Lin and Och 2004, the smoothing.
    """
    lengths, matches, possible = np.split(
        np.asarray(statistics, np.float64), [2, 2 + LONGEST], axis=-1
    )
    added = np.arange(LONGEST) > 0
    with np.errstate(divide="ignore", invalid="ignore"):  # captions without a word
        precisions = (matches + added) / (possible + added)
        brevity = np.exp(np.minimum(1 - lengths[..., 1] / lengths[..., 0], 0))
        scores = precisions.prod(-1) ** (1 / LONGEST) * brevity
    smoothed: Floats = np.where(matches[..., 0] > 0, scores, 0.0)
    return smoothed


class Counts(NamedTuple):
    """Lengths in a corpus."""

    candidate_length: int  # words
    reference_length: int  # words of each image's reference closest in length


class Bleu(NamedTuple):
    """BLEU of a corpus."""

    scores: tuple[float, ...]  # BLEU-1, BLEU-2, BLEU-3, BLEU-4 of all captions counted together
    images: Floats  # (I, 4) of each caption by itself
    counts: Counts


def corpus_bleu(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> Bleu:
    """BLEU-1 to BLEU-4 of many captions, where no other score is wanted.

    Args:
        candidates: the words of one caption an image.
        references: for each image, in the same order, the words of each of its true captions.

    Raises:
        ValueError: there is no caption, the two differ in number, an image has no reference, or
            a caption is a string instead of a list of words.
    """
    found = bleu_scores(corpus(candidates, references))
    candidate_length, reference_length = found[0].statistics.sum(0)[:2]
    return Bleu(
        scores=tuple(score.corpus for score in found),
        images=np.stack([score.images for score in found], 1),
        counts=Counts(int(candidate_length), int(reference_length)),
    )


def _closest(corpus: Corpus, lengths: Ints) -> Ints:
    """Words of the reference closest to each candidate in length, ``(I,)``."""
    references = corpus.references
    own = lengths[corpus.candidate]
    longer = lengths[references] - own[corpus.image_of[references]]
    ranks = 2 * abs(longer) + (longer > 0)  # of two as close the shorter has the lower rank
    lowest = np.minimum.reduceat(ranks, corpus.reference_starts)
    return own + np.where(lowest % 2, lowest // 2, -(lowest // 2))


def _matches(corpus: Corpus, size: int) -> Ints:
    """Runs of each candidate that a reference holds as well, ``(I,)``."""
    grams = corpus.grams[size - 1]
    both = np.minimum(grams.count[grams.said], grams.count[grams.shared])
    starts = np.flatnonzero(changes(grams.said))
    most = np.maximum.reduceat(both, starts)  # of the references of an image
    images = corpus.image_of[grams.sentence[grams.said[starts]]]
    return np.bincount(images, most, corpus.images).astype(np.int64)
