"""Which of several training processes this is, as torchrun says it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from vl import devices


class Processes(NamedTuple):
    """One process among those that train together."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this process writes the files and says what happens."""
        return self.rank == 0


@contextmanager
def process_group(device: str) -> Iterator[Processes]:
    """This process among the others, or alone where torchrun did not start it.

    Args:
        device: ``"cpu"``, which talks by gloo, or ``"cuda"``, which talks by NCCL and takes the
            GPU of this process's local rank.

    Raises:
        ValueError: there is no such device here.
    """
    chosen = devices.named(device)
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:  # set by torchrun, not by us
        yield Processes(device=chosen)
        return
    if device == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    _meet("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


def restarted() -> bool:
    """Whether torchrun has started this process anew, after one of the run had died."""
    return _restarts() > 0


def all_reduce(value: torch.Tensor, processes: Processes) -> torch.Tensor:
    """The sum of ``value`` over all processes, on each of them."""
    if processes.size > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def broadcast(value: bool, processes: Processes) -> bool:
    """What the first process says, on each of them."""
    if processes.size == 1:
        return value
    said = torch.tensor(int(value), device=processes.device)
    dist.broadcast(said, src=0)
    return bool(said.item())


def all_gather(value: torch.Tensor, processes: Processes) -> list[torch.Tensor]:
    """``value`` of every process by rank, on each of them; all of one shape."""
    if processes.size == 1:
        return [value]
    there = value.to(processes.device)
    every = [torch.empty_like(there) for _ in range(processes.size)]
    dist.all_gather(every, there)
    return [each.to(value.device) for each in every]


def _meet(backend: str) -> None:
    """Make the group of all processes.

    torchrun of one machine keeps its store of addresses over a restart, and who is quick would
    call those of processes that are dead: each start gets a part of the store for itself. Machines
    that are several may count their restarts differently; there torchrun must be told by
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 to have a new store each time.
    """
    if not restarted() or os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        dist.init_process_group(backend)
        return
    store, rank, size = next(rendezvous("env://"))
    store = PrefixStore(f"restart {_restarts()}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))  # set by torchrun, not by us
