"""A little training in one or several processes, that writes down what each of them has."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from vl.training import checkpoint, replicas
from vl.training import loop as training
from vl.training.loop import Validation, fit
from vl.training.optimizers import optimizer
from vl.training.processes import process_group
from vl.training.replicas import Replicas, shard
from vl.training.schedules import schedule


class Options(NamedTuple):
    """What a training is told."""

    sizes: tuple[int, ...] = (8, 8, 8, 8, 8)  # of an epoch's batches, all processes together
    epochs: int = 2
    accumulate: int = 1
    period: int | None = None
    part_each: bool = False
    norm: bool = False
    momentum: float = 0.9
    adam: bool = False
    average: float | None = None
    clip: float = 5.0
    save_seconds: float = 0.0
    resume: bool = False
    die_at: int = 0  # the step that the last process does not begin
    apart: bool = False  # each process begins with other weights
    share: tuple[int, int] | None = None  # of every batch, another than its own: which of how many


class Points(NamedTuple):
    """A batch."""

    x: Tensor  # (B, 6)
    y: Tensor  # (B,)

    def to(self, device: torch.device | str) -> "Points":
        return self


class Clouds:
    """Batches of these sizes, divided as `vl.data.batches` divides."""

    def __init__(self, sizes: tuple[int, ...], rank: int, processes: int) -> None:
        self.sizes, self.rank, self.processes = sizes, rank, processes

    def __len__(self) -> int:
        return len(self.sizes)

    def epoch(self, number: int, *, first: int = 0) -> Iterator[Points]:
        for index in range(first, len(self.sizes)):
            generator = torch.Generator().manual_seed(100 * number + index)
            x = torch.randn(self.sizes[index], 6, generator=generator)
            y = x[:, :3].argmax(1)
            yield Points(x[self.rank :: self.processes], y[self.rank :: self.processes])


class Net(nn.Module):
    """Two layers, or three."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.second = nn.Linear(8, 3)

    def forward(self, batch: Points, step: int) -> tuple[Tensor, Tensor]:
        logits = self.second(self.norm(self.first(batch.x)).tanh())
        return F.cross_entropy(logits, batch.y, reduction="sum"), torch.tensor(len(batch.y))


def main(folder: Path, options: Options) -> int:
    """Train; what rank r saw and ended with is in ``r.pt``."""
    seen: dict[str, Any] = {"meetings": {}, "saved": [], "reductions": 0, "judged": []}
    with process_group("cpu") as processes:
        last_rank = processes.rank == processes.size - 1
        _watch(seen, die_at=options.die_at if last_rank else 0)
        torch.manual_seed(7 + processes.rank if options.apart else 7)
        model = Net(norm=options.norm)
        plain = shard(model, processes) if options.part_each else None

        def judge(judged: nn.Module) -> Validation:
            everything = [Clouds(options.sizes, 0, 1).epoch(0)]
            loss = sum(float(judged(batch, 0)[0]) for each in everything for batch in each)
            seen["judged"].append(loss)
            return Validation(-loss, {"loss": loss})

        def keep(kept: nn.Module, judgement: Validation | None) -> None:
            torch.save(kept.state_dict(), folder / "kept.pt")

        fitted = fit(
            model,
            Clouds(options.sizes, *(options.share or (processes.rank, processes.size))),
            optimizer=optimizer(
                "adam" if options.adam else "sgd",
                [(list(model.parameters()), 0.1)],
                momentum=options.momentum,
            ),
            schedule=schedule("constant", steps=1),
            epochs=options.epochs,
            folder=folder,
            settings={},
            processes=processes,
            clip=options.clip,
            average=options.average,
            judge=judge,
            keep=keep,
            resume=options.resume,
            save_seconds=options.save_seconds,
            accumulate=options.accumulate,
            period=options.period,
            plain=plain,
        )
        seen["steps"] = fitted.steps
        if not options.part_each:
            seen["weights"] = model.state_dict()
        torch.save(seen, folder / f"{processes.rank}.pt")
    return 0


def _watch(seen: dict[str, Any], *, die_at: int) -> None:
    meet, save, step = Replicas.meet, checkpoint.save, training._step

    def watched_meet(self: Replicas, number: int, *, last: bool) -> None:
        meet(self, number, last=last)
        if not isinstance(self.model, torch.distributed.fsdp.FSDPModule):
            moments = self.optimizer.state_dict()["state"]
            held = {f"{n} {k}": v for n, each in moments.items() for k, v in each.items()}
            held |= self.model.state_dict()
            seen["meetings"][number] = {
                key: value.clone() for key, value in held.items() if value is not None
            }

    def watched_save(path: Path, state: dict[str, Any], processes: Any) -> None:
        seen["saved"].append(state["place"]["step"])
        save(path, state, processes)

    def watched_step(*arguments: Any, **named: Any) -> Any:
        seen["begun"] = seen.get("begun", 0) + 1
        if seen["begun"] == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*arguments, **named)

    class Counting(DistributedDataParallel):
        def __init__(self, module: nn.Module) -> None:
            super().__init__(module)
            self.register_comm_hook(None, counted)

    def counted(group: Any, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        seen["reductions"] += 1
        return allreduce_hook(group, bucket)

    Replicas.meet = watched_meet  # type: ignore[method-assign]
    checkpoint.save = watched_save
    training._step = watched_step
    replicas.DistributedDataParallel = Counting
