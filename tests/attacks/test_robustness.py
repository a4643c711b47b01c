"""Errors under attack, counted: beside a linear classifier, whose errors follow by hand."""

import math

import pytest
import torch

from tests.helpers.tiny_captioner import encoder
from vl.attacks.robustness import Attack, Errors, Robustness, attacks_of, record, table
from vl.encoding.evaluation import interval
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


def pictures(count=40):
    """Far enough from 0 and 1 that no attack here is cut off; some are of the other class."""
    generator = torch.Generator().manual_seed(1)
    pixels = 0.3 + 0.4 * torch.rand(count, 3, 4, 4, generator=generator, dtype=torch.double)
    logits, _ = linear()
    labels = logits(pixels).argmax(1)
    labels[::10] = 1 - labels[::10]
    return pixels, labels


def counted(attacks, parts=1):
    logits, _ = linear()
    made = Robustness(logits, attacks)
    pixels, labels = pictures()
    for part in torch.arange(len(labels)).tensor_split(parts):
        made.add(pixels[part], labels[part])
    return made.errors()


def margins():
    """By how much each picture's true class is ahead."""
    logits, _ = linear()
    pixels, labels = pictures()
    score = logits(pixels)[:, 1]
    return torch.where(labels == 1, score, -score)


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_a_linear_classifier_errs_where_its_margin_is_less_than_epsilon_times_the_weights(
    steps, epsilon
):
    """The worst that any change within epsilon can do to a weighted sum (Goodfellow et al., 3)."""
    _, weight = linear()
    left = margins() - epsilon * weight.abs().sum()
    (found,) = counted([Attack(epsilon, steps)])
    assert found.images == 40
    assert found.wrong == int((left < 0).sum())
    assert 4 < found.wrong <= 40
    assert found.confidence == pytest.approx(float(torch.sigmoid(-left[left < 0]).mean()), abs=1e-5)


def test_without_an_attack_the_errors_are_the_classifiers_own():
    (found,) = counted([Attack(0.0)])
    assert (found.wrong, found.images, found.share) == (4, 40, 0.1)
    sure = torch.sigmoid(-margins()[margins() < 0])
    assert found.confidence == pytest.approx(float(sure.mean()), abs=1e-5)


def test_small_steps_go_as_far_as_their_sum():
    _, weight = linear()
    left = margins() - 3 * 0.004 * weight.abs().sum()
    (found,) = counted([Attack(0.2, 3, 0.004)])
    assert found.wrong == int((left < 0).sum()) != counted([Attack(0.2, 3)])[0].wrong


@pytest.mark.parametrize("parts", [2, 7, 40])
def test_batches_change_no_count(parts):
    attacks = attacks_of(EPSILONS, steps=4)
    whole, divided = counted(attacks), counted(attacks, parts)
    assert [each.wrong for each in whole] == [each.wrong for each in divided]
    assert [each.attack for each in divided] == attacks
    for one, other in zip(whole, divided, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-6)


def test_a_network_errs_where_it_errs_on_the_changed_pictures():
    network = encoder().eval()

    def logits(pixels):
        embedding = network(pixels)  # (B, 12), much alike for all pictures
        return network.classifier(40 * (embedding - embedding.mean(1, keepdim=True)))

    generator = torch.Generator().manual_seed(2)
    pixels = torch.rand(12, 3, 16, 16, generator=generator)
    before = pixels.clone()
    labels = logits(pixels).argmax(1).detach()
    made = Robustness(logits, attacks_of([0.1], steps=5))
    made.add(pixels, labels)
    assert torch.equal(pixels, before)
    assert all(parameter.grad is None for parameter in network.parameters())
    for found, steps in zip(made.errors()[1:], (1, 5), strict=True):
        changed = basic_iterative(pixels, classifier_loss(logits, labels), epsilon=0.1, steps=steps)
        assert found.wrong == int((logits(changed).argmax(1) != labels).sum()) > 0
    assert made.errors()[0] == Errors(Attack(0.0), 12, 0, None)


def test_the_attacks_are_none_then_one_step_and_several_of_each_size():
    assert attacks_of([0.1, 0, 0.2], steps=10, step_size=0.03) == [
        Attack(0.0),
        Attack(0.1),
        Attack(0.1, 10, 0.03),
        Attack(0.2),
        Attack(0.2, 10, 0.03),
    ]
    assert attacks_of([0.1], steps=1) == [Attack(0.0), Attack(0.1)]


def test_the_record_tells_what_was_done_and_shares():
    assert record(Errors(Attack(0.1, 10), 40, 10, 0.75)) == {
        "eps": 0.1,
        "steps": 10,
        "step_size": pytest.approx(0.025),
        "images": 40,
        "wrong": 10,
        "error": 0.25,
        "error_interval": pytest.approx(interval(10, 40)),
        "confidence": 0.75,
    }
    assert record(Errors(Attack(0.1), 40, 10, 0.75))["step_size"] == 0.1
    assert record(Errors(Attack(0.1, 3, 0.01), 40, 10, 0.75))["step_size"] == 0.01
    clean = record(Errors(Attack(0.0), 40, 0, None))
    assert (clean["steps"], clean["step_size"], clean["confidence"]) == (0, 0, None)


def test_the_table_has_hundredths_and_wilsons_interval():
    head, clean, attacked = table(
        [Errors(Attack(0.0), 500, 0, None), Errors(Attack(0.25, 10), 500, 447, 0.976)]
    )
    assert head.split() == ["eps", "steps", "images", "wrong", "%", "95", "%", "sure", "%"]
    # Wilson of 0 of n ends at z^2 / (n + z^2) = 3.8415 / 503.8415.
    assert clean.split() == ["0", "0", "500", "0", "0.0", "0.0", "to", "0.8", "-"]
    low, high = interval(447, 500)
    words = attacked.split()
    assert words[:5] == ["0.25", "10", "500", "447", "89.4"]
    assert words[5:] == [f"{100 * low:.1f}", "to", f"{100 * high:.1f}", "97.6"]
    assert len({len(line) for line in (head, clean, attacked)}) == 1


def test_what_cannot_be_counted_is_refused():
    logits, _ = linear()
    with pytest.raises(ValueError, match="there is no attack to count the errors under"):
        Robustness(logits, [])
    with pytest.raises(ValueError, match=r"epsilon 0\.1 with 2 steps is there twice"):
        Robustness(logits, [Attack(0.1, 2), Attack(0.2), Attack(0.1, 2)])
    with pytest.raises(ValueError, match=r"epsilon is 1\.5; it must be from 0 to 1"):
        Robustness(logits, [Attack(1.5)])
    with pytest.raises(ValueError, match="steps is 0; it must be at least 1"):
        Robustness(logits, [Attack(0.5, 0)])
    with pytest.raises(ValueError, match=r"epsilons are 0.1 0.2 0.1; one is there twice"):
        attacks_of([0.1, 0.2, 0.1], steps=2)
    with pytest.raises(ValueError, match="no picture was attacked"):
        Robustness(logits, [Attack(0.1)]).errors()


def test_an_answer_that_is_not_a_number_is_refused():
    def logits(pixels):
        return pixels.flatten(1)[:, :2] * math.inf

    made = Robustness(logits, [Attack(0.0)])
    with pytest.raises(ValueError, match=r"with epsilon 0\.0 an answer is not a number"):
        made.add(*pictures())
