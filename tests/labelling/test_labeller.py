"""A labeller's predictions against plain arithmetic, whatever the batch, order and settings."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers.tiny_captioner import drawings, embedder
from tests.helpers.tiny_labeller import (
    SEEN,
    WIDTH,
    WORDS,
    calibration,
    labeller,
    units,
    word_vectors,
    wordnet,
    words,
)
from vl.data.images.decode import decode, square
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.decoders.devise import Devise
from vl.labelling.calibration import Calibration
from vl.labelling.labeller import Labeller

LABELS = ["ball", "stop sign", "okapi", "guitar", "giraffe"]


@pytest.fixture
def paths(tmp_path):
    return drawings(tmp_path / "images", 7)


@pytest.fixture
def projected():
    """Images in word space, ``(B, D)``."""
    return units(7, seed=5)


def plain_cosines(model, paths, label_vectors):
    """``(B, K)``, one image, view and label at a time."""
    encoder = model.embedder.encoder
    rows = []
    for path in paths:
        pixels = square(decode(path), encoder.image_size, model.embedder.resize)[None]
        views = [{"plain": pixels, "flip": pixels.flip(-1)}[view] for view in model.embedder.views]
        with torch.no_grad():
            embedding = torch.cat([encoder(view) for view in views]).mean(0)[None]
            image = sum(F.normalize(p(embedding)[0], dim=0) for p in model.projections.values())
        rows.append([float(F.cosine_similarity(image, label, dim=0)) for label in label_vectors])
    return np.array(rows)


@pytest.mark.parametrize("views", [("plain",), ("plain", "flip")])
@pytest.mark.parametrize("resize", ["squash", "center-crop"])
def test_agrees_with_plain_arithmetic(paths, views, resize):
    model = labeller(views=views, resize=resize)
    vectors = torch.from_numpy(word_vectors(model.space, LABELS))
    answers = model(paths, labels=LABELS, top_k=3)
    assert len({answer.predictions[0].text for answer in answers}) > 1  # or the test shows nothing
    for row, answer in zip(plain_cosines(model, paths, vectors), answers, strict=True):
        best = np.argsort(-row)[:3]
        texts, cosines, probabilities, indices = zip(*answer.predictions, strict=True)
        assert texts == tuple(LABELS[index] for index in best)
        assert indices == tuple(best)
        assert cosines == pytest.approx(row[best], abs=1e-5)
        softmax = np.exp(row / 0.25) / np.exp(row / 0.25).sum()
        assert probabilities == pytest.approx(softmax[best], abs=1e-5)
        assert not answer.none_of_these


def test_several_projections_give_the_mean_direction(paths):
    first, second, both = labeller(), labeller(), labeller()
    second.projections["devise"].projection.weight.data = torch.randn(WIDTH, 12)
    both.projections = {name: m.projections["devise"] for name, m in zip("ab", (first, second))}
    vectors = first.embedder(paths).mean(1)
    expected = F.normalize(first.project(vectors) + second.project(vectors), dim=1)
    torch.testing.assert_close(both.project(vectors), expected)


def test_gradients_flow_only_on_request():
    model, vectors = labeller(), torch.randn(2, 12, requires_grad=True)
    assert not model.project(vectors).requires_grad
    model.project(vectors, gradient=True).sum().backward()
    assert vectors.grad.abs().sum() > 0


@pytest.mark.parametrize("none_of_these", [None, 0.2])
def test_batch_size_changes_no_label(paths, none_of_these):
    results = []
    for size in (1, 4, 100):
        model = labeller(batch_size=size)
        results.append(model(paths, labels=LABELS, none_of_these=none_of_these))
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            assert one.none_of_these == same.none_of_these
            for label, again in zip(one.predictions, same.predictions, strict=True):
                assert label.text == again.text
                assert label[1:3] == pytest.approx(again[1:3], abs=1e-5)


def test_order_of_candidates_changes_nothing(projected):
    model = labeller()
    order = [3, 0, 4, 2, 1]
    results = []
    for labels in (LABELS, [LABELS[index] for index in order]):
        candidates = model.candidates(labels)
        threshold = model.threshold(candidates, 0.3)
        results.append(model.predict(projected, candidates, threshold=threshold))
    for one, other in zip(*results, strict=True):
        assert [label.text for label in one.predictions] == [p.text for p in other.predictions]
        indices = [order[label.label_index] for label in other.predictions]
        assert [label.label_index for label in one.predictions] == indices
        assert one.none_of_these == other.none_of_these


@pytest.mark.parametrize("settings", [{}, {"calibrated_stacking": True}, {"csls": True}])
def test_probabilities_sum_to_1(projected, settings):
    model = labeller()
    candidates = model.candidates([*LABELS, "qqq", "ring, stop sign"], **settings)
    for answer in model.predict(projected, candidates, top_k=10**12):  # takes no memory
        assert len(answer.predictions) == 6  # all but qqq
        probabilities = [label.probability for label in answer.predictions]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert probabilities == sorted(probabilities, reverse=True)


def test_label_without_a_vector_changes_nothing(projected):
    model = labeller()
    more = model.candidates(["qqq", *LABELS])
    expected = model.predict(projected, model.candidates(LABELS))
    for one, other in zip(expected, model.predict(projected, more), strict=True):
        for label, same in zip(one.predictions, other.predictions, strict=True):
            assert same == label._replace(label_index=label.label_index + 1)
    assert more.without_vector == (0,)
    assert more.label_vectors.missing == ["qqq"]


def test_calibrated_stacking_subtracts_the_penalty_of_seen_labels(projected):
    model = labeller(calibration=calibration()._replace(seen_penalty=0.4))
    candidates = model.candidates(LABELS, calibrated_stacking=True)
    assert candidates.seen.tolist() == [True, False, True, False, False]
    cosines = projected.numpy() @ word_vectors(model.space, LABELS).T
    scores = cosines - 0.4 * candidates.seen.numpy()
    assert (scores.argmax(1) != cosines.argmax(1)).any()
    for row, answer in enumerate(model.predict(projected, candidates, top_k=5)):
        best = np.argsort(-scores[row])
        _, found, probabilities, indices = zip(*answer.predictions, strict=True)
        assert indices == tuple(best)
        assert found == pytest.approx(cosines[row, best], abs=1e-6)  # not the scores
        softmax = np.exp(scores[row, best] / 0.25) / np.exp(scores[row] / 0.25).sum()
        assert probabilities == pytest.approx(softmax, abs=1e-5)


def test_csls_subtracts_half_the_mean_of_the_ten_nearest_references(projected):
    model = labeller()
    candidates = model.candidates(LABELS, csls=True)
    vectors = word_vectors(model.space, LABELS)
    near = np.sort(vectors @ model.calibration.references.numpy().T, axis=1)[:, -10:].mean(1)
    assert candidates.penalty.tolist() == pytest.approx((near / 2).tolist(), abs=1e-6)
    scores = projected.numpy() @ vectors.T - near / 2
    for row, answer in enumerate(model.predict(projected, candidates)):
        order = [label.label_index for label in answer.predictions]
        assert order == np.argsort(-scores[row]).tolist()
    both = model.candidates(LABELS, csls=True, calibrated_stacking=True).penalty
    stacking = model.candidates(LABELS, calibrated_stacking=True).penalty
    torch.testing.assert_close(both, candidates.penalty + stacking)


def test_none_of_these_is_at_and_below_the_threshold(projected):
    model = labeller()
    candidates = model.candidates(LABELS)
    threshold = model.threshold(candidates, 0.3)
    scores = (projected @ candidates.vectors.T).amax(1)
    answers = model.predict(projected, candidates, threshold=threshold)
    rejected = [answer.none_of_these for answer in answers]
    assert rejected == (scores <= threshold).tolist()
    assert len(set(rejected)) == 2
    # Of 20 references 6 may get a label.
    references = model.calibration.references
    answers = model.predict(references, candidates, threshold=threshold)
    assert sum(not answer.none_of_these for answer in answers) == 6


def test_nearest_words(projected):
    model = labeller()
    cosines = projected.numpy() @ words().matrix.T
    for row, answer in enumerate(model.predict(projected, model.candidates(None), top_k=2)):
        best = [WORDS[index].replace("_", " ") for index in np.argsort(-cosines[row])[:2]]
        assert [label.text for label in answer.predictions] == best


def test_seen_and_development_labels_are_found_as_labels_are():
    """By id, else by the first name; see tests/data/words/test_labels.py."""
    for field, method in (("seen", Labeller.is_seen), ("development", Labeller.is_development)):
        model = labeller(**{"seen": (), field: SEEN})
        assert method(model, Label("forest  giraffe"))
        assert method(model, Label("anything", "n00000003"))
        assert not method(model, Label("box, ball"))  # its first name is another
        assert not method(model, Label("okapi", "n00000009"))


def test_ids_place_labels_by_their_hypernyms():
    model = labeller(LabelSpace(words(), wordnet(), hypernym_weight=0.5))
    candidates = model.candidates([Label("quokka", "n00000005"), Label("ring", "n00000007")])
    animal = torch.from_numpy(words()["animal"])
    torch.testing.assert_close(candidates.vectors[0], animal, atol=1e-6, rtol=0)
    assert candidates.label_vectors.synsets == ("n00000005", "n00000007")


def test_without_calibration_no_probabilities_and_no_thresholds(projected):
    model = labeller(calibration=None)
    candidates = model.candidates(LABELS)
    assert model.predict(projected, candidates)[0].predictions[0].probability is None
    for purpose, call in (
        ("none of these", lambda: model.threshold(candidates, 0.1)),
        ("CSLS", lambda: model.candidates(LABELS, csls=True)),
        ("stacking", lambda: model.candidates(LABELS, calibrated_stacking=True)),
    ):
        with pytest.raises(ValueError, match=f"{purpose} needs a calibrated labeller"):
            call()


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"labels": "okapi, ball"}, "string"),
        ({"labels": []}, "no labels"),
        ({"labels": ["qqq", "vvv"]}, "none of 2 labels"),
        ({"labels": LABELS, "top_k": 0}, "top_k is 0"),
        ({"labels": LABELS, "none_of_these": 1.5}, "between 0 and 1"),
        ({"labels": LABELS, "none_of_these": 0.01}, "least is 0.05"),
    ],
)
def test_invalid_arguments_are_refused(paths, settings, word):
    with pytest.raises(ValueError, match=word):
        labeller()(paths[:1], **settings)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"projections": {}}, "at least one"),
        ({"projections": {"devise": torch.nn.Linear(12, WIDTH)}}, "Linear"),
        ({"projections": {"devise": Devise(image_width=12, width=5)}}, "width 5"),
        ({"projections": {"devise": Devise(image_width=11, width=WIDTH)}}, "expects 11"),
        (
            {"calibration": Calibration(1.0, 1.0, 0.0, units(3, 5, seed=0), units(3, 5, seed=0))},
            r"shape \(3, 5\)",
        ),
    ],
)
def test_parts_that_do_not_match_are_refused(changed, word):
    model = labeller()
    parts = {"projections": model.projections, "space": model.space, "seen": (), **changed}
    with pytest.raises(ValueError, match=word):
        Labeller(embedder(), **parts)
