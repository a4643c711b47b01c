"""What scores mean: against fine grids, plain loops and hand arithmetic."""

import math

import numpy as np
import pytest
import torch

from tests.helpers.tiny_labeller import units
from vl.labelling.calibration import Calibration, fit_seen_penalty, temperature_of, threshold
from vl.search.nearest import NearestNeighbors


def scored(seed: int, *, images: int = 40, labels: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and true labels, right somewhat more often than by chance."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(images, labels, generator=generator) / 4
    truth = torch.randint(labels, (images,), generator=generator)
    scores[torch.arange(images), truth] += 0.3
    return scores, truth


def nll(scores, truth, temperature):
    rows = []
    for row, label in zip(scores.double().numpy() / temperature, truth.tolist(), strict=True):
        rows.append(math.log(np.exp(row - row.max()).sum()) + row.max() - row[label])
    return sum(rows) / len(rows)


@pytest.mark.parametrize("seed", range(4))
def test_no_temperature_of_a_fine_grid_is_better(seed):
    scores, truth = scored(seed)
    found = temperature_of(scores, truth)
    best = nll(scores, truth, found)
    grid = [found * 2 ** (step / 50) for step in range(-150, 151)]
    assert best <= min(nll(scores, truth, each) for each in grid) + 1e-9
    assert nll(scores, truth, found * 1.05) > best
    assert nll(scores, truth, found / 1.05) > best


def test_the_temperature_grows_with_the_scores():
    scores, truth = scored(0)
    assert temperature_of(scores * 3, truth) == pytest.approx(3 * temperature_of(scores, truth))
    shifted = scores + torch.arange(40)[:, None]  # of all labels alike: no odds change
    assert temperature_of(shifted, truth) == pytest.approx(temperature_of(scores, truth), rel=1e-3)


def test_labels_without_a_vector_do_not_count_for_the_temperature():
    scores, truth = scored(1)
    more = torch.cat([scores, torch.full((40, 2), -torch.inf)], 1)
    assert temperature_of(more, truth) == pytest.approx(temperature_of(scores, truth))


def test_temperatures_stay_in_their_range():
    scores = torch.eye(3)
    # All right: the sharper the better, until what is left of the surprise is rounding.
    assert 1e-4 * 0.999 < temperature_of(scores, torch.arange(3)) < 0.05
    assert temperature_of(scores, torch.tensor([1, 2, 0])) == pytest.approx(1e2, rel=1e-3)


@pytest.mark.parametrize("shape", [(0, 3), (4, 1)])
def test_without_a_choice_there_is_no_temperature(shape):
    with pytest.raises(ValueError, match="expected images by two or more"):
        temperature_of(torch.zeros(shape), torch.zeros(shape[0], dtype=torch.int64))


def harmonic(scores, truth, seen, seen_penalty):
    hits: dict[int, list[bool]] = {label: [] for label in truth.tolist()}
    for row, label in zip(scores.double().numpy(), truth.tolist(), strict=True):
        lowered = row - seen_penalty * seen.numpy()
        hits[label].append(int(lowered.argmax()) == label)
    means = {label: sum(each) / len(each) for label, each in hits.items()}
    groups = [
        [means[label] for label in means if bool(seen[label]) is kind] for kind in (True, False)
    ]
    one, other = (sum(group) / len(group) for group in groups)
    return 2 * one * other / (one + other) if one + other else 0.0


@pytest.mark.parametrize("seed", range(6))
def test_the_handicap_is_as_good_as_the_best_of_a_plain_loop(seed):
    scores, truth = scored(seed, images=60)
    seen = torch.tensor([True, False, True, False, True, False])
    scores[:, seen] += 0.4  # seen labels come before all others
    found = fit_seen_penalty(scores, truth, seen)
    best = harmonic(scores, truth, seen, found + 1e-6)
    grid = np.linspace(0, 3, 301)
    # The grid of the search is another, and one image more is at most 1 / 20 of a group.
    assert best >= max(harmonic(scores, truth, seen, each) for each in grid) - 0.02
    assert best > harmonic(scores, truth, seen, 0)
    assert found > 0.1


def test_the_least_of_equally_good_handicaps_by_hand():
    """Seen 0 and unseen 1: from a handicap of 0.2 on both are right, up to 0.5."""
    scores = torch.tensor([[0.9, 0.4], [0.5, 0.3]])
    found = fit_seen_penalty(scores, torch.tensor([0, 1]), torch.tensor([True, False]))
    assert found == pytest.approx(0.2, abs=0.5 / 400 + 1e-6)
    assert found > 0.2 - 1e-6


def test_where_seen_labels_do_not_lead_there_is_no_handicap():
    scores = torch.tensor([[0.9, 0.4], [0.3, 0.5]])
    assert fit_seen_penalty(scores, torch.tensor([0, 1]), torch.tensor([True, False])) == 0


@pytest.mark.parametrize(
    ("truth", "seen"), [([0, 0], [True, False]), ([1, 1], [True, False]), ([0, 1], [True, True])]
)
def test_both_groups_are_wanted(truth, seen):
    with pytest.raises(ValueError, match="seen and with unseen labels are wanted"):
        fit_seen_penalty(torch.zeros(2, 2), torch.tensor(truth), torch.tensor(seen))


def calibration(count: int = 49, *, seed: int = 1) -> Calibration:
    return Calibration(1.0, 1.0, 0.0, units(count, seed=seed), units(count, seed=seed + 1))


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.29, 0.5, 0.99])
def test_of_the_references_at_most_the_rate_is_accepted(rate):
    made, vectors = calibration(100), units(8, seed=3)
    limit = threshold(made, NearestNeighbors(vectors), vectors, false_accepts=rate)
    scores = (made.references @ vectors.T).amax(1)
    accepted = int((scores > limit + 1e-6).sum())
    assert accepted == round(100 * rate)  # and no fewer than could be


def test_the_threshold_never_falls_when_candidates_are_added():
    made, vectors = calibration(), units(8, seed=3)
    limits = [
        threshold(made, NearestNeighbors(some), some, false_accepts=0.2)
        for some in (vectors[:count] for count in range(1, 9))
    ]
    assert limits == sorted(limits)
    assert limits[0] < limits[-1]


def test_what_is_taken_off_labels_is_taken_off_the_references_too():
    made, vectors = calibration(), units(8, seed=3)
    plain = threshold(made, NearestNeighbors(vectors), vectors, false_accepts=0.2)
    lowered = NearestNeighbors(vectors, penalty=torch.full((8,), 0.25))
    found = threshold(made, lowered, vectors, false_accepts=0.2)
    assert found == pytest.approx(plain - 0.25, abs=1e-6)


def test_references_of_a_candidate_do_not_count():
    """They are no photographs of something else; and labels without a vector are no candidates."""
    made = calibration()
    # Half of the references show label 0 exactly, rounded as in a file.
    rounded = made.truths[0].half().float()
    truths = made.truths.clone()
    truths[::2] = rounded / rounded.norm()
    vectors = torch.cat([made.truths[:1], units(3, seed=7), torch.full((1, 6), torch.nan)])
    found = threshold(
        made._replace(truths=truths), NearestNeighbors(vectors), vectors, false_accepts=0.25
    )
    others = made._replace(references=made.references[1::2], truths=made.truths[1::2])
    assert found == threshold(others, NearestNeighbors(vectors), vectors, false_accepts=0.25)
    with pytest.raises(ValueError, match=r"all 25 photographs .* show one of the candidates"):
        threshold(
            Calibration(1.0, 1.0, 0.0, made.references[::2], truths[::2]),
            NearestNeighbors(vectors),
            vectors,
            false_accepts=0.25,
        )


@pytest.mark.parametrize("count", [1, 2, 6, 48, 93])
def test_the_least_rate_can_be_asked_for(count):
    made, vectors = calibration(count + 1), units(2, seed=3)
    exact = threshold(made, NearestNeighbors(vectors), vectors, false_accepts=1 / (count + 1))
    assert exact < float((made.references @ vectors.T).amax(1).max())
    with pytest.raises(ValueError, match=f"{count + 1} photographs .* the least is") as caught:
        threshold(made, NearestNeighbors(vectors), vectors, false_accepts=0.9 / (count + 1))
    told = float(str(caught.value).rpartition(" ")[2])
    assert threshold(made, NearestNeighbors(vectors), vectors, false_accepts=told) == exact
    assert 1 / (count + 1) <= told < 1 / (count + 1) + 0.001


@pytest.mark.parametrize("rate", [0.0, 1.0, 1.5, -0.1, math.nan])
def test_a_rate_is_between_0_and_1(rate):
    vectors = units(2, seed=3)
    with pytest.raises(ValueError, match="it must be between 0 and 1"):
        threshold(calibration(), NearestNeighbors(vectors), vectors, false_accepts=rate)
