"""One step of the optimizer: the gradient of a batch or of several, over all processes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vl.training.parallel import Processes, Replicas


class StepResult(NamedTuple):
    """The loss of this process in a step."""

    total: Tensor  # ()
    terms: Tensor  # ()
    gradient_norm: float  # before clipping


def optimizer_step(
    replicas: Replicas,
    batches: Sequence[Any],
    step: int,
    processes: Processes,
    *,
    grad_clip: float,
    bfloat16: bool,
) -> StepResult:
    """One step of the optimizer over one batch, or over several as if they were one.

    Args:
        replicas: the task and its optimizer.
        batches: at least one.
        step: steps done before.
        processes: that step together.
        grad_clip: maximum norm of the gradient.
        bfloat16: whether the forward pass runs under autocast.

    Raises:
        ValueError: the gradient is not finite; the weights have not been changed.
    """
    device = processes.device
    replicas.optimizer.zero_grad(set_to_none=True)
    totals, counts = [], []
    for index, batch in enumerate(batches):
        with replicas.gradient_sync(index == len(batches) - 1):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                total, terms = replicas(batch.to(device), step)
            counts.append(terms)
            totals.append(total.detach())
            if index == 0:
                denominator = replicas.denominator(terms)
            (total * replicas.gradient_scale / denominator).backward()  # type: ignore[no-untyped-call]  # torch's stubs, which differ by version
    all_terms = torch.stack(counts).sum()
    if len(batches) > 1:  # the loss was divided by the count of the first batch alone
        correction = denominator / replicas.denominator(all_terms)
        for parameter in replicas.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(correction)
    norm = replicas.clip_gradient(grad_clip)
    if not math.isfinite(norm):  # before it reaches the weights, and the checkpoint
        loss = float(torch.stack(totals).sum() / all_terms)
        what = "the gradient" if math.isfinite(loss) else f"the loss is {loss}, and the gradient"
        raise not_finite(f"{what} is not finite at step {step + 1}")
    replicas.optimizer.step()
    return StepResult(torch.stack(totals).sum(), all_terms, norm)


def not_finite(problem: str) -> ValueError:
    """The error of a training that has diverged."""
    return ValueError(
        f"{problem}; try a lower learning rate; the last checkpoint is from before it"
    )
