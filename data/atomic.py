"""Files written beside their place and renamed into it: a reader never meets half of one."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path | str, *, lasting: bool = True) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` when the block ends well.

    If the block raises, or the process dies, what stood at ``path`` before still stands.

    Args:
        path: the file to be; its folder is made if there is none.
        lasting: it is on the disk before it has the name. Else, which is far faster for small
            files, it may be there but empty after a loss of power.

    Yields:
        An empty file in the same folder, so that the rename cannot cross file systems.

    Raises:
        OSError: the folder cannot be written to, the disk is full, or a device, a folder or
            something else that is no file stands at the path.
    """
    path = Path(path).resolve()  # of a link the target is replaced, not the link
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.exists()
    if there and not path.is_file():
        raise OSError(f"{path}: not a file that could be replaced")
    mode = stat.S_IMODE(path.stat().st_mode) if there else 0o666 & ~_umask()
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as cause:  # it names the file beside, which nobody asked for
        raise OSError(f"{path}: cannot be written: {cause.strerror}") from cause
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        if lasting:
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
        beside.chmod(mode)  # mkstemp makes files that only the owner can read
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
