"""Captions to figures: coco-caption's for the same words, with signatures and intervals."""

import shutil
from itertools import chain

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from vl.data.captions.ptb.tokens import tokens
from vl.metrics.cider import DocumentFrequencies
from vl.metrics.diversity import diversity
from vl.metrics.evaluator import BY_RARENESS, MEASURES, Evaluator, names_of, paired, variety
from vl.metrics.meteor_spice import meteor
from vl.metrics.significance import compare, intervals
from vl.version import __version__

PEOPLE = [
    ["A brown dog runs on the grass.", "The dog is running outside."],
    ["Two men ride horses along a beach.", "Men on horses by the sea", "Horses and riders."],
    ["A child's red ball lies on the floor.", "A ball.", "There is a red ball on a floor"],
    ["People wait for a train", "A train station (with people) waiting.", "1 1/2 trains"],
]
SAID = [
    "a dog runs on the green grass",
    "two men ride horses along the sea",
    "a red ball lies on the floor .",
    "a train waits; 1 1/2 people",
]
OTHER = ["the brown dog runs", "horses", "a ball on the floor", "people wait for a train"]


def coco_caption(said: list[str]) -> dict[str, tuple[float, list[float]]]:
    """Figure of all and of each image, by pycocoevalcap, which takes tokens joined by spaces."""
    people = {row: [" ".join(tokens(text)) for text in texts] for row, texts in enumerate(PEOPLE)}
    captions = {row: [" ".join(tokens(text))] for row, text in enumerate(said)}
    figures, images = Bleu(4).compute_score(people, captions, verbose=0)
    found = {
        f"BLEU-{size}": (figure, values)
        for size, (figure, values) in enumerate(zip(figures, images, strict=True), 1)
    }
    for name, scorer in (("ROUGE-L", Rouge()), ("CIDEr-D", Cider())):
        figure, values = scorer.compute_score(people, captions)
        found[name] = (figure, list(values))
    return found


def test_figures_are_those_of_coco_caption() -> None:
    evaluator = Evaluator(PEOPLE)
    for said in (SAID, OTHER):
        scores = evaluator(said).scores
        assert [score.name for score in scores] == evaluator.names == list(coco_caption(said))
        for score in scores:
            figure, images = coco_caption(said)[score.name]
            assert score.corpus == pytest.approx(figure, abs=1e-9)
            assert score.images == pytest.approx(np.array(images), abs=1e-9)


def test_words_are_those_that_are_counted() -> None:
    found = Evaluator(PEOPLE)(SAID)
    assert found.words[0] == ("a", "dog", "runs", "on", "the", "green", "grass")
    assert found.words[3] == ("a", "train", "waits", "1\xa01/2", "people")


def test_figures_have_intervals_and_signatures() -> None:
    evaluator = Evaluator(PEOPLE, measures=["bleu", "cider-d"])
    scores = evaluator(SAID).scores
    figures = evaluator.figures(scores, resamples=50, confidence=0.8, seed=3)
    expected = intervals(scores, resamples=50, confidence=0.8, seed=3)
    assert [figure.interval for figure in figures] == expected
    assert [figure.value for figure in figures] == [score.corpus for score in scores]
    signed = {figure.name: figure.signature.split(" | ") for figure in figures}
    four = f"BLEU-4 {scores[3].corpus:.4f}"
    assert signed["BLEU-4"] == [four, "refs 2-3", "tok ptb", "closest", f"vl {__version__}"]
    assert signed["CIDEr-D"][3:5] == ["n 4, sigma 6, df from the references", "images 4"]


def test_there_are_no_intervals_without_resamples_nor_of_one_image() -> None:
    evaluator = Evaluator(PEOPLE, measures=["rouge-l"])
    scores = evaluator(SAID).scores
    assert [figure.interval for figure in evaluator.figures(scores, resamples=0)] == [None]
    alone = Evaluator(PEOPLE[:1], measures=["rouge-l"])
    (figure,) = alone.figures(alone(SAID[:1]).scores)
    assert figure.interval is None
    assert figure.signature.split(" | ")[1] == "refs 2"


def test_frequencies_saved_of_the_references_change_nothing() -> None:
    frequencies = Evaluator(PEOPLE).frequencies()
    assert frequencies.images == 4
    assert frequencies.grams["a"] == 4
    for measure in ("cider", "cider-d"):
        by_these = Evaluator(PEOPLE, measures=[measure])
        by_file = Evaluator(PEOPLE, measures=[measure], frequencies=frequencies)
        (score,), (same,) = by_these(SAID).scores, by_file(SAID).scores
        assert same.images == pytest.approx(score.images, abs=1e-12)
        (figure,) = by_file.figures([same], resamples=0)
        assert "df from 4 images | images 4" in figure.signature
    alone = Evaluator(PEOPLE[:1], measures=["cider-d"], frequencies=frequencies)
    assert alone(SAID[:1]).scores[0].corpus > 0  # 0 without them, by construction


def test_two_systems_are_compared_score_by_score() -> None:
    evaluator = Evaluator(PEOPLE)
    first, second = evaluator(SAID).scores, evaluator(OTHER).scores
    found = paired(first, second, resamples=30, confidence=0.9, seed=2)
    expected = compare(first, second, resamples=30, confidence=0.9, seed=2)
    assert [one.comparison for one in found] == expected
    assert [(one.name, one.first, one.second) for one in found] == [
        (one.name, one.corpus, two.corpus) for one, two in zip(first, second, strict=True)
    ]


def test_variety_is_of_the_words_of_captions() -> None:
    captions = ["A dog.", "a dog", "a cat"]
    assert variety(captions) == diversity([["a", "dog"], ["a", "dog"], ["a", "cat"]])
    assert variety(captions, ["One cat .", "A cat!"]).novel == pytest.approx(2 / 3)


def test_each_measure_gives_the_scores_of_its_row() -> None:
    for measure in ("bleu", "rouge-l", "cider-d", "cider"):
        scores = Evaluator(PEOPLE, measures=[measure])(SAID).scores
        assert tuple(score.name for score in scores) == MEASURES[measure]
    assert names_of(list(MEASURES)) == list(chain.from_iterable(MEASURES.values()))
    assert Evaluator(PEOPLE, measures=[])(SAID).scores == []
    assert Evaluator(PEOPLE, measures=[]).figures([]) == []


def test_what_goes_by_rareness_is_what_frequencies_change() -> None:
    few = DocumentFrequencies(2, {})
    for measure in ("bleu", "rouge-l", "cider-d", "cider"):
        plain, by_file = (
            Evaluator(PEOPLE, measures=[measure]),
            Evaluator(PEOPLE, measures=[measure], frequencies=few),
        )
        changed = plain(SAID).scores[0].corpus != by_file(SAID).scores[0].corpus
        assert changed == (measure in BY_RARENESS)


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        (["blue"], "^no score 'blue'; there are bleu, rouge-l, cider-d, cider, meteor, spice$"),
        (["bleu", "cider", "bleu"], "^bleu is asked for twice$"),
    ],
)
def test_measures_that_cannot_be_are_refused(measures: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Evaluator(PEOPLE, measures=measures)


def test_letters_of_a_string_are_no_captions() -> None:
    for references in (["a dog runs", "two men"], [["a dog"], "two men"], "a dog"):
        with pytest.raises(ValueError, match="an image's references must be a list, not the str"):
            Evaluator(references)
    with pytest.raises(ValueError, match="a list of captions was expected, not the string 'dogs'"):
        Evaluator(PEOPLE)("dogs")


def test_captions_must_be_as_many_as_images() -> None:
    with pytest.raises(ValueError, match="3 captions, but references of 4 images"):
        Evaluator(PEOPLE)(SAID[:3])
    with pytest.raises(ValueError, match="there is no caption to score"):
        Evaluator([])([])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR needs Java")
def test_meteor_gets_words_with_spaces_between() -> None:
    evaluator = Evaluator(PEOPLE, measures=["meteor"])
    (score,) = evaluator(SAID).scores
    people = [[" ".join(tokens(text)) for text in texts] for texts in PEOPLE]
    expected = meteor([" ".join(tokens(text)) for text in SAID], people)
    assert score.name == "METEOR"
    assert list(score.images) == list(expected.images)
    assert all(0 < value < 1 for value in score.images)
