"""N-grams of one to four words, counted in every caption of a corpus at once, as NumPy arrays.

It does not know tokenizers: captions are lists of words.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_ORDER = 4  # words of the longest n-gram, in BLEU as in CIDEr

Ints = NDArray[np.int64]
SmallInts = NDArray[np.int32]
Bools = NDArray[np.bool_]


class TokenArray(NamedTuple):
    """``S`` sentences of ``P`` words in total, concatenated."""

    ids: Ints  # (P,)
    starts: Ints  # (S + 1,) position of each sentence's first word, and P

    @property
    def lengths(self) -> Ints:
        """Words of each sentence, ``(S,)``."""
        return np.diff(self.starts)

    @property
    def sentence_of(self) -> Ints:
        """The sentence of each word, ``(P,)``."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)


@dataclass(frozen=True, eq=False)
class NgramTable:
    """Counts of ``G`` distinct n-grams of one order, one row for each in each sentence, ``N`` rows.

    Rows are sorted by n-gram and then by sentence. As an image's candidate comes before its
    references, so do its rows.
    """

    ngram: Ints  # (N,) ids, 0 to G - 1
    sentence: Ints  # (N,)
    count: Ints  # (N,) occurrences in the sentence, at least 1
    position: Ints  # (G,) a position where each n-gram begins
    matched: Ints  # (M,) rows of references whose n-gram is in their image's candidate as well
    candidate_row: Ints  # (M,) the candidate's row for each of `matched`; ascending


@dataclass(frozen=True, eq=False)
class CaptionCorpus:
    """Captions of ``I`` images as word ids: one candidate each, and ``R`` references in total.

    The ``S = I + R`` sentences are each image's candidate and then its references.
    """

    vocabulary: list[str]
    """The word of each id."""
    tokens: TokenArray
    """The words as passed in; an empty caption is one empty word. ROUGE-L uses these."""
    words: TokenArray
    """The words, split at white space within them. BLEU and CIDEr use these.

    The same object as `tokens` where nothing is split."""
    candidate: Ints
    """The sentence that is each image's candidate, ``(I,)``; its references follow it."""
    image_of: Ints
    """The image of each sentence, ``(S,)``; ascending."""

    @property
    def num_images(self) -> int:
        """``I``."""
        return len(self.candidate)

    @cached_property
    def is_candidate(self) -> Bools:
        """Which sentences are candidates, ``(S,)``."""
        mask = np.zeros(len(self.image_of), bool)
        mask[self.candidate] = True
        return mask

    @cached_property
    def references(self) -> Ints:
        """The sentences that are references, ``(R,)``."""
        return np.flatnonzero(~self.is_candidate)

    @property
    def reference_starts(self) -> Ints:
        """Where in `references` each image's begin, ``(I,)``."""
        return self.candidate - np.arange(self.num_images)

    @cached_property
    def candidate_of_reference(self) -> Ints:
        """The candidate that each reference is compared with, ``(R,)``."""
        return self.candidate[self.image_of[self.references]]

    @cached_property
    def ngrams(self) -> tuple[NgramTable, ...]:
        """The n-grams of order 1, 2, 3 and 4."""
        # int32 is enough and, as they are read in random order, stays in the cache.
        sentence_of = self.words.sentence_of.astype(np.int32)
        ids = np.zeros(len(sentence_of), np.int32)
        tables = []
        for order in range(1, MAX_ORDER + 1):
            table, ids = _count(self, order, ids, sentence_of)
            tables.append(table)
        return tuple(tables)


def index_captions(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> CaptionCorpus:
    """Map captions to word ids, once for all metrics.

    The metrics equal those of coco-caption for the words joined by spaces. It splits sentences at
    any white space for BLEU and CIDEr, but only at spaces for ROUGE-L; a token of the PTB
    tokenizer may contain a no-break space.

    Args:
        candidates: the words of one caption per image; may be empty.
        references: for each image, in the same order, the words of each reference caption.

    Raises:
        ValueError: there is no caption, the lengths differ, or an image has no reference.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} captions, but references of {len(references)} images")
    if not len(candidates):
        raise ValueError("there is no caption to evaluate")
    counts = np.fromiter(map(len, references), np.int64, len(references))
    if not counts.all():
        raise ValueError("an image has no reference caption")
    images = zip(candidates, references, strict=True)
    sentences = [
        caption or ("",) for candidate, captions in images for caption in (candidate, *captions)
    ]
    vocabulary: defaultdict[str, int] = defaultdict()
    vocabulary.default_factory = vocabulary.__len__
    lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
    starts = np.append(0, np.cumsum(lengths))
    ids = map(vocabulary.__getitem__, chain.from_iterable(sentences))
    tokens = TokenArray(np.fromiter(ids, np.int64, starts[-1]), starts)
    return CaptionCorpus(
        words=_split_at_white_space(tokens, vocabulary),
        vocabulary=list(vocabulary),
        tokens=tokens,
        candidate=np.append(0, np.cumsum(counts + 1)[:-1]),
        image_of=np.repeat(np.arange(len(candidates)), counts + 1),
    )


def starts_group(*columns: NDArray[Any]) -> Bools:
    """Where a row differs from the previous one, ``(N,)``; True for the first row."""
    mask = np.zeros(len(columns[0]), bool)
    mask[:1] = True
    for column in columns:
        mask[1:] |= column[1:] != column[:-1]
    return mask


def sort_positions(keys: Ints, positions: Ints) -> tuple[Ints, Ints]:
    """Sort non-negative keys and carry along their positions, which are ascending; stable."""
    if not len(keys):
        return keys, positions
    bits = int(positions[-1]).bit_length()
    if int(keys.max()).bit_length() + bits > 63:
        order = np.argsort(keys, kind="stable")
        return keys[order], positions[order]
    packed = keys << bits  # sorting integers takes half the time of an argsort
    packed |= positions
    packed.sort()
    positions = packed & ((1 << bits) - 1)
    packed >>= bits
    return packed, positions


def _split_at_white_space(tokens: TokenArray, vocabulary: defaultdict[str, int]) -> TokenArray:
    """Every token split at white space; new words are added to ``vocabulary``."""
    parts = [token.split() for token in vocabulary]
    if all(part == [token] for part, token in zip(parts, vocabulary, strict=True)):
        return tokens
    counts = np.fromiter(map(len, parts), np.int64, len(parts))
    part_ids = np.array([vocabulary[word] for part in parts for word in part], np.int64)
    ends = np.append(0, np.cumsum(counts[tokens.ids]))  # of each token's parts
    offsets = (np.cumsum(counts) - counts)[tokens.ids] - ends[:-1]
    index = np.repeat(offsets, np.diff(ends)) + np.arange(ends[-1])
    return TokenArray(part_ids[index], ends[tokens.starts])


def _count(
    corpus: CaptionCorpus, order: int, prefix_ids: SmallInts, sentence_of: SmallInts
) -> tuple[NgramTable, SmallInts]:
    """The n-grams of one order, and the id of the n-gram that begins at each position.

    The key of an n-gram is the id of its first n - 1 words, and its last word. Ids are dense, so
    that a key is below the square of the number of words and fits into 64 bits.

    Args:
        corpus: the captions.
        order: n.
        prefix_ids: id of the (n - 1)-gram that begins at each position, ``(P,)``.
        sentence_of: the sentence of each position, ``(P,)``.
    """
    words, starts = corpus.words
    positions = np.flatnonzero(np.arange(order, len(words) + order) <= starts[1:][sentence_of])
    keys = prefix_ids[positions].astype(np.int64)
    keys *= len(corpus.vocabulary)
    keys += words[positions + (order - 1)]
    keys, positions = sort_positions(keys, positions)
    is_first = starts_group(keys)
    ngram = np.cumsum(is_first) - 1
    ids = np.zeros_like(prefix_ids)
    ids[positions] = ngram
    sentences = sentence_of[positions]
    rows = np.flatnonzero(starts_group(ngram, sentences))
    count = np.diff(np.append(rows, len(sentences)))
    ngram, sentence = ngram[rows], sentences[rows].astype(np.int64)
    matched, candidate_row = _matches(corpus, ngram, sentence)
    return NgramTable(ngram, sentence, count, positions[is_first], matched, candidate_row), ids


def _matches(corpus: CaptionCorpus, ngram: Ints, sentence: Ints) -> tuple[Ints, Ints]:
    """Rows of references with an n-gram of their image's candidate, and the candidate's rows."""
    in_candidate = corpus.is_candidate[sentence]
    last = np.maximum.accumulate(np.where(in_candidate, np.arange(len(ngram)), 0))
    image = corpus.image_of[sentence]
    is_match = ~in_candidate & in_candidate[last]
    is_match &= (ngram == ngram[last]) & (image == image[last])
    matched = np.flatnonzero(is_match)
    return matched, last[matched]
