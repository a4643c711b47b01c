"""Reading and writing files safely: whole files or none; errors that name file and position."""

import errno
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vl.data.errors import FormatError, WriteError
from vl.data.text_files import read_text

# Controls, formatting characters, surrogates.
UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200c-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff"
    r"\ufeff\ufff9-\ufffb\U000e0001-\U000e007f]"
)


# Errors of a write without space left: on the disk, in a quota, under the limit of a file's size.
DISK_FULL = tuple(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)
)


@contextmanager
def keeping(describe: Callable[[], str]) -> Iterator[None]:
    """Say, in an interruption and in the error of a full disk, what is kept and how to go on.

    Where one is in another, the outer one's words replace the inner one's.

    Args:
        describe: called after what is kept has been written: "12 captions are in a.json.part, and
            the same command goes on from there".
    """
    try:
        yield
    except KeyboardInterrupt as cause:
        raise KeyboardInterrupt(describe()) from cause
    except OSError as cause:
        if cause.errno not in DISK_FULL:
            raise
        error = WriteError(cause.errno, cause.strerror, cause.filename)
        error.kept = describe()
        raise error from cause


@contextmanager
def atomic_write(path: Path | str, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file to write to, which is renamed to ``path`` when the block succeeds.

    If the block raises, or the process dies, ``path`` is as it was before.

    Args:
        path: the file; missing parent folders are created.
        durable: sync the content to the disk before the rename. Without it, which is much faster
            for small files, the file may be empty after a power failure.

    Yields:
        An empty file in the same folder, so that the rename cannot cross file systems.

    Raises:
        OSError: the folder cannot be written to, the disk is full (it names the path, whatever
            the block has raised), or the path is a device, a folder or something else that is not a
            regular file.
    """
    path = Path(path).resolve()  # of a link the target is replaced, not the link
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        mode = stat.S_IMODE(path.stat().st_mode)
    elif path.exists():
        raise OSError(f"{path}: not a regular file, cannot be replaced")
    else:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask
    try:
        descriptor, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".part"
        )
    except OSError as error:  # it names the temporary file
        raise WriteError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.chmod(mode)  # mkstemp creates files that only the owner can read
        temporary.replace(path)
    except OSError as error:
        if error.errno not in DISK_FULL or error.filename not in (None, name, temporary):
            raise
        problem = f"could not be written: {error.strerror}; it is as it was before"
        raise WriteError(error.errno, problem, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a text as UTF-8, all of it or nothing."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The value of a JSON file; raises as `read_text` and `parse_json`."""
    return parse_json(path, read_text(path))


def parse_json(path: Path | str, text: str) -> Any:
    """The value of a file's JSON text, by `json.loads`.

    Raises:
        FormatError: not JSON, or JSON that cannot be read.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if not text.strip():
            raise FormatError(path, "the file is empty") from error
        record = f"line {error.lineno} column {error.colno}"
        raise FormatError(path, f"not JSON: {error.msg}", record=record) from error
    except (ValueError, RecursionError) as error:  # an integer of 5,000 digits, deep nesting
        raise FormatError(path, f"this JSON cannot be read: {error}") from error


def json_type(value: object) -> str:
    """What errors call a JSON value."""
    if value is None:
        return "null"
    types = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return types.get(type(value), f"the number {value}")


def first_few(items: Sequence[object], *, limit: int = 3) -> str:
    """The first items of a list for a message: ``'a', 'b', 'c', ...``."""
    return ", ".join([*map(repr, items[:limit]), *(["..."] if len(items) > limit else [])])


def escape_unprintable(text: str) -> str:
    r"""A text safe to print to a terminal: ``\x1b`` for an escape; only line ends remain."""

    def escape(match: re.Match[str]) -> str:
        return match[0] if match[0] == "\n" else match[0].encode("unicode_escape").decode("ascii")

    return UNPRINTABLE.sub(escape, text)
