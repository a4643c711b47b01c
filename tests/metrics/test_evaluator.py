"""Captions to scores: coco-caption's for the same words, with signatures and intervals."""

import shutil

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from vl.data.captions.ptb.tokens import tokens
from vl.metrics.cider import DocumentFrequencies
from vl.metrics.evaluator import Evaluator
from vl.metrics.meteor_spice import meteor
from vl.metrics.names import SCORE_NAMES, TFIDF_METRICS
from vl.metrics.significance import Resampling, bootstrap_intervals
from vl.version import __version__

REFERENCES = [
    ["A brown dog runs on the grass.", "The dog is running outside."],
    ["Two men ride horses along a beach.", "Men on horses by the sea", "Horses and riders."],
    ["A child's red ball lies on the floor.", "A ball.", "There is a red ball on a floor"],
    ["People wait for a train", "A train station (with people) waiting.", "1 1/2 trains"],
]
CANDIDATES = [
    "a dog runs on the green grass",
    "two men ride horses along the sea",
    "a red ball lies on the floor .",
    "a train waits; 1 1/2 people",
]
NO_INTERVALS = Resampling(num_resamples=0)
BASELINE = ["the brown dog runs", "horses", "a ball on the floor", "people wait for a train"]


def coco_caption(candidates: list[str]) -> dict[str, tuple[float, list[float]]]:
    """Corpus and per-image scores by pycocoevalcap, which takes tokens joined by spaces."""
    references = {
        row: [" ".join(tokens(text)) for text in texts] for row, texts in enumerate(REFERENCES)
    }
    captions = {row: [" ".join(tokens(text))] for row, text in enumerate(candidates)}
    corpus, per_image = Bleu(4).compute_score(references, captions, verbose=0)
    scores = {f"BLEU-{order}": values for order, values in enumerate(zip(corpus, per_image), 1)}
    for name, scorer in (("ROUGE-L", Rouge()), ("CIDEr-D", Cider())):
        value, values = scorer.compute_score(references, captions)
        scores[name] = (value, list(values))
    return scores


def test_scores_equal_coco_caption() -> None:
    for fraction, scale in ((True, 1), (False, 100)):
        evaluator = Evaluator(REFERENCES, fraction=fraction)
        for candidates in (CANDIDATES, BASELINE):
            scores = evaluator(candidates).scores
            expected = coco_caption(candidates)
            assert [score.name for score in scores] == list(expected)
            for score in scores:
                corpus, per_image = expected[score.name]
                assert score.corpus == pytest.approx(scale * corpus, abs=1e-9)
                assert score.per_image == pytest.approx(scale * np.array(per_image), abs=1e-9)


def test_tokens_are_those_that_are_counted() -> None:
    tokenized = Evaluator(REFERENCES)(CANDIDATES).tokens
    assert tokenized[0] == ("a", "dog", "runs", "on", "the", "green", "grass")
    assert tokenized[3] == ("a", "train", "waits", "1\xa01/2", "people")


def test_whitespace_tokenizer_keeps_case_and_punctuation() -> None:
    evaluator = Evaluator([["A dog ."]], metrics=["bleu"], tokenizer="whitespace")
    scored = evaluator(["A dog ."])
    assert scored.tokens == [("A", "dog", ".")]
    assert scored.scores[2].corpus == pytest.approx(100)  # all three words match
    assert "tok whitespace" in evaluator.corpus_scores(scored.scores, NO_INTERVALS)[0].signature


def test_corpus_scores_have_intervals_and_signatures() -> None:
    evaluator = Evaluator(REFERENCES, metrics=["bleu", "cider-d"])
    scores = evaluator(CANDIDATES).scores
    resampling = Resampling(50, confidence=0.8, seed=3)
    corpus_scores = evaluator.corpus_scores(scores, resampling)
    expected = bootstrap_intervals(scores, resampling)
    assert [score.interval for score in corpus_scores] == expected
    assert [score.value for score in corpus_scores] == [score.corpus for score in scores]
    signatures = {score.name: score.signature.split(" | ") for score in corpus_scores}
    value = [f"BLEU-4 {scores[3].corpus:.2f}", "x 100"]
    assert signatures["BLEU-4"] == [*value, "refs 2-3", "tok ptb", "closest", f"vl {__version__}"]
    cider = ["coco-caption's CIDEr", "n 4, sigma 6, df from the references", "images 4"]
    assert signatures["CIDEr-D"][4:7] == cider
    fraction = Evaluator(REFERENCES, metrics=["bleu"], fraction=True)
    signature = fraction.corpus_scores(fraction(CANDIDATES).scores, resampling)[3].signature
    assert signature.startswith(f"BLEU-4 {scores[3].corpus / 100:.4f} | x 1 | refs")


def test_no_intervals_without_resamples_or_for_a_single_image() -> None:
    evaluator = Evaluator(REFERENCES, metrics=["rouge-l"])
    scores = evaluator(CANDIDATES).scores
    assert evaluator.corpus_scores(scores, NO_INTERVALS)[0].interval is None
    single = Evaluator(REFERENCES[:1], metrics=["rouge-l"])
    (score,) = single.corpus_scores(single(CANDIDATES[:1]).scores, Resampling())
    assert score.interval is None
    assert score.signature.split(" | ")[2] == "refs 2"


def test_document_frequencies_of_the_references_change_nothing() -> None:
    frequencies = Evaluator(REFERENCES).document_frequencies()
    assert frequencies.num_images == 4
    assert frequencies.counts["a"] == 4
    for metric in ("cider", "cider-d"):
        default = Evaluator(REFERENCES, metrics=[metric])
        explicit = Evaluator(REFERENCES, metrics=[metric], frequencies=frequencies)
        (score,), (same,) = default(CANDIDATES).scores, explicit(CANDIDATES).scores
        assert same.per_image == pytest.approx(score.per_image, abs=1e-12)
        (corpus_score,) = explicit.corpus_scores([same], NO_INTERVALS)
        assert "df from 4 images | images 4" in corpus_score.signature
    single = Evaluator(REFERENCES[:1], metrics=["cider-d"], frequencies=frequencies)
    assert single(CANDIDATES[:1]).scores[0].corpus > 0  # 0 without them, by construction


def test_each_metric_gives_the_scores_of_its_row() -> None:
    few = DocumentFrequencies(2, {})
    for metric in ("bleu", "rouge-l", "cider-d", "cider"):
        scores = Evaluator(REFERENCES, metrics=[metric])(CANDIDATES).scores
        assert tuple(score.name for score in scores) == SCORE_NAMES[metric]
        with_few = Evaluator(REFERENCES, metrics=[metric], frequencies=few)(CANDIDATES).scores
        assert (scores[0].corpus != with_few[0].corpus) == (metric in TFIDF_METRICS)
    assert Evaluator(REFERENCES, metrics=[])(CANDIDATES).scores == []
    assert Evaluator(REFERENCES, metrics=[]).corpus_scores([], Resampling()) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR needs Java")
def test_meteor_takes_tokens_joined_by_spaces() -> None:
    (score,) = Evaluator(REFERENCES, metrics=["meteor"])(CANDIDATES).scores
    references = [[" ".join(tokens(text)) for text in texts] for texts in REFERENCES]
    expected = meteor([" ".join(tokens(text)) for text in CANDIDATES], references)
    assert score.name == "METEOR"
    assert list(score.per_image) == list(expected.scaled(100).per_image)
    assert all(0 < value < 100 for value in score.per_image)
