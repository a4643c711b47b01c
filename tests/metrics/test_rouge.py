"""ROUGE-L against coco-caption's own, and its subsequences against a plain table."""

import bisect
import random
import tracemalloc
from typing import Any

import numpy as np
import pytest

from vl.metrics import rouge
from vl.metrics.ngrams import corpus
from vl.metrics.rouge import common_subsequences, rouge_l

Words = list[str]


def captions(seed: int) -> tuple[list[Words], list[list[Words]]]:
    """Few different words, empty captions, words with a no-break space, lengths about 64."""
    draw = random.Random(seed)
    vocabulary = ["a", "b", "c", "d\u00a0a", "d", ""][: draw.randint(1, 6)]
    lengths = [0, 1, 2, 12, 12] + ([63, 64, 65, 70, 128, 300] if seed % 10 == 0 else [])

    def caption() -> Words:
        return draw.choices(vocabulary, k=draw.choice(lengths))

    images = draw.randint(1, 8)
    candidates = [caption() for _ in range(images)]
    references = [[caption() for _ in range(draw.randint(1, 5))] for _ in range(images)]
    return candidates + candidates[:1], references + references[:1]


def plain_length(left: Words, right: Words) -> int:
    """Of the longest common subsequence, by the whole table."""
    above = [0] * (len(right) + 1)
    for word in left:
        row = [0]
        for place, other in enumerate(right):
            row.append(above[place] + 1 if word == other else max(row[-1], above[place + 1]))
        above = row
    return above[-1]


@pytest.mark.parametrize("seed", range(150))
def test_agrees_with_coco_caption(seed: int) -> None:
    candidates, references = captions(seed)
    judge: Any = pytest.importorskip("pycocoevalcap.rouge.rouge").Rouge()
    figure, images = judge.compute_score(
        {
            image: [" ".join(caption) for caption in others]
            for image, others in enumerate(references)
        },
        {image: [" ".join(candidate)] for image, candidate in enumerate(candidates)},
    )
    found = rouge_l(corpus(candidates, references))
    assert found.corpus == pytest.approx(figure, rel=0, abs=1e-9)
    assert found.images == pytest.approx(images, rel=0, abs=1e-9)


def test_the_random_corpora_hold_the_hard_cases() -> None:
    pairs = [
        (candidate, reference)
        for seed in range(150)
        for candidate, others in zip(*captions(seed), strict=True)
        for reference in others
    ]
    assert ([], []) in pairs
    assert any(candidate == [] and reference for candidate, reference in pairs)
    assert any(candidate and reference == [] for candidate, reference in pairs)
    assert any("d\u00a0a" in candidate and "d" in reference for candidate, reference in pairs)
    lengths = {(len(candidate) > 64, len(reference) > 64) for candidate, reference in pairs}
    assert len(lengths) == 4


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 127, 128, 129, 200])
@pytest.mark.parametrize("different", [1, 2, 5, 50])
def test_subsequences_agree_with_a_plain_table(
    length: int, different: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rouge, "_BLOCK", 64)  # so that long captions take several blocks
    draw = random.Random(length)
    vocabulary = [f"word{number}" for number in range(different)]
    candidate = draw.choices(vocabulary, k=length)
    lengths = [length, length - 1 or 1, length + 1, 2 * length, 7]
    references = [draw.choices(vocabulary, k=k) for k in lengths]
    found = common_subsequences(corpus([candidate], [references]))
    assert found.tolist() == [plain_length(candidate, reference) for reference in references]


def test_short_and_long_candidates_stand_side_by_side() -> None:
    short, long = ["a", "b"], ["b", "a"] * 50
    found = common_subsequences(corpus([long, short, long], [[short], [long, short], [long]]))
    assert found.tolist() == [2, 2, 2, 100]


def test_by_hand() -> None:
    # a, c, d, e are in order in both: 4 of the 5 words said, 4 of 6 and 4 of 8 meant.
    candidate = list("abcde")
    references = [list("acxdye"), list("acxyzwde")]
    precision, recall = 4 / 5, 4 / 6
    expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    found = rouge_l(corpus([candidate], [references]))
    assert found.corpus == pytest.approx(expected, abs=1e-12)
    assert (found.name, found.detail) == ("ROUGE-L", "beta 1.2")


@pytest.mark.parametrize(
    ("candidate", "references", "expected"),
    [
        ([], [["a"]], 0),
        ([], [["a"], []], 1),
        (["a"], [[]], 0),
        ([], [[]], 1),
        ([""], [[]], 1),
        (["2\u00a01/2"], [["2", "1/2"]], 0),
        (["2\u00a01/2"], [["2\u00a01/2"]], 1),
    ],
)
def test_empty_captions_and_words_with_a_space(
    candidate: Words, references: list[Words], expected: float
) -> None:
    found = rouge_l(corpus([candidate], [references]))
    assert found.images.tolist() == pytest.approx([expected], abs=1e-12)


def test_the_figure_is_the_mean_of_any_images() -> None:
    found = rouge_l(corpus([["a"], ["b"], ["c"]], [[["a"]], [["x"]], [["c"]]]))
    assert found.corpus == pytest.approx(2 / 3)
    assert found.value(found.statistics[[0, 1]].sum(0)) == pytest.approx(1 / 2)


def test_candidate_and_reference_may_change_places() -> None:
    # The number of words in common is symmetric, though one side is bits and the other steps.
    draw = random.Random(0)
    pairs = [
        tuple(draw.choices("abc", k=draw.choice([1, 9, 64, 90])) for _ in range(2))
        for _ in range(40)
    ]
    there = common_subsequences(
        corpus([left for left, _ in pairs], [[right] for _, right in pairs])
    )
    back = common_subsequences(corpus([right for _, right in pairs], [[left] for left, _ in pairs]))
    assert there.tolist() == back.tolist()
    assert np.unique(there).size > 5


def test_long_captions_take_no_square_of_their_words() -> None:
    draw = random.Random(0)
    words = [f"word{number}" for number in range(20_000)]  # each once: the worst for the bits
    other = draw.sample(words, k=2_000)
    counted = corpus([words], [[other]])
    tracemalloc.start()
    try:
        (found,) = common_subsequences(counted).tolist()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Against words in order, the longest ascending subsequence.
    ends: list[int] = []
    for place in (int(word[4:]) for word in other):
        index = bisect.bisect_left(ends, place)
        ends[index : index + 1] = [place]
    assert found == len(ends)
    assert peak < 400 * len(words)
