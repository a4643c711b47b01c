"""The training loop of every task: a model with its loss, and batches that can start anywhere.

It knows nothing of captions or images. A run that is killed and resumed ends with the same weights,
bit for bit, as an uninterrupted one (on one CPU): its checkpoint has the random state, the
optimizer, the average of the weights and the position in the epoch.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from vl.data.batches import LossSum, prefetch
from vl.data.files import keeping
from vl.data.outputs import remove_partial_files
from vl.terminal import ProgressBar
from vl.training import checkpoint
from vl.training.log import TrainingLog
from vl.training.optimizers import Schedule, ema_of
from vl.training.parallel import Processes, Replicas, all_reduce, broadcast
from vl.training.selection import Selection, Validation
from vl.training.step import StepResult, not_finite, optimizer_step

_log = logging.getLogger(__name__)
_LOG_STEPS = 20  # steps between lines in log.jsonl; a line costs nothing beside 20 steps


class Task(Protocol):
    """A model together with its loss: an ``nn.Module`` that is called with a batch and the step."""

    @property
    def unit(self) -> str:
        """What the loss is averaged over, for the throughput: ``"images"``."""
        ...

    def __call__(self, batch: Any, step: int) -> LossSum:
        """The total loss of a batch and the count that it is divided by."""
        ...


class Batches(Protocol):
    """Epochs of batches, which can be entered anywhere; a batch has ``to(device)``."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def epoch(self, number: int, *, first: int = 0) -> Iterator[Any]:
        """The batches of an epoch from ``first`` on."""
        ...


class TrainingResult(NamedTuple):
    """How a training ended."""

    epochs: int
    steps: int
    best: Validation | None
    best_epoch: int  # counted from 1; 0 without validation


TaskT = TypeVar("TaskT", bound=Task)


@dataclass(frozen=True)
class StepConfig:
    """How a step of the optimizer is made."""

    processes: Processes = field(default_factory=Processes)
    """The rank of this process, and its device."""
    gradient_accumulation: int = 1
    """Batches in a step, whose gradient is that of all of them together."""
    grad_clip: float = 5.0
    """Maximum norm of the whole gradient; 5.0 in im2txt."""
    bfloat16: bool = False
    """Whether the forward pass runs in bfloat16 where autocast does; a resumed run goes on in the
    precision that it began with."""
    ema_decay: float | None = None
    """Decay of an exponential moving average of the weights, which is then validated and saved; of
    local SGD's replicas it is the first one's."""
    local_steps: int | None = None
    """See ``Replicas``; the loss is then divided by each process's own count."""
    full_model: nn.Module | None = None
    """See ``Replicas``."""


@dataclass(frozen=True)
class ValidationConfig(Generic[TaskT]):
    """What happens after every epoch, in the first process."""

    validate: Callable[[TaskT], Validation] | None = None
    """Gives the score and the metrics of a model in evaluation mode."""
    on_best: Callable[[TaskT, Validation | None], None] | None = None
    """Called after each epoch that is the best so far, or after every one without ``validate``."""
    patience: int | None = None
    """Epochs without a better one after which training stops; see ``vl.training.selection``."""


@dataclass(frozen=True)
class CheckpointConfig:
    """Where a run is saved."""

    folder: Path
    """Gets ``state.pt`` (the checkpoint), ``log.jsonl`` and ``tensorboard/``."""
    settings: dict[str, Any]
    """Of the run, as JSON; resuming with other settings is refused."""
    seconds: float = 60.0
    """Between checkpoints; 0 saves after every step."""
    resume: bool = False
    """Whether to continue from the checkpoint."""


def train(
    task: TaskT,
    batches: Batches,
    *,
    optimizer: Optimizer,
    schedule: Schedule,
    epochs: int,
    checkpoints: CheckpointConfig,
    steps: StepConfig | None = None,
    validation: ValidationConfig[TaskT] | None = None,
) -> TrainingResult:
    """Train a task to the last epoch, or until its validation stops improving.

    Args:
        task: the gradient is that of its total loss over its count, each the sum over processes.
        batches: this process's share of every batch.
        optimizer: over the parameters of the task.
        schedule: factor of the optimizer's learning rates at each step.
        epochs: passes over the data.
        checkpoints: where the run is saved.
        steps: by default ``StepConfig()``.
        validation: by default none.

    Raises:
        ValueError: the folder has a run and ``resume`` is not set, or the gradient or the weights
            are not finite.
        FormatError: the checkpoint cannot be read, or is of another run.
        FileNotFoundError: there is nothing to resume.
    """
    run = _Run(task, optimizer, checkpoints, steps or StepConfig(), validation)
    with keeping(run.kept):
        return run.train(batches, schedule, epochs)


@dataclass
class _Progress:
    """The position in a run; stored in the checkpoint."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    finished: bool = False


class _Run:
    """A task in training, with everything that a checkpoint stores."""

    def __init__(
        self,
        task: Task,
        optimizer: Optimizer,
        checkpoints: CheckpointConfig,
        config: StepConfig,
        validation: ValidationConfig[Any] | None,
    ) -> None:
        assert isinstance(task, nn.Module)
        self._path = checkpoint.check_folder(checkpoints.folder, resume=checkpoints.resume)
        self._task: nn.Module = task
        self._unit = task.unit
        self._optimizer = optimizer
        self._checkpoints = checkpoints
        self._config = config
        self._validation = validation or ValidationConfig()
        self._processes = config.processes
        task.to(self._processes.device).train()
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self._ema = ema_of(task, config.ema_decay) if config.ema_decay else None
        self._bfloat16 = broadcast(config.bfloat16, self._processes)
        self._replicas = Replicas(
            task,
            optimizer,
            self._processes,
            local_steps=config.local_steps,
            full_model=config.full_model,
        )
        self._progress = _Progress()
        self._selection = Selection()
        self._saved_step = 0

    def kept(self) -> str:
        """What an interruption leaves, in a sentence."""
        if not self._saved_step:
            return "no step is saved yet, so the same command starts again"
        return f"step {self._saved_step} is in {self._path}, and --resume goes on from there"

    def train(self, batches: Batches, schedule: Schedule, epochs: int) -> TrainingResult:
        log_bytes = self._resume(batches) if self._checkpoints.resume else 0
        progress, quiet = self._progress, not self._processes.first
        steps = math.ceil(len(batches) / self._config.gradient_accumulation)  # in an epoch
        with (
            TrainingLog(self._checkpoints.folder, log_bytes, progress.step, quiet=quiet) as log,
            ProgressBar("train", epochs * steps, unit="steps", quiet=quiet) as bar,
        ):
            bar.skip(progress.step)
            now = time.monotonic()
            recorder = _Recorder(log, bar, self._unit, steps, self._processes, now, now)
            while progress.epoch < epochs and not progress.finished:
                self._epoch(batches, schedule, recorder)
                self._check_finite()
                model = self._ema.module if self._ema else self._replicas.full_model()
                if self._processes.first:
                    self._validate(model, log, bar)
                progress.epoch += 1
                progress.batch = 0
                finished = broadcast(progress.finished, self._processes)
                progress.finished = finished or progress.epoch == epochs
                self._save(log)
        best, best_epoch = self._selection.best, self._selection.epoch
        if best and self._processes.first:
            _log.info("best of %d epochs: %d  %s", progress.epoch, best_epoch, best)
        return TrainingResult(progress.epoch, progress.step, best, best_epoch)

    def _epoch(self, batches: Batches, schedule: Schedule, recorder: "_Recorder") -> None:
        """The rest of an epoch, with checkpoints on the way."""
        progress = self._progress
        remaining = prefetch(batches.epoch(progress.epoch, first=progress.batch))
        saved = time.monotonic()
        while group := list(islice(remaining, self._config.gradient_accumulation)):
            for parameters in self._optimizer.param_groups:
                parameters["lr"] = parameters["initial_lr"] * schedule(progress.step)
            result = optimizer_step(
                self._replicas,
                group,
                progress.step,
                self._processes,
                grad_clip=self._config.grad_clip,
                bfloat16=self._bfloat16,
            )
            progress.batch += len(group)
            progress.step += 1
            last = progress.batch == len(batches)
            self._replicas.average_weights(progress.step, last=last)
            if self._ema:
                self._ema.update_parameters(self._task)
            learning_rate = self._optimizer.param_groups[0]["lr"]
            recorder.record(progress.step, result, learning_rate, last=last)
            due = time.monotonic() - saved >= self._checkpoints.seconds
            in_sync = not last and self._replicas.in_sync(progress.step)
            if in_sync and broadcast(due, self._processes):
                self._check_finite()
                self._save(recorder.log)
                saved = time.monotonic()

    def _validate(self, model: nn.Module, log: TrainingLog, bar: ProgressBar) -> None:
        """Validate the model, save it if it is the best, and see whether training is over."""
        config, progress = self._validation, self._progress
        model.eval()
        result, better = None, True
        if config.validate:
            with torch.no_grad():
                result = config.validate(model)
            epoch = progress.epoch + 1
            record = {"validation_epoch": epoch, "validation_score": result.score}
            metrics = {f"development/{name}": value for name, value in result.named().items()}
            log.write({"step": progress.step, **record, **metrics})
            better = self._selection.update(epoch, result)
            bar.print(f"epoch {epoch}  {result}{'  best so far' if better else ''}")
            stale = self._selection.stale_epochs
            if config.patience is not None and stale >= config.patience:
                bar.print(f"no improvement for {stale} epochs: training stops")
                progress.finished = True
        if better and config.on_best:
            config.on_best(model, result)
        model.train()

    def _check_finite(self) -> None:
        """Refuse to validate or save weights that a finite gradient has made infinite."""
        if not self._replicas.is_finite():
            raise not_finite(f"the weights are not finite after step {self._progress.step}")

    def _save(self, log: TrainingLog) -> None:
        model, optimizer = self._replicas.state()
        state = {
            "settings": json.dumps(self._checkpoints.settings, sort_keys=True),
            "bfloat16": self._bfloat16,
            "progress": vars(self._progress).copy(),
            "selection": vars(self._selection).copy(),
            "log_bytes": log.flush(),
            "model": model,
            "ema": self._ema and self._ema.state_dict(),
            "optimizer": optimizer,
        }
        checkpoint.save(self._path, state, self._processes)
        self._saved_step = self._progress.step

    def _resume(self, batches: Batches) -> int:
        """Restore the checkpoint; returns the bytes of the log that it knows of."""
        state = checkpoint.read(self._path, self._checkpoints.settings, self._processes)
        self._replicas.warm_up(batches.epoch(0))
        checkpoint.restore(self._path, state, self._replicas, self._ema, self._processes)
        self._progress = _Progress(**state["progress"])
        self._selection = Selection(**state["selection"])
        self._saved_step = self._progress.step
        self._bfloat16 = bool(state["bfloat16"])
        if self._processes.first:
            remove_partial_files(self._path)
        return int(state["log_bytes"])


@dataclass
class _Recorder:
    """Writes the loss of some steps to the log, and the throughput to the bar."""

    log: TrainingLog
    bar: ProgressBar
    unit: str
    epoch_steps: int
    processes: Processes
    start: float  # of this process's training, by time.monotonic
    last_line: float  # when it was written
    count: int = 0  # since the last line

    def record(self, step: int, result: StepResult, learning_rate: float, *, last: bool) -> None:
        """Count a step; ``last`` is the epoch's last, which is always written."""
        text = ""
        self.count += int(result.terms)
        if step % _LOG_STEPS == 0 or last:
            terms = all_reduce(result.terms, self.processes).clamp(min=1)
            loss = float(all_reduce(result.total, self.processes) / terms)
            now = time.monotonic()
            self.log.write(
                {
                    "step": step,
                    "epoch": round(step / self.epoch_steps, 4),
                    "loss": loss,
                    "learning_rate": learning_rate,
                    "gradient_norm": result.gradient_norm,
                    "seconds": round(now - self.start, 2),
                }
            )
            rate = self.count * self.processes.size / max(now - self.last_line, 1e-9)
            text = f"loss {loss:.3f}  {rate:.0f} {self.unit}/s"
            self.count, self.last_line = 0, now
        self.bar.advance(text=text)
