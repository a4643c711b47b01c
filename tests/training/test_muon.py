"""Muon: what steps orthogonally, how far, and what it goes on from."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from vl.training.muon import Muon, orthogonal
from vl.training.optimizers import optimizer


def singular_values(matrix):
    return torch.linalg.svdvals(matrix)


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6), (1, 5)])
def test_all_singular_values_come_near_one_along_the_same_directions(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(matrix)
    assert found.shape == matrix.shape
    assert ((singular_values(found) > 0.6) & (singular_values(found) < 1.3)).all()
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    along = left.T @ found @ right.T  # diagonal where the directions are the same
    assert (along - along.diag().diag()).abs().max() < 1e-4
    assert (along.diag() > 0).all()


def test_the_length_of_a_gradient_does_not_matter_and_zeros_stay():
    matrix = torch.randn(5, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(orthogonal(matrix), orthogonal(1000 * matrix))
    assert not orthogonal(torch.zeros(3, 4)).any()


def kernel_and_rest():
    """A convolution's kernel (4, 3, 2, 2), a matrix and a vector, with gradients."""
    chance = torch.Generator().manual_seed(2)
    made = [
        nn.Parameter(torch.randn(shape, generator=chance)) for shape in ((4, 3, 2, 2), (5, 4), (4,))
    ]
    for each in made:
        each.grad = torch.randn(each.shape, generator=chance)
    return made


def test_a_kernel_steps_as_published_by_hand():
    """Two steps; the momentum is Nesterov's, the length 0.2 times the root of the longer side."""
    kernel, *_ = kernel_and_rest()
    made = optimizer("muon", [([kernel], 0.1)], weight_decay=0.5)
    expected, moving = kernel.detach().flatten(1).clone(), torch.zeros(4, 12)
    for number in range(2):
        gradient = kernel.grad if number == 0 else torch.ones(4, 3, 2, 2) - kernel.detach()
        kernel.grad = gradient.clone()
        flat = gradient.flatten(1)
        moving = 0.9 * moving + 0.1 * flat
        turned = orthogonal(0.1 * flat + 0.9 * moving)
        made.step()
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 12**0.5 * turned
        torch.testing.assert_close(kernel.detach().flatten(1), expected)
        assert kernel.grad is None


def test_last_layers_and_vectors_step_as_adamw_s_and_other_matrices_do_not():
    chance = torch.Generator().manual_seed(3)
    hidden, last = nn.Linear(4, 5), nn.Linear(5, 3)
    parameters = [*hidden.parameters(), *last.parameters()]
    for each in parameters:
        each.grad = torch.randn(each.shape, generator=chance)
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


def test_a_state_that_is_loaded_goes_on_as_if_it_had_not_been_saved():
    def steps(parameters, made, count):
        for _ in range(count):
            for each in parameters:
                each.grad = torch.cos(each.detach())
            made.step()

    whole = kernel_and_rest()
    steps(whole, optimizer("muon", [(whole, 0.1)]), 4)
    half = kernel_and_rest()
    made = optimizer("muon", [(half, 0.1)])
    steps(half, made, 2)
    again = [nn.Parameter(each.detach().clone()) for each in half]
    resumed = optimizer("muon", [(again, 0.1)])
    resumed.load_state_dict(copy.deepcopy(made.state_dict()))
    steps(again, resumed, 2)
    for one, other in zip(whole, again):
        assert torch.equal(one, other)


def test_what_has_no_gradient_stays_and_a_closure_is_refused():
    kernel, *_ = kernel_and_rest()
    kernel.grad = None
    before = kernel.detach().clone()
    made = optimizer("muon", [([kernel], 0.1)], weight_decay=0.5)
    made.step()
    assert torch.equal(kernel, before)
    with pytest.raises(ValueError, match="closure"):
        made.step(lambda: 0.0)
