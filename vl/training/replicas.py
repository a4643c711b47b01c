"""How several processes hold one model: in step, loosely coupled, or a part of it each.

In step is DistributedDataParallel: each step's gradient is that of all. Loosely coupled is local
SGD (Stich 2019), today's form of DistBelief's replicas (Dean et al. 2012): each process steps by
itself, and every so often they take their mean. A part each is FSDP2, for what does not fit.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from vl.training.processes import Processes, all_reduce

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
    # FSDP2 takes no weights that are channels-last.
    model.to(processes.device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stub lacks this form
    # Said, as a GPU that is not to be used would be taken otherwise.
    mesh = init_device_mesh(processes.device.type, (processes.size,))
    for part in _parts(model):
        fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)
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
        ValueError: a model that is shared out cannot be loosely coupled, and it needs its copy.
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
        if self._shared and plain is None:
            raise ValueError("a model of which each process holds a part is judged by its copy")
        self._plain = plain
        self._period = period if processes.size > 1 else None
        self._whole = model
        if processes.size > 1 and not self._shared and self._period is None:
            self._whole = DistributedDataParallel(model)
        if self._period is not None:  # DistributedDataParallel does so itself
            first = _flat(self._tensors())
            dist.broadcast(first, src=0)
            _fill(self._tensors(), first)

    def __call__(self, batch: Any, step: int) -> tuple[Tensor, Tensor]:
        """This process's total and count of a batch."""
        total, count = self._whole(batch, step)
        return total, count

    def rehearse(self, batches: Iterator[Any]) -> None:
        """Let gradients of a batch go around, before a checkpoint is put back.

        After its first step DistributedDataParallel sends gradients in another order, and with it
        goes the order in which those of more than two processes are added: without a rehearsal, a
        resumed run's first step would end with other last bits than one that was not stopped.
        """
        if isinstance(self._whole, DistributedDataParallel):
            total, _ = self(next(batches).to(self._processes.device), 0)
            (total * 0).backward()  # type: ignore[no-untyped-call]  # torch's stubs, which differ by version
            self.optimizer.zero_grad(set_to_none=True)

    def over(self, count: Tensor) -> Tensor:
        """What the gradient's total is divided by: the count of all who step together."""
        mine = all_reduce(count, self._processes) if self._period is None else count
        return mine.clamp(min=1)  # where every picture of a batch was corrupt, the gradient is 0

    @property
    def scale(self) -> int:
        """What undoes the mean over processes that is taken of gradients; what is wanted is a sum.

        DistributedDataParallel and FSDP2 both take it.
        """
        return self._processes.size if self._period is None else 1

    def gathering(self, last: bool) -> AbstractContextManager[None]:
        """Around both passes of a batch: gradients go around only at a step's last one."""
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
        mean = all_reduce(_flat(self._tensors()), self._processes) / self._processes.size
        _fill(self._tensors(), mean)

    def alike(self, step: int) -> bool:
        """Whether all replicas are one after this step, so that a checkpoint can be made."""
        return self._period is None or step % self._period == 0

    def finite(self) -> bool:
        """Whether all weights and statistics are, everywhere; every process must call it."""
        held = (_here(each) for each in self.model.state_dict().values())
        wrong = [(~each.isfinite()).any() for each in held if each.is_floating_point()]
        return not bool(all_reduce(torch.stack(wrong).sum(), self._processes))

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
        assert self._plain is not None
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


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    """All numbers of some tensors in one, for one message."""
    return torch.cat([each.detach().reshape(-1) for each in tensors])


@torch.no_grad()
def _fill(tensors: Iterable[Tensor], flat: Tensor) -> None:
    """Put back what ``_flat`` gave; each tensor keeps its memory format."""
    begin = 0
    for each in tensors:
        each.copy_(flat[begin : begin + each.numel()].view(each.shape))
        begin += each.numel()


def _here(value: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return value.to_local() if isinstance(value, DTensor) else value


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    """The largest modules that are called as such, below containers that only hold others."""
    for child in model.children():
        container = type(child).forward is nn.Module.forward or hasattr(child, "classify")
        if container or isinstance(child, nn.ModuleDict | nn.ModuleList):
            yield from _parts(child)
        elif any(True for _ in child.parameters()):
            yield child
