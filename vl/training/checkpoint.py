"""A training's checkpoint: everything that a run needs to go on, written whole or not at all.

It does not know what is trained, nor how often it is saved.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from vl.data.errors import FormatError
from vl.data.files import atomic_write
from vl.training.processes import Processes, all_gather
from vl.training.replicas import Replicas

_FORMAT = 1


def save(path: Path, state: dict[str, Any], processes: Processes) -> None:
    """Write the checkpoint; every process must call it, for its random state goes in there.

    Raises:
        OSError: the place cannot be written to, or the disk is full; an older one still stands.
    """
    random = all_gather(torch.get_rng_state(), processes)
    cuda = []
    if processes.device.type == "cuda":
        cuda = all_gather(torch.cuda.get_rng_state(processes.device), processes)
    if not processes.first:
        return
    state = {"format": _FORMAT, **state, "random": random, "cuda_random": cuda}
    with atomic_write(path) as beside:
        try:
            torch.save(state, beside)
        except RuntimeError as cause:  # a full disk comes as this
            reason = str(cause).splitlines()[0]
            raise OSError(f"{path}: could not be written: {reason}") from cause


def read(path: Path, settings: dict[str, Any], processes: Processes) -> dict[str, Any]:
    """The checkpoint, seen to be of this run and whole.

    Args:
        path: the checkpoint.
        settings: of the run; those in the checkpoint must be the same.
        processes: there must be as many as there were.

    Raises:
        FormatError: it is damaged, or of another run.
        OSError: it cannot be read.
    """
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


def restore(
    path: Path,
    state: dict[str, Any],
    replicas: Replicas,
    averaged: AveragedModel | None,
    processes: Processes,
) -> None:
    """Put the checkpoint into the parts.

    Raises:
        FormatError: they are of other shapes.
    """
    try:
        replicas.load(state["model"], state["optimizer"])
        if averaged:
            averaged.load_state_dict(state["averaged"])
        torch.set_rng_state(state["random"][processes.rank])
        if state["cuda_random"] and processes.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_random"][processes.rank], processes.device)
    except (KeyError, RuntimeError, TypeError, ValueError) as cause:
        raise FormatError(path, "a checkpoint of another model or optimiser") from cause


def clear_halves(path: Path) -> None:
    """Remove what saves that were killed have left beside the checkpoint."""
    for half in path.parent.glob(f".{path.name}.*.part"):
        half.unlink()


def _refuse_other_settings(path: Path, was: dict[str, Any], wanted: dict[str, Any]) -> None:
    other = [key for key in sorted({*was, *wanted}) if was.get(key) != wanted.get(key)]
    if other:
        changes = "; ".join(
            f"{key} was {_said(was.get(key))}, is {_said(wanted.get(key))}" for key in other
        )
        raise FormatError(path, f"the run was begun with other settings: {changes}")


def _said(value: object) -> str:
    return "not given" if value is None else repr(value)
