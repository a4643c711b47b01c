"""Progress on stderr: a bar on a terminal, one line a minute in a pipe or a log."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

_LINE_SECONDS = 60.0  # between lines where there is no terminal


class Bar:
    """Counts something up to a known total, with figures beside the count.

    Args:
        task: what is done: ``"embed"``.
        total: of what is counted.
        unit: what is counted: ``"images"``.
        quiet: says nothing at all; for processes other than the first.
    """

    def __init__(self, task: str, total: int, *, unit: str, quiet: bool = False) -> None:
        self._task = task
        self._total = total
        self._unit = unit
        self._quiet = quiet
        self._done = 0
        self._fresh = 0  # counted since the start of this process, for the rate
        self._begin = time.monotonic()
        self._last_line = self._begin
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        if self._console.is_terminal and not quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(unit + "  {task.fields[figures]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self._console,
            )
            self._row = self._bar.add_task(task, total=total, figures="")

    def __enter__(self) -> "Bar":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif not self._quiet and error is None:
            self._line("")

    def skip(self, count: int) -> None:
        """Count what was done before this process began."""
        self._done += count
        if self._bar:
            self._bar.advance(self._row, count)

    def advance(self, count: int = 1, figures: str = "") -> None:
        """Count ``count`` more; ``figures`` stand beside the count."""
        self._done += count
        self._fresh += count
        if self._bar:
            self._bar.update(self._row, advance=count, figures=figures)
        elif not self._quiet and time.monotonic() - self._last_line >= _LINE_SECONDS:
            self._line(figures)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if not self._quiet:
            self._console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def _line(self, figures: str) -> None:
        self._last_line = time.monotonic()
        rate = self._fresh / max(self._last_line - self._begin, 1e-9)
        left = (self._total - self._done) / rate if rate else 0.0
        parts = [
            f"{self._task} {self._done}/{self._total}",
            figures,
            f"{rate:.1f} {self._unit}/s",
            f"{left:.0f} s left",
        ]
        self.say("  ".join(part for part in parts if part))


def print_line(line: str) -> None:
    """Print; what the stream has no letters for is written as its number."""
    try:
        print(line)
    except UnicodeEncodeError:  # a name that is not UTF-8, or a terminal that knows fewer letters
        code = sys.stdout.encoding
        print(line.encode(code, "backslashreplace").decode(code))
