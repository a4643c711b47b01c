"""ROUGE-L against coco-caption's, and its subsequences against a plain table."""

import bisect
import random
import tracemalloc

import pytest
from pycocoevalcap.rouge.rouge import Rouge

from tests.helpers.random_captions import Words, join, pairs, random_corpus
from vl.metrics.ngrams import index_captions
from vl.metrics.rouge import common_subsequences, rouge_l


def plain_length(left: Words, right: Words) -> int:
    """Length of the longest common subsequence, by the full table."""
    above = [0] * (len(right) + 1)
    for word in left:
        row = [0]
        for column, other in enumerate(right):
            row.append(above[column] + 1 if word == other else max(row[-1], above[column + 1]))
        above = row
    return above[-1]


@pytest.mark.parametrize("seed", range(150))
def test_equals_coco_caption(seed: int) -> None:
    candidates, references = random_corpus(seed)
    corpus, per_image = Rouge().compute_score(*join(candidates, references))
    score = rouge_l(index_captions(candidates, references))
    assert score.corpus == pytest.approx(corpus, rel=0, abs=1e-9)
    assert score.per_image == pytest.approx(per_image, rel=0, abs=1e-9)


def test_random_corpora_contain_the_hard_cases() -> None:
    cases = pairs(range(150))
    assert ([], []) in cases
    assert any(candidate == [] and reference for candidate, reference in cases)
    assert any(candidate and reference == [] for candidate, reference in cases)
    assert any("d\u00a0a" in candidate and "d" in reference for candidate, reference in cases)
    assert len({(len(candidate) > 64, len(reference) > 64) for candidate, reference in cases}) == 4


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 128, 129, 200])
@pytest.mark.parametrize("num_words", [1, 2, 5, 50])
def test_subsequences_equal_a_plain_table(length: int, num_words: int) -> None:
    rng = random.Random(length)
    vocabulary = [f"word{index}" for index in range(num_words)]
    candidate = rng.choices(vocabulary, k=length)
    lengths = [length, length - 1 or 1, length + 1, 2 * length, 7]
    references = [rng.choices(vocabulary, k=k) for k in lengths]
    corpus = index_captions([candidate], [references])
    expected = [plain_length(candidate, reference) for reference in references]
    for block in (64, 4096):
        assert common_subsequences(corpus, block=block).tolist() == expected


def test_short_and_long_candidates_in_one_corpus() -> None:
    short, long = ["a", "b"], ["b", "a"] * 50
    corpus = index_captions([long, short, long], [[short], [long, short], [long]])
    assert common_subsequences(corpus).tolist() == [2, 2, 2, 100]


def test_by_hand() -> None:
    # a, c, d, e are in order in both: 4 of the candidate's 5 words, 4 of 6 and of 8 in references.
    candidate = list("abcde")
    references = [list("acxdye"), list("acxyzwde")]
    precision, recall = 4 / 5, 4 / 6
    expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    score = rouge_l(index_captions([candidate], [references]))
    assert score.corpus == pytest.approx(expected, abs=1e-12)
    assert (score.name, score.settings) == ("ROUGE-L", "beta 1.2")


@pytest.mark.parametrize(
    ("candidate", "references", "expected"),
    [
        ([], [["a"]], 0),
        ([], [["a"], []], 1),
        (["a"], [[]], 0),
        ([], [[]], 1),
        (["2\u00a01/2"], [["2", "1/2"]], 0),
        (["2\u00a01/2"], [["2\u00a01/2"]], 1),
    ],
)
def test_empty_captions_and_words_with_a_space(
    candidate: Words, references: list[Words], expected: float
) -> None:
    score = rouge_l(index_captions([candidate], [references]))
    assert score.per_image.tolist() == pytest.approx([expected], abs=1e-12)


def test_memory_is_not_quadratic_in_the_words_of_a_caption() -> None:
    rng = random.Random(0)
    words = [f"word{index}" for index in range(20_000)]  # all distinct: the most bit masks
    sample = rng.sample(words, k=2_000)
    corpus = index_captions([words], [[sample]])
    tracemalloc.start()
    try:
        (length,) = common_subsequences(corpus).tolist()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Against words in order, it is the longest increasing subsequence.
    ends: list[int] = []
    for value in (int(word[4:]) for word in sample):
        index = bisect.bisect_left(ends, value)
        ends[index : index + 1] = [value]
    assert length == len(ends)
    assert peak < 400 * len(words)
