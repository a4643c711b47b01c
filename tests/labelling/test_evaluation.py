"""A labeller's results in a word space of two dimensions, where all angles are known."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.helpers.tiny_captioner import Tiny, embedder
from tests.labelling.test_examples import examples
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet
from vl.decoders.devise import Devise
from vl.labelling.calibration import Calibration
from vl.labelling.evaluation import evaluate
from vl.labelling.examples import EmbeddedExamples
from vl.labelling.labeller import Labeller
from vl.metrics.zero_shot import KS

ANGLES = {"east": 0, "north": 90, "west": 180, "south": 270}
SEEN = (Label("east"), Label("north"))
PENALTY = 0.2
# Angle and label of each image; quokka has no vector.
IMAGES = [
    (170, "west"),
    (200, "south"),
    (130, "west"),
    (250, "quokka"),
    (5, "east"),
    (130, "north"),
]


def directions(*angles):
    """Unit vectors, ``(n, 2)``."""
    turns = [math.radians(angle) for angle in angles]
    return torch.tensor([[math.cos(turn), math.sin(turn)] for turn in turns])


def labeller(seen=SEEN, *, calibrated=True, wordnet=None, development=()):
    """Word space is the first two dimensions of an embedding."""
    words = WordVectors(tuple(ANGLES), directions(*ANGLES.values()).numpy())
    projection = Devise(image_width=Tiny.width, width=2)
    with torch.no_grad():
        projection.projection.weight.copy_(torch.eye(2, Tiny.width))
    references = directions(45, 60, 80, 300), directions(45, 45, 45, 45)
    return Labeller(
        embedder(),
        {"devise": projection},
        LabelSpace(words, wordnet),
        seen=seen,
        development=development,
        calibration=Calibration(0.5, 0.5, PENALTY, *references) if calibrated else None,
    )


def run(*, images=IMAGES, labels=None, model=None, **settings):
    """The evaluation of images, each label by its text or, if given, with its id."""
    angles, names = zip(*images, strict=True)
    unique = list(dict.fromkeys(names))
    labelled = examples([1] * len(images))._replace(
        targets=tuple(unique.index(name) for name in names),
        labels=tuple((labels or {}).get(name, Label(name)) for name in unique),
    )
    vectors = F.pad(directions(*angles), (0, Tiny.width - 2))[:, None]
    model = model or labeller()
    return evaluate(model, EmbeddedExamples(model.embedder, labelled, vectors), **settings)


def by_name(evaluation):
    return {result.name: result for result in evaluation.results}


def hits(result):
    return dict(zip(result.hits.ks, result.hits.image_mean.tolist(), strict=True))


def test_hits_by_hand():
    results = by_name(run())
    assert {name: hits(result)[1] for name, result in results.items()} == {
        "unseen among unseen": 0.5,  # the second is nearer to west, the fourth is lost
        "unseen among all": 0.25,  # the third is nearer to north
        "unseen among all, calibrated": 0.5,  # cos 40 - 0.2 < cos 50
        "seen among seen": 1.0,
        "seen among all": 1.0,
        "seen among all, calibrated": 0.5,
    }
    assert hits(results["unseen among all"])[2] == 0.75
    assert hits(results["unseen among unseen"])[20] == 0.75
    assert results["unseen among unseen"].hits.label_mean[0] == pytest.approx(1 / 3)
    assert [results[name].images for name in ("unseen among all", "seen among all")] == [4, 2]
    texts = [label.text for label in results["unseen among unseen"].labels]
    assert texts == ["west", "south", "quokka"]
    assert len(results["seen among all"].labels) == 5


def test_labels_without_a_vector_are_misses():
    results = by_name(run())
    for name, result in results.items():
        if "unseen" in name:
            assert (result.missing, result.lost) == (("quokka",), 1)
            assert not result.hits.per_image[3].any()
    assert results["seen among all"].missing == ("quokka",)
    assert (results["seen among seen"].missing, results["seen among all"].lost) == ((), 0)


def test_generalized_and_rejection_by_hand():
    evaluation = run(none_of_these=0.5)
    assert evaluation.generalized["plain"] == pytest.approx((1.0, 1 / 6, 2 / 7))
    assert evaluation.generalized["calibrated"] == pytest.approx((0.5, 1 / 3, 0.4))
    # Half of the references may pass: thresholds are cos 45 among seen, cos 120 among unseen.
    assert evaluation.rejection == (0.5, 0.25, 1.0)  # the third image is 40 degrees from north


def test_calibration_error_is_a_plain_one():
    result = by_name(run())["unseen among all, calibrated"]
    bins = [[] for _ in range(15)]
    for angle, label in IMAGES[:4]:
        scores = {
            name: math.cos(math.radians(angle - other)) - PENALTY * (name in ("east", "north"))
            for name, other in ANGLES.items()
        }
        best = max(scores, key=scores.get)
        total = sum(math.exp(score / 0.5) for score in scores.values())
        probability = math.exp(scores[best] / 0.5) / total
        bins[int(15 * probability)].append((probability, best == label))
    expected = sum(abs(sum(p - correct for p, correct in row)) for row in bins) / 4
    assert result.calibration_error == pytest.approx(expected, abs=1e-5)


def test_seen_candidates_have_their_own_temperature():
    model = labeller()
    model.calibration = model.calibration._replace(temperature=1e3, seen_temperature=1e-3)
    results = by_name(run(model=model))
    assert results["seen among seen"].calibration_error == pytest.approx(0, abs=1e-3)
    assert results["seen among all"].calibration_error > 0.7


def test_uncalibrated_labeller(caplog):
    evaluation = run(model=labeller(calibrated=False), none_of_these=0.5)
    assert list(evaluation.generalized) == ["plain"]
    assert not any("calibrated" in result.name for result in evaluation.results)
    assert {result.calibration_error for result in evaluation.results} == {None}
    assert evaluation.rejection is None
    assert "needs a calibrated labeller" in caplog.text


def test_one_group_alone(caplog):
    evaluation = run(images=IMAGES[4:], none_of_these=0.5)
    assert list(by_name(evaluation)) == ["seen among seen"]
    assert (evaluation.generalized, evaluation.rejection) == ({}, None)
    assert "no image has an unseen label" in caplog.text
    names = [name.split(",")[0] for name in by_name(run(images=IMAGES[:3]))]
    assert names == ["unseen among unseen", "unseen among all", "unseen among all"]


def test_group_without_vectors_leaves_the_rest(caplog):
    results = by_name(run(images=[(250, "quokka"), *IMAGES[4:]]))
    assert "unseen among unseen: no candidate has a vector" in caplog.text
    assert "unseen among unseen" not in results
    assert (results["unseen among all"].lost, hits(results["unseen among all"])[20]) == (1, 0)
    assert hits(results["seen among seen"])[1] == 1
    with pytest.raises(ValueError, match="'quokka'"):
        run(images=[(250, "quokka")], candidates=[Label("quokka")])


def test_candidates_replace_all_labels(caplog):
    chosen = [Label(name) for name in ("west", "south", "quokka", "north")]
    results = by_name(run(images=IMAGES[:4], candidates=[*chosen, Label("zebra")]))
    assert len(results["unseen among all"].labels) == 5
    assert len(results["unseen among unseen"].labels) == 3
    more = [*chosen, Label("EAST"), Label("east"), Label("North ")]
    results = by_name(run(candidates=more))
    assert [label.text for label in results["seen among seen"].labels] == ["north", "EAST"]
    assert hits(results["seen among seen"]) == hits(by_name(run())["seen among seen"])
    assert run(images=IMAGES[:4], candidates=chosen[:3], none_of_these=0.5).rejection is None
    assert "no candidate is a seen label" in caplog.text


def test_labels_of_images_must_be_candidates():
    with pytest.raises(ValueError, match=r"3 labels .*'south', 'quokka', 'north'"):
        run(candidates=[Label("west"), Label("east")])


def test_name_and_id_are_one_candidate():
    """Otherwise each would be the other's rival, with the same vector."""
    seen = (Label("east, orient", "n00000001"), Label("north", "n00000002"))
    evaluation, expected = run(model=labeller(seen)), run()
    assert {name: hits(result) for name, result in by_name(evaluation).items()} == {
        name: hits(result) for name, result in by_name(expected).items()
    }
    assert evaluation.generalized == expected.generalized


def test_hierarchical_precision_needs_synsets():
    ids = {name: f"n0000000{index}" for index, name in enumerate(ANGLES)}
    wordnet = WordNet(
        {"n00000009": ["direction"], **{synset: [name] for name, synset in ids.items()}},
        [("n00000009", synset) for synset in ids.values()],
    )
    labels = {name: Label(name, synset) for name, synset in ids.items()}
    model = labeller((labels["east"], labels["north"]), wordnet=wordnet)
    images = [pair for pair in IMAGES if pair[1] != "quokka"]
    for result in run(images=images, labels=labels, model=model).results:
        assert result.precision.per_image[:, 0].tolist() == result.hits.per_image[:, 0].tolist()
        assert result.precision.ks == KS
    results = by_name(run(labels=labels, model=model))  # quokka is no synset
    assert results["unseen among all"].precision is None
    assert results["seen among seen"].precision is not None


def test_csls_penalizes_hubs():
    """With references that all lie near west, west loses."""
    model = labeller()
    model.calibration = model.calibration._replace(
        references=directions(*range(160, 200, 3)), reference_labels=directions(*[45] * 14)
    )
    images = [(220, "south"), (170, "west")]
    plain, csls = (
        by_name(run(images=images, model=model, csls=csls))["unseen among unseen"]
        for csls in (False, True)
    )
    assert plain.hits.per_image[:, 0].tolist() == [0, 1]
    assert csls.hits.per_image[:, 0].tolist() == [1, 1]


def test_order_of_images_changes_nothing():
    evaluation, reverse = (run(images=images) for images in (IMAGES, IMAGES[::-1]))
    assert evaluation.generalized["plain"] == pytest.approx(reverse.generalized["plain"])
    for name, result in by_name(evaluation).items():
        assert hits(result) == hits(by_name(reverse)[name])


def test_development_labels_are_in_no_group():
    evaluation = run(model=labeller(development=(Label("south"),)))
    assert (evaluation.excluded, run().excluded) == (1, 0)
    expected = by_name(run(images=[pair for pair in IMAGES if pair[1] != "south"]))
    for name, result in by_name(evaluation).items():
        assert result.images == expected[name].images
        texts = [label.text for label in result.labels]
        if name.endswith("unseen"):
            assert texts == ["west", "quokka"]
            assert hits(result) == hits(expected[name])
        if "all" in name:  # it stays among the candidates
            assert "south" in texts
    assert evaluation.generalized["plain"].seen == 1.0
    model = labeller(development=(Label("west"), Label("south")))
    with pytest.raises(ValueError, match="all images"):
        run(images=IMAGES[:2], model=model)


def test_table_says_what_the_json_says():
    evaluation = run(none_of_these=0.5)
    record, lines = evaluation.to_dict(), str(evaluation).splitlines()
    assert lines[-1] == record["signature"]
    assert lines[-1].startswith("devise | 2 seen labels | csls off | vl ")
    for result in record["results"]:
        row = next(i for i, line in enumerate(lines) if line.startswith(f"{result['name']}  "))
        values = [*result["hit"], result["hit_over_classes"][0]]
        counts = [str(result["images"]), str(result["candidates"])]
        cells = lines[row].removeprefix(result["name"]).split()
        assert cells == [*counts, *(f"{100 * value:.1f}" for value in values)]
        chance = [min(1, k / result["candidates"]) for k in result["k"]]
        assert lines[row + 1].split()[1:] == [f"{100 * value:.1f}" for value in chance]
        assert lines[row + 2].endswith(f"error {100 * result['calibration_error']:.1f}")
    text = "\n".join(lines)
    for name, means in record["generalized"].items():
        seen, unseen, harmonic = (f"{100 * value:.1f}" for value in means.values())
        assert f"{name}: hit@1 by class, seen {seen}  unseen {unseen}  harmonic" in text
        assert f"mean {harmonic}" in text
    assert "none of these, at 50 %: accepted images of no candidate 25.0" in text


def test_per_class_table():
    images = [*IMAGES, (170, "west")]  # not all count the same
    evaluation = run(images=images, candidates=[*map(Label, [*ANGLES, "quokka", "zebra"])])
    head, *rows = [line.split("\t") for line in evaluation.per_class().splitlines()]
    assert head == ["group", "label", "id", "images", *(f"hit@{k}" for k in KS), "note"]
    assert {len(row) for row in rows} == {len(head)}
    groups = [row[0] for row in rows]
    assert groups.count("seen among seen") == 2
    assert groups.count("unseen among all") == 4  # zebra has no image and no vector
    (zebra,) = [row for row in rows if row[:2] == ["unseen among all", "zebra"]]
    assert zebra[3:] == ["0", "", "", "", "", "", "no vector"]
    for result in evaluation.results:
        values = [float(row[4]) for row in rows if row[0] == result.name and row[3] != "0"]
        mean = sum(values) / len(values)
        assert mean == pytest.approx(100 * result.hits.label_mean[0], abs=0.1)
