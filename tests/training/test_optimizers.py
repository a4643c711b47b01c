"""Optimizers, schedules and the moving average, by hand and against their formulas."""

import copy
import logging
import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, AdamW

from tests.helpers.tiny_captioner import decoder, encoder
from vl.training.optimizers import (
    check_staircase,
    ema_of,
    fitting_warmup,
    optimizer,
    orthogonalize,
    schedule,
)


@pytest.mark.parametrize(("name", "kind"), [("adam", AdamW), ("adagrad", Adagrad), ("sgd", SGD)])
def test_matrices_decay_and_vectors_do_not(name, kind):
    parts = [(list(decoder().parameters()), 0.5), (list(encoder().parameters()), 0.25)]
    created = optimizer(name, parts, weight_decay=0.1)
    assert isinstance(created, kind)
    settings = {
        parameter: (group["lr"], group["weight_decay"])
        for group in created.param_groups
        for parameter in group["params"]
    }
    assert settings == {
        parameter: (learning_rate, 0.1 if parameter.ndim > 1 else 0.0)
        for parameters, learning_rate in parts
        for parameter in parameters
    }


def test_sgd_has_momentum():
    """By hand: a step is along the gradient and 0.9 of the step before."""
    vector = torch.tensor([2.0], requires_grad=True)
    sgd = optimizer("sgd", [([vector], 0.1)], momentum=0.9)
    expected, velocity = 2.0, 0.0
    for slope in (1.0, 3.0, -2.0):
        sgd.zero_grad()
        (vector * slope).sum().backward()
        sgd.step()
        velocity = 0.9 * velocity + slope
        expected -= 0.1 * velocity
    assert vector.item() == pytest.approx(expected)


def test_adagrad_matches_its_formula():
    """Duchi et al. 2011, by hand; the decay is part of the gradient."""
    matrix = torch.tensor([[2.0, -1.0]], requires_grad=True)
    adagrad = optimizer("adagrad", [([matrix], 0.5)], weight_decay=0.1)
    expected, squares = torch.tensor([2.0, -1.0]), torch.zeros(2)
    for step in range(3):
        slopes = torch.tensor([1.0, 3.0 + step])
        adagrad.zero_grad()
        (matrix * slopes).sum().backward()
        adagrad.step()
        gradient = slopes + 0.1 * expected
        squares += gradient**2
        expected -= 0.5 * gradient / squares**0.5
    torch.testing.assert_close(matrix.detach()[0], expected)


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6), (1, 5)])
def test_orthogonalize_brings_singular_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    values = left.T @ orthogonalize(matrix) @ right.T  # diagonal in the same directions
    assert (values - values.diag().diag()).abs().max() < 1e-4
    assert ((values.diag() > 0.6) & (values.diag() < 1.3)).all()


def test_orthogonalize_is_scale_invariant_and_keeps_zeros():
    matrix = torch.randn(5, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(orthogonalize(matrix), orthogonalize(1000 * matrix))
    assert not orthogonalize(torch.zeros(3, 4)).any()


def kernel_matrix_and_vector():
    """A convolution's kernel (4, 3, 2, 2), a matrix and a vector, with gradients."""
    rng = torch.Generator().manual_seed(2)
    parameters = [
        nn.Parameter(torch.randn(shape, generator=rng)) for shape in ((4, 3, 2, 2), (5, 4), (4,))
    ]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=rng)
    return parameters


def test_muon_updates_kernels_as_published():
    """Two steps; the momentum is Nesterov's, the length 0.2 times the root of the longer side."""
    kernel, *_ = kernel_matrix_and_vector()
    muon = optimizer("muon", [([kernel], 0.1)], weight_decay=0.5)
    expected, momentum = kernel.detach().flatten(1).clone(), torch.zeros(4, 12)
    for step in range(2):
        kernel.grad = torch.full((4, 3, 2, 2), float(step)) - kernel.detach()
        gradient = kernel.grad.flatten(1)
        momentum = 0.9 * momentum + 0.1 * gradient
        update = orthogonalize(0.1 * gradient + 0.9 * momentum)
        muon.step()
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 12**0.5 * update
        torch.testing.assert_close(kernel.detach().flatten(1), expected)
        assert kernel.grad is None


def test_muon_leaves_outer_layers_and_vectors_to_adamw():
    hidden, last = nn.Linear(4, 5), nn.Linear(5, 3)
    parameters = [*hidden.parameters(), *last.parameters()]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape)
    copies = copy.deepcopy(parameters)
    for other, parameter in zip(copies, parameters):
        other.grad = parameter.grad.clone()
    optimizer("muon", [(parameters, 0.1)], weight_decay=0.5, outer=[last]).step()
    optimizer("adam", [(copies, 0.1)], weight_decay=0.5).step()
    equal = [torch.equal(parameter, other) for parameter, other in zip(parameters, copies)]
    assert equal == [False, True, True, True]


def test_muon_resumes_from_its_state():
    def steps(parameters, muon, count):
        for _ in range(count):
            for parameter in parameters:
                parameter.grad = torch.cos(parameter.detach())
            muon.step()

    whole = kernel_matrix_and_vector()
    steps(whole, optimizer("muon", [(whole, 0.1)]), 4)
    half = kernel_matrix_and_vector()
    interrupted = optimizer("muon", [(half, 0.1)])
    steps(half, interrupted, 2)
    resumed = optimizer("muon", [(half, 0.1)])
    resumed.load_state_dict(copy.deepcopy(interrupted.state_dict()))
    steps(half, resumed, 2)
    assert all(torch.equal(one, other) for one, other in zip(whole, half))


def test_muon_skips_missing_gradients():
    kernel, *_ = kernel_matrix_and_vector()
    kernel.grad = None
    before = kernel.detach().clone()
    optimizer("muon", [([kernel], 0.1)], weight_decay=0.5).step()
    assert torch.equal(kernel, before)


def test_constant_and_staircase_schedules():
    """im2txt: 2.0, halved every 8 epochs; GoogLeNet: times 0.96 every 8."""
    assert {schedule("constant", steps=100)(step) for step in (0, 1, 99, 1000)} == {1}
    im2txt = schedule("staircase", steps=100, decay_every=8)
    expected = {0: 2, 7: 2, 8: 1, 15: 1, 16: 0.5, 31: 0.25, 32: 0.125}
    assert {step: 2.0 * im2txt(step) for step in expected} == expected
    googlenet = schedule("staircase", steps=100, decay_every=8, decay_factor=0.96)
    assert googlenet(80) == pytest.approx(0.96**10)


def test_cosine_falls_from_one_to_zero():
    """Loshchilov and Hutter 2017, equation 5, one period, least rate 0."""
    rate = schedule("cosine", steps=10)
    for step in range(11):
        assert rate(step) == pytest.approx((1 + math.cos(math.pi * step / 10)) / 2)
    assert (rate(0), rate(5), rate(10)) == (1, pytest.approx(0.5), 0)
    assert rate(11) == rate(1000) == 0


@pytest.mark.parametrize("shape", ["constant", "staircase", "cosine"])
def test_warmup_multiplies_the_schedule(shape):
    plain = schedule(shape, steps=50, decay_every=4)
    warm = schedule(shape, steps=50, decay_every=4, warmup_steps=5)
    for step in range(50):
        assert warm(step) == pytest.approx(plain(step) * min(1, (step + 1) / 5))
    assert warm(0) > 0  # else the first step would be lost


@pytest.mark.parametrize(
    ("requested", "length", "expected", "level"),
    [
        (None, 2000, 200, None),  # Flickr8k's published run: 2,000 steps of 150 captions
        (None, 5000, 200, None),
        (None, 240, 24, "INFO"),
        (None, 1, 0.1, "INFO"),
        (0, 240, 0, None),
        (100, 240, 100, None),
        (200, 240, 200, "WARNING"),
        (200, 128, 200, "WARNING"),
    ],
)
def test_warmup_fits_the_run_or_is_warned_of(caplog, requested, length, expected, level):
    with caplog.at_level(logging.INFO):
        assert fitting_warmup(requested, 200, length=length) == pytest.approx(expected)
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    caplog.clear()
    fitting_warmup(requested, 200, length=length, quiet=True)
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "every", "warned"),
    [("staircase", 8, True), ("staircase", 5, False), ("cosine", 8, False)],
)
def test_a_staircase_longer_than_the_run_is_warned_of(caplog, name, every, warned):
    check_staircase(name, every, epochs=6)
    assert len(caplog.records) == warned


@pytest.mark.parametrize("decay", [0.999, 0.99999])
@pytest.mark.parametrize("steps", [12, 240, 2000])
def test_the_average_never_outlasts_the_run(decay, steps):
    """Of weights that are the number of the step, the average lags by the mean age."""
    model = nn.Linear(1, 1, bias=False)
    average = ema_of(model, decay)
    for step in range(steps):
        nn.init.constant_(model.weight, step)
        average.update_parameters(model)
    age = steps - 1 - average.module.weight.item()
    assert 0 < age <= 0.1 * steps + 1e-3
