"""Figures of a labeller in a word space of two dimensions, where all angles are known."""

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
from vl.labelling.labeller import Labeller
from vl.metrics.zero_shot import KS

ANGLES = {"east": 0, "north": 90, "west": 180, "south": 270}
SEEN = (Label("east", None), Label("north", None))
HANDICAP = 0.2
# Angle and label of each photograph; quokka has no vector.
SHOWN = [(170, "west"), (200, "south"), (130, "west"), (250, "quokka"), (5, "east"), (130, "north")]


def directions(*angles):
    """Unit vectors, ``(n, 2)``."""
    turns = [math.radians(angle) for angle in angles]
    return torch.tensor([[math.cos(turn), math.sin(turn)] for turn in turns])


def labeller(seen=SEEN, *, calibrated=True, wordnet=None, aside=()):
    """Word space is the first two numbers of an embedding."""
    words = WordVectors(tuple(ANGLES), directions(*ANGLES.values()).numpy())
    projection = Devise(image_width=Tiny.width, width=2)
    with torch.no_grad():
        projection.projection.weight.copy_(torch.eye(2, Tiny.width))
    calibration = None
    if calibrated:
        truths = directions(45, 45, 45, 45)
        calibration = Calibration(0.5, 0.5, HANDICAP, directions(45, 60, 80, 300), truths)
    space = LabelSpace(words, wordnet)
    return Labeller(
        embedder(),
        {"devise": projection},
        space,
        seen=seen,
        aside=aside,
        calibration=calibration,
    )


def shown(pairs=SHOWN, labels=None):
    """Embeddings and the photographs' labels, each label by its words or by words and id."""
    angles, names = zip(*pairs, strict=True)
    order = list(dict.fromkeys(names))
    made = examples([0] * len(order) + [1], [*(labels or {}), Label("none", None)])
    found = [(labels or {}).get(name, Label(name, None)) for name in order]
    made = made._replace(
        names=tuple(f"{row}.jpg" for row in range(len(pairs))),
        of=tuple(order.index(name) for name in names),
        labels=tuple(found),
    )
    return F.pad(directions(*angles), (0, Tiny.width - 2)), made


def evaluated(*, pairs=SHOWN, labels=None, model=None, **choices):
    vectors, given = shown(pairs, labels)
    return evaluate(model or labeller(), vectors, given, **choices)


def by_name(found):
    return {result.name: result for result in found.results}


def hits_of(result):
    return dict(zip(result.hits.ks, result.hits.image_mean.tolist(), strict=True))


def test_hits_by_hand():
    results = by_name(evaluated())
    assert {name: hits_of(result)[1] for name, result in results.items()} == {
        "unseen among unseen": 0.5,  # the second is nearer to west, the fourth is lost
        "unseen among all": 0.25,  # the third is nearer to north
        "unseen among all, stacking": 0.5,  # cos 40 - 0.2 < cos 50
        "seen among seen": 1.0,
        "seen among all": 1.0,
        "seen among all, stacking": 0.5,
    }
    assert hits_of(results["unseen among all"])[2] == 0.75
    assert hits_of(results["unseen among unseen"])[20] == 0.75
    assert results["unseen among unseen"].hits.label_mean[0] == pytest.approx(1 / 3)
    assert [results[name].images for name in ("unseen among all", "seen among all")] == [4, 2]
    texts = [label.text for label in results["unseen among unseen"].labels]
    assert texts == ["west", "south", "quokka"]
    assert len(results["seen among all"].labels) == 5


def test_labels_without_a_vector_are_misses_and_named():
    results = by_name(evaluated())
    for name, result in results.items():
        if "unseen" in name:
            assert (result.missing, result.lost) == (("quokka",), 1)
            assert not result.hits.per_image[3].any()
    assert results["seen among all"].missing == ("quokka",)
    assert (results["seen among seen"].missing, results["seen among all"].lost) == ((), 0)


def test_the_harmonic_mean_by_hand():
    plain, stacking = (evaluated().generalised[how] for how in ("plain", "stacking"))
    assert plain == pytest.approx((1.0, 1 / 6, 2 / 7))
    assert stacking == pytest.approx((0.5, 1 / 3, 0.4))


def test_none_of_these_by_hand():
    """Of the references half may pass: thresholds are cos 45 among seen, cos 120 among unseen."""
    found = evaluated(none_of_these=0.5).rejection
    assert found == (0.5, 0.25, 1.0)  # the third photograph is at 40 degrees from north


def test_the_error_of_probabilities_is_a_plain_one():
    result = by_name(evaluated())["unseen among all, stacking"]
    angles = [angle for angle, _ in SHOWN[:4]]
    bins = [[] for _ in range(15)]
    for angle, (_, label) in zip(angles, SHOWN, strict=False):
        scores = {
            name: math.cos(math.radians(angle - own)) - HANDICAP * (name in ("east", "north"))
            for name, own in ANGLES.items()
        }
        best = max(scores, key=scores.get)
        total = sum(math.exp(score / 0.5) for score in scores.values())
        probability = math.exp(scores[best] / 0.5) / total
        bins[int(15 * probability)].append((probability, best == label))
    expected = sum(abs(sum(p - right for p, right in each)) for each in bins) / 4
    assert result.calibration_error == pytest.approx(expected, abs=1e-5)


def test_what_was_not_calibrated_has_neither_stacking_nor_probabilities(caplog):
    found = evaluated(model=labeller(calibrated=False))
    assert list(found.generalised) == ["plain"]
    assert list(by_name(found)) == [
        "unseen among unseen",
        "unseen among all",
        "seen among seen",
        "seen among all",
    ]
    assert {result.calibration_error for result in found.results} == {None}
    assert evaluated(model=labeller(calibrated=False), none_of_these=0.5).rejection is None
    assert "none of these wants a calibrated labeller" in caplog.text


def test_one_group_alone(caplog):
    found = evaluated(pairs=SHOWN[4:])
    assert list(by_name(found)) == ["seen among seen"]
    assert found.generalised == {}
    found = evaluated(pairs=SHOWN[4:], none_of_these=0.5)
    assert found.rejection is None
    assert list(by_name(found)) == ["seen among seen"]  # all else is told
    assert "no photograph has an unseen label: nothing can be none" in caplog.text
    found = evaluated(pairs=SHOWN[:3])
    assert [name.split(",")[0] for name in by_name(found)] == ["unseen among unseen"] + [
        "unseen among all"
    ] * 2


def test_a_group_whose_labels_all_have_no_vector_leaves_the_rest(caplog):
    results = by_name(evaluated(pairs=[(250, "quokka"), *SHOWN[4:]]))
    assert "unseen among unseen: no candidate has a vector, so all are misses" in caplog.text
    assert "unseen among unseen" not in results
    assert (results["unseen among all"].lost, hits_of(results["unseen among all"])[20]) == (1, 0)
    assert hits_of(results["seen among seen"])[1] == 1
    with pytest.raises(ValueError, match="none of 1 labels has a vector: 'quokka'"):
        evaluated(pairs=[(250, "quokka")], candidates=[Label("quokka", None)])


def test_candidates_take_the_place_of_all_labels():
    chosen = [Label(name, None) for name in ("west", "south", "quokka", "north")]
    shown_to_none = Label("zebra", None)
    found = by_name(evaluated(pairs=SHOWN[:4], candidates=[*chosen, shown_to_none]))
    assert len(found["unseen among all"].labels) == 5
    assert len(found["unseen among unseen"].labels) == 3
    more = [*chosen, Label("EAST", None), Label("east", None), Label("North ", None)]
    every = by_name(evaluated(candidates=more))
    assert [label.text for label in every["seen among seen"].labels] == ["north", "EAST"]
    assert hits_of(every["seen among seen"]) == hits_of(by_name(evaluated())["seen among seen"])


def test_labels_of_photographs_must_be_candidates():
    message = r"3 labels of photographs are no candidates: 'south', 'quokka', 'north'$"
    chosen = [Label("west", None), Label("east", None)]
    with pytest.raises(ValueError, match=message):
        evaluated(candidates=chosen)
    with pytest.raises(ValueError, match=r"4 labels .*'quokka', \.\.\."):
        evaluated(candidates=chosen[1:])


def test_without_candidates_that_were_trained_on_nothing_can_be_none_of_these(caplog):
    chosen = [Label(name, None) for name in ("west", "south", "quokka")]
    assert evaluated(pairs=SHOWN[:4], candidates=chosen, none_of_these=0.5).rejection is None
    assert "no candidate was trained on" in caplog.text


def test_a_name_and_an_id_are_one_candidate():
    """Otherwise each would be the other's rival, with the same vector."""
    seen = (Label("east, orient", "n00000001"), Label("north", "n00000002"))
    found = evaluated(model=labeller(seen))
    expected = evaluated()
    assert {name: hits_of(each) for name, each in by_name(found).items()} == {
        name: hits_of(each) for name, each in by_name(expected).items()
    }
    assert found.generalised == expected.generalised


def test_hierarchical_precision_where_every_candidate_is_a_synset():
    ids = {name: f"n0000000{number}" for number, name in enumerate(ANGLES)}
    wordnet = WordNet(
        {"n00000009": ["direction"], **{each: [name] for name, each in ids.items()}},
        [("n00000009", each) for each in ids.values()],
    )
    labels = {name: Label(name, each) for name, each in ids.items()}
    seen = (labels["east"], labels["north"])
    pairs = [pair for pair in SHOWN if pair[1] != "quokka"]
    results = by_name(evaluated(pairs=pairs, labels=labels, model=labeller(seen, wordnet=wordnet)))
    for result in results.values():
        assert result.precision.per_image[:, 0].tolist() == result.hits.per_image[:, 0].tolist()
        assert result.precision.ks == KS
    without = evaluated(labels=labels, model=labeller(seen, wordnet=wordnet))  # quokka is no synset
    assert by_name(without)["unseen among all"].precision is None
    assert by_name(without)["seen among seen"].precision is not None


def test_csls_takes_hubs_back():
    """With references that all lie near west, west loses."""
    model = labeller()
    model.calibration = model.calibration._replace(
        references=directions(*range(160, 200, 3)), truths=directions(*[45] * 14)
    )
    pairs = [(220, "south"), (170, "west")]
    plain, csls = (
        by_name(evaluated(pairs=pairs, model=model, csls=on))["unseen among unseen"]
        for on in (False, True)
    )
    assert plain.hits.per_image[:, 0].tolist() == [0, 1]
    assert csls.hits.per_image[:, 0].tolist() == [1, 1]


def test_the_order_of_photographs_changes_nothing():
    found, turned = (evaluated(pairs=pairs) for pairs in (SHOWN, SHOWN[::-1]))
    assert found.generalised["plain"] == pytest.approx(turned.generalised["plain"])
    for name, result in by_name(found).items():
        assert hits_of(result) == hits_of(by_name(turned)[name])


def test_labels_that_the_training_was_judged_by_count_in_no_group():
    without = [pair for pair in SHOWN if pair[1] != "south"]
    found = evaluated(model=labeller(aside=(Label("south", None),)))
    assert found.aside == 1
    assert evaluated().aside == 0
    expected = evaluated(pairs=without)
    for name, result in by_name(found).items():
        other = by_name(expected)[name]
        assert result.images == other.images
        if name.endswith("unseen"):
            assert [each.text for each in result.labels] == ["west", "quokka"]
            assert hits_of(result) == hits_of(other)
        if "all" in name:  # it stays among the candidates
            assert "south" in [each.text for each in result.labels]
    assert found.generalised["plain"].seen == 1.0


def test_photographs_of_nothing_but_labels_put_aside_are_refused():
    aside = tuple(Label(name, None) for name in ("west", "south"))
    with pytest.raises(ValueError, match="judged by all labels of these photographs"):
        evaluated(pairs=[(170, "west"), (200, "south")], model=labeller(aside=aside))


def test_probabilities_of_labels_trained_on_have_a_temperature_of_their_own():
    made = labeller()
    made.calibration = made.calibration._replace(temperature=1e3, seen_temperature=1e-3)
    results = by_name(evaluated(model=made))
    assert results["seen among seen"].calibration_error == pytest.approx(0, abs=1e-3)
    assert results["seen among all"].calibration_error > 0.7
