"""The one training loop: any model whose forward is a loss, any batches that can start anywhere.

It knows nothing of captions or images. A run that is killed and resumed ends with the same weights,
bit for bit, as one that was not (on one CPU): random state, optimiser, average and place in the
epoch are in its checkpoint.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter

from data.atomic import replacing
from data.batches import ahead
from data.errors import FormatError
from vl.processes import Processes, agreed, gathered, summed
from vl.progress import Bar
from vl.schedules import Schedule

_log = logging.getLogger(__name__)
_FORMAT = 1
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


class Judgement(NamedTuple):
    """What a model is worth on the development split."""

    score: float  # greater is better; early stopping and the choice of the best go by it
    figures: dict[str, float]  # for the log, by name


class Fitted(NamedTuple):
    """How a training ended."""

    epochs: int  # epochs done
    steps: int
    best: Judgement | None
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
    judge: Callable[[nn.Module], Judgement] | None = None,
    keep: Callable[[nn.Module, Judgement | None], None] | None = None,
    patience: int | None = None,
    resume: bool = False,
    save_seconds: float = 60.0,
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
            beginning is forgotten.
        judge: says what the model is worth, after every epoch, on the first process.
        keep: saves the model, given the judgement: after each that is the best so far, or after
            every epoch where nothing judges.
        patience: epochs without a better judgement after which training stops.
        resume: go on from the folder's checkpoint.
        save_seconds: between checkpoints; 0 makes one after every step.

    Returns:
        How it ended.

    Raises:
        ValueError: a run is there already and ``resume`` is not set, its settings are others, or
            the loss is not finite.
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
    device = processes.device
    model.to(device).train()
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    averaged = AveragedModel(model, multi_avg_fn=_running_mean(average)) if average else None
    place = _Place()
    log_bytes = 0
    bfloat16 = agreed(bfloat16, processes)
    if resume:
        state = _read(state_path, settings, processes)
        _restore(state_path, state, model, averaged, optimizer, processes)
        place, log_bytes = _Place(**state["place"]), int(state["log_bytes"])
        bfloat16 = bool(state["bfloat16"])
        if processes.first:
            for half in folder.glob(f".{state_path.name}.*.part"):  # of a save that was killed
                half.unlink()
    whole: nn.Module = model
    if processes.size > 1:
        whole = DistributedDataParallel(model)
    begin = time.monotonic()
    per_epoch = len(batches)
    with (
        _Log(folder, log_bytes, place.step, quiet=not processes.first) as log,
        Bar("train", epochs * per_epoch, unit="steps", quiet=not processes.first) as bar,
    ):

        def save() -> None:
            state = {
                "format": _FORMAT,
                "settings": json.dumps(settings, sort_keys=True),
                "bfloat16": bfloat16,
                "place": dict(place._asdict()),
                "log_bytes": log.written(),
                "model": model.state_dict(),
                "averaged": averaged.state_dict() if averaged else None,
                "optimizer": optimizer.state_dict(),
            }
            _save(state_path, state, processes)

        bar.skip(place.step)
        saved = time.monotonic()
        for epoch in range(place.epoch, epochs):
            if place.over:
                break
            for batch in ahead(batches.epoch(epoch, first=place.batch)):
                factor = schedule(place.step)
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * factor
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                    total, terms = whole(batch.to(device), place.step)
                every = summed(terms, processes)
                optimizer.zero_grad(set_to_none=True)
                # DistributedDataParallel takes the mean over processes; what is wanted is the sum.
                (total * processes.size / every).backward()
                norm = float(nn.utils.clip_grad_norm_(model.parameters(), clip))
                if not math.isfinite(norm):  # before it is in the weights, and in the checkpoint
                    raise ValueError(
                        f"the gradient is not finite at step {place.step + 1}; "
                        "a lower rate may help"
                    )
                optimizer.step()
                if averaged:
                    averaged.update_parameters(model)
                place = place._replace(batch=place.batch + 1, step=place.step + 1)
                figures = ""
                if place.step % _LOG_STEPS == 0 or place.batch == per_epoch:
                    loss = float(summed(total.detach(), processes) / every)
                    log.write(
                        {
                            "step": place.step,
                            "epoch": round(place.step / per_epoch, 4),
                            "loss": loss,
                            "rate": optimizer.param_groups[0]["lr"],
                            "gradient_norm": norm,
                            "seconds": round(time.monotonic() - begin, 2),
                        }
                    )
                    figures = f"loss {loss:.3f}"
                bar.advance(figures=figures)
                due = time.monotonic() - saved >= save_seconds
                if place.batch < per_epoch and agreed(due, processes):
                    save()
                    saved = time.monotonic()
            judged = averaged.module if averaged else model
            if processes.first:
                place = _judged(judged, judge, keep, place, patience, log, bar)
            place = place._replace(
                epoch=epoch + 1, batch=0, over=agreed(place.over, processes) or epoch + 1 == epochs
            )
            save()
            saved = time.monotonic()
    best = Judgement(place.best_score, place.best_figures) if place.best_epoch else None
    return Fitted(place.epoch, place.step, best, place.best_epoch, time.monotonic() - begin)


def _judged(
    model: nn.Module,
    judge: Callable[[nn.Module], Judgement] | None,
    keep: Callable[[nn.Module, Judgement | None], None] | None,
    place: _Place,
    patience: int | None,
    log: "_Log",
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


def _running_mean(
    decay: float,
) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    def update(means: _Tensors, values: _Tensors, updates: Tensor | int) -> None:
        step = int(updates)
        torch._foreach_lerp_(means, values, 1 - min(decay, (1 + step) / (10 + step)))

    return update


def _save(path: Path, state: dict[str, Any], processes: Processes) -> None:
    """Write the checkpoint; every process must call it, for its random state goes in there."""
    random = gathered(torch.get_rng_state(), processes)
    cuda = []
    if processes.device.type == "cuda":
        cuda = gathered(torch.cuda.get_rng_state(processes.device), processes)
    if not processes.first:
        return
    with replacing(path) as beside:
        try:
            torch.save({**state, "random": random, "cuda_random": cuda}, beside)
        except RuntimeError as cause:  # a full disk comes as this
            reason = str(cause).splitlines()[0]
            raise OSError(f"{path}: could not be written: {reason}") from cause


def _read(path: Path, settings: dict[str, Any], processes: Processes) -> dict[str, Any]:
    """The checkpoint, seen to be of this run and whole."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != _FORMAT:
            raise FormatError(path, f"format {state['format']}, this version reads {_FORMAT}")
        _refuse_other_settings(
            path, json.loads(state["settings"]), json.loads(json.dumps(settings))
        )
        if len(state["random"]) != processes.size:
            raise FormatError(
                path, f"a run of {len(state['random'])} processes, not of {processes.size}"
            )
    except (FormatError, OSError):
        raise
    except Exception as cause:  # torch.load raises whatever a damaged file makes it raise
        raise FormatError(path, "not a checkpoint that can be resumed") from cause
    return state


def _restore(
    path: Path,
    state: dict[str, Any],
    model: nn.Module,
    averaged: AveragedModel | None,
    optimizer: Optimizer,
    processes: Processes,
) -> None:
    """Put the checkpoint into the parts."""
    try:
        model.load_state_dict(state["model"])
        if averaged:
            averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"][processes.rank])
        if state["cuda_random"] and processes.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_random"][processes.rank], processes.device)
    except (KeyError, RuntimeError, TypeError, ValueError) as cause:
        raise FormatError(path, "a checkpoint of another model or optimiser") from cause


def _refuse_other_settings(path: Path, was: dict[str, Any], wanted: dict[str, Any]) -> None:
    other = [key for key in sorted({*was, *wanted}) if was.get(key) != wanted.get(key)]
    if other:
        changes = "; ".join(f"{key} was {was.get(key)!r}, is {wanted.get(key)!r}" for key in other)
        raise FormatError(path, f"the run was begun with other settings: {changes}")


class _Log:
    """``log.jsonl`` and TensorBoard's files, cut back to the checkpoint where a run is resumed."""

    def __init__(self, folder: Path, log_bytes: int, step: int, *, quiet: bool) -> None:
        self._quiet = quiet
        if quiet:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "log.jsonl"
        self._file = path.open("ab")
        self._file.truncate(min(log_bytes, path.stat().st_size))  # never longer: that pads with NUL
        self._file.seek(0, os.SEEK_END)
        # What is logged after a checkpoint carries a later step than the checkpoint's own.
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *error: object) -> None:
        if not self._quiet:
            self._file.close()
            self._board.close()

    def write(self, line: dict[str, float]) -> None:
        """Append a line; its numbers go to TensorBoard as well."""
        if self._quiet:
            return
        self._file.write((json.dumps(line) + "\n").encode())
        for name, value in line.items():
            if name != "step":
                self._board.add_scalar(name, value, int(line["step"]))

    def written(self) -> int:
        """Bytes of ``log.jsonl`` that would outlive the process."""
        if self._quiet:
            return 0
        self._file.flush()
        self._board.flush()
        return self._file.tell()
