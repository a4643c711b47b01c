"""Runs of one to four words, counted in every caption of a corpus at once, as arrays of numbers.

It knows nothing of tokenisers: captions come as lists of words.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LONGEST = 4  # words of the longest run that counts, in BLEU as in CIDEr

Ints = NDArray[np.int64]
Small = NDArray[np.int32]
Bools = NDArray[np.bool_]


class Sentences(NamedTuple):
    """``S`` sentences of ``P`` words in all, one after the other."""

    words: Ints  # (P,) ids
    starts: Ints  # (S + 1,) position of each sentence's first word, and P

    @property
    def lengths(self) -> Ints:
        """Words of each sentence, ``(S,)``."""
        return np.diff(self.starts)

    @property
    def owners(self) -> Ints:
        """The sentence of each word, ``(P,)``."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)


@dataclass(frozen=True, eq=False)
class Grams:
    """The runs of one size: a row for each that a sentence holds, ``N``, and ``G`` different ones.

    Rows are in the order of the runs' ids and, within one, of sentences. As an image's candidate
    stands before its references, so do its rows.
    """

    gram: Ints  # (N,) ids, 0 to G - 1
    sentence: Ints  # (N,)
    count: Ints  # (N,) how often the sentence holds it, 1 and more
    place: Ints  # (G,) a position where each run begins
    shared: Ints  # (M,) rows of references whose run the candidate of their image has as well
    said: Ints  # (M,) the candidate's row for each; ascends


@dataclass(frozen=True, eq=False)
class Corpus:
    """What was said of ``I`` images: a candidate each, and ``R`` references in all.

    Each image has its candidate and then its references, ``S = I + R`` sentences.
    """

    vocabulary: list[str]
    """The word of each id."""
    tokens: Sentences
    """The words as they were given; an empty caption is one empty word. ROUGE counts these."""
    words: Sentences
    """The words, taken apart at white space within them. BLEU and CIDEr count these.

    The very same object as `tokens` where nothing is to be taken apart."""
    candidate: Ints
    """The sentence that is each image's candidate, ``(I,)``; its references follow it."""
    image_of: Ints
    """The image of each sentence, ``(S,)``; ascends."""

    @property
    def images(self) -> int:
        """``I``."""
        return len(self.candidate)

    @cached_property
    def is_candidate(self) -> Bools:
        """Which sentences are candidates, ``(S,)``."""
        found = np.zeros(len(self.image_of), bool)
        found[self.candidate] = True
        return found

    @cached_property
    def references(self) -> Ints:
        """The sentences that are references, ``(R,)``."""
        return np.flatnonzero(~self.is_candidate)

    @property
    def reference_starts(self) -> Ints:
        """Where in `references` each image's begin, ``(I,)``."""
        return self.candidate - np.arange(self.images)

    @cached_property
    def grams(self) -> tuple[Grams, ...]:
        """The runs of one word, of two, of three and of four."""
        return tuple(_grams(self))


def corpus(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> Corpus:
    """Captions as numbers, once for all scores.

    The scores are those of coco-caption for the words joined by spaces. It takes sentences apart
    at any white space for BLEU and CIDEr, but only at spaces for ROUGE; a word of the tokeniser's
    may hold a no-break space.

    Args:
        candidates: the words of one caption an image; none is a caption without words.
        references: for each image, in the same order, the words of each of its true captions.

    Raises:
        ValueError: there is no caption, the two differ in number, an image has no reference, or
            a caption is a string instead of a list of words.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} captions, but references of {len(references)} images")
    if not len(candidates):
        raise ValueError("there is no caption to score")
    numbers = np.fromiter(map(len, references), np.int64, len(references))
    if not numbers.all():
        raise ValueError("an image has no reference caption")
    sentences: list[Sequence[str]] = []
    for candidate, captions in zip(candidates, references, strict=True):
        for caption in (candidate, *captions):
            if isinstance(caption, str):
                raise ValueError(f"a caption must be a list of words, not the string {caption!r}")
            sentences.append(caption or ("",))
    ids: defaultdict[str, int] = defaultdict()
    ids.default_factory = ids.__len__
    lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
    starts = np.append(0, np.cumsum(lengths))
    every = map(ids.__getitem__, chain.from_iterable(sentences))
    tokens = Sentences(np.fromiter(every, np.int64, starts[-1]), starts)
    return Corpus(
        words=_apart(tokens, ids),
        vocabulary=list(ids),
        tokens=tokens,
        candidate=np.append(0, np.cumsum(numbers + 1)[:-1]),
        image_of=np.repeat(np.arange(len(candidates)), numbers + 1),
    )


def changes(*columns: NDArray[Any]) -> Bools:
    """Where a row differs from the one before it, ``(N,)``; the first row does."""
    changed = np.zeros(len(columns[0]), bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed


def in_order(keys: Ints, places: Ints) -> tuple[Ints, Ints]:
    """Keys in ascending order, and the place of each; places of equal keys ascend.

    Args:
        keys: 0 and more.
        places: 0 and more, ascending.
    """
    if not len(keys):
        return keys, places
    bits = int(places[-1]).bit_length()
    if int(keys.max()).bit_length() + bits > 63:
        order = np.argsort(keys, kind="stable")
        return keys[order], places[order]
    both = keys << bits  # sorting numbers takes half the time of sorting an index to them
    both |= places
    both.sort()
    places = both & ((1 << bits) - 1)
    both >>= bits
    return both, places


def _apart(tokens: Sentences, ids: defaultdict[str, int]) -> Sentences:
    """Every token taken apart at white space; words not met before are added to ``ids``."""
    parts = [token.split() for token in ids]
    if all(part == [token] for part, token in zip(parts, ids, strict=True)):
        return tokens
    numbers = np.fromiter(map(len, parts), np.int64, len(parts))
    part_ids = np.array([ids[word] for part in parts for word in part], np.int64)
    ends = np.append(0, np.cumsum(numbers[tokens.words]))  # of each token's parts
    offsets = (np.cumsum(numbers) - numbers)[tokens.words] - ends[:-1]
    which = np.repeat(offsets, np.diff(ends)) + np.arange(ends[-1])
    return Sentences(part_ids[which], ends[tokens.starts])


def _grams(corpus: Corpus) -> Iterator[Grams]:
    # Half of 64 bits holds both, and they are read in no order: what is small stays at hand.
    owners = corpus.words.owners.astype(np.int32)
    ids = np.zeros(len(owners), np.int32)
    for size in range(1, LONGEST + 1):
        grams, ids = _counted(corpus, size, ids, owners)
        yield grams


def _counted(corpus: Corpus, size: int, shorter: Small, owners: Small) -> tuple[Grams, Small]:
    """The runs of one size, and the id of the run that begins at each position.

    A run's key is the id of the run without its last word, and that word. Ids are dense, so that
    a key is below the square of the number of words: 64 bits hold it.

    Args:
        corpus: what was said.
        size: words of a run.
        shorter: the id of the run of a word less that begins at each position, ``(P,)``.
        owners: the sentence of each position, ``(P,)``.
    """
    words, starts = corpus.words
    places = np.flatnonzero(np.arange(size, len(words) + size) <= starts[1:][owners])
    keys = shorter[places].astype(np.int64)
    keys *= len(corpus.vocabulary)
    keys += words[places + (size - 1)]
    keys, places = in_order(keys, places)
    is_first = changes(keys)
    gram = np.cumsum(is_first) - 1
    ids = np.zeros_like(shorter)
    ids[places] = gram
    owner = owners[places]
    rows = np.flatnonzero(changes(gram, owner))
    count = np.diff(np.append(rows, len(owner)))
    gram, sentence = gram[rows], owner[rows].astype(np.int64)
    shared, said = _shared(corpus, gram, sentence)
    return Grams(gram, sentence, count, places[is_first], shared, said), ids


def _shared(corpus: Corpus, gram: Ints, sentence: Ints) -> tuple[Ints, Ints]:
    """Rows of references with a run of their image's candidate, and the candidate's rows."""
    spoken = corpus.is_candidate[sentence]
    last = np.maximum.accumulate(np.where(spoken, np.arange(len(gram)), 0))
    image = corpus.image_of[sentence]
    alike = ~spoken & spoken[last] & (gram == gram[last]) & (image == image[last])
    shared = np.flatnonzero(alike)
    return shared, last[shared]
