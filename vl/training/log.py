"""A training's ``log.jsonl`` and TensorBoard files, cut back to the checkpoint on a resume."""

import json
import os
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class TrainingLog:
    """Losses and metrics by training step.

    Args:
        folder: of the run; created if it does not exist.
        log_bytes: size of ``log.jsonl`` at the checkpoint; what was written later is cut off.
        step: of the checkpoint.
        quiet: write nothing; for processes other than the first.
    """

    def __init__(self, folder: Path, log_bytes: int, step: int, *, quiet: bool) -> None:
        self._quiet = quiet
        if quiet:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "log.jsonl"
        self._file = path.open("ab")
        self._file.truncate(min(log_bytes, path.stat().st_size))  # never longer: that pads with NUL
        self._file.seek(0, os.SEEK_END)
        # What is logged after a checkpoint has a later step than the checkpoint.
        self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *error: object) -> None:
        if not self._quiet:
            self._file.close()
            self._tensorboard.close()

    def write(self, record: dict[str, float]) -> None:
        """Append a line; its values go to TensorBoard as well, by ``record["step"]``."""
        if self._quiet:
            return
        self._file.write((json.dumps(record) + "\n").encode())
        for name, value in record.items():
            if name != "step":
                self._tensorboard.add_scalar(name, value, int(record["step"]))

    def flush(self) -> int:
        """Flush both; returns the size of ``log.jsonl``."""
        if self._quiet:
            return 0
        self._file.flush()
        self._tensorboard.flush()
        return self._file.tell()
