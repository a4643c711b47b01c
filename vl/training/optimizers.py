"""Optimizers and learning-rate schedules by name, and the moving average of the weights."""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, AdamW
from torch.optim.swa_utils import AveragedModel

from vl.data import choices

Schedule = Callable[[int], float]  # training step, from 0 -> factor of the learning rate
# Jordan's quintic, steep at 0: five iterations bring singular values near 1, not to it.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_LONG_WARMUP = 0.5  # of a run; one that is longer is warned of
_log = logging.getLogger(__name__)
_RMS = 0.2  # times the root of the longer side: updates are as long as AdamW's


class Muon(AdamW):
    """Muon for the groups whose ``orthogonal`` is true, AdamW for the others.

    Muon is for kernels of convolutions, each a matrix of outputs by all that an output sees. First
    and last layers and vectors are AdamW's. Ours, as ``torch.optim.Muon`` takes matrices alone, and
    it and ``timm.optim.Muon`` orthogonalize in bfloat16: on a kernel of 64 x 576 their updates are
    off by 1.4 % and take 1.7 times as long on a CPU.

    Args:
        groups: of parameters, with ``orthogonal`` beside the options of AdamW.
        momentum: Nesterov momentum of the orthogonal groups.

    Source:
        Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the length
        of an update: Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2.
    """

    def __init__(self, groups: list[dict[str, Any]], *, momentum: float = 0.9) -> None:
        super().__init__(groups)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's stub has an overload for each
        """One step of every group; sets the gradients of the orthogonal ones to None."""
        assert closure is None
        for group in self.param_groups:
            if group["orthogonal"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, group["lr"], group["weight_decay"])
                        parameter.grad = None  # AdamW then skips it
        super().step()
        return None

    def _update(self, parameter: Tensor, learning_rate: float, weight_decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)  # AdamW expects it in a loaded state
            state["momentum"] = torch.zeros_like(parameter)
        state["step"] += 1
        gradient, momentum = parameter.grad, state["momentum"]
        assert gradient is not None
        momentum.lerp_(gradient, 1 - self.momentum)
        matrix = gradient.lerp(momentum, self.momentum).flatten(1)  # (outputs, inputs)
        length = _RMS * math.sqrt(max(matrix.shape))
        parameter.mul_(1 - learning_rate * weight_decay)
        update = orthogonalize(matrix).reshape(parameter.shape)
        parameter.add_(update, alpha=-learning_rate * length)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Roughly the nearest matrix whose singular values are all 1, ``(m, n)``.

    By Newton-Schulz iterations of a quintic; zeros stay zeros.
    """
    first, third, fifth = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), x, beta=first)
    return x.T if tall else x


def optimizer(
    name: choices.Optimizer,
    groups: Sequence[tuple[Iterable[Tensor], float]],
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    outer: Collection[nn.Module] = (),
) -> torch.optim.Optimizer:
    """An optimizer by name; weights of two or more dimensions decay, biases and norms do not.

    Args:
        name: ``"adam"`` is AdamW, whose weight decay is decoupled; ``"sgd"`` and ``"adagrad"`` add
            it to the gradient; ``"muon"`` is ``Muon``.
        groups: parameters and their learning rate.
        weight_decay: of what decays.
        momentum: of ``"sgd"``; the others have their own.
        outer: word embeddings and last layers, whose matrices ``"muon"`` leaves to AdamW.
    """
    adamw_only: set[int] | None = None
    if name == "muon":
        adamw_only = {id(parameter) for module in outer for parameter in module.parameters()}
    parameter_groups = [
        group
        for parameters, learning_rate in groups
        for group in _parameter_groups(parameters, learning_rate, weight_decay, adamw_only)
    ]
    if name == "sgd":
        return SGD(parameter_groups, momentum=momentum)
    return {"adam": AdamW, "adagrad": Adagrad, "muon": Muon}[name](parameter_groups)


def schedule(
    name: choices.Schedule,
    *,
    steps: int,
    warmup_steps: int = 0,
    decay_every: int = 1,
    decay_factor: float = 0.5,
) -> Schedule:
    """A schedule of the learning rate by name.

    Args:
        name: ``"constant"``; ``"staircase"``, times ``decay_factor`` every ``decay_every`` steps
            (im2txt: 0.5 every 8 epochs); ``"cosine"``, from 1 down to 0 at ``steps`` (Loshchilov
            and Hutter 2017, without restarts).
        steps: training steps in all.
        warmup_steps: steps of a linear warmup, whose factor multiplies the schedule's.
        decay_every: steps.
        decay_factor: of the staircase.
    """

    def factor(step: int) -> float:
        if name == "staircase":
            return decay_factor ** (step // decay_every)
        if name == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
        return 1.0

    if not warmup_steps:
        return factor
    return lambda step: min(1.0, (step + 1) / warmup_steps) * factor(step)


def fitting_warmup(
    requested: float | None,
    default: float,
    *,
    length: float,
    share: float = 0.1,
    unit: str = "steps",
    quiet: bool = False,
) -> float:
    """The warmup of a run: as requested, or the default, at most a share of the run.

    A default that is shortened is logged; a requested one of more than half the run is warned of.

    Args:
        requested: None for the default.
        default: for runs that are long enough.
        length: of the run.
        share: of the run; a tenth leaves 200 steps to a run of 2,000.
        unit: of the first three.
        quiet: whether to log nothing.
    """
    if requested is None:
        fitting = min(default, share * length)
        if fitting < default and not quiet:
            _log.info(
                "warmup: %g %s, as the run has %g; %g by default", fitting, unit, length, default
            )
        return fitting
    if requested > _LONG_WARMUP * length and not quiet:
        effect = "never reaches its peak" if requested > length else "stays low for most of it"
        _log.warning(
            "a warmup of %g %s in a run of %g: the learning rate %s",
            *(requested, unit, length, effect),
        )
    return requested


def check_staircase(name: choices.Schedule, decay_every: float, *, epochs: int) -> None:
    """Warn of a staircase whose first step would come after the last epoch."""
    if name == "staircase" and decay_every >= epochs:
        _log.warning(
            "the learning rate never decays: the staircase has a step every %g epochs, the run %d",
            *(decay_every, epochs),
        )


def ema_of(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights, and of batch normalization's statistics.

    The decay is smaller at first, (1 + step) / (10 + step), so that the random initialization is
    forgotten: the mean age of the averaged weights is at most a tenth of the steps so far, however
    short the run. The average lags behind the weights, and statistics belong to the weights of the
    layers before them: averaged, they lag by as much.
    """

    def update(
        means: list[Tensor] | tuple[Tensor, ...],
        values: list[Tensor] | tuple[Tensor, ...],
        updates: Tensor | int,
    ) -> None:
        if not means[0].is_floating_point():  # all have one type: batch normalization's counts
            torch._foreach_copy_(means, values)
            return
        step = int(updates)
        torch._foreach_lerp_(means, values, 1 - min(decay, (1 + step) / (10 + step)))

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


def _parameter_groups(
    parameters: Iterable[Tensor],
    learning_rate: float,
    weight_decay: float,
    adamw_only: set[int] | None,
) -> list[dict[str, Any]]:
    """Orthogonalized matrices, other matrices, and vectors: the groups that are not empty.

    All matrices but ``adamw_only`` are orthogonalized, none if it is None.
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for parameter in parameters:
        matrix = parameter.ndim > 1
        orthogonal = matrix and adamw_only is not None and id(parameter) not in adamw_only
        groups.setdefault((orthogonal, matrix), []).append(parameter)
    return [
        {
            "params": groups[orthogonal, matrix],
            "lr": learning_rate,
            "weight_decay": weight_decay if matrix else 0.0,
            **({} if adamw_only is None else {"orthogonal": orthogonal}),
        }
        for orthogonal, matrix in sorted(groups, reverse=True)
    ]
