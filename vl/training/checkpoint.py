"""The checkpoint of a training: everything that a run needs to continue, written atomically.

It does not know what is trained, nor how often it is saved.
"""

import json
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch.optim.swa_utils import AveragedModel

from vl.data.errors import FormatError, changed_settings
from vl.data.files import atomic_write
from vl.training.parallel import Processes, Replicas, all_gather

_FORMAT = 3
# Settings that may change when a run is resumed, as its result does not depend on them.
_FREE = ("output_dir", "resume", "checkpoint_seconds", "num_workers")


def run_settings(config: Any) -> dict[str, Any]:
    """The settings that resuming a run must not change, as JSON has them.

    They are those of a dataclass and of the dataclasses in it.
    """
    settings: dict[str, Any] = {}
    for name, value in vars(config).items():
        settings |= vars(value) if is_dataclass(value) else {name: value}
    settings = {name: value for name, value in settings.items() if name not in _FREE}
    as_json: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return as_json


def check_folder(folder: Path, *, resume: bool) -> Path:
    """The checkpoint's path in a run's folder, where it must be if the run is resumed, or must not.

    Raises:
        ValueError: the folder has a run that is not resumed.
        FileNotFoundError: there is nothing to resume.
    """
    path = folder / "state.pt"
    if path.exists() and not resume:
        raise ValueError(
            f"{folder} already contains a run; continue it with --resume, or choose another folder"
        )
    if resume and not path.exists():
        raise FileNotFoundError(f"{path}: there is no run to resume")
    return path


def save(path: Path, state: dict[str, Any], processes: Processes) -> None:
    """Write the checkpoint; every process must call it, as it stores each one's random state.

    Raises:
        OSError: the file cannot be written, or the disk is full; an older checkpoint still stands.
    """
    random_states = all_gather(torch.get_rng_state(), processes)
    cuda_random_states = []
    if processes.device.type == "cuda":
        cuda_random_states = all_gather(torch.cuda.get_rng_state(processes.device), processes)
    if not processes.first:
        return
    state = {"format": _FORMAT, "random_states": random_states, **state}
    state["cuda_random_states"] = cuda_random_states
    with atomic_write(path) as beside, beside.open("wb") as file:
        output = _Output(file)
        try:
            torch.save(state, cast(BinaryIO, output))
        except RuntimeError as cause:
            raise output.error or cause from cause


class _Output:
    """A file that keeps the error of a write, of which torch makes one without a number."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def read(path: Path, settings: dict[str, Any], processes: Processes) -> dict[str, Any]:
    """Read the checkpoint of a run with the same settings and as many processes.

    Raises:
        FormatError: it is damaged, or of another run.
        OSError: it cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != _FORMAT:
            raise FormatError(
                path,
                f"a run of another version of vl (format {state['format']}, this one reads "
                f"{_FORMAT}): finish it with that version, or start again in another folder",
            )
        changes = changed_settings(json.loads(state["settings"]), json.loads(json.dumps(settings)))
        if changes:
            raise FormatError(path, f"the run was started with other settings: {changes}")
        count = len(state["random_states"])
        if count != processes.size:
            raise FormatError(path, f"a run of {count} processes, not of {processes.size}")
    except (FormatError, OSError):
        raise
    except Exception as cause:  # torch.load raises whatever a damaged file makes it raise
        raise FormatError(path, "not a checkpoint that can be resumed") from cause
    return state


def restore(
    path: Path,
    state: dict[str, Any],
    replicas: Replicas,
    ema: AveragedModel | None,
    processes: Processes,
) -> None:
    """Load the checkpoint into the model, the optimizer, the average and the random generators.

    Raises:
        FormatError: they do not fit.
    """
    try:
        replicas.load(state["model"], state["optimizer"])
        if ema:
            ema.load_state_dict(state["ema"])
        torch.set_rng_state(state["random_states"][processes.rank])
        if state["cuda_random_states"] and processes.device.type == "cuda":
            random_state = state["cuda_random_states"][processes.rank]
            torch.cuda.set_rng_state(random_state, processes.device)
    except (KeyError, RuntimeError, TypeError, ValueError) as cause:
        raise FormatError(path, "a checkpoint of another model or optimizer") from cause
