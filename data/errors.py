"""The error for a file with invalid content."""

from pathlib import Path


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
