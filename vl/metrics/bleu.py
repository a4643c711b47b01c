"""BLEU, the n-gram precision of captions against references (Papineni et al. 2002).

A fraction in [0, 1] everywhere in this project, as in coco-caption; papers print it times 100.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from vl.metrics.ngrams import MAX_ORDER, CaptionCorpus, Ints, index_captions, starts_group
from vl.metrics.score import Floats, Score

# coco-caption adds these to numerators and denominators to avoid division by zero.
_TINY = 1e-15
_SMALL = 1e-9


def bleu_scores(corpus: CaptionCorpus) -> list[Score]:
    """BLEU-1, BLEU-2, BLEU-3 and BLEU-4, each in [0, 1].

    The corpus value is computed from the counts of all captions; it is not the mean over images.

    Source:
        coco-caption's BleuScorer, whose values these are (closest reference length).
    """
    statistics = bleu_statistics(corpus).astype(np.float64)
    aggregates = {order: partial(bleu, order=order) for order in range(1, MAX_ORDER + 1)}
    return [
        Score(f"BLEU-{order}", aggregate(statistics), statistics, aggregate, "closest")
        for order, aggregate in aggregates.items()
    ]


def bleu_statistics(corpus: CaptionCorpus) -> Ints:
    """The sufficient statistics of BLEU for each image, ``(I, 10)``; they add up over images.

    Returns:
        Candidate length; length of the reference closest to it, the shorter one of two; clipped
        n-gram matches of order 1 to 4; n-grams of order 1 to 4 in the candidate.
    """
    lengths = corpus.words.lengths[corpus.candidate]
    totals = [np.maximum(lengths - offset, 0) for offset in range(MAX_ORDER)]
    matches = [_clipped_matches(corpus, order) for order in range(1, MAX_ORDER + 1)]
    return np.stack([lengths, _closest_lengths(corpus), *matches, *totals], 1)


def bleu(sums: Floats, *, order: int) -> Floats:
    """BLEU from sums of statistics.

    Args:
        sums: of `bleu_statistics`, ``(..., 10)``.
        order: words of the longest n-gram, 1 to 4.

    Returns:
        ``(...,)``, in [0, 1].
    """
    lengths, matches, totals = np.split(np.asarray(sums, np.float64), [2, 2 + MAX_ORDER], axis=-1)
    precisions = (matches + _TINY) / (totals + _SMALL)
    inverse_ratio = (lengths[..., 1] + _SMALL) / (lengths[..., 0] + _TINY)
    brevity_penalty = np.exp(np.minimum(1 - inverse_ratio, 0))
    score: Floats = precisions[..., :order].prod(-1) ** (1 / order) * brevity_penalty
    return score


def smoothed_bleu(statistics: Ints) -> Floats:
    """BLEU-4 of single captions, with one added to the counts of n-grams longer than a word.

    Args:
        statistics: of `bleu_statistics`, ``(..., 10)``.

    Returns:
        ``(...,)``, in [0, 1]; 0 where no word matches.

    Source:
        Lin and Och 2004, the smoothing.
    """
    counts = np.asarray(statistics, np.float64)
    lengths, matches, totals = np.split(counts, [2, 2 + MAX_ORDER], axis=-1)
    added = np.arange(MAX_ORDER) > 0
    with np.errstate(divide="ignore", invalid="ignore"):  # captions without a word
        precisions = (matches + added) / (totals + added)
        brevity_penalty = np.exp(np.minimum(1 - lengths[..., 1] / lengths[..., 0], 0))
        scores = precisions.prod(-1) ** (1 / MAX_ORDER) * brevity_penalty
    smoothed: Floats = np.where(matches[..., 0] > 0, scores, 0.0)
    return smoothed


class CorpusBleu(NamedTuple):
    """BLEU of a corpus."""

    scores: tuple[float, ...]  # BLEU-1 to BLEU-4, in [0, 1]
    candidate_length: int  # words
    reference_length: int  # words of each image's reference closest in length
    matches: tuple[int, ...]  # clipped matches of n-grams of order 1 to 4


def corpus_bleu(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> CorpusBleu:
    """BLEU-1 to BLEU-4 of captions that are lists of words, where no other metric is needed.

    Args:
        candidates: the words of one caption per image.
        references: for each image, in the same order, the words of each reference caption.

    Raises:
        ValueError: there is no caption, the lengths differ, or an image has no reference.
    """
    scores = bleu_scores(index_captions(candidates, references))
    candidate, reference, *counts = map(int, scores[0].statistics.sum(0))
    matches = tuple(counts[:MAX_ORDER])
    return CorpusBleu(tuple(score.corpus for score in scores), candidate, reference, matches)


def _closest_lengths(corpus: CaptionCorpus) -> Ints:
    """Words of the reference closest to each candidate in length, ``(I,)``."""
    lengths = corpus.words.lengths
    difference = lengths[corpus.references] - lengths[corpus.candidate_of_reference]
    ranks = 2 * abs(difference) + (difference > 0)  # of two equally close the shorter comes first
    lowest = np.minimum.reduceat(ranks, corpus.reference_starts)
    return lengths[corpus.candidate] + np.where(lowest % 2, lowest // 2, -(lowest // 2))


def _clipped_matches(corpus: CaptionCorpus, order: int) -> Ints:
    """N-grams of each candidate that a reference has as well, clipped to its count, ``(I,)``."""
    table = corpus.ngrams[order - 1]
    clipped = np.minimum(table.count[table.candidate_row], table.count[table.matched])
    starts = np.flatnonzero(starts_group(table.candidate_row))
    best = np.maximum.reduceat(clipped, starts)  # over the references of an image
    images = corpus.image_of[table.sentence[table.candidate_row[starts]]]
    return np.bincount(images, best, corpus.num_images).astype(np.int64)
