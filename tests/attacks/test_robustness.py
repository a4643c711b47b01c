"""Errors under attack, against a linear classifier whose errors follow by hand."""

import math

import pytest
import torch

from tests.helpers.tiny_captioner import encoder
from vl.attacks.attack import AttackConfig
from vl.attacks.robustness import AttackResult, attack_errors, attack_grid, robustness_table
from vl.encoding.accuracy import wilson_interval
from vl.training.adversarial import basic_iterative, classifier_loss

EPSILONS = (0.01, 0.05, 0.2)


def linear(seed=0):
    """Two classes, the second where the weighted sum of pixels is above that of grey."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 4, 4, generator=generator, dtype=torch.double)

    def logits(pixels):
        score = ((pixels - 0.5) * weight).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)

    return logits, weight


def images(count=40):
    """Too far from 0 and 1 to be clipped; every tenth is misclassified."""
    generator = torch.Generator().manual_seed(1)
    pixels = 0.3 + 0.4 * torch.rand(count, 3, 4, 4, generator=generator, dtype=torch.double)
    logits, _ = linear()
    labels = logits(pixels).argmax(1)
    labels[::10] = 1 - labels[::10]
    return pixels, labels


def evaluate(attacks, batches=1):
    parts = zip(*(part.tensor_split(batches) for part in images()), strict=True)
    return attack_errors(linear()[0], parts, attacks)


def margins():
    """Score of each image's true class above the other's."""
    logits, _ = linear()
    pixels, labels = images()
    score = logits(pixels)[:, 1]
    return torch.where(labels == 1, score, -score)


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_linear_classifier_errs_where_margin_is_below_epsilon_times_weights(steps, epsilon):
    """The worst case of any change within epsilon (Goodfellow et al. 2015, section 3)."""
    _, weight = linear()
    left = margins() - epsilon * weight.abs().sum()
    (result,) = evaluate([AttackConfig(epsilon, steps)])
    assert result.images == 40
    assert result.errors == int((left < 0).sum())
    assert 4 < result.errors <= 40
    expected = float(torch.sigmoid(-left[left < 0]).mean())
    assert result.confidence == pytest.approx(expected, abs=1e-5)


def test_clean_errors_are_the_classifiers():
    (result,) = evaluate([AttackConfig(0.0)])
    assert (result.errors, result.images) == (4, 40)
    expected = float(torch.sigmoid(-margins()[margins() < 0]).mean())
    assert result.confidence == pytest.approx(expected, abs=1e-5)


def test_small_steps_reach_their_sum():
    _, weight = linear()
    left = margins() - 3 * 0.004 * weight.abs().sum()
    (result,) = evaluate([AttackConfig(0.2, 3, 0.004)])
    assert result.errors == int((left < 0).sum()) != evaluate([AttackConfig(0.2, 3)])[0].errors


@pytest.mark.parametrize("batches", [2, 7, 40])
def test_batch_size_does_not_change_the_errors(batches):
    attacks = attack_grid(EPSILONS, steps=4)
    whole, divided = evaluate(attacks), evaluate(attacks, batches)
    assert [result.attack for result in divided] == attacks
    for first, second in zip(whole, divided, strict=True):
        assert first.errors == second.errors
        assert first.confidence == pytest.approx(second.confidence, abs=1e-6)


def test_network_errors_are_those_on_its_adversarial_images():
    network = encoder().eval()

    def logits(pixels):
        embedding = network(pixels)  # (B, 12), nearly equal for all images
        return network.classifier(40 * (embedding - embedding.mean(1, keepdim=True)))

    generator = torch.Generator().manual_seed(2)
    pixels = torch.rand(12, 3, 16, 16, generator=generator)
    before = pixels.clone()
    labels = logits(pixels).argmax(1).detach()
    clean, *attacked = attack_errors(logits, [(pixels, labels)], attack_grid([0.1], steps=5))
    assert torch.equal(pixels, before)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert clean == AttackResult(AttackConfig(0.0), 12, 0, None)
    for result, steps in zip(attacked, (1, 5), strict=True):
        loss = classifier_loss(logits, labels)
        adversarial = basic_iterative(pixels, loss, epsilon=0.1, steps=steps)
        assert result.errors == int((logits(adversarial).argmax(1) != labels).sum()) > 0


def test_grid_is_clean_then_one_step_and_several_for_each_epsilon():
    assert attack_grid([0.1, 0, 0.2], steps=10, step_size=0.03) == [
        AttackConfig(0.0),
        AttackConfig(0.1),
        AttackConfig(0.1, 10, 0.03),
        AttackConfig(0.2),
        AttackConfig(0.2, 10, 0.03),
    ]
    assert attack_grid([0.1], steps=1) == [AttackConfig(0.0), AttackConfig(0.1)]


def test_record_has_settings_and_rates():
    assert AttackResult(AttackConfig(0.1, 10), 40, 10, 0.75).record() == {
        "epsilon": 0.1,
        "steps": 10,
        "step_size": pytest.approx(0.025),
        "images": 40,
        "errors": 10,
        "error_rate": 0.25,
        "error_interval": pytest.approx(wilson_interval(10, 40)),
        "confidence": 0.75,
    }
    assert AttackResult(AttackConfig(0.1), 40, 10, 0.75).record()["step_size"] == 0.1
    assert AttackResult(AttackConfig(0.1, 3, 0.01), 40, 10, 0.75).record()["step_size"] == 0.01
    clean = AttackResult(AttackConfig(0.0), 40, 0, None).record()
    assert (clean["steps"], clean["step_size"], clean["confidence"]) == (0, 0, None)


def test_table_has_percentages_and_wilson_intervals():
    heading, clean, attacked = robustness_table(
        [
            AttackResult(AttackConfig(0.0), 500, 0, None),
            AttackResult(AttackConfig(0.25, 10), 500, 447, 0.976),
        ]
    )
    assert heading.split()[:4] == ["epsilon", "steps", "images", "errors"]
    # Wilson's upper bound of 0 of n is z^2 / (n + z^2) = 3.8415 / 503.8415.
    assert clean.split() == ["0", "0", "500", "0", "0.0", "0.0", "to", "0.8", "-"]
    low, high = wilson_interval(447, 500)
    interval_cells = [f"{100 * low:.1f}", "to", f"{100 * high:.1f}"]
    assert attacked.split() == ["0.25", "10", "500", "447", "89.4", *interval_cells, "97.6"]
    assert len({len(line) for line in (heading, clean, attacked)}) == 1


def test_refuses_duplicate_epsilons_and_infinite_logits():
    with pytest.raises(ValueError, match="duplicates"):
        attack_grid([0.1, 0.2, 0.1], steps=2)
    with pytest.raises(ValueError, match="not finite"):
        attack_errors(
            lambda pixels: pixels.flatten(1)[:, :2] * math.inf, [images()], [AttackConfig(0.0)]
        )
