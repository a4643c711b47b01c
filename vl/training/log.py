"""A training's ``log.jsonl`` and TensorBoard files, cut back to the checkpoint on a resume."""

import json
import os
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class TrainingLog:
    """Lines of figures by training step.

    Args:
        folder: the run's; made if there is none.
        log_bytes: of ``log.jsonl`` that the checkpoint knows of; what lies behind is cut off.
        step: the checkpoint's.
        quiet: writes nothing; for processes other than the first.
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
        # What is logged after a checkpoint carries a later step than the checkpoint's own.
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> "TrainingLog":
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
