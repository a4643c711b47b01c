"""Training in several processes: data parallel, local SGD, or fully sharded.

Data parallel is PyTorch's DistributedDataParallel: the gradient of each step is that of all
processes. Local SGD (Stich 2019), today's form of DistBelief's replicas (Dean et al. 2012), lets
every process step on its own gradient and averages the weights every so many steps. Fully sharded
is FSDP2, for models that do not fit on one device.
"""

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

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
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from vl.data.batches import LossSum
from vl.data.outputs import lock_output
from vl.devices import resolve_device

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Processes(NamedTuple):
    """The rank of this process among those that train together."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes the files and the messages."""
        return self.rank == 0


@contextmanager
def process_group(device: str, output_dir: Path | None = None) -> Iterator[Processes]:
    """Join the process group of torchrun, or train alone where torchrun did not start the process.

    Args:
        device: see ``vl.devices.resolve_device``; a GPU becomes the one of this process's local
            rank. Processes on CPUs communicate by gloo, on GPUs by NCCL.
        output_dir: locked by the first process, see ``vl.data.outputs.lock_output``.

    Raises:
        BlockingIOError: another training is writing to the folder.
    """
    chosen = resolve_device(device)
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:  # set by torchrun
        with _locked(output_dir):
            yield Processes(device=chosen)
        return
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    _init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        with _locked(output_dir if dist.get_rank() == 0 else None):
            yield Processes(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


def _locked(folder: Path | None) -> AbstractContextManager[None]:
    return lock_output(folder, folder=True) if folder else nullcontext()


def restarts() -> int:
    """How often torchrun has restarted the processes after one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def all_reduce(value: Tensor, processes: Processes) -> Tensor:
    """The sum of ``value`` over all processes."""
    if processes.size > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def broadcast(value: bool, processes: Processes) -> bool:
    """``value`` of rank 0."""
    if processes.size == 1:
        return value
    flag = torch.tensor(int(value), device=processes.device)
    dist.broadcast(flag, src=0)
    return bool(flag.item())


def all_gather(value: Tensor, processes: Processes) -> list[Tensor]:
    """``value`` of every process, by rank; all have one shape."""
    if processes.size == 1:
        return [value]
    local = value.to(processes.device)
    values = [torch.empty_like(local) for _ in range(processes.size)]
    dist.all_gather(values, local)
    return [remote.to(value.device) for remote in values]


def shard(model: nn.Module, processes: Processes) -> nn.Module:
    """Shard the weights of a model over the processes by FSDP2, in place, before its optimizer.

    Its layers are gathered one after the other during the forward pass.

    Returns:
        A full copy on the CPU, for validation and for saving.
    """
    full_model = copy.deepcopy(model).cpu()
    # FSDP2 takes no channels-last weights.
    model.to(processes.device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stub lacks this form
    # Explicit: FSDP2 would otherwise choose a GPU even if the CPU was asked for.
    mesh = init_device_mesh(processes.device.type, (processes.size,))
    for layer in shard_layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return full_model


def shard_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The largest modules with weights that are called as a whole, below mere containers."""
    for child in model.children():
        container = type(child).forward is nn.Module.forward or hasattr(child, "classify")
        if container or isinstance(child, nn.ModuleDict | nn.ModuleList):
            yield from shard_layers(child)
        elif any(True for _ in child.parameters()):
            yield child


class Replicas:
    """A model and its optimizer in one of several processes.

    Args:
        model: on its device; its shard of this process after ``shard``.
        optimizer: over the model's parameters.
        processes: the rank of this process.
        local_steps: steps between averages of the weights (local SGD); None for data parallel.
        full_model: what ``shard`` returned.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        processes: Processes,
        *,
        local_steps: int | None = None,
        full_model: nn.Module | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self._processes = processes
        self._sharded = isinstance(model, FSDPModule)
        self._cpu_copy = full_model
        self._local_steps = local_steps if processes.size > 1 else None
        self._forward = model
        if processes.size > 1 and not self._sharded and self._local_steps is None:
            self._forward = DistributedDataParallel(model)
        if self._local_steps is not None:  # DistributedDataParallel does so itself
            self._communicate(lambda weights: dist.broadcast(weights, src=0))

    def __call__(self, batch: Any, step: int) -> LossSum:
        """The total loss and the count of this process's share of a batch."""
        return LossSum(*self._forward(batch, step))

    def warm_up(self, batches: Iterator[Any]) -> None:
        """Reduce the gradients of one batch before a checkpoint is loaded, and discard them.

        After its first step DistributedDataParallel reduces gradients in another order, and with
        it changes the order of summation over more than two processes: without this the first step
        of a resumed run would differ in its last bits from that of an uninterrupted run.
        """
        if isinstance(self._forward, DistributedDataParallel):
            total, _ = self(next(batches).to(self._processes.device), 0)
            (total * 0).backward()  # type: ignore[no-untyped-call]  # torch's stubs, which differ by version
            self.optimizer.zero_grad(set_to_none=True)

    def denominator(self, count: Tensor) -> Tensor:
        """The divisor of the total loss: the count over all processes that step together."""
        total = all_reduce(count, self._processes) if self._local_steps is None else count
        return total.clamp(min=1)  # if no image of a batch could be read, the gradient is 0

    @property
    def gradient_scale(self) -> int:
        """The factor that makes a sum of the mean over processes.

        DistributedDataParallel and FSDP2 both average gradients.
        """
        return self._processes.size if self._local_steps is None else 1

    def gradient_sync(self, enabled: bool) -> AbstractContextManager[None]:
        """Context of both passes of a batch: gradients are reduced only if ``enabled``."""
        if isinstance(self._forward, FSDPModule):
            self._forward.set_requires_gradient_sync(enabled)
        elif isinstance(self._forward, DistributedDataParallel) and not enabled:
            no_sync: AbstractContextManager[None] = self._forward.no_sync()
            return no_sync
        return nullcontext()

    def clip_gradient(self, max_norm: float) -> float:
        """Clip the norm of the whole gradient; returns the norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), max_norm)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def average_weights(self, step: int, *, last: bool) -> None:
        """After a step of local SGD: average the replicas, if it is time.

        The optimizers' moments and the statistics of batch normalization are averaged too, so that
        all replicas are then equal, and a checkpoint of one of them is complete.

        The last step of an epoch always averages them.
        """
        if self._local_steps is None or not (last or step % self._local_steps == 0):
            return
        self._communicate(lambda flat: (dist.all_reduce(flat), flat.div_(self._processes.size)))

    def in_sync(self, step: int) -> bool:
        """Whether all replicas are equal after this step, so that a checkpoint can be made."""
        return self._local_steps is None or step % self._local_steps == 0

    def is_finite(self) -> bool:
        """Whether all weights and buffers are, in all processes; every process must call it."""
        tensors = (
            value.to_local() if isinstance(value, DTensor) else value
            for value in self.model.state_dict().values()
        )
        wrong = [(~value.isfinite()).any() for value in tensors if value.is_floating_point()]
        return not bool(all_reduce(torch.stack(wrong).sum(), self._processes))

    def state(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Full state of the model and of the optimizer; every process must call it."""
        if self._sharded:
            model, optimizer = get_state_dict(self.model, self.optimizer, options=_FULL)
            return model, optimizer
        return self.model.state_dict(), self.optimizer.state_dict()

    def load(self, model: Mapping[str, Any], optimizer: Mapping[str, Any]) -> None:
        """Load what ``state`` returned."""
        if self._sharded:
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

    def full_model(self) -> nn.Module:
        """The model for validation; every process must call it, the first one gets all weights."""
        if not self._sharded:
            return self.model
        weights = get_model_state_dict(self.model, options=_FULL)
        assert self._cpu_copy is not None
        if self._processes.first:
            self._cpu_copy.load_state_dict(weights)
            self._cpu_copy.to(self._processes.device)
        return self._cpu_copy

    @torch.no_grad()
    def _communicate(self, operation: Callable[[Tensor], object]) -> None:
        """Change weights, buffers and moments by a collective operation on all values at once."""
        tensors: list[Tensor] = [value for value in self.model.parameters() if value.requires_grad]
        tensors += [value for value in self.model.buffers() if value.is_floating_point()]
        for state in self.optimizer.state.values():
            tensors += [v for v in state.values() if isinstance(v, Tensor) and v.ndim > 0]
        flat = torch.cat([value.reshape(-1) for value in tensors])
        operation(flat)
        for value, part in zip(tensors, torch.split(flat, [value.numel() for value in tensors])):
            value.copy_(part.view(value.shape))  # each keeps its memory format


def _init_process_group(backend: str) -> None:
    """Initialize the default process group, in a store of its own after a restart.

    torchrun on one machine keeps its store of addresses over a restart, and a quick process would
    connect to addresses of dead ones: each start uses its own prefix. Several machines may count
    their restarts differently; there torchrun needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1.
    """
    if not restarts() or os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        dist.init_process_group(backend)
        return
    store, rank, size = next(rendezvous("env://"))
    store = PrefixStore(f"restart {restarts()}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
