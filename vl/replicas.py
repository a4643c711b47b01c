"""How several processes hold one model: in step, loosely coupled, or a part of it each.

In step is DistributedDataParallel: each step's gradient is that of all. Loosely coupled is local
SGD (Stich 2019), today's form of DistBelief's replicas (Dean et al. 2012): each process steps by
itself, and every so often they take their mean. A part each is FSDP2, for what does not fit.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.model_averaging.utils import average_parameters
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from vl.processes import Processes, summed

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(model: nn.Module, processes: Processes) -> nn.Module:
    """Leave each process a part of every weight; before the optimiser is made.

    Args:
        model: on the CPU or on the device; changed in place. Its parts are gathered for their own
            forward pass, one after the other.
        processes: among whom it is shared.

    Returns:
        A copy that is not shared, on the CPU, for judging and keeping.
    """
    plain = copy.deepcopy(model).cpu()
    model.to(processes.device)
    for part in _parts(model):
        fully_shard(part)
    fully_shard(model)
    return plain


class Replicas:
    """A model and its optimiser in one of several processes.

    Args:
        model: on its device; after ``shard`` a part of it is here.
        optimizer: over its parameters.
        processes: which of how many this is.
        period: steps of their own after which replicas take their mean; None keeps them in step.
        plain: what ``shard`` answered.

    Raises:
        ValueError: a model that is shared out cannot be loosely coupled.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        processes: Processes,
        *,
        period: int | None = None,
        plain: nn.Module | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self._processes = processes
        self._shared = isinstance(model, FSDPModule)
        if self._shared and period is not None:
            raise ValueError("a model of which each process holds a part has no replicas to couple")
        self._plain = plain
        self._period = period if processes.size > 1 else None
        self._whole = model
        if processes.size > 1 and not self._shared and self._period is None:
            self._whole = DistributedDataParallel(model)

    def __call__(self, batch: Any, step: int) -> tuple[Tensor, Tensor]:
        """This process's total and count of a batch."""
        total, count = self._whole(batch, step)
        return total, count

    def over(self, count: Tensor) -> Tensor:
        """What the gradient's total is divided by: the count of all who step together."""
        mine = count if self._period else summed(count, self._processes)
        return mine.clamp(min=1)  # where every picture of a batch was corrupt, the gradient is 0

    @property
    def scale(self) -> int:
        """What undoes the mean over processes that is taken of gradients; what is wanted is a sum.

        DistributedDataParallel and FSDP2 both take it.
        """
        return 1 if self._period else self._processes.size

    def gathering(self, last: bool) -> AbstractContextManager[None]:
        """Around a backward pass: gradients go around only at a step's last one."""
        if isinstance(self._whole, FSDPModule):
            self._whole.set_requires_gradient_sync(last)
        elif isinstance(self._whole, DistributedDataParallel) and not last:
            waiting: AbstractContextManager[None] = self._whole.no_sync()
            return waiting
        return nullcontext()

    def clip(self, norm: float) -> float:
        """Bring the gradient to at most this norm; the norm that it had."""
        had = nn.utils.clip_grad_norm_(self.model.parameters(), norm)
        return float(had.full_tensor() if hasattr(had, "full_tensor") else had)

    def meet(self, step: int, *, last: bool) -> None:
        """After a step: take the mean of loosely coupled replicas, if it is time.

        The optimisers' momenta and batch normalisation's statistics take theirs too, so that all
        replicas are then one, and a checkpoint of one is whole.

        Args:
            step: steps done.
            last: it is the epoch's last, where they always meet.
        """
        if self._period is None or not (last or step % self._period == 0):
            return
        tensors = list(self._tensors())
        # Copies, since average_parameters would leave the weights without their channels-last form.
        means = [nn.Parameter(each.detach().clone(), requires_grad=False) for each in tensors]
        everyone = dist.group.WORLD
        assert everyone is not None  # there are several processes
        average_parameters(iter(means), everyone)
        with torch.no_grad():
            for each, mean in zip(tensors, means, strict=True):
                each.copy_(mean)

    def alike(self, step: int) -> bool:
        """Whether all replicas are one after this step, so that a checkpoint can be made."""
        return self._period is None or step % self._period == 0

    def state(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The model's and the optimiser's, whole; every process must call it."""
        if self._shared:
            model, optimizer = get_state_dict(self.model, self.optimizer, options=_FULL)
            return model, optimizer
        return self.model.state_dict(), self.optimizer.state_dict()

    def load(self, model: Mapping[str, Any], optimizer: Mapping[str, Any]) -> None:
        """Put back what ``state`` gave."""
        if self._shared:
            set_state_dict(
                self.model,
                self.optimizer,
                model_state_dict=dict(model),
                optim_state_dict=dict(optimizer),
                options=_FULL,
            )
            return
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(dict(optimizer))

    def whole(self) -> nn.Module:
        """The model for judging; every process must call it, the first one's answer is whole."""
        if not self._shared:
            return self.model
        weights = get_model_state_dict(self.model, options=_FULL)
        if self._plain is None:
            raise ValueError("a model of which each process holds a part is judged by its copy")
        if self._processes.first:
            self._plain.load_state_dict(weights)
            self._plain.to(self._processes.device)
        return self._plain

    def _tensors(self) -> Iterator[Tensor]:
        yield from (each for each in self.model.parameters() if each.requires_grad)
        yield from (each for each in self.model.buffers() if each.is_floating_point())
        for state in self.optimizer.state.values():
            yield from (
                each for each in state.values() if isinstance(each, Tensor) and each.ndim > 0
            )


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    """The largest modules that are called as such, below containers that only hold others."""
    for child in model.children():
        container = type(child).forward is nn.Module.forward or hasattr(child, "classify")
        if container or isinstance(child, nn.ModuleDict | nn.ModuleList):
            yield from _parts(child)
        elif any(True for _ in child.parameters()):
            yield child
