"""Progress on stderr: a bar on a terminal, one line a minute in a pipe or a file."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_SECONDS = 60.0  # between lines without a terminal


class ProgressBar:
    """A progress bar: ``"embed"`` is a task, ``"images"`` a unit.

    A quiet one prints nothing, for processes other than the first.
    """

    def __init__(self, task: str, total: int, *, unit: str, quiet: bool = False) -> None:
        self._task = task
        self._total = total
        self._unit = unit
        self._quiet = quiet
        self._done = 0
        self._since_start = 0  # of this process, for the throughput
        self._start = time.monotonic()
        self._last_line = self._start
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        if self._console.is_terminal and not quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(unit + "  {task.fields[text]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self._console,
            )
            self._row = self._bar.add_task(task, total=total, text="")

    def __enter__(self) -> "ProgressBar":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None:
            self._print_status("")

    def skip(self, count: int) -> None:
        """Count what was done before this process started."""
        self._done += count
        if self._bar:
            self._bar.advance(self._row, count)

    def advance(self, count: int = 1, text: str = "") -> None:
        """Count ``count`` more, and show a text beside the count."""
        self._done += count
        self._since_start += count
        if self._bar:
            self._bar.update(self._row, advance=count, text=text)
        elif time.monotonic() - self._last_line >= _LINE_SECONDS:
            self._print_status(text)

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        if not self._quiet:
            self._console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def _print_status(self, text: str) -> None:
        self._last_line = time.monotonic()
        rate = self._since_start / max(self._last_line - self._start, 1e-9)
        left = (self._total - self._done) / rate if rate else 0.0
        parts = [
            f"{self._task} {self._done}/{self._total}",
            text,
            f"{rate:.1f} {self._unit}/s",
            f"{left:.0f} s left",
        ]
        self.print("  ".join(part for part in parts if part))


def print_line(line: str) -> None:
    """Print to stdout; characters that its encoding lacks are written as escapes."""
    try:
        print(line)
    except UnicodeEncodeError:  # a file name that is not UTF-8, or an ASCII terminal
        encoding = sys.stdout.encoding
        print(line.encode(encoding, "backslashreplace").decode(encoding))
