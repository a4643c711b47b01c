"""Optimisers by name, over parts of a model that each have a rate of their own."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal

from torch import Tensor
from torch.optim import SGD, Adagrad, AdamW, Optimizer

Kind = Literal["adam", "adagrad", "sgd"]


def optimizer(
    kind: Kind,
    parts: Sequence[tuple[Iterable[Tensor], float]],
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
) -> Optimizer:
    """An optimiser; matrices and convolutions decay, biases and other vectors do not.

    Args:
        kind: ``"adam"`` is AdamW, whose decay is decoupled; ``"sgd"`` is plain gradient descent,
            whose decay is L2, as is that of ``"adagrad"``.
        parts: parameters and their rate.
        weight_decay: of what decays.
        momentum: of ``"sgd"``; the others have their own.
    """
    groups = [group for part, rate in parts for group in _groups(part, rate, weight_decay)]
    kinds: dict[Kind, Callable[[list[dict[str, Any]]], Optimizer]]
    kinds = {"adam": AdamW, "adagrad": Adagrad, "sgd": partial(SGD, momentum=momentum)}
    return kinds[kind](groups)


def _groups(parameters: Iterable[Tensor], rate: float, decay: float) -> list[dict[str, Any]]:
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for parameter in parameters:
        groups[parameter.ndim > 1].append(parameter)
    return [
        {"params": members, "lr": rate, "weight_decay": decay if decays else 0.0}
        for decays, members in groups.items()
        if members
    ]
