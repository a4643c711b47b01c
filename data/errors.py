"""The error for a file with invalid content, and what errors say of changed settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class FormatError(ValueError):
    """A file has invalid content; the message names the file and the record, if there is one.

    Args:
        path: the file.
        problem: what was expected and what came, in one clause.
        record: where in the file: ``"line 12"``, ``"annotation 77"``;
            None for the whole file.
    """

    def __init__(self, path: Path | str, problem: str, *, record: str | None = None) -> None:
        super().__init__(f"{path}: {record}: {problem}" if record else f"{path}: {problem}")
        self.path = Path(path)
        self.record = record
        self.problem = problem


class WriteError(OSError):
    """A file or folder cannot be written; made as an OSError, of number, problem and path."""

    kept = ""  # what is kept, and how to go on

    def __str__(self) -> str:
        return "; ".join(filter(None, (f"{self.filename}: {self.strerror}", self.kept)))


def changed_settings(old: object, new: Mapping[str, Any]) -> str:
    """The settings that differ from old ones, if these are settings: ``seed was 0, is 1; ...``."""
    before = old if isinstance(old, dict) else {}
    names = [name for name in {**new, **before} if before.get(name) != new.get(name)]
    return "; ".join(f"{name} was {before.get(name)!r}, is {new.get(name)!r}" for name in names)
