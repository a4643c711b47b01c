"""Which parameters decay, and at which rate each part learns."""

import pytest
from torch.optim import SGD, AdamW

from tests.little import decoder, encoder
from vl.optimizers import optimizer


@pytest.mark.parametrize(("name", "kind"), [("adam", AdamW), ("sgd", SGD)])
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
