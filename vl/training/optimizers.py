"""Optimisers by name, over parts of a model that each have a rate of their own."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import SGD, Adagrad, AdamW, Optimizer

from vl.training.muon import Muon

Kind = Literal["adam", "adagrad", "sgd", "muon"]


def optimizer(
    kind: Kind,
    parts: Sequence[tuple[Iterable[Tensor], float]],
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    outer: Collection[nn.Module] = (),
) -> Optimizer:
    """An optimiser; matrices and convolutions decay, biases and other vectors do not.

    Args:
        kind: ``"adam"`` is AdamW, whose decay is decoupled; ``"sgd"`` is plain gradient descent,
            whose decay is L2, as is that of ``"adagrad"``; ``"muon"`` turns matrices and kernels
            of convolutions (see ``Muon``), and is AdamW for the rest.
        parts: parameters and their rate.
        weight_decay: of what decays.
        momentum: of ``"sgd"``; the others have their own.
        outer: embeddings of words and last layers, whose matrices ``"muon"`` does not turn.
    """
    flat: set[int] | None = None
    if kind == "muon":
        flat = {id(parameter) for module in outer for parameter in module.parameters()}
    groups = [group for part, rate in parts for group in _groups(part, rate, weight_decay, flat)]
    kinds: dict[Kind, Callable[[list[dict[str, Any]]], Optimizer]] = {
        "adam": AdamW,
        "adagrad": Adagrad,
        "sgd": partial(SGD, momentum=momentum),
        "muon": Muon,
    }
    return kinds[kind](groups)


def _groups(
    parameters: Iterable[Tensor], rate: float, decay: float, flat: set[int] | None
) -> list[dict[str, Any]]:
    """What is turned, other matrices, which decay too, and vectors: those that there are.

    With ``flat`` all matrices but those are turned, without it none.
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for parameter in parameters:
        matrix = parameter.ndim > 1
        turned = matrix and flat is not None and id(parameter) not in flat
        groups.setdefault((turned, matrix), []).append(parameter)
    return [
        {
            "params": groups[turned, matrix],
            "lr": rate,
            "weight_decay": decay if matrix else 0.0,
            **({} if flat is None else {"orthogonal": turned}),
        }
        for turned, matrix in sorted(groups, reverse=True)
    ]
