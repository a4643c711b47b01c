"""Runs of words as arrays, against plain counters of tuples."""

import random
import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from vl.metrics.ngrams import MAX_ORDER, CaptionCorpus, index_captions, sort_positions, starts_group

Words = list[str]

NO_BREAK = "2\u00a01/2"  # one word of the tokeniser's, two to str.split
SIZES = range(1, MAX_ORDER + 1)


def captions(seed: int) -> tuple[list[Words], list[list[Words]]]:
    """Candidates and references of few different words, some empty, some with a no-break space."""
    draw = random.Random(seed)
    vocabulary = ["a", "b", "c", "d", NO_BREAK, "2", ""][: draw.randint(1, 7)]

    def caption() -> Words:
        return draw.choices(vocabulary, k=draw.choice([0, 1, 3, 12]))

    images = draw.randint(1, 8)
    candidates = [caption() for _ in range(images)]
    return candidates, [[caption() for _ in range(draw.randint(1, 5))] for _ in range(images)]


def runs(words: Words, size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[first : first + size]) for first in range(len(words) - size + 1))


def sentences(candidates: list[Words], references: list[list[Words]]) -> list[Words]:
    """All of them, each image's candidate first."""
    pairs = zip(candidates, references, strict=True)
    return [caption for candidate, others in pairs for caption in (candidate, *others)]


def spelt(found: CaptionCorpus, size: int) -> list[tuple[str, ...]]:
    """The words of each run, in the order of their ids."""
    words = [found.vocabulary[word] for word in found.words.ids.tolist()]
    return [
        tuple(words[place : place + size]) for place in found.ngrams[size - 1].position.tolist()
    ]


@pytest.mark.parametrize("seed", range(100))
def test_runs_agree_with_a_plain_counter(seed: int) -> None:
    given = captions(seed)
    found = index_captions(*given)
    split = [" ".join(words).split() for words in sentences(*given)]
    for size in SIZES:
        expected = {
            (run, number): count
            for number, words in enumerate(split)
            for run, count in runs(words, size).items()
        }
        grams, spelling = found.ngrams[size - 1], spelt(found, size)
        assert len(set(spelling)) == len(spelling)
        rows = zip(grams.ngram.tolist(), grams.sentence.tolist(), grams.count.tolist(), strict=True)
        assert {(spelling[gram], sentence): count for gram, sentence, count in rows} == expected
        assert len(grams.ngram) == len(expected)
        order = list(zip(grams.ngram.tolist(), grams.sentence.tolist(), strict=True))
        assert order == sorted(order)


@pytest.mark.parametrize("seed", range(100))
def test_shared_rows_are_those_of_runs_in_the_candidate_too(seed: int) -> None:
    found = index_captions(*captions(seed))
    candidate = set(found.candidate.tolist())
    for grams in found.ngrams:
        pairs = list(zip(grams.ngram.tolist(), grams.sentence.tolist(), strict=True))
        row_of = {pair: row for row, pair in enumerate(pairs)}
        expected = {}
        for row, (gram, sentence) in enumerate(pairs):
            own = int(found.candidate[found.image_of[sentence]])
            if sentence not in candidate and (gram, own) in row_of:
                expected[row] = row_of[gram, own]
        assert (
            dict(zip(grams.matched.tolist(), grams.candidate_row.tolist(), strict=True)) == expected
        )
        assert len(grams.matched) == len(expected)
        assert (np.diff(grams.candidate_row) >= 0).all()


@pytest.mark.parametrize("seed", range(30))
def test_tokens_are_the_words_as_they_were_given(seed: int) -> None:
    given = captions(seed)
    found = index_captions(*given)
    words = [found.vocabulary[word] for word in found.tokens.ids.tolist()]
    starts = found.tokens.starts.tolist()
    back = [words[begin:end] for begin, end in pairwise(starts)]
    assert back == [caption or [""] for caption in sentences(*given)]


def test_places_of_candidates_and_references() -> None:
    found = index_captions([["a"], ["b"], []], [[["a"]], [["c"], [], ["d"]], [["e"], ["f"]]])
    assert found.num_images == 3
    assert found.candidate.tolist() == [0, 2, 6]
    assert found.image_of.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert found.references.tolist() == [1, 3, 4, 5, 7, 8]
    assert found.reference_starts.tolist() == [0, 1, 4]
    assert found.is_candidate.tolist() == [True, False, True, *[False] * 3, True, *[False] * 2]


def test_words_are_no_second_copy_where_none_is_to_be_taken_apart() -> None:
    found = index_captions([["a", "b"]], [[["c"]]])
    assert found.words is found.tokens
    apart = index_captions([["a", NO_BREAK]], [[["c"]]])
    assert apart.tokens.lengths.tolist() == [2, 1]
    assert apart.words.lengths.tolist() == [3, 1]


def test_captions_may_all_be_empty() -> None:
    found = index_captions([[]], [[[], []]])
    assert found.words.lengths.tolist() == [0, 0, 0]
    assert [len(grams.ngram) for grams in found.ngrams] == [0, 0, 0, 0]


def test_what_was_given_is_left_as_it_was() -> None:
    candidates: list[Words] = [[], ["a"]]
    references: list[list[Words]] = [[[], ["b"]], [[NO_BREAK]]]
    assert len(index_captions(candidates, references).ngrams) == MAX_ORDER
    assert candidates == [[], ["a"]]
    assert references == [[[], ["b"]], [[NO_BREAK]]]


def test_a_caption_of_a_hundred_thousand_words_takes_no_more_than_its_words() -> None:
    draw = random.Random(0)
    long = draw.choices([f"word{number}" for number in range(20_000)], k=100_000)
    tracemalloc.start()
    try:
        found = index_captions([long], [[long]])
        rows = [len(grams.ngram) for grams in found.ngrams]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == [2 * len(set(zip(*(long[first:] for first in range(size))))) for size in SIZES]
    assert peak < 300 * 2 * len(long)  # bytes a word, of what is kept and what comes and goes


@pytest.mark.parametrize("most", [5, 2**30, 2**50, 2**51, 2**61])
def test_order_agrees_with_a_plain_sort(most: int) -> None:
    # Beyond 63 bits a key and its place no longer fit into one number.
    draw = random.Random(most)
    keys = [draw.randint(0, most) for _ in range(300)]
    keys += draw.choices(keys, k=200)
    places = sorted(draw.sample(range(5000), k=500))
    ordered = sort_positions(np.array(keys), np.array(places))
    assert list(zip(*(column.tolist() for column in ordered), strict=True)) == sorted(
        zip(keys, places, strict=True)
    )


def test_a_change_in_any_column_counts() -> None:
    found = starts_group(np.array([1, 1, 1, 2, 2]), np.array([5, 5, 6, 6, 6]))
    assert found.tolist() == [True, False, True, True, False]
    assert starts_group(np.array([], np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([["a"]], [], "1 captions, but references of 0 images"),
        ([], [], "no caption to evaluate"),
        ([["a"], ["b"]], [[["a"]], []], "no reference caption"),
        (["a dog"], [[["a"]]], "list of words, not the string 'a dog'"),
        ([""], [[["a"]]], "list of words, not the string ''"),
        ([["a"]], [["a dog"]], "list of words, not the string 'a dog'"),
    ],
)
def test_wrong_input_is_named(
    candidates: list[Words], references: list[list[Words]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        index_captions(candidates, references)
