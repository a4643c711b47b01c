"""Photographs to labels: against plain arithmetic, whatever the batch, order and settings."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers.tiny_captioner import drawings
from tests.helpers.tiny_labeller import (
    WIDTH,
    WORDS,
    calibration,
    labeller,
    placed_by_hand,
    units,
    wordnet,
    words,
)
from vl.data.errors import FormatError
from vl.data.images.decode import decode, square
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.decoders.devise import Devise
from vl.labelling.calibration import Calibration

LABELS = ["ball", "stop sign", "okapi", "guitar", "giraffe"]


@pytest.fixture
def photos(tmp_path):
    return drawings(tmp_path / "photos", 7)


@pytest.fixture
def images():
    """Photographs in word space, ``(B, D)``."""
    return units(7, seed=5)


def plain_cosines(made, photos, labels):
    """``(B, K)``, one photograph, view and label at a time."""
    rows = []
    for path in photos:
        pixels = square(decode(path), made.embedder.encoder.image_size, made.embedder.resize)[None]
        views = [{"plain": pixels, "flip": pixels.flip(-1)}[view] for view in made.embedder.views]
        with torch.no_grad():
            embedding = torch.cat([made.embedder.encoder(view) for view in views]).mean(0)
            place = sum(
                F.normalize(each(embedding[None])[0], dim=0) for each in made.projections.values()
            )
        rows.append([float(F.cosine_similarity(place, label, dim=0)) for label in labels])
    return np.array(rows)


@pytest.mark.parametrize("views", [("plain",), ("plain", "flip")])
@pytest.mark.parametrize("resize", ["squash", "center-crop"])
def test_labels_are_those_of_a_plain_one(photos, views, resize):
    made = labeller(views=views, resize=resize)
    vectors = torch.from_numpy(placed_by_hand(made.space, LABELS))
    cosines = plain_cosines(made, photos, vectors)
    answers = made(photos, labels=LABELS, top=3)
    assert len({answer.labels[0].text for answer in answers}) > 1  # else the test shows nothing
    for row, answer in zip(cosines, answers, strict=True):
        best = np.argsort(-row)[:3]
        assert [label.text for label in answer.labels] == [LABELS[place] for place in best]
        assert [label.number for label in answer.labels] == best.tolist()
        assert [label.cosine for label in answer.labels] == pytest.approx(row[best], abs=1e-5)
        chances = np.exp(row / 0.25) / np.exp(row / 0.25).sum()
        found = [label.probability for label in answer.labels]
        assert found == pytest.approx(chances[best], abs=1e-5)
        assert not answer.none_of_these


def test_of_several_projections_the_mean_direction_counts(photos):
    one, other = labeller(), labeller()
    other.projections["devise"].projection.weight.data = torch.randn(WIDTH, 12)
    both = labeller()
    both.projections = {"devise": one.projections["devise"], "conse": other.projections["devise"]}
    vectors = one.embedder(photos).mean(1)
    expected = F.normalize(one.project(vectors) + other.project(vectors), dim=1)
    torch.testing.assert_close(both.project(vectors), expected)


def test_files_and_pixels_are_alike(photos):
    made = labeller()
    pixels = [decode(path) for path in photos]
    assert made(pixels, labels=LABELS) == made(photos, labels=LABELS)
    assert made([str(photos[0])], labels=LABELS) == made(photos[:1], labels=LABELS)
    assert made([], labels=LABELS) == []


@pytest.mark.parametrize("none_of_these", [None, 0.2])
def test_the_batch_changes_no_label(photos, none_of_these):
    made = labeller()
    asked = {"labels": LABELS, "none_of_these": none_of_these}
    alone = made(photos, batch_size=1, **asked)
    for size in (4, 7, 100):
        for one, other in zip(alone, made(photos, batch_size=size, **asked), strict=True):
            assert one.none_of_these == other.none_of_these
            for label, same in zip(one.labels, other.labels, strict=True):
                assert label.text == same.text
                assert label.cosine == pytest.approx(same.cosine, abs=1e-5)
                assert label.probability == pytest.approx(same.probability, abs=1e-5)


def test_the_order_of_labels_changes_no_answer(images):
    made = labeller()
    before = made.answers(images, made.candidates(LABELS), top=5, none_of_these=0.3)
    order = [3, 0, 4, 2, 1]
    mixed = made.candidates([LABELS[place] for place in order])
    for one, other in zip(
        before, made.answers(images, mixed, top=5, none_of_these=0.3), strict=True
    ):
        assert [label.text for label in one.labels] == [label.text for label in other.labels]
        assert [label.number for label in one.labels] == [
            order[label.number] for label in other.labels
        ]
        assert one.none_of_these == other.none_of_these


@pytest.mark.parametrize("settings", [{}, {"stacking": True}, {"csls": True}])
def test_probabilities_of_all_labels_are_1_together(images, settings):
    made = labeller()
    listed = made.candidates([*LABELS, "qqq", "ring, stop sign"], **settings)
    for answer in made.answers(images, listed, top=100):
        assert len(answer.labels) == 6  # all but qqq
        assert sum(label.probability for label in answer.labels) == pytest.approx(1, abs=1e-5)
        chances = [label.probability for label in answer.labels]
        assert chances == sorted(chances, reverse=True)


def test_a_label_without_a_vector_changes_nothing(images):
    made = labeller()
    plain = made.answers(images, made.candidates(LABELS), none_of_these=0.2)
    more = made.answers(images, made.candidates(["qqq", *LABELS]), top=9, none_of_these=0.2)
    for one, other in zip(plain, more, strict=True):
        assert one.none_of_these == other.none_of_these
        for label, same in zip(one.labels, other.labels, strict=True):
            assert same == label._replace(number=label.number + 1)
    assert made.candidates(["qqq", *LABELS]).placed.missing == ["qqq"]


def test_stacking_takes_the_handicap_off_labels_that_were_trained_on(images):
    made = labeller(calibration=calibration()._replace(seen_penalty=0.4))
    plain, stacked = made.candidates(LABELS), made.candidates(LABELS, stacking=True)
    assert plain.seen.tolist() == stacked.seen.tolist() == [True, False, True, False, False]
    cosines = images.numpy() @ placed_by_hand(made.space, LABELS).T
    scores = cosines - 0.4 * plain.seen.numpy()
    assert (scores.argmax(1) != cosines.argmax(1)).any()
    for row, answer in enumerate(made.answers(images, stacked, top=5)):
        best = np.argsort(-scores[row])
        assert [label.number for label in answer.labels] == best.tolist()
        # What is shown is the cosine itself.
        found = [label.cosine for label in answer.labels]
        assert found == pytest.approx(cosines[row, best], abs=1e-6)
        chances = np.exp(scores[row, best] / 0.25) / np.exp(scores[row] / 0.25).sum()
        assert [label.probability for label in answer.labels] == pytest.approx(chances, abs=1e-5)


def test_csls_takes_off_half_the_mean_of_the_ten_nearest_references(images):
    made = labeller()
    listed = made.candidates(LABELS, csls=True)
    vectors = placed_by_hand(made.space, LABELS)
    near = np.sort(vectors @ made.calibration.references.numpy().T, axis=1)[:, -10:].mean(1)
    assert listed.penalty.tolist() == pytest.approx((near / 2).tolist(), abs=1e-6)
    scores = images.numpy() @ vectors.T - near / 2
    for row, answer in enumerate(made.answers(images, listed, top=5)):
        assert [label.number for label in answer.labels] == np.argsort(-scores[row]).tolist()


def test_both_may_be_taken_off(images):
    made = labeller()
    both = made.candidates(LABELS, csls=True, stacking=True).penalty
    each = (
        made.candidates(LABELS, csls=True).penalty + made.candidates(LABELS, stacking=True).penalty
    )
    torch.testing.assert_close(both, each)


def test_none_of_these_is_said_at_and_below_the_threshold(images):
    made = labeller()
    listed = made.candidates(LABELS)
    limit = made.threshold(listed, 0.3)
    scores = (images @ listed.vectors.T).amax(1)
    said = [answer.none_of_these for answer in made.answers(images, listed, none_of_these=0.3)]
    assert said == (scores <= limit).tolist()
    assert len(set(said)) == 2
    # The references are 20, so that 6 of them may get a label.
    of_references = made.answers(made.calibration.references, listed, none_of_these=0.3)
    assert sum(not answer.none_of_these for answer in of_references) == 6


def test_thresholds_of_other_candidates_and_rates_are_others():
    """What was asked for before does not stick."""
    made = labeller()
    limits = []
    for rate, labels in itertools.product((0.1, 0.3), (LABELS, LABELS[:2])):
        listed = made.candidates(labels)
        limits.append(made.threshold(listed, rate))
        assert made.threshold(listed, rate) == limits[-1]
    assert len(set(limits)) == 4
    listed = made.candidates(LABELS)
    before = made.threshold(listed, 0.3)
    made.calibration = made.calibration._replace(references=units(20, seed=9))
    assert made.threshold(listed, 0.3) != before


def test_words_nearest_to_a_photograph(images):
    made = labeller()
    found = made.answers(images, made.all_words(), top=2)
    cosines = images.numpy() @ words().matrix.T
    for row, answer in enumerate(found):
        best = [WORDS[place].replace("_", " ") for place in np.argsort(-cosines[row])[:2]]
        assert [label.text for label in answer.labels] == best


def test_more_places_than_labels_take_no_memory(images):
    made = labeller()
    (answer,) = made.answers(images[:1], made.candidates(LABELS), top=10**12)
    assert len(answer.labels) == 5


@pytest.mark.parametrize(
    ("label", "synset", "seen"),
    [
        ("ball", None, True),
        (" BALL ", None, True),
        ("forest  giraffe", None, True),
        ("Okapi, ball", None, True),
        ("box, ball", None, False),  # its first name is another
        ("okapi", "n00000003", True),
        ("anything", "n00000003", True),
        ("okapi", "n00000009", False),  # an id says that it is another okapi
        ("ball", "n00000009", True),  # what was trained on as a ball may be this one
    ],
)
def test_labels_that_were_trained_on_are_known(label, synset, seen):
    assert labeller().is_seen(label, synset) is seen


def test_without_ids_in_training_an_id_says_nothing():
    assert labeller(seen=(Label("ball", None),)).is_seen("ball", "n00000009")


def test_a_label_trained_on_without_an_id_is_known_beside_others_that_had_one():
    made = labeller(seen=(Label("ball", None), Label("okapi", "n00000003")))
    assert made.is_seen("ball", "n00000009")
    assert not made.is_seen("okapi", "n00000009")


def test_ids_place_labels_by_their_kinds(images):
    space = LabelSpace(words(), wordnet(), hypernym_weight=0.5)
    made = labeller(space)
    listed = made.candidates(["quokka", "ring"], ["n00000005", "n00000007"])
    torch.testing.assert_close(
        listed.vectors[0], torch.from_numpy(words()["animal"]), atol=1e-6, rtol=0
    )
    assert listed.placed.synsets == ("n00000005", "n00000007")


def test_uncalibrated_there_are_no_probabilities_and_no_thresholds(images):
    made = labeller(calibration=None)
    listed = made.candidates(LABELS)
    assert made.answers(images, listed)[0].labels[0].probability is None
    with pytest.raises(ValueError, match="none of these wants a calibrated labeller"):
        made.answers(images, listed, none_of_these=0.1)
    with pytest.raises(ValueError, match="CSLS wants a calibrated labeller"):
        made.candidates(LABELS, csls=True)
    with pytest.raises(ValueError, match="stacking wants a calibrated labeller"):
        made.candidates(LABELS, stacking=True)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"labels": "okapi, ball"}, "labels is the string 'okapi, ball'; a list"),
        ({"labels": []}, "there are no labels"),
        ({"labels": ["qqq", "vvv"]}, "none of 2 labels has a vector: 'qqq', 'vvv'"),
        ({"labels": LABELS, "top": 0}, "top_k is 0"),
        ({"labels": LABELS, "batch_size": 0}, "batch size is 0; it must be at least 1"),
        ({"labels": LABELS, "none_of_these": 1.5}, "is 1.5; it must be between 0 and 1"),
        ({"labels": LABELS, "none_of_these": 0.01}, "the least is 0.05"),
    ],
)
def test_what_cannot_be_answered_is_refused(photos, asked, message):
    with pytest.raises(ValueError, match=message):
        labeller()(photos[:1], **asked)


def test_a_file_that_is_no_photograph_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(FormatError, match=r"a\.jpg"):
        labeller()([tmp_path / "a.jpg"], labels=LABELS)


def parts(**changed):
    made = labeller()
    given = {"projections": made.projections, "space": made.space, "seen": (), **changed}
    return type(made)(made.embedder, given.pop("projections"), given.pop("space"), **given)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"projections": {}}, "at least one projection"),
        ({"projections": {"devise": torch.nn.Linear(12, WIDTH)}}, "'devise' is a Linear"),
        (
            {"projections": {"devise": Devise(image_width=12, width=5)}},
            "leads to width 5, the words have width 6",
        ),
        (
            {"projections": {"devise": Devise(image_width=11, width=WIDTH)}},
            "the encoder gives width 12, projection 'devise' expects 11",
        ),
        (
            {"calibration": Calibration(1.0, 1.0, 0.0, units(3, 5, seed=0), units(3, 5, seed=0))},
            r"references have shape \(3, 5\), the words width 6",
        ),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        parts(**changed)


def test_progress_of_long_lists_is_told():
    told: list[int] = []
    labeller().candidates(["ball"] * 2500, advance=told.append)
    assert told == [1000, 1000, 500]
