"""The one training loop: any model whose forward is a loss, any batches that can start anywhere.

It knows nothing of captions or images. A run that is killed and resumed ends with the same weights,
bit for bit, as one that was not (on one CPU): random state, optimiser, average and place in the
epoch are in its checkpoint.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from vl.data.batches import prefetch
from vl.terminal import Bar
from vl.training import checkpoint
from vl.training.log import TrainingLog
from vl.training.processes import Processes, all_reduce, broadcast
from vl.training.replicas import Replicas
from vl.training.schedules import Schedule

_LOG_STEPS = 20  # steps between lines in log.jsonl; a line costs nothing beside 20 steps
_Tensors = list[Tensor] | tuple[Tensor, ...]


class Batch(Protocol):
    """Anything that can be moved to a device."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device."""
        ...


class Batches(Protocol):
    """Epochs of batches, each of which can be entered anywhere."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def epoch(self, number: int, *, first: int = 0) -> Iterator[Any]:
        """The batches of an epoch from ``first`` on."""
        ...


class Validation(NamedTuple):
    """What a model is worth on the development split."""

    score: float  # greater is better; early stopping and the choice of the best go by it
    figures: dict[str, float]  # for the log, by name


class Fitted(NamedTuple):
    """How a training ended."""

    epochs: int  # epochs done
    steps: int
    best: Validation | None
    best_epoch: int  # counted from 1; 0 where nothing was judged
    seconds: float  # of this process, what came before a resume not counted


class _Place(NamedTuple):
    """Where a run is; all of it is in the checkpoint."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_score: float = -math.inf
    best_figures: dict[str, float] = {}  # noqa: RUF012  replaced, never written into
    best_epoch: int = 0
    over: bool = False


def fit(
    model: nn.Module,
    batches: Batches,
    *,
    optimizer: Optimizer,
    schedule: Schedule,
    epochs: int,
    folder: Path,
    settings: dict[str, Any],
    processes: Processes | None = None,
    clip: float = 5.0,
    bfloat16: bool = False,
    average: float | None = None,
    judge: Callable[[nn.Module], Validation] | None = None,
    keep: Callable[[nn.Module, Validation | None], None] | None = None,
    patience: int | None = None,
    resume: bool = False,
    save_seconds: float = 60.0,
    accumulate: int = 1,
    period: int | None = None,
    plain: nn.Module | None = None,
    counted: str = "",
) -> Fitted:
    """Train a model to the end, or to where it stops getting better.

    Args:
        model: called as ``model(batch, step)``; returns a total and a count (`Loss`). The gradient
            is that of total over count, both summed over all processes.
        batches: this process's share of every batch.
        optimizer: over the model's parameters.
        schedule: factor of the optimiser's rates at each step.
        epochs: times the data are seen.
        folder: gets ``state.pt`` (the checkpoint), ``log.jsonl`` and ``tensorboard/``.
        settings: of the run; a resume under others is refused.
        processes: which of how many this is; by default the only one.
        clip: greatest norm of the whole gradient; 5.0 in im2txt.
        bfloat16: run the forward pass in bfloat16 where PyTorch's autocast does; a resumed run
            goes on as it began.
        average: decay of a running mean of the weights, which is then what is judged and kept
            (Polyak); the decay is smaller at first, (1 + step) / (10 + step), so that the random
            beginning is forgotten. Of loosely coupled replicas it is the first one's.
        judge: says what the model is worth, after every epoch, on the first process.
        keep: saves the model, given the judgement: after each that is the best so far, or after
            every epoch where nothing judges.
        patience: epochs without a better judgement after which training stops.
        resume: go on from the folder's checkpoint.
        save_seconds: between checkpoints; 0 makes one after every step.
        accumulate: batches in a step of the optimiser, whose gradient is that of all together.
        period: see ``Replicas``; it then is each process's own total over count.
        plain: see ``Replicas``.
        counted: what a model's count counts, for the progress: ``"images"``.

    Returns:
        How it ended.

    Raises:
        ValueError: a run is there already and ``resume`` is not set, its settings are others, or
            the gradient or the weights are not finite.
        FormatError: the checkpoint cannot be read.
        FileNotFoundError: there is nothing to resume.
    """
    processes = processes or Processes()
    folder = Path(folder)
    state_path = folder / "state.pt"
    if state_path.exists() and not resume:
        raise ValueError(
            f"{folder} holds a run already; --resume goes on with it; or choose another folder"
        )
    if resume and not state_path.exists():
        raise FileNotFoundError(f"{state_path}: there is no run to resume")
    if average and plain is not None:
        raise ValueError("a running mean of weights of which each process holds a part is not kept")
    model.to(processes.device).train()
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    averaged = _averaged(model, average) if average else None
    place = _Place()
    log_bytes = 0
    bfloat16 = broadcast(bfloat16, processes)
    replicas = Replicas(model, optimizer, processes, period=period, plain=plain)
    if resume:
        state = checkpoint.read(state_path, settings, processes)
        replicas.rehearse(batches.epoch(0))
        checkpoint.restore(state_path, state, replicas, averaged, processes)
        place, log_bytes = _Place(**state["place"]), int(state["log_bytes"])
        bfloat16 = bool(state["bfloat16"])
        if processes.first:
            checkpoint.clear_halves(state_path)
    begin = time.monotonic()
    per_epoch = len(batches)
    with (
        TrainingLog(folder, log_bytes, place.step, quiet=not processes.first) as log,
        Bar(
            "train",
            epochs * math.ceil(per_epoch / accumulate),
            unit="steps",
            quiet=not processes.first,
        ) as bar,
    ):

        def save() -> None:
            weights, moments = replicas.state()
            state = {
                "settings": json.dumps(settings, sort_keys=True),
                "bfloat16": bfloat16,
                "place": dict(place._asdict()),
                "log_bytes": log.written(),
                "model": weights,
                "averaged": averaged.state_dict() if averaged else None,
                "optimizer": moments,
            }
            checkpoint.save(state_path, state, processes)

        bar.skip(place.step)
        saved = told = time.monotonic()
        since = 0  # of what is counted, since the last line of the log
        for epoch in range(place.epoch, epochs):
            if place.over:
                break
            of_epoch = prefetch(batches.epoch(epoch, first=place.batch))
            while taken := list(islice(of_epoch, accumulate)):
                factor = schedule(place.step)
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * factor
                done = _step(replicas, taken, place.step, processes, clip=clip, bfloat16=bfloat16)
                place = place._replace(batch=place.batch + len(taken), step=place.step + 1)
                last = place.batch == per_epoch
                replicas.meet(place.step, last=last)
                if averaged:
                    averaged.update_parameters(model)
                figures = ""
                since += done.seen
                if place.step % _LOG_STEPS == 0 or last:
                    terms = all_reduce(done.terms, processes).clamp(min=1)
                    loss = float(all_reduce(done.total, processes) / terms)
                    log.write(
                        {
                            "step": place.step,
                            "epoch": round(place.step / math.ceil(per_epoch / accumulate), 4),
                            "loss": loss,
                            "rate": optimizer.param_groups[0]["lr"],
                            "gradient_norm": done.norm,
                            "seconds": round(time.monotonic() - begin, 2),
                        }
                    )
                    figures = f"loss {loss:.3f}"
                    if counted:
                        rate = since * processes.size / max(time.monotonic() - told, 1e-9)
                        figures += f"  {rate:.0f} {counted}/s"
                    since, told = 0, time.monotonic()
                bar.advance(figures=figures)
                due = time.monotonic() - saved >= save_seconds
                if not last and replicas.alike(place.step) and broadcast(due, processes):
                    _check_finite(replicas, place.step)
                    save()
                    saved = time.monotonic()
            _check_finite(replicas, place.step)
            judged = averaged.module if averaged else replicas.whole()
            if processes.first:
                place = _judged(judged, judge, keep, place, patience, log, bar)
            place = place._replace(
                epoch=epoch + 1,
                batch=0,
                over=broadcast(place.over, processes) or epoch + 1 == epochs,
            )
            save()
            saved = time.monotonic()
    best = Validation(place.best_score, place.best_figures) if place.best_epoch else None
    return Fitted(place.epoch, place.step, best, place.best_epoch, time.monotonic() - begin)


class _Done(NamedTuple):
    """A step of this process."""

    total: Tensor  # ()
    terms: Tensor  # ()
    seen: int  # the same
    norm: float  # of the gradient, before it was clipped


def _step(
    replicas: Replicas,
    taken: list[Any],
    step: int,
    processes: Processes,
    *,
    clip: float,
    bfloat16: bool,
) -> _Done:
    """One step of the optimiser over one batch, or over several as if they were one."""
    device = processes.device
    replicas.optimizer.zero_grad(set_to_none=True)
    totals, counts = [], []
    for number, batch in enumerate(taken, 1):
        with replicas.gathering(number == len(taken)):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                total, terms = replicas(batch.to(device), step)
            counts.append(terms)
            totals.append(total.detach())
            if number == 1:
                over = replicas.over(terms)
            (total * replicas.scale / over).backward()  # type: ignore[no-untyped-call]  # torch's stubs, which differ by version
    all_terms = torch.stack(counts).sum()
    if len(taken) > 1:  # what the first batch was divided by is not the count of all
        right = over / replicas.over(all_terms)
        for parameter in replicas.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(right)
    norm = replicas.clip(clip)
    if not math.isfinite(norm):  # before it is in the weights, and in the checkpoint
        loss = float(torch.stack(totals).sum() / all_terms)
        problem = "the gradient" if math.isfinite(loss) else f"the loss is {loss}, and the gradient"
        raise ValueError(
            f"{problem} is not finite at step {step + 1}; a lower rate may help; the last "
            "checkpoint is from before it"
        )
    replicas.optimizer.step()
    return _Done(torch.stack(totals).sum(), all_terms, int(all_terms), norm)


def _judged(
    model: nn.Module,
    judge: Callable[[nn.Module], Validation] | None,
    keep: Callable[[nn.Module, Validation | None], None] | None,
    place: _Place,
    patience: int | None,
    log: TrainingLog,
    bar: Bar,
) -> _Place:
    """Judge and keep at the end of an epoch; the place with what that changed."""
    model.eval()
    if judge is None:
        if keep:
            keep(model, None)
        model.train()
        return place
    with torch.no_grad():
        judgement = judge(model)
    epoch = place.epoch + 1
    judged = {f"development/{name}": value for name, value in judgement.figures.items()}
    log.write({"step": place.step, "judged": epoch, "score": judgement.score, **judged})
    figures = "  ".join(f"{name} {value:.4g}" for name, value in judgement.figures.items())
    better = judgement.score > place.best_score
    bar.say(f"epoch {epoch}  {figures}{'  best so far' if better else ''}")
    if better:
        place = place._replace(
            best_score=judgement.score, best_figures=judgement.figures, best_epoch=epoch
        )
        if keep:
            keep(model, judgement)
    model.train()
    stale = epoch - place.best_epoch
    if patience is not None and stale >= patience:
        bar.say(f"no better for {stale} epochs: training stops")
        place = place._replace(over=True)
    return place


def _check_finite(replicas: Replicas, step: int) -> None:
    """Refuse to judge or save weights that a finite gradient at an absurd rate has spoilt."""
    if not replicas.finite():
        raise ValueError(
            f"the weights are not finite after step {step}; a lower rate may help; the last "
            "checkpoint is from before it"
        )


def _averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A running mean of the weights, and of batch normalisation's statistics with them.

    The mean lags behind the weights. Statistics are of what the layers before have answered, so
    the last ones would be those of other weights; their own mean lags by as much.
    """

    def update(means: _Tensors, values: _Tensors, updates: Tensor | int) -> None:
        if not means[0].is_floating_point():  # all are of one type: batch normalisation's counts
            torch._foreach_copy_(means, values)
            return
        step = int(updates)
        torch._foreach_lerp_(means, values, 1 - min(decay, (1 + step) / (10 + step)))

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
