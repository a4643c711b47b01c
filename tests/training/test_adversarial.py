"""FGSM, BIM and adversarial training: by hand, against torchattacks, and their laws."""

import itertools
import math

import pytest
import torch
import torchattacks
from torch import nn
from torch.nn import functional as F

from tests.helpers.shapes import draw_shape
from tests.helpers.tiny_captioner import Tiny, encoder
from vl.training.adversarial import (
    adversarial_loss,
    basic_iterative,
    classifier_loss,
    default_step_size,
    fast_gradient_sign,
    predicted_labels,
)

ATTACKS = {
    "fast": fast_gradient_sign,
    "iterated": lambda pixels, loss, **options: basic_iterative(
        pixels, loss, steps=3, step_size=0.02, **options
    ),
}
EPSILONS = (0.001, 0.007, 0.25, 1.0)


class Classifier(nn.Module):
    """The tiny encoder with its classifier."""

    def __init__(self, seed=0):
        super().__init__()
        self.encoder = encoder(seed).eval()

    def forward(self, pixels):
        return self.encoder.classifier(self.encoder(pixels))


def images(count=4):
    """Drawings, all with pixels at 0 and at 1."""
    pixels = torch.stack([draw_shape(seed, side=Tiny.image_size)[0] for seed in range(count)])
    pixels[:, :, 0, :4], pixels[:, :, 0, 4:8] = 0.0, 1.0
    return pixels


def loss_of(model, pixels):
    return classifier_loss(model, predicted_labels(model, pixels))


@pytest.fixture(params=ATTACKS)
def attack(request):
    return ATTACKS[request.param]


@pytest.fixture
def model():
    return Classifier()


def test_fgsm_of_a_linear_model_follows_its_weights():
    weights = torch.tensor([[1.0, -2.0], [0.0, 0.5]])
    pixels = torch.full((1, 3, 2, 2), 0.5)
    pixels[0, 1] = torch.tensor([[0.95, 0.05], [0.3, 1.0]])

    def attacked(targeted):
        return fast_gradient_sign(
            pixels, lambda x: (x * weights).sum((1, 2, 3)), epsilon=0.125, targeted=targeted
        )[0].tolist()

    assert attacked(targeted=False)[0] == [[0.625, 0.375], [0.5, 0.625]]
    assert attacked(targeted=False)[1] == [[1.0, 0.0], [pytest.approx(0.3), 1.0]]
    assert attacked(targeted=True)[0] == [[0.375, 0.625], [0.5, 0.375]]


def test_iterations_stay_within_epsilon():
    def attacked(loss, steps):
        pixels = torch.full((1, 3, 1, 1), 0.5)
        options = {"epsilon": 0.125, "steps": steps, "step_size": 0.046875}
        return float(basic_iterative(pixels, loss, **options)[0, 0, 0, 0])

    # The loss is greatest at 0.5625, which the steps pass and come back to.
    results = [attacked(lambda x: -(x - 0.5625).abs().sum((1, 2, 3)), steps) for steps in (1, 2, 3)]
    assert results == [0.546875, 0.59375, 0.546875]
    assert attacked(lambda x: x.sum((1, 2, 3)), 3) == 0.625


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(
    ("epsilon", "size", "steps"),
    [(0.001, None, 1), (1.0, 1.0, 1), (0.007, 0.003, 5), (0.25, 0.02, 20)],
)
def test_attacks_match_torchattacks(model, epsilon, size, steps, targeted):
    pixels, labels = images(), torch.tensor([2, 0, 1, 4])
    reference = torchattacks.BIM(model, eps=epsilon, alpha=size, steps=steps)
    if steps == 1:
        reference = torchattacks.FGSM(model, eps=epsilon)
    if targeted:
        reference.set_mode_targeted_by_function(lambda images, labels: labels)
    options = {"epsilon": epsilon, "steps": steps, "step_size": size, "targeted": targeted}
    changed = basic_iterative(pixels, classifier_loss(model, labels), **options)
    torch.testing.assert_close(changed, reference(pixels, labels), rtol=0, atol=1e-6)


def test_epsilon_0_is_the_identity(model, attack):
    pixels = images()
    pixels[0, 0, 0, 0] = -0.0
    changed = attack(pixels, loss_of(model, pixels), epsilon=0.0)
    assert torch.equal(changed.view(torch.int32), pixels.view(torch.int32))
    assert changed.data_ptr() != pixels.data_ptr()


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_pixels_stay_in_range_and_within_epsilon(model, attack, epsilon, targeted):
    pixels = images()
    changed = attack(pixels, loss_of(model, pixels), epsilon=epsilon, targeted=targeted)
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert float((changed.double() - pixels.double()).abs().max()) <= epsilon + 2**-24
    assert changed.shape == pixels.shape
    assert changed.dtype == pixels.dtype
    assert not torch.equal(changed, pixels)


def test_untargeted_attacks_increase_the_loss_and_targeted_ones_decrease_it(model, attack):
    pixels = images()
    loss = loss_of(model, pixels)
    with torch.no_grad():
        before = loss(pixels)
        raised = loss(attack(pixels, loss, epsilon=0.02))
        lowered = loss(attack(pixels, loss, epsilon=0.02, targeted=True))
    assert bool((raised > before).all())
    assert bool((lowered < before).all())


def test_result_is_detached_and_the_input_is_left_alone(model, attack):
    pixels = images().requires_grad_()
    loss = loss_of(model, pixels)
    changed = attack(pixels, loss, epsilon=0.1)
    assert not changed.requires_grad
    assert pixels.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())
    changed.zero_()
    adversarial_loss(pixels, loss, epsilon=0.1).sum().backward()
    assert torch.equal(pixels, images())


def test_batch_size_changes_nothing(model, attack):
    pixels = images()
    batch = attack(pixels, loss_of(model, pixels), epsilon=0.25)
    for index in range(4):
        single = pixels[index : index + 1]
        changed = attack(single, loss_of(model, single), epsilon=0.25)
        assert torch.equal(changed[0], batch[index])
    assert attack(pixels[:0], loss_of(model, pixels[:0]), epsilon=0.1).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_disabled(model, attack, mode):
    expected = attack(images(), loss_of(model, images()), epsilon=0.1)
    loss = loss_of(model, images())
    with mode():
        assert torch.equal(attack(images(), loss, epsilon=0.1), expected)


def test_classifier_loss_is_the_cross_entropy(model):
    pixels, labels = images(), torch.tensor([1, 1, 0, 4])
    probabilities = model(pixels).softmax(1).detach()
    losses = classifier_loss(model, labels)(pixels).detach()
    torch.testing.assert_close(losses, -probabilities[range(4), labels].log(), rtol=0, atol=1e-5)
    assert torch.equal(predicted_labels(model, pixels), probabilities.argmax(1))


def test_default_step_size_reaches_every_corner():
    assert default_step_size(0.1, 1) == default_step_size(0.1, 2) == 0.1
    assert default_step_size(0.1, 10) == pytest.approx(0.025)
    for steps in range(1, 30):
        assert steps * default_step_size(0.1, steps) >= 0.1


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_adversarial_loss_mixes_both_terms(model, alpha, epsilon):
    pixels = images()
    loss = classifier_loss(model, torch.tensor([0, 1, 2, 3]))
    changed = fast_gradient_sign(pixels, loss, epsilon=epsilon)
    expected = alpha * loss(pixels) + (1 - alpha) * loss(changed)
    losses = adversarial_loss(pixels, loss, epsilon=epsilon, alpha=alpha)
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-6)


def test_alpha_defaults_to_one_half():
    pixels = torch.full((1, 3, 1, 1), 0.5)
    # J(x) is 3 * 0.25; at 0.75 it is 3 * 0.5625.
    losses = adversarial_loss(pixels, lambda x: x.square().sum((1, 2, 3)), epsilon=0.25)
    assert losses.detach().tolist() == pytest.approx([(0.75 + 1.6875) / 2])


def test_gradient_is_that_of_both_terms_and_not_of_the_attack(model):
    pixels = images()
    loss = classifier_loss(model, torch.tensor([0, 1, 2, 3]))
    adversarial_loss(pixels.requires_grad_(), loss, epsilon=0.1).sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    assert pixels.grad is None
    changed = fast_gradient_sign(pixels, loss, epsilon=0.1)  # a constant
    model.zero_grad()
    ((loss(pixels.detach()) + loss(changed)) / 2).sum().backward()
    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_adversarial_loss_passes_gradcheck():
    # Smooth, so that a small change of a weight turns no sign; the sign itself is locally constant.
    pixels = images(2)[:, :, ::4, ::4].double() * 0.8 + 0.1
    labels = torch.tensor([0, 2])
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(5, pixels[0].numel(), dtype=torch.double, generator=generator)
    second = torch.randn(3, 5, dtype=torch.double, generator=generator)

    def total(first, second):
        loss = classifier_loss(
            lambda x: F.linear(F.linear(x.flatten(1), first).tanh(), second), labels
        )
        return adversarial_loss(pixels, loss, epsilon=0.05, alpha=0.5)

    assert torch.autograd.gradcheck(total, (first.requires_grad_(), second.requires_grad_()))


def test_batch_norm_sees_both_terms_once():
    norm = nn.BatchNorm2d(3, momentum=None)  # counts the mean over all it has seen
    pixels = images()

    def loss(x):
        return norm(x).square().mul(torch.linspace(0, 1, 16)).sum((1, 2, 3))

    adversarial_loss(pixels, loss, epsilon=0.1)
    assert int(norm.num_batches_tracked) == 2


def test_adversarial_training_defends_against_fgsm():
    """Four drawings are learnt with and without; the same attack is made on both."""
    pixels, labels = images(), torch.tensor([0, 1, 2, 3])
    harm = {}
    for epsilon in (0.0, 0.1):
        model = Classifier().train()
        loss = classifier_loss(model, labels)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(40):
            optimizer.zero_grad()
            adversarial_loss(pixels, loss, epsilon=epsilon).mean().backward()
            optimizer.step()
        changed = fast_gradient_sign(pixels, loss, epsilon=0.1)
        with torch.no_grad():
            harm[epsilon] = float((loss(changed) - loss(pixels)).mean())
    assert 0 < harm[0.1] < harm[0.0] / 2


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(3, 4, 4), r"shape \(3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), r"shape \(1, 1, 4, 4\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 4, 4), 255.0), r"expected \[0, 1\]"),
        (torch.full((1, 3, 4, 4), -0.01), r"expected \[0, 1\]"),
        (torch.full((1, 3, 4, 4), math.nan), "nan"),
    ],
)
def test_refuses_invalid_pixels(attack, pixels, message):
    with pytest.raises(ValueError, match=message):
        attack(pixels, lambda x: x.sum((1, 2, 3)), epsilon=0.1)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda x: x.sum(), r"shape \(\)"),
        (lambda x: x.sum(1), r"shape \(4, 16, 16\)"),
        (lambda x: x.detach().sum((1, 2, 3)), "no gradient"),
        (lambda x: torch.ones(4, requires_grad=True) * 2, "does not depend on the pixels"),
    ],
)
def test_refuses_invalid_losses(attack, loss, message):
    with pytest.raises(ValueError, match=message):
        attack(images(), loss, epsilon=0.1)
    with pytest.raises(ValueError, match=message):
        adversarial_loss(images(), loss, epsilon=0.1)


def test_infinite_gradient_names_the_image(attack):
    pixels = images() * 0.5 + 0.25
    pixels[2] = 0.0  # where the root's slope is infinite
    with pytest.raises(ValueError, match="image 2"):
        attack(pixels, lambda x: x.sqrt().sum((1, 2, 3)), epsilon=0.1)


def test_fgsm_finds_the_best_corner():
    """By enumeration of all signs of three pixel values."""
    weights = torch.randn(3, 1, 1, generator=torch.Generator().manual_seed(1))
    signs = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))

    def loss(x):
        return (x * weights).sum((1, 2, 3))

    changed = fast_gradient_sign(torch.full((1, 3, 1, 1), 0.5), loss, epsilon=0.1)
    best = loss(0.5 + 0.1 * signs[:, :, None, None]).max()
    assert float(loss(changed)) == pytest.approx(float(best))
