"""A small training in one or several processes, each of which records what it sees."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer

from vl.data.batches import LossSum
from vl.training.loop import CheckpointConfig, StepConfig, ValidationConfig, train
from vl.training.optimizers import optimizer, schedule
from vl.training.parallel import process_group, shard
from vl.training.selection import Validation


class Options(NamedTuple):
    """Options of the training."""

    sizes: tuple[int, ...] = (8, 8, 8, 8, 8)  # of an epoch's batches, over all processes
    epochs: int = 2
    gradient_accumulation: int = 1
    local_steps: int | None = None
    fsdp: bool = False
    batch_norm: bool = False
    momentum: float = 0.9
    optimizer: Any = "sgd"
    ema_decay: float | None = None
    grad_clip: float = 5.0
    checkpoint_seconds: float = 0.0
    resume: bool = False
    die_at: int = 0  # the step in which the last process kills itself
    different_weights: bool = False  # each process initializes its own
    share: tuple[int, int] | None = None  # of every batch: rank and processes, other than its own


class Points(NamedTuple):
    """A batch."""

    x: Tensor  # (B, 6)
    y: Tensor  # (B,)

    def to(self, device: torch.device | str) -> "Points":
        return self


class PointBatches:
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

    unit = "points"

    def __init__(self, *, batch_norm: bool) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8) if batch_norm else nn.Identity()
        self.second = nn.Linear(8, 3)

    def forward(self, batch: Points, step: int) -> LossSum:
        logits = self.second(self.norm(self.first(batch.x)).tanh())
        loss = F.cross_entropy(logits, batch.y, reduction="sum")
        return LossSum(loss, torch.tensor(len(batch.y)))


class Recorder:
    """Records weights, moments and gradients of each step, and the steps that were saved."""

    def __init__(self, model: Net, optimizer: Optimizer, folder: Path, die_at: int) -> None:
        self.model, self.optimizer, self.folder, self.die_at = model, optimizer, folder, die_at
        self.states: dict[int, dict[str, Tensor]] = {}  # after so many steps
        self.saved: list[int] = []
        self.partial_gradients: list[Tensor] = []  # before another batch is accumulated
        self.gradients: list[Tensor] = []
        model.register_forward_pre_hook(self._before_forward)
        optimizer.register_step_pre_hook(self._before_step)

    def _before_forward(self, model: nn.Module, arguments: tuple[Points, int]) -> None:
        gradient = self.model.first.weight.grad
        if model.training and gradient is not None:
            self.partial_gradients.append(gradient.clone())
        elif model.training:
            self.record(arguments[1])

    def record(self, step: int) -> None:
        path = self.folder / "state.pt"
        if path.exists():
            saved = torch.load(path, weights_only=True)["progress"]["step"]
            self.saved += [saved] if saved not in self.saved else []
        if step and not isinstance(self.model, FSDPModule):
            moments = self.optimizer.state_dict()["state"]
            state = {f"{n} {key}": value for n, of in moments.items() for key, value in of.items()}
            state |= self.model.state_dict()
            self.states[step] = {
                key: value.clone() for key, value in state.items() if value is not None
            }

    def _before_step(self, *arguments: Any) -> None:
        gradient = self.model.first.weight.grad
        assert gradient is not None
        self.gradients.append(gradient.clone())
        if len(self.gradients) == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, options: Options) -> int:
    """Train; what rank r recorded is in ``r.pt``."""
    scores: list[float] = []
    with process_group("cpu") as processes:
        torch.manual_seed(7 + processes.rank if options.different_weights else 7)
        model = Net(batch_norm=options.batch_norm)
        full_model = shard(model, processes) if options.fsdp else None
        steps = optimizer(
            options.optimizer, [(list(model.parameters()), 0.1)], momentum=options.momentum
        )
        last_rank = processes.rank == processes.size - 1
        recorder = Recorder(model, steps, folder, options.die_at if last_rank else 0)

        def validate(model: Net) -> Validation:
            batches = PointBatches(options.sizes, 0, 1).epoch(0)
            loss = sum(float(model(batch, 0).total) for batch in batches)
            scores.append(loss)
            return Validation(-loss, {"loss": loss})

        result = train(
            model,
            PointBatches(options.sizes, *(options.share or (processes.rank, processes.size))),
            optimizer=steps,
            schedule=schedule("constant", steps=1),
            epochs=options.epochs,
            checkpoints=CheckpointConfig(folder, {}, options.checkpoint_seconds, options.resume),
            steps=StepConfig(
                processes,
                options.gradient_accumulation,
                options.grad_clip,
                ema_decay=options.ema_decay,
                local_steps=options.local_steps,
                full_model=full_model,
            ),
            validation=ValidationConfig(
                validate, lambda best, _: torch.save(best.state_dict(), folder / "best.pt")
            ),
        )
        recorder.record(result.steps)
        record = {
            "steps": result.steps,
            "own_steps": len(recorder.gradients),
            "scores": scores,
            "states": recorder.states,
            "saved": recorder.saved,
        }
        if not options.fsdp:
            record["weights"] = model.state_dict()
            record["gradients"] = recorder.gradients
            record["partial_gradients"] = recorder.partial_gradients
        torch.save(record, folder / f"{processes.rank}.pt")
    return 0
