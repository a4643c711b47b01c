"""Optimizers, schedules and the moving average, by hand and against their formulas."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, AdamW

from tests.helpers.tiny_captioner import decoder, encoder
from vl.training.optimizers import Muon, optimizer, orthogonalize, schedule


@pytest.mark.parametrize(("name", "kind"), [("adam", AdamW), ("adagrad", Adagrad), ("sgd", SGD)])
def test_matrices_decay_and_vectors_do_not(name, kind):
    parts = [(list(decoder().parameters()), 0.5), (list(encoder().parameters()), 0.25)]
    made = optimizer(name, parts, weight_decay=0.1)
    assert isinstance(made, kind)
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in made.param_groups
        for parameter in group["params"]
    }
    for members, rate in parts:
        for each in members:
            assert found.pop(id(each)) == (rate, 0.1 if each.ndim > 1 else 0.0)
    assert not found


def test_sgd_has_momentum():
    """By hand: what is stepped along is the gradient and 0.9 of what was stepped along before."""
    vector = torch.tensor([2.0], requires_grad=True)
    made = optimizer("sgd", [([vector], 0.1)], momentum=0.9)
    expected, along = 2.0, 0.0
    for slope in (1.0, 3.0, -2.0):
        made.zero_grad()
        (vector * slope).sum().backward()
        made.step()
        along = 0.9 * along + slope
        expected -= 0.1 * along
    assert vector.item() == pytest.approx(expected)
    optimizer("adam", [([vector], 0.1)], momentum=0.9)
    assert optimizer("sgd", [([vector], 0.1)]).defaults["momentum"] == 0


def test_adagrad_matches_its_formula():
    """Duchi et al. 2011, by hand; the decay is part of the gradient."""
    matrix = torch.tensor([[2.0, -1.0]], requires_grad=True)
    made = optimizer("adagrad", [([matrix], 0.5)], weight_decay=0.1)
    expected, squares = [2.0, -1.0], [0.0, 0.0]
    for step in range(3):
        made.zero_grad()
        (matrix * torch.tensor([1.0, 3.0 + step])).sum().backward()
        made.step()
        for place, slope in enumerate((1.0, 3.0 + step)):
            gradient = slope + 0.1 * expected[place]
            squares[place] += gradient**2
            expected[place] -= 0.5 * gradient / squares[place] ** 0.5
    assert matrix.tolist() == [pytest.approx(expected)]


def singular_values(matrix):
    return torch.linalg.svdvals(matrix)


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6), (1, 5)])
def test_orthogonalize_brings_singular_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalize(matrix)
    assert found.shape == matrix.shape
    assert ((singular_values(found) > 0.6) & (singular_values(found) < 1.3)).all()
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    along = left.T @ found @ right.T  # diagonal where the directions are the same
    assert (along - along.diag().diag()).abs().max() < 1e-4
    assert (along.diag() > 0).all()


def test_orthogonalize_is_scale_invariant_and_keeps_zeros():
    matrix = torch.randn(5, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(orthogonalize(matrix), orthogonalize(1000 * matrix))
    assert not orthogonalize(torch.zeros(3, 4)).any()


def kernel_matrix_and_vector():
    """A convolution's kernel (4, 3, 2, 2), a matrix and a vector, with gradients."""
    rng = torch.Generator().manual_seed(2)
    made = [
        nn.Parameter(torch.randn(shape, generator=rng)) for shape in ((4, 3, 2, 2), (5, 4), (4,))
    ]
    for each in made:
        each.grad = torch.randn(each.shape, generator=rng)
    return made


def test_muon_updates_kernels_as_published():
    """Two steps; the momentum is Nesterov's, the length 0.2 times the root of the longer side."""
    kernel, *_ = kernel_matrix_and_vector()
    made = optimizer("muon", [([kernel], 0.1)], weight_decay=0.5)
    expected, moving = kernel.detach().flatten(1).clone(), torch.zeros(4, 12)
    for number in range(2):
        gradient = kernel.grad if number == 0 else torch.ones(4, 3, 2, 2) - kernel.detach()
        kernel.grad = gradient.clone()
        flat = gradient.flatten(1)
        moving = 0.9 * moving + 0.1 * flat
        turned = orthogonalize(0.1 * flat + 0.9 * moving)
        made.step()
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 12**0.5 * turned
        torch.testing.assert_close(kernel.detach().flatten(1), expected)
        assert kernel.grad is None


def test_muon_leaves_outer_layers_and_vectors_to_adamw():
    rng = torch.Generator().manual_seed(3)
    hidden, last = nn.Linear(4, 5), nn.Linear(5, 3)
    parameters = [*hidden.parameters(), *last.parameters()]
    for each in parameters:
        each.grad = torch.randn(each.shape, generator=rng)
    others = copy.deepcopy(parameters)
    for other, one in zip(others, parameters):
        other.grad = one.grad.clone()
    made = optimizer("muon", [(parameters, 0.1)], weight_decay=0.5, outer=[last])
    assert isinstance(made, Muon)
    matrices = {"params": [each for each in others if each.ndim > 1], "weight_decay": 0.5}
    vectors = {"params": [each for each in others if each.ndim == 1], "weight_decay": 0.0}
    made.step()
    AdamW([matrices, vectors], lr=0.1).step()
    same = [torch.equal(one, other) for one, other in zip(parameters, others)]
    assert same == [False, True, True, True]


def test_muon_resumes_from_its_state():
    def steps(parameters, made, count):
        for _ in range(count):
            for each in parameters:
                each.grad = torch.cos(each.detach())
            made.step()

    whole = kernel_matrix_and_vector()
    steps(whole, optimizer("muon", [(whole, 0.1)]), 4)
    half = kernel_matrix_and_vector()
    made = optimizer("muon", [(half, 0.1)])
    steps(half, made, 2)
    again = [nn.Parameter(each.detach().clone()) for each in half]
    resumed = optimizer("muon", [(again, 0.1)])
    resumed.load_state_dict(copy.deepcopy(made.state_dict()))
    steps(again, resumed, 2)
    for one, other in zip(whole, again):
        assert torch.equal(one, other)


def test_muon_skips_missing_gradients_and_refuses_closures():
    kernel, *_ = kernel_matrix_and_vector()
    kernel.grad = None
    before = kernel.detach().clone()
    made = optimizer("muon", [([kernel], 0.1)], weight_decay=0.5)
    made.step()
    assert torch.equal(kernel, before)
    with pytest.raises(ValueError, match="closure"):
        made.step(lambda: 0.0)


@pytest.mark.parametrize("step", [0, 1, 7, 99, 1000])
def test_constant_schedule_is_one(step):
    assert schedule("constant", steps=100)(step) == 1


def test_staircase_decays_every_so_many_steps():
    """im2txt: 2.0, halved every 8 epochs."""
    rate = schedule("staircase", steps=100, decay_every=8)
    assert [2.0 * rate(step) for step in (0, 7, 8, 15, 16, 31, 32)] == [
        2,
        2,
        1,
        1,
        0.5,
        0.25,
        0.125,
    ]
    inception = schedule("staircase", steps=100, decay_every=8, decay_factor=0.96)  # GoogLeNet's
    assert inception(80) == pytest.approx(0.96**10)


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
    "counts", [{"steps": 0}, {"steps": 5, "decay_every": 0}, {"steps": 5, "warmup_steps": -1}]
)
def test_schedule_refuses_counts_out_of_range(counts):
    with pytest.raises(ValueError, match="expected at least"):
        schedule("constant", **counts)


def test_schedule_refuses_unknown_names():
    with pytest.raises(ValueError, match="schedule is 'linear'; it must be one of constant"):
        schedule("linear", steps=5)
