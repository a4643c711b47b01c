"""ROUGE-L, from the longest common subsequence of a caption and a reference (Lin 2004)."""

import numpy as np
from numpy.typing import NDArray

from vl.metrics.ngrams import CaptionCorpus, Ints, sort_positions, starts_group
from vl.metrics.score import Score, mean_score

_BETA = 1.2  # weight of recall against precision, coco-caption's
_BITS = 64  # candidates of at most this many words fit into one integer
_BLOCK = 4096  # words of a longer candidate that are processed at once

BitMasks = NDArray[np.uint64]


def rouge_l(corpus: CaptionCorpus) -> Score:
    """ROUGE-L of each image, in [0, 1], and the mean over images.

    Precision and recall are each the best over the references, which may be different ones.

    Source:
        coco-caption's Rouge, whose values these are. An empty caption is one empty word there: it
        scores 1 where a reference is empty as well, and 0 where none is.
    """
    lengths = corpus.tokens.lengths
    common = common_subsequences(corpus)
    precision = np.maximum.reduceat(common, corpus.reference_starts) / lengths[corpus.candidate]
    recall = np.maximum.reduceat(common / lengths[corpus.references], corpus.reference_starts)
    denominator = recall + _BETA**2 * precision
    per_image = np.zeros(corpus.num_images)
    numerator = (1 + _BETA**2) * precision * recall
    np.divide(numerator, denominator, out=per_image, where=denominator > 0)
    return mean_score("ROUGE-L", per_image, settings=f"beta {_BETA}")


def common_subsequences(corpus: CaptionCorpus, *, block: int = _BLOCK) -> Ints:
    """Length of the longest common subsequence of each reference and its candidate, ``(R,)``.

    Args:
        corpus: the captions.
        block: words of a candidate longer than 64 that are processed at once; any value gives the
            same lengths.

    Source:
        The column of the table of lengths as the bits of one integer, one bit per word of the
        candidate: Allison and Dix 1986, in the form of Hyyrö 2004.
    """
    common = np.empty(len(corpus.references), np.int64)
    is_long = corpus.tokens.lengths[corpus.candidate_of_reference] > _BITS
    short = np.flatnonzero(~is_long)
    common[short] = _short_candidates(corpus, corpus.references[short])
    sentences = np.split(corpus.tokens.ids, corpus.tokens.starts[1:-1]) if is_long.any() else []
    for index in np.flatnonzero(is_long):
        candidate = sentences[corpus.candidate_of_reference[index]].tolist()
        reference = sentences[corpus.references[index]].tolist()
        common[index] = _long_candidate(candidate, reference, block)
    return common


def _short_candidates(corpus: CaptionCorpus, references: Ints) -> Ints:
    """`common_subsequences` of these references, whose candidates have at most 64 words."""
    lengths = corpus.tokens.lengths[references]
    order = np.argsort(-lengths, kind="stable")
    starts = corpus.tokens.starts[references[order]]
    longest = int(lengths.max(initial=0))
    unfinished = np.searchsorted(-lengths[order], -np.arange(longest))  # a prefix of `order`
    masks = _equal_words(corpus)
    column = np.full(len(order), ~np.uint64(0))
    for step, count in enumerate(unfinished.tolist()):
        live = column[:count]
        hit = live & masks[starts[:count] + step]
        column[:count] = (live + hit) | (live ^ hit)
    common = np.empty(len(order), np.int64)
    common[order] = np.unpackbits(~column.view(np.uint8).reshape(-1, 8), axis=1).sum(1)
    return common


def _equal_words(corpus: CaptionCorpus) -> BitMasks:
    """For each position, which words of the image's candidate are equal to it, one bit per word."""
    tokens = corpus.tokens
    masks = np.zeros(len(tokens.ids), np.uint64)
    for offset in range(_BITS):  # a long candidate's further words are not used
        candidates = corpus.candidate[tokens.lengths[corpus.candidate] > offset]
        masks[tokens.starts[candidates] + offset] = 1 << offset
    ids, positions = sort_positions(tokens.ids, np.arange(len(tokens.ids)))
    image = corpus.image_of[tokens.sentence_of][positions]
    starts = np.flatnonzero(starts_group(ids, image))  # of each group of one word and image
    sizes = np.diff(np.append(starts, len(positions)))
    masks[positions] = np.repeat(np.bitwise_or.reduceat(masks[positions], starts), sizes)
    return masks


def _long_candidate(candidate: list[int], reference: list[int], block_size: int) -> int:
    """The same on Python's integers, in blocks: all words at once would be quadratic."""
    common = 0
    carries = [0] * len(reference)
    for begin in range(0, len(candidate), block_size):
        block = candidate[begin : begin + block_size]
        masks: dict[int, int] = {}
        for offset, word in enumerate(block):
            masks[word] = masks.get(word, 0) | 1 << offset
        full = (1 << len(block)) - 1
        column = full
        for step, word in enumerate(reference):
            hit = column & masks.get(word, 0)
            total = column + hit + carries[step]
            carries[step] = total >> len(block)
            column = total & full | column ^ hit
        common += len(block) - column.bit_count()
    return common
