"""BLEU against coco-caption's own counter, and against arithmetic done by hand."""

import math
import random

import pytest
from pycocoevalcap.bleu.bleu_scorer import BleuScorer

from vl.metrics.bleu import Counts, bleu, corpus_bleu, count, signature

Words = list[str]


def corpus(seed: int) -> tuple[list[Words], list[list[Words]]]:
    """Captions of a few words, so that runs repeat, some empty and many shorter than four."""
    draw = random.Random(seed)
    vocabulary = "abcde"[: draw.randint(1, 5)]

    def caption(longest: int) -> Words:
        return draw.choices(vocabulary, k=draw.randint(0, longest))

    images = draw.randint(1, 8)
    candidates = [caption(draw.choice([1, 3, 12])) for _ in range(images)]
    references = [[caption(12) for _ in range(draw.randint(1, 6))] for _ in range(images)]
    return candidates, references


def reference_bleu(
    candidates: list[Words], references: list[list[Words]]
) -> tuple[list[float], list[list[float]]]:
    """The figures of pycocoevalcap: of the corpus, and of each size for each image."""
    scorer = BleuScorer(n=4)
    for candidate, captions in zip(candidates, references, strict=True):
        scorer += (" ".join(candidate), [" ".join(caption) for caption in captions])
    scores, images = scorer.compute_score(option="closest")
    return scores, images


@pytest.mark.parametrize("seed", range(200))
def test_agrees_with_coco_caption(seed: int) -> None:
    candidates, references = corpus(seed)
    scores, images = reference_bleu(candidates, references)
    found = corpus_bleu(candidates, references)
    assert found.scores == pytest.approx(scores, rel=0, abs=1e-9)
    for size in range(4):
        of_images = [each[size] for each in found.images]
        assert of_images == pytest.approx(images[size], rel=0, abs=1e-9)


def test_the_random_corpora_hold_the_hard_cases() -> None:
    corpora = [corpus(seed) for seed in range(200)]
    pairs = [pair for both in corpora for pair in zip(*both, strict=True)]
    assert any(not candidate for candidate, _ in pairs)
    assert any(0 < len(candidate) < 4 for candidate, _ in pairs)
    assert any(len(references) == 1 for _, references in pairs)
    assert any(
        {len(candidate) - 1, len(candidate) + 1} <= {len(words) for words in references}
        and len(candidate) not in {len(words) for words in references}
        for candidate, references in pairs
    )
    assert any(all(1e-3 < score < 1 for score in corpus_bleu(*both).scores) for both in corpora)


def test_counts_by_hand() -> None:
    # "the" is twice in one reference and thrice in the candidate: two count. Of the pairs "the
    # cat" and "cat the" are right, of the triples "the cat the"; lengths 4 and 6 are equally far
    # from 5, and the shorter is taken.
    candidate = ["the", "cat", "the", "the", "mat"]
    references = [["a", "cat", "sat", "there"], ["the", "cat", "the", "dog", "saw", "ran"]]
    assert count(candidate, references) == Counts(5, 4, (5, 4, 3, 2), (3, 2, 1, 0))


def test_scores_by_hand() -> None:
    # Six words where eight were expected: brevity exp(1 - 8/6).
    scores = bleu(Counts(6, 8, (6, 5, 4, 3), (6, 4, 2, 1)))
    brevity = math.exp(-1 / 3)
    products = [1, 4 / 5, 4 / 5 * 2 / 4, 4 / 5 * 2 / 4 * 1 / 3]
    expected = [brevity * product ** (1 / size) for size, product in enumerate(products, 1)]
    assert scores == pytest.approx(expected, abs=1e-8)


def test_one_right_caption_scores_one_and_one_without_a_common_word_nothing() -> None:
    right = ["a", "dog", "runs", "on", "grass"]
    assert corpus_bleu([right], [[right, ["b"]]]).scores == pytest.approx((1, 1, 1, 1), abs=1e-8)
    wrong = corpus_bleu([["x"] * 5], [[right]])
    assert max(wrong.scores) < 1e-3


def test_no_caption_is_worth_more_than_an_empty_one() -> None:
    assert corpus_bleu([[]], [[["a", "dog"]]]).scores == (0, 0, 0, 0)


def test_order_of_images_and_of_references_changes_nothing() -> None:
    candidates, references = corpus(7)
    turned = [captions[::-1] for captions in references[::-1]]
    scores = corpus_bleu(candidates, references).scores
    assert corpus_bleu(candidates[::-1], turned).scores == scores


def test_counts_of_halves_add_up_to_counts_of_the_whole() -> None:
    candidates, references = corpus(7)
    assert len(candidates) > 1
    first = corpus_bleu(candidates[:1], references[:1]).counts
    rest = corpus_bleu(candidates[1:], references[1:]).counts
    assert first + rest == corpus_bleu(candidates, references).counts


def test_signature_says_what_could_change_the_score() -> None:
    result = corpus_bleu([["a"] * 4] * 2, [[["a"] * 4] * 5, [["a"] * 4] * 7])
    line = signature(result, tokeniser="ptb", version="0.1.0")
    assert line == "BLEU-4 1.0000 | refs 5-7 | tok ptb | closest | vl 0.1.0"
    result = corpus_bleu([["a"] * 4], [[["a"] * 4] * 5])
    assert "| refs 5 |" in signature(result, tokeniser="ptb", version="0.1.0")


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([["a"]], [], "1 captions, but references of 0 images"),
        ([], [], "no caption to score"),
        ([["a"]], [[]], "no reference caption"),
        (["a dog"], [[["a"]]], "list of words, not the string 'a dog'"),
        ([["a"]], [["a dog"]], "list of words, not the string 'a dog'"),
    ],
)
def test_wrong_input_is_named(
    candidates: list[Words], references: list[list[Words]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        corpus_bleu(candidates, references)
