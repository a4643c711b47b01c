"""Diversity of captions: vocabulary, repeated captions, Div-n, self-BLEU, novelty.

It does not know images: whether a caption is right is for the other metrics.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from vl.metrics.bleu import bleu
from vl.metrics.ngrams import (
    MAX_ORDER,
    CaptionCorpus,
    Ints,
    NgramTable,
    index_captions,
    starts_group,
)
from vl.metrics.score import Floats


class Diversity(NamedTuple):
    """Diversity of a system's captions, over all of them."""

    captions: int
    distinct: int  # captions that differ in some word
    word_types: int  # distinct words
    div_1: float  # distinct words over words: the type-token ratio
    div_2: float  # distinct bigrams over bigrams
    self_bleu: float | None  # mean BLEU-4 of each against all others; None for a single caption
    novel: float | None  # share that are no training caption; None without training captions
    most_frequent: tuple[str, ...]  # the words of the most frequent caption
    most_frequent_count: int
    mean_length: float  # words

    def scaled(self, factor: float) -> "Diversity":
        """The same with its ratios times a factor: by 100 in hundredths."""
        ratios = {name: getattr(self, name) for name in ("div_1", "div_2", "self_bleu", "novel")}
        scaled = {name: factor * ratio for name, ratio in ratios.items() if ratio is not None}
        return self._replace(**scaled)


def diversity(
    captions: Sequence[Sequence[str]], training: Iterable[Sequence[str]] | None = None
) -> Diversity:
    """Compute the diversity of a system's captions.

    All of it depends on the tokenizer, see docs/scores.md.

    Args:
        captions: the words of one caption per image.
        training: the words of each caption that the system was trained on.

    Returns:
        Of equally frequent captions the first is the most frequent. A ratio of nothing is 0. A
        caption without words is not novel. Self-BLEU, where 1 is the least diverse, compares each
        caption with every other, without sampling. As every BLEU-4 here it is close to 0 for a
        caption of fewer than four words, even for a repeated one.

    Raises:
        ValueError: there is no caption.

    Source:
        Div-1 and Div-2 are from Shetty et al. 2017, where they are of the five captions of an
        image and divided by words; these are of all captions, and Div-2 is divided by bigrams.
        Self-BLEU is Zhu et al. 2018, whose code smooths BLEU; coco-caption's does not.
    """
    if not len(captions):
        raise ValueError("there is no caption to evaluate")
    corpus = index_captions([()], [captions])  # as references of one image with an empty candidate
    frequencies = Counter(map(tuple, captions))
    ((most_frequent, most_frequent_count),) = frequencies.most_common(1)
    novel = None
    if training is not None:
        seen = {(), *map(tuple, training)}
        novel = sum(n for caption, n in frequencies.items() if caption not in seen) / len(captions)
    return Diversity(
        captions=len(captions),
        distinct=len(frequencies),
        word_types=len(corpus.ngrams[0].position),
        div_1=_distinct_ratio(corpus.ngrams[0]),
        div_2=_distinct_ratio(corpus.ngrams[1]),
        self_bleu=float(_self_bleu(corpus).mean()) if len(captions) > 1 else None,
        novel=novel,
        most_frequent=most_frequent,
        most_frequent_count=most_frequent_count,
        mean_length=float(corpus.words.lengths[1:].mean()),
    )


def _distinct_ratio(table: NgramTable) -> float:
    """Distinct n-grams over all n-grams."""
    total = int(table.count.sum())
    return len(table.position) / total if total else 0.0


def _self_bleu(corpus: CaptionCorpus) -> Floats:
    """BLEU-4 of each caption against all others, ``(I,)``."""
    lengths = corpus.words.lengths[1:]  # (I,)
    matches = [_matches_in_others(table, len(lengths)) for table in corpus.ngrams]
    totals = [np.maximum(lengths - offset, 0) for offset in range(MAX_ORDER)]
    statistics = np.stack([lengths, _closest_other_length(lengths), *matches, *totals], 1)
    return bleu(statistics.astype(np.float64), order=MAX_ORDER)


def _matches_in_others(table: NgramTable, num_captions: int) -> Ints:
    """N-grams of each caption that another one contains, clipped to its count, ``(I,)``.

    The greatest count in any other caption is the greatest count of all, except for the caption
    that has it: there it is the second greatest. So no two captions need be compared.
    """
    starts = np.flatnonzero(starts_group(table.ngram))
    greatest = np.maximum.reduceat(table.count, starts)  # (G,)
    has_greatest = table.count == greatest[table.ngram]  # (N,)
    second = np.maximum.reduceat(np.where(has_greatest, 0, table.count), starts)
    is_tied = np.add.reduceat(has_greatest.astype(np.int64), starts) > 1
    second = np.where(is_tied, greatest, second)
    clipped = np.where(has_greatest, second[table.ngram], table.count)
    return np.bincount(table.sentence - 1, clipped, num_captions).astype(np.int64)


def _closest_other_length(lengths: Ints) -> Ints:
    """For each length, that of the other caption closest to it, the shorter one of two."""
    distinct, index, counts = np.unique(lengths, return_inverse=True, return_counts=True)
    far = distinct[-1] + 1  # farther than any
    gap_below = np.append(far, np.diff(distinct))
    gap_above = np.append(np.diff(distinct), far)
    closest = np.where(gap_below <= gap_above, distinct - gap_below, distinct + gap_above)
    return np.where(counts > 1, distinct, closest)[index]
