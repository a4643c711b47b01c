"""A training's ``log.jsonl`` and TensorBoard files, cut back to the checkpoint on a resume."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from vl.data.errors import WriteError


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
        self._path = folder / "log.jsonl"
        self._file = self._path.open("ab")
        size = self._path.stat().st_size
        self._file.truncate(min(log_bytes, size))  # never longer: that pads with NUL
        self._file.seek(0, os.SEEK_END)
        # TensorBoard's writing thread would print the error, which the next call raises here.
        self._hook, threading.excepthook = threading.excepthook, self._except
        # What is logged after a checkpoint has a later step than the checkpoint.
        with self._named():
            self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *error: object) -> None:
        if self._quiet:
            return
        with suppress(OSError) if any(error) else self._named():
            try:
                self._file.close()
            finally:
                self._tensorboard.close()
                threading.excepthook = self._hook

    def write(self, record: dict[str, float]) -> None:
        """Append a line; its values go to TensorBoard as well, by ``record["step"]``."""
        if self._quiet:
            return
        with self._named():
            self._file.write((json.dumps(record) + "\n").encode())
            for name, value in record.items():
                if name != "step":
                    self._tensorboard.add_scalar(name, value, int(record["step"]))

    def flush(self) -> int:
        """Flush both; returns the size of ``log.jsonl``."""
        if self._quiet:
            return 0
        with self._named():
            self._file.flush()
            self._tensorboard.flush()
        return self._file.tell()

    def _except(self, failure: threading.ExceptHookArgs) -> None:
        if not isinstance(failure.exc_value, OSError):
            self._hook(failure)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = f"could not be written: {error.strerror or error}"
            raise WriteError(error.errno, problem, str(self._path)) from error
