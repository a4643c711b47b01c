"""BLEU against coco-caption's and against arithmetic by hand."""

import math

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu

from tests.helpers.random_captions import join, pairs, random_corpus
from vl.metrics.bleu import bleu, bleu_scores, bleu_statistics, corpus_bleu
from vl.metrics.ngrams import index_captions


@pytest.mark.parametrize("seed", range(150))
def test_equals_coco_caption(seed: int) -> None:
    candidates, references = random_corpus(seed)
    corpus, per_image = Bleu(4).compute_score(*join(candidates, references), verbose=0)
    scores = bleu_scores(index_captions(candidates, references))
    assert [score.name for score in scores] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]
    assert corpus_bleu(candidates, references).scores == tuple(score.corpus for score in scores)
    for score, value, values in zip(scores, corpus, per_image, strict=True):
        assert score.corpus == pytest.approx(value, rel=0, abs=1e-9)
        assert score.per_image == pytest.approx(np.array(values), rel=0, abs=1e-9)
        assert score.settings == "closest"


def test_random_corpora_contain_the_hard_cases() -> None:
    assert any(not candidate for candidate, _ in pairs(range(150)))
    assert any(0 < len(candidate) < 4 for candidate, _ in pairs(range(150)))
    corpora = [random_corpus(seed) for seed in range(150)]
    assert any(  # two references are equally close, and none is closer
        {len(candidate) - 1, len(candidate) + 1} <= {len(words) for words in captions}
        and len(candidate) not in {len(words) for words in captions}
        for corpus in corpora
        for candidate, captions in zip(*corpus, strict=True)
    )
    assert any(all(1e-3 < score < 1 for score in corpus_bleu(*corpus).scores) for corpus in corpora)


def test_statistics_by_hand() -> None:
    # "the" is twice in one reference and three times in the candidate: two matches. The bigrams
    # "the cat" and "cat the" match, and the trigram "the cat the"; the lengths 4 and 6 are equally
    # close to 5, and the shorter counts.
    candidate = ["the", "cat", "the", "the", "mat"]
    references = [["a", "cat", "sat", "there"], ["the", "cat", "the", "dog", "saw", "ran"]]
    statistics = bleu_statistics(index_captions([candidate], [references]))
    assert statistics.tolist() == [[5, 4, 3, 2, 1, 0, 5, 4, 3, 2]]
    score = corpus_bleu([candidate], [references])
    assert (score.candidate_length, score.reference_length) == (5, 4)


def test_scores_by_hand() -> None:
    # Six words where eight were expected: the brevity penalty is exp(1 - 8/6).
    sums = np.array([6, 8, 6, 4, 2, 1, 6, 5, 4, 3], float)
    scores = [float(bleu(sums, order=order)) for order in (1, 2, 3, 4)]
    products = [1, 4 / 5, 4 / 5 * 2 / 4, 4 / 5 * 2 / 4 * 1 / 3]
    expected = [
        math.exp(-1 / 3) * product ** (1 / order) for order, product in enumerate(products, 1)
    ]
    assert scores == pytest.approx(expected, abs=1e-8)


def test_a_reference_scores_one_and_a_caption_without_a_match_zero() -> None:
    caption = ["a", "dog", "runs", "on", "grass"]
    equal = corpus_bleu([caption], [[caption, ["b"]]])
    assert equal.scores == pytest.approx((1, 1, 1, 1), abs=1e-8)
    assert max(corpus_bleu([["x"] * 5], [[caption]]).scores) < 1e-3
    assert corpus_bleu([[]], [[["a", "dog"]]]).scores == (0, 0, 0, 0)


def test_order_of_images_and_references_does_not_matter() -> None:
    candidates, references = random_corpus(7)
    reversed_references = [captions[::-1] for captions in references[::-1]]
    scores = corpus_bleu(candidates, references).scores
    assert corpus_bleu(candidates[::-1], reversed_references).scores == scores


def test_statistics_of_parts_add_up_to_those_of_the_whole() -> None:
    candidates, references = random_corpus(7)
    first = bleu_statistics(index_captions(candidates[:1], references[:1])).sum(0)
    rest = bleu_statistics(index_captions(candidates[1:], references[1:])).sum(0)
    whole = bleu_statistics(index_captions(candidates, references)).sum(0)
    assert (first + rest).tolist() == whole.tolist()


def test_aggregates_batches_of_samples() -> None:
    candidates, references = random_corpus(7)
    samples = np.random.default_rng(0).integers(len(candidates), size=(2, 3, 5))
    for order, score in enumerate(bleu_scores(index_captions(candidates, references))):
        values = score.aggregate(score.statistics[samples].sum(-2))
        assert values.shape == (2, 3)
        sample = samples[1, 2].tolist()
        alone = corpus_bleu([candidates[i] for i in sample], [references[i] for i in sample])
        assert values[1, 2] == pytest.approx(alone.scores[order], abs=1e-12)
