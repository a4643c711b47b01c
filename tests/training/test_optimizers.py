"""Which parameters decay, and at which rate each part learns."""

import pytest
import torch
from torch.optim import SGD, Adagrad, AdamW

from tests.helpers.tiny_captioner import decoder, encoder
from vl.training.optimizers import optimizer


@pytest.mark.parametrize(("name", "kind"), [("adam", AdamW), ("adagrad", Adagrad), ("sgd", SGD)])
def test_matrices_decay_and_vectors_do_not_each_part_at_its_rate(name, kind):
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


def test_only_plain_gradient_descent_is_told_of_a_momentum():
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


def test_adagrad_divides_by_the_root_of_all_squared_gradients():
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
