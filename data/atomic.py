"""Files written beside their place and renamed into it: a reader never meets half of one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` when the block ends well.

    If the block raises, or the process dies, what stood at ``path`` before still stands.

    Args:
        path: the file to be; its folder is made if there is none.

    Yields:
        An empty file in the same folder, so that the rename cannot cross file systems.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb+") as file:  # on the disk before it has the name
            os.fsync(file.fileno())
        beside.chmod(0o666 & ~_umask())  # mkstemp makes files that only the owner can read
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
