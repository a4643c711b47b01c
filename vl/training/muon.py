"""Muon: convolutions step along the nearest orthogonal matrix, everything else as AdamW does."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

# Jordan's quintic, made steep at 0: five rounds bring singular values near 1, not to it.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_MATCHED = 0.2  # times the root of the longer side: steps are as long as AdamW's


class Muon(AdamW):
    """AdamW, but groups whose ``orthogonal`` is true step by orthogonalised momentum.

    Those are for kernels of convolutions, each a matrix of outputs by all that an output sees;
    ``torch.optim.Muon`` takes none but matrices. First and last layers and vectors are AdamW's.

    Args:
        groups: of parameters, each with ``orthogonal`` beside what AdamW knows.
        momentum: of the orthogonal groups, as Nesterov has it.

    Source:
        Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; steps as
        long as AdamW's: Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2.
    """

    def __init__(self, groups: list[dict[str, Any]], *, momentum: float = 0.9) -> None:
        super().__init__(groups)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's stub has an overload for each
        """One step of every group; gradients of the orthogonal ones are gone then.

        Raises:
            ValueError: a closure is given.
        """
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            if group["orthogonal"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._turn(parameter, group["lr"], group["weight_decay"])
                        parameter.grad = None  # so that AdamW leaves it alone
        super().step()
        return None

    def _turn(self, parameter: Tensor, rate: float, decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)  # AdamW looks for it in what is loaded
            state["momentum"] = torch.zeros_like(parameter)
        state["step"] += 1
        gradient, moving = parameter.grad, state["momentum"]
        assert gradient is not None
        moving.lerp_(gradient, 1 - self.momentum)
        matrix = gradient.lerp(moving, self.momentum).flatten(1)  # (outputs, all else)
        length = _MATCHED * math.sqrt(max(matrix.shape))
        parameter.mul_(1 - rate * decay)
        parameter.add_(orthogonal(matrix).reshape(parameter.shape), alpha=-rate * length)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix whose singular values are 1, ``(m, n)``: they come out near 1.

    By Newton-Schulz rounds of a quintic; a matrix of zeros stays one.
    """
    first, third, fifth = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), x, beta=first)
    return x.T if tall else x
