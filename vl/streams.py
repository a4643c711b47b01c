"""The standard streams of a command: readers that leave, a full disk behind them, and the log."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from vl.data.files import escape_unprintable


class Stream:
    """Standard output or standard error, with one answer to a reader that has gone, as ``head``.

    What is written after that is dropped. Everything else is the stream's own.

    Args:
        stream: None if the process was started without it, as by ``>&-``.
        name: for errors.
        optional: whether the command goes on without a reader, as its results are in files.
    """

    def __init__(self, stream: IO[str] | None, name: str, *, optional: bool) -> None:
        self._stream = stream or open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the process
        self._name = name
        self.optional = optional

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text.

        Raises:
            BrokenPipeError: there is no reader, and the stream is not optional.
            OSError: it cannot be written, as on a full disk.
        """
        self._call(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush; raises as ``write``."""
        self._call(self._stream.flush)

    def _call(self, function: Callable[[], object]) -> None:
        try:
            function()
        except OSError as error:
            # What is still in the buffer would raise again when the interpreter exits.
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)
            if not isinstance(error, BrokenPipeError):
                raise OSError(error.errno, error.strerror, self._name) from error
            if not self.optional:
                raise


class _Formatter(logging.Formatter):
    """`vl: ...`, with the level if it is not information.

    Messages quote captions and file names, whose control characters must not reach the terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno != logging.INFO else ""
        return escape_unprintable(f"vl: {level}{super().format(record)}")


@contextmanager
def log_to_stderr(*, debug: bool) -> Iterator[None]:
    """Log to stderr: everything of vl, and warnings of other libraries."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.getLogger().addHandler(handler)
    logging.getLogger("vl").setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def print_error(message: str) -> None:
    """Print a line of vl to stderr."""
    sys.stderr.write(escape_unprintable(f"vl: {message}\n"))
    sys.stderr.flush()
