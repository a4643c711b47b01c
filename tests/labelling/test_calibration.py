"""Calibration against fine grids, plain loops and arithmetic by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers.tiny_labeller import units
from vl.labelling.calibration import (
    Calibration,
    calibrate,
    fit_seen_penalty,
    fit_temperature,
    rejection_threshold,
)
from vl.search.nearest import NearestNeighbors


def scored(seed: int, *, images: int = 40, labels: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and targets, right somewhat more often than by chance."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(images, labels, generator=generator) / 4
    targets = torch.randint(labels, (images,), generator=generator)
    scores[torch.arange(images), targets] += 0.3
    return scores, targets


def nll(scores, targets, temperature):
    rows = []
    for row, label in zip(scores.double().numpy() / temperature, targets.tolist(), strict=True):
        rows.append(math.log(np.exp(row - row.max()).sum()) + row.max() - row[label])
    return sum(rows) / len(rows)


@pytest.mark.parametrize("seed", range(4))
def test_no_temperature_of_a_fine_grid_is_better(seed):
    scores, targets = scored(seed)
    temperature = fit_temperature(scores, targets)
    best = nll(scores, targets, temperature)
    grid = [temperature * 2 ** (step / 50) for step in range(-150, 151)]
    assert best <= min(nll(scores, targets, other) for other in grid) + 1e-9
    assert nll(scores, targets, temperature * 1.05) > best
    assert nll(scores, targets, temperature / 1.05) > best


def test_temperature_laws():
    scores, targets = scored(0)
    temperature = fit_temperature(scores, targets)
    assert fit_temperature(scores * 3, targets) == pytest.approx(3 * temperature, rel=1e-5)
    shifted = scores + torch.arange(40)[:, None]  # of all labels alike
    assert fit_temperature(shifted, targets) == pytest.approx(temperature, rel=1e-3)
    more = torch.cat([scores, torch.full((40, 2), -torch.inf)], 1)  # labels without a vector
    assert fit_temperature(more, targets) == pytest.approx(temperature, rel=1e-5)


def test_temperatures_stay_in_their_range():
    scores = torch.eye(3)
    # All right: the lower the better, until what is left of the loss is rounding.
    assert 1e-4 * 0.999 < fit_temperature(scores, torch.arange(3)) < 0.05
    assert fit_temperature(scores, torch.tensor([1, 2, 0])) == pytest.approx(1e2, rel=1e-3)


def harmonic(scores, targets, seen, penalty):
    hits: dict[int, list[bool]] = {label: [] for label in targets.tolist()}
    for row, label in zip(scores.double().numpy(), targets.tolist(), strict=True):
        hits[label].append(int((row - penalty * seen.numpy()).argmax()) == label)
    means = {label: sum(values) / len(values) for label, values in hits.items()}
    groups = [
        [means[label] for label in means if bool(seen[label]) is group] for group in (True, False)
    ]
    one, other = (sum(group) / len(group) for group in groups)
    return 2 * one * other / (one + other) if one + other else 0.0


@pytest.mark.parametrize("seed", range(6))
def test_seen_penalty_is_as_good_as_the_best_of_a_plain_loop(seed):
    scores, targets = scored(seed, images=60)
    seen = torch.tensor([True, False, True, False, True, False])
    scores[:, seen] += 0.4  # seen labels precede all others
    penalty = fit_seen_penalty(scores, targets, seen)
    best = harmonic(scores, targets, seen, penalty + 1e-6)
    grid = np.linspace(0, 3, 301)
    # The grid of the search is another, and one image more is at most 1 / 20 of a group.
    assert best >= max(harmonic(scores, targets, seen, other) for other in grid) - 0.02
    assert best > harmonic(scores, targets, seen, 0)
    assert penalty > 0.1


def test_seen_penalty_by_hand():
    """Label 0 is seen, 1 is not: both are right from 0.2 to 0.5, and the least is taken."""
    targets, seen = torch.tensor([0, 1]), torch.tensor([True, False])
    penalty = fit_seen_penalty(torch.tensor([[0.9, 0.4], [0.5, 0.3]]), targets, seen)
    assert 0.2 - 1e-6 < penalty <= 0.2 + 0.5 / 400 + 1e-6
    assert fit_seen_penalty(torch.tensor([[0.9, 0.4], [0.3, 0.5]]), targets, seen) == 0


def development(seed=0, count=24):
    """Images near the vectors of their labels, of which the first four are seen."""
    label_vectors = units(7, 5, seed=8)
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 7
    noise = 0.3 * torch.randn(count, 5, generator=generator)
    projected = F.normalize(label_vectors[targets] + noise, dim=1)
    return projected, targets, label_vectors, torch.arange(7) < 4


def test_calibrate():
    projected, targets, label_vectors, seen = development()
    calibration = calibrate(projected, targets, label_vectors, seen)
    unseen = targets >= 4
    assert torch.equal(calibration.references, projected[unseen])
    assert torch.equal(calibration.reference_labels, label_vectors[targets[unseen]])
    scores = projected @ label_vectors.T
    for temperature, rows, columns, first in (
        (calibration.temperature, unseen, slice(4, 7), 4),
        (calibration.seen_temperature, ~unseen, slice(0, 4), 0),
    ):
        expected = fit_temperature(scores[rows][:, columns], targets[rows] - first)
        assert temperature == pytest.approx(expected)
    assert calibration.seen_penalty == fit_seen_penalty(scores, targets, seen)
    assert calibration.temperature_for(all_seen=True) == calibration.seen_temperature


def test_calibrate_without_a_group(caplog):
    projected, targets, label_vectors, seen = development()
    of_seen = targets < 4
    assert calibrate(projected[of_seen], targets[of_seen], label_vectors, seen) is None
    calibration = calibrate(projected[~of_seen], targets[~of_seen], label_vectors, seen)
    assert calibration.seen_penalty == 0
    assert calibration.seen_temperature == calibration.temperature
    assert "no seen penalty" in caplog.text


def references(count: int = 49, *, seed: int = 1) -> Calibration:
    return Calibration(1.0, 1.0, 0.0, units(count, seed=seed), units(count, seed=seed + 1))


def threshold(calibration, vectors, rate, penalty=None):
    candidates = NearestNeighbors(vectors, penalty=penalty)
    return rejection_threshold(calibration, candidates, vectors, false_accepts=rate)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.29, 0.5, 0.99])
def test_at_most_the_rate_of_references_is_accepted(rate):
    calibration, vectors = references(100), units(8, seed=3)
    limit = threshold(calibration, vectors, rate)
    scores = (calibration.references @ vectors.T).amax(1)
    assert int((scores > limit + 1e-6).sum()) == round(100 * rate)  # and no fewer than possible


def test_threshold_laws():
    calibration, vectors = references(), units(8, seed=3)
    limits = [threshold(calibration, vectors[:count], 0.2) for count in range(1, 9)]
    assert limits == sorted(limits)  # it never falls with more candidates
    assert limits[0] < limits[-1]
    lowered = threshold(calibration, vectors, 0.2, torch.full((8,), 0.25))
    assert lowered == pytest.approx(limits[-1] - 0.25, abs=1e-6)


def test_references_of_a_candidate_do_not_count():
    """They are no images of something else; and labels without a vector are no candidates."""
    calibration = references()
    # Half of the references show label 0 exactly, rounded as in a file.
    rounded = calibration.reference_labels[0].half().float()
    labels = calibration.reference_labels.clone()
    labels[::2] = rounded / rounded.norm()
    missing = torch.full((1, 6), torch.nan)
    vectors = torch.cat([calibration.reference_labels[:1], units(3, seed=7), missing])
    limit = threshold(calibration._replace(reference_labels=labels), vectors, 0.25)
    others = calibration._replace(
        references=calibration.references[1::2],
        reference_labels=calibration.reference_labels[1::2],
    )
    assert limit == threshold(others, vectors, 0.25)
    shown = Calibration(1.0, 1.0, 0.0, calibration.references[::2], labels[::2])
    with pytest.raises(ValueError, match="all 25 images"):
        threshold(shown, vectors, 0.25)


@pytest.mark.parametrize("count", [1, 2, 6, 48, 93])
def test_least_rate(count):
    calibration, vectors = references(count + 1), units(2, seed=3)
    exact = threshold(calibration, vectors, 1 / (count + 1))
    assert exact < float((calibration.references @ vectors.T).amax(1).max())
    with pytest.raises(ValueError, match=f"{count + 1} .* the least is") as caught:
        threshold(calibration, vectors, 0.9 / (count + 1))
    least = float(str(caught.value).rpartition(" ")[2])
    assert threshold(calibration, vectors, least) == exact
    assert 1 / (count + 1) <= least < 1 / (count + 1) + 0.001


@pytest.mark.parametrize("rate", [0.0, 1.0, 1.5, -0.1, math.nan])
def test_rate_is_between_0_and_1(rate):
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold(references(), units(2, seed=3), rate)
