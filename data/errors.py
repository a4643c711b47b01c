"""The one error for a file that is not what it should be."""

from pathlib import Path


class FormatError(ValueError):
    """A file's content is wrong; the message names the file and, where there is one, the record.

    Args:
        path: the file.
        problem: one clause, what is wrong and what was expected.
        record: what in the file: ``"line 12"``, ``"annotation 77"``.
    """

    def __init__(self, path: Path | str, problem: str, *, record: str | None = None) -> None:
        super().__init__(f"{path}: {record}: {problem}" if record else f"{path}: {problem}")
        self.path = Path(path)
        self.record = record
        self.problem = problem
