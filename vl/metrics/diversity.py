"""How varied captions are: whether a system says many things, or a few things many times.

It knows nothing of images: whether what is said is true is for the other metrics.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from vl.metrics.bleu import bleu
from vl.metrics.ngrams import LONGEST, Corpus, Grams, Ints, changes, corpus
from vl.metrics.score import Floats


class Diversity(NamedTuple):
    """What was counted in a system's captions, all of them together."""

    captions: int
    distinct: int  # captions that differ in some word
    word_types: int  # different words
    div_1: float  # different words over all words: the type-token ratio
    div_2: float  # different pairs of neighbouring words over all pairs
    self_bleu: float | None  # mean BLEU-4 of each against all others; None of a single caption
    novel: float | None  # share that has words and is no training caption; None where none given
    commonest: tuple[str, ...]  # the words of the caption that was said most often
    commonest_count: int  # how often
    mean_length: float  # words


def diversity(
    captions: Sequence[Sequence[str]], training: Collection[Sequence[str]] | None = None
) -> Diversity:
    """How varied a system's captions are.

    Everything depends on what a word is. Of the captions that Show and Tell's authors gave to
    COCO's 40,504 validation images of 2014, 6,301 differ and hold 953 different words if they are
    split at spaces, where the full stop is a word, too; 6,234 and 951 by ``vl.data.captions.ptb.tokens.words``,
    which leaves out full stops and commas.

    Args:
        captions: the words of one caption an image.
        training: the words of each caption that the system was trained on.

    Returns:
        The counts. Of captions said equally often, the first is the commonest. A ratio of nothing
        is 0. A caption without words is not novel. Self-BLEU, where 1 is the least varied, has
        every other caption as a reference and leaves none out. As every BLEU-4 here it is next to
        nothing for a caption of fewer than four words, even for one that is said twice.

    Raises:
        ValueError: there is no caption, or one is a string instead of a list of words.

    Source:
        Div-1 and Div-2 are called so by Shetty et al. 2017, where they are of the five captions
        of an image and divided by words; these are of all captions, and Div-2 is divided by
        pairs. Self-BLEU is Zhu et al. 2018, whose code smooths BLEU; coco-caption's does not.
    """
    if not len(captions):
        raise ValueError("there is no caption to count")
    found = corpus([()], [captions])  # as references of one image, of which nothing was said
    times = Counter(map(tuple, captions))
    ((commonest, commonest_count),) = times.most_common(1)
    return Diversity(
        captions=len(captions),
        distinct=len(times),
        word_types=len(found.grams[0].place),
        div_1=_variety(found.grams[0]),
        div_2=_variety(found.grams[1]),
        self_bleu=float(_self_bleu(found).mean()) if len(captions) > 1 else None,
        novel=None if training is None else _novel(times, training) / len(captions),
        commonest=commonest,
        commonest_count=commonest_count,
        mean_length=float(found.words.lengths[1:].mean()),
    )


def _variety(grams: Grams) -> float:
    """Different runs over all runs."""
    runs = int(grams.count.sum())
    return len(grams.place) / runs if runs else 0.0


def _novel(times: Counter[tuple[str, ...]], training: Iterable[Sequence[str]]) -> int:
    """How many captions that have words are no training caption."""
    known = set()
    for caption in training:
        if isinstance(caption, str):
            raise ValueError(f"a caption must be a list of words, not the string {caption!r}")
        known.add(tuple(caption))
    return sum(count for said, count in times.items() if said and said not in known)


def _self_bleu(found: Corpus) -> Floats:
    """BLEU-4 of each caption against all others, ``(I,)``."""
    lengths = found.words.lengths[1:]  # (I,)
    matches = [_said_by_others(grams, len(lengths)) for grams in found.grams]
    possible = [np.maximum(lengths - size, 0) for size in range(LONGEST)]
    statistics = np.stack([lengths, _closest_other(lengths), *matches, *possible], 1)
    return bleu(statistics.astype(np.float64), size=LONGEST)


def _said_by_others(grams: Grams, captions: int) -> Ints:
    """Runs of each caption that another one holds, each as often as there at most, ``(I,)``.

    The most that any other caption has of a run is the most that any has at all, but for the one
    that has the most itself: there it is the second most. So no two captions need be compared.
    """
    starts = np.flatnonzero(changes(grams.gram))
    most = np.maximum.reduceat(grams.count, starts)  # (G,)
    has_most = grams.count == most[grams.gram]  # (N,)
    second = np.maximum.reduceat(np.where(has_most, 0, grams.count), starts)
    second = np.where(np.add.reduceat(has_most.astype(np.int64), starts) > 1, most, second)
    right = np.where(has_most, second[grams.gram], grams.count)
    return np.bincount(grams.sentence - 1, right, captions).astype(np.int64)


def _closest_other(lengths: Ints) -> Ints:
    """For each length, that of the other caption closest to it, the shorter one of two."""
    different, which, times = np.unique(lengths, return_inverse=True, return_counts=True)
    far = different[-1] + 1  # farther than any
    shorter = np.append(far, np.diff(different))  # by how much
    longer = np.append(np.diff(different), far)
    closest = np.where(shorter <= longer, different - shorter, different + longer)
    return np.where(times > 1, different, closest)[which]
