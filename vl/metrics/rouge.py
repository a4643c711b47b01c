"""ROUGE-L, the longest common subsequence of a caption and what people wrote (Lin 2004)."""

import numpy as np
from numpy.typing import NDArray

from vl.metrics.ngrams import Corpus, Ints, changes, in_order
from vl.metrics.score import Score, mean_score

_BETA = 1.2  # weight of recall against precision, coco-caption's
_BITS = 64  # words of a candidate that fit into one number
_BLOCK = 4096  # words of a candidate that are taken at once, where they do not fit

Bits = NDArray[np.uint64]


def rouge_l(corpus: Corpus) -> Score:
    """ROUGE-L of each image, in [0, 1], and their mean.

    Precision and recall are each the best of any reference, be it another one.

    Source:
        The figures of coco-caption's Rouge. An empty caption is one empty word there: it scores 1
        where a reference is empty as well, and 0 where none is.
    """
    lengths = corpus.tokens.lengths
    common = common_subsequences(corpus)
    references = corpus.references
    own = lengths[corpus.candidate]
    precision = np.maximum.reduceat(common, corpus.reference_starts) / own
    recall = np.maximum.reduceat(common / lengths[references], corpus.reference_starts)
    below = recall + _BETA**2 * precision
    images = np.zeros(corpus.images)
    np.divide((1 + _BETA**2) * precision * recall, below, out=images, where=below > 0)
    return mean_score("ROUGE-L", images, detail=f"beta {_BETA}")


def common_subsequences(corpus: Corpus) -> Ints:
    """Words of the longest common subsequence of each reference and its candidate, ``(R,)``.

    Source:
        The column of the table of lengths as the bits of one number, a bit a word of the
        candidate: Allison and Dix 1986, in the form of Hyyrö 2004.
    """
    common = np.empty(len(corpus.references), np.int64)
    lengths = corpus.tokens.lengths
    is_long = (lengths[corpus.candidate] > _BITS)[corpus.image_of[corpus.references]]
    short = np.flatnonzero(~is_long)
    common[short] = _of_short(corpus, corpus.references[short])
    for index in np.flatnonzero(is_long):
        reference = corpus.references[index]
        candidate = corpus.candidate[corpus.image_of[reference]]
        common[index] = _of_long(_sentence(corpus, candidate), _sentence(corpus, reference))
    return common


def _of_short(corpus: Corpus, references: Ints) -> Ints:
    """`common_subsequences` of these references, whose candidates have at most 64 words each."""
    lengths = corpus.tokens.lengths[references]
    order = np.argsort(-lengths, kind="stable")
    starts = corpus.tokens.starts[references[order]]
    longest = int(lengths.max(initial=0))
    unfinished = np.searchsorted(-lengths[order], -np.arange(longest))  # first so many of `order`
    equal = _equal_words(corpus)
    column = np.full(len(order), ~np.uint64(0))
    for step, count in enumerate(unfinished.tolist()):
        live = column[:count]
        hit = live & equal[starts[:count] + step]
        column[:count] = (live + hit) | (live ^ hit)
    common = np.empty(len(order), np.int64)
    common[order] = np.unpackbits(~column.view(np.uint8).reshape(-1, 8), axis=1).sum(1)
    return common


def _equal_words(corpus: Corpus) -> Bits:
    """For each position the words of the image's candidate that are the same, a bit a word."""
    tokens = corpus.tokens
    equal = np.zeros(len(tokens.words), np.uint64)
    for offset in range(_BITS):  # a long candidate's further words are not used
        spoken = corpus.candidate[tokens.lengths[corpus.candidate] > offset]
        equal[tokens.starts[spoken] + offset] = 1 << offset
    places, starts = _by_word(corpus)
    runs = np.diff(np.append(starts, len(places)))
    equal[places] = np.repeat(np.bitwise_or.reduceat(equal[places], starts), runs)
    return equal


def _by_word(corpus: Corpus) -> tuple[Ints, Ints]:
    """All positions, those of one word of one image together; and where such a group begins."""
    tokens = corpus.tokens
    words, places = in_order(tokens.words, np.arange(len(tokens.words)))
    image = corpus.image_of[tokens.owners][places]
    return places, np.flatnonzero(changes(words, image))


def _of_long(candidate: list[int], reference: list[int]) -> int:
    """The same on Python's whole numbers, by blocks: all words at once would be quadratic."""
    common = 0
    carries = [0] * len(reference)
    for begin in range(0, len(candidate), _BLOCK):
        block = candidate[begin : begin + _BLOCK]
        equal: dict[int, int] = {}
        for offset, word in enumerate(block):
            equal[word] = equal.get(word, 0) | 1 << offset
        full = (1 << len(block)) - 1
        column = full
        for step, word in enumerate(reference):
            hit = column & equal.get(word, 0)
            total = column + hit + carries[step]
            carries[step] = total >> len(block)
            column = total & full | column ^ hit
        common += len(block) - column.bit_count()
    return common


def _sentence(corpus: Corpus, index: int) -> list[int]:
    begin, end = corpus.tokens.starts[index : index + 2]
    words: list[int] = corpus.tokens.words[begin:end].tolist()
    return words
