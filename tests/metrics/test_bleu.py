"""BLEU against coco-caption's own counter, and against arithmetic done by hand."""

import math
import random
from typing import Any

import numpy as np
import pytest

from vl.metrics.bleu import Counts, bleu, bleu_scores, bleu_statistics, corpus_bleu
from vl.metrics.ngrams import corpus

Words = list[str]


def captions(seed: int) -> tuple[list[Words], list[list[Words]]]:
    """Captions of a few words, so that runs repeat, some empty and many shorter than four."""
    draw = random.Random(seed)
    vocabulary = ["a", "b", "c", "d", "e\u00a0a"][: draw.randint(1, 5)]

    def caption(longest: int) -> Words:
        return draw.choices(vocabulary, k=draw.randint(0, longest))

    images = draw.randint(1, 8)
    candidates = [caption(draw.choice([1, 3, 12])) for _ in range(images)]
    references = [[caption(12) for _ in range(draw.randint(1, 6))] for _ in range(images)]
    if seed % 10 == 0:
        candidates[0], references[0][0] = caption(70), caption(300)
    return candidates, references


def reference_bleu(
    candidates: list[Words], references: list[list[Words]]
) -> tuple[list[float], list[list[float]]]:
    """The figures of pycocoevalcap: of the corpus, and of each size for each image."""
    scorer: Any = pytest.importorskip("pycocoevalcap.bleu.bleu_scorer").BleuScorer(n=4)
    for candidate, others in zip(candidates, references, strict=True):
        scorer += (" ".join(candidate), [" ".join(caption) for caption in others])
    scores, images = scorer.compute_score(option="closest")
    return scores, images


@pytest.mark.parametrize("seed", range(200))
def test_agrees_with_coco_caption(seed: int) -> None:
    given = captions(seed)
    scores, images = reference_bleu(*given)
    found = bleu_scores(corpus(*given))
    assert [score.name for score in found] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]
    for score, figure, of_images in zip(found, scores, images, strict=True):
        assert score.corpus == pytest.approx(figure, rel=0, abs=1e-9)
        assert score.images == pytest.approx(np.array(of_images), rel=0, abs=1e-9)
        assert score.detail == "closest"


def test_the_random_corpora_hold_the_hard_cases() -> None:
    corpora = [captions(seed) for seed in range(200)]
    pairs = [pair for both in corpora for pair in zip(*both, strict=True)]
    assert any(not candidate for candidate, _ in pairs)
    assert any(0 < len(candidate) < 4 for candidate, _ in pairs)
    assert any(len(references) == 1 for _, references in pairs)
    assert any(
        {len(candidate) - 1, len(candidate) + 1} <= {len(words) for words in references}
        and len(candidate) not in {len(words) for words in references}
        for candidate, references in pairs
    )
    assert any("e\u00a0a" in candidate for candidate, _ in pairs)
    assert any(all(1e-3 < score < 1 for score in corpus_bleu(*both).scores) for both in corpora)


def test_counts_by_hand() -> None:
    # "the" is twice in one reference and thrice in the candidate: two count. Of the pairs "the
    # cat" and "cat the" are right, of the triples "the cat the"; lengths 4 and 6 are equally far
    # from 5, and the shorter is taken.
    candidate = ["the", "cat", "the", "the", "mat"]
    references = [["a", "cat", "sat", "there"], ["the", "cat", "the", "dog", "saw", "ran"]]
    counted = bleu_statistics(corpus([candidate], [references]))
    assert counted.tolist() == [[5, 4, 3, 2, 1, 0, 5, 4, 3, 2]]
    assert corpus_bleu([candidate], [references]).counts == Counts(5, 4)


def test_scores_by_hand() -> None:
    # Six words where eight were expected: brevity exp(1 - 8/6).
    sums = np.array([6, 8, 6, 4, 2, 1, 6, 5, 4, 3], float)
    scores = [float(bleu(sums, size=size)) for size in (1, 2, 3, 4)]
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
    candidates, references = captions(7)
    turned = [others[::-1] for others in references[::-1]]
    scores = corpus_bleu(candidates, references).scores
    assert corpus_bleu(candidates[::-1], turned).scores == scores


def test_counts_of_halves_add_up_to_counts_of_the_whole() -> None:
    candidates, references = captions(7)
    assert len(candidates) > 1
    first = bleu_statistics(corpus(candidates[:1], references[:1])).sum(0)
    rest = bleu_statistics(corpus(candidates[1:], references[1:])).sum(0)
    whole = bleu_statistics(corpus(candidates, references)).sum(0)
    assert (first + rest).tolist() == whole.tolist()


def test_many_samples_of_images_are_valued_at_once() -> None:
    # What intervals need: any number of sums in, as many figures out.
    candidates, references = captions(7)
    samples = np.random.default_rng(0).integers(len(candidates), size=(2, 3, 5))
    for size, score in enumerate(bleu_scores(corpus(candidates, references)), 1):
        figures = score.value(score.statistics[samples].sum(-2))
        assert figures.shape == (2, 3)
        sample = samples[1, 2].tolist()
        alone = corpus_bleu(
            [candidates[one] for one in sample], [references[one] for one in sample]
        )
        assert figures[1, 2] == pytest.approx(alone.scores[size - 1], abs=1e-12)


def test_corpus_bleu_has_the_same_figures() -> None:
    given = captions(7)
    found, scores = corpus_bleu(*given), bleu_scores(corpus(*given))
    assert list(found.scores) == [score.corpus for score in scores]
    assert found.images.T.tolist() == [score.images.tolist() for score in scores]


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
