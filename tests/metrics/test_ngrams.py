"""N-grams as arrays against plain counters of tuples."""

import random
import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from tests.helpers.random_captions import Words, random_corpus
from vl.metrics.ngrams import MAX_ORDER, CaptionCorpus, index_captions, sort_positions, starts_group

ORDERS = range(1, MAX_ORDER + 1)


def sentences(candidates: list[Words], references: list[list[Words]]) -> list[Words]:
    """All captions, each image's candidate before its references."""
    images = zip(candidates, references, strict=True)
    return [caption for candidate, captions in images for caption in (candidate, *captions)]


def ngram_words(corpus: CaptionCorpus, order: int) -> list[tuple[str, ...]]:
    """The words of each n-gram, in the order of their ids."""
    words = [corpus.vocabulary[word] for word in corpus.words.ids.tolist()]
    starts = corpus.ngrams[order - 1].position.tolist()
    return [tuple(words[start : start + order]) for start in starts]


@pytest.mark.parametrize("seed", range(100))
def test_ngrams_equal_a_plain_counter(seed: int) -> None:
    captions = random_corpus(seed)
    corpus = index_captions(*captions)
    split = [" ".join(words).split() for words in sentences(*captions)]
    for order in ORDERS:
        expected = Counter(
            (tuple(words[first : first + order]), sentence)
            for sentence, words in enumerate(split)
            for first in range(len(words) - order + 1)
        )
        table, ngrams = corpus.ngrams[order - 1], ngram_words(corpus, order)
        assert len(set(ngrams)) == len(ngrams)
        columns = (table.ngram.tolist(), table.sentence.tolist(), table.count.tolist())
        rows = list(zip(*columns, strict=True))
        assert rows == sorted(rows)
        assert len(rows) == len(expected)
        assert {(ngrams[ngram], sentence): count for ngram, sentence, count in rows} == expected


@pytest.mark.parametrize("seed", range(100))
def test_matched_rows_are_of_ngrams_that_the_candidate_has(seed: int) -> None:
    corpus = index_captions(*random_corpus(seed))
    candidate = set(corpus.candidate.tolist())
    for table in corpus.ngrams:
        pairs = list(zip(table.ngram.tolist(), table.sentence.tolist(), strict=True))
        row_of = {pair: row for row, pair in enumerate(pairs)}
        expected = {}
        for row, (ngram, sentence) in enumerate(pairs):
            candidate_of_image = int(corpus.candidate[corpus.image_of[sentence]])
            if sentence not in candidate and (ngram, candidate_of_image) in row_of:
                expected[row] = row_of[ngram, candidate_of_image]
        matches = list(zip(table.matched.tolist(), table.candidate_row.tolist(), strict=True))
        assert sorted(matches) == sorted(expected.items())
        assert (np.diff(table.candidate_row) >= 0).all()


@pytest.mark.parametrize("seed", range(30))
def test_tokens_are_the_words_as_passed_in(seed: int) -> None:
    captions = random_corpus(seed)
    corpus = index_captions(*captions)
    words = [corpus.vocabulary[word] for word in corpus.tokens.ids.tolist()]
    starts = corpus.tokens.starts.tolist()
    back = [words[begin:end] for begin, end in pairwise(starts)]
    assert back == [caption or [""] for caption in sentences(*captions)]
    splits = any("\u00a0" in word or not word for word in corpus.vocabulary)
    assert (corpus.words is corpus.tokens) == (not splits)


def test_positions_of_candidates_and_references() -> None:
    corpus = index_captions([["a"], ["b"], []], [[["a"]], [["c"], [], ["d"]], [["e"], ["f"]]])
    assert corpus.num_images == 3
    assert corpus.candidate.tolist() == [0, 2, 6]
    assert corpus.image_of.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert corpus.references.tolist() == [1, 3, 4, 5, 7, 8]
    assert corpus.reference_starts.tolist() == [0, 1, 4]
    assert corpus.is_candidate.tolist() == [True, False, True, *[False] * 3, True, *[False] * 2]


def test_captions_may_all_be_empty() -> None:
    corpus = index_captions([[]], [[[], []]])
    assert corpus.words.lengths.tolist() == [0, 0, 0]
    assert [len(table.ngram) for table in corpus.ngrams] == [0, 0, 0, 0]


def test_memory_is_linear_in_the_words_of_a_caption() -> None:
    rng = random.Random(0)
    long = rng.choices([f"word{index}" for index in range(20_000)], k=100_000)
    tracemalloc.start()
    try:
        corpus = index_captions([long], [[long]])
        rows = [len(table.ngram) for table in corpus.ngrams]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == [
        2 * len(set(zip(*(long[first:] for first in range(order))))) for order in ORDERS
    ]
    assert peak < 300 * 2 * len(long)  # bytes per word


@pytest.mark.parametrize("limit", [5, 2**30, 2**50, 2**51, 2**61])
def test_sort_positions_equals_a_plain_sort(limit: int) -> None:
    # Beyond 63 bits a key and its position do not fit into one integer.
    rng = random.Random(limit)
    keys = [rng.randint(0, limit) for _ in range(300)]
    keys += rng.choices(keys, k=200)
    positions = sorted(rng.sample(range(5000), k=500))
    ordered = sort_positions(np.array(keys), np.array(positions))
    assert list(zip(*(column.tolist() for column in ordered), strict=True)) == sorted(
        zip(keys, positions, strict=True)
    )


def test_starts_group_compares_all_columns() -> None:
    mask = starts_group(np.array([1, 1, 1, 2, 2]), np.array([5, 5, 6, 6, 6]))
    assert mask.tolist() == [True, False, True, True, False]
    assert starts_group(np.array([], np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([["a"]], [], "1 captions, but references of 0 images"),
        ([], [], "no caption to evaluate"),
        ([["a"], ["b"]], [[["a"]], []], "no reference caption"),
    ],
)
def test_invalid_captions_are_refused(
    candidates: list[Words], references: list[list[Words]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        index_captions(candidates, references)
