"""Files written beside their place and renamed into it: a reader never meets half of one."""

import gzip
import json
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vl.data.errors import FormatError


@contextmanager
def atomic_write(path: Path | str, *, durable: bool = True) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` when the block ends well.

    If the block raises, or the process dies, what stood at ``path`` before still stands.

    Args:
        path: the file to be; its folder is made if there is none.
        durable: it is on the disk before it has the name. Else, which is far faster for small
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
        if durable:
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
        beside.chmod(mode)  # mkstemp makes files that only the owner can read
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_GZIP = b"\x1f\x8b"  # the first two bytes of every gzip file (RFC 1952)


def decode_text(path: Path, content: bytes) -> str:
    """A file's content as text, from gzip if it is that; a byte order mark is left out.

    Args:
        path: the file, for the message.
        content: all of it.

    Raises:
        FormatError: it begins as gzip does and is broken, or it is not UTF-8.
    """
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise FormatError(path, f"this gzip cannot be unpacked: {error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"this is not UTF-8: {error.reason}"
        raise FormatError(path, problem, record=f"byte {error.start}") from error


def parse_json(
    path: Path,
    text: str,
    *,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """What a text of JSON says.

    Args:
        path: the file, for the message.
        text: all of it.
        object_pairs_hook: makes an object of its keys and values, and refuses them by a ValueError.

    Raises:
        FormatError: it is not JSON, or none that can be read.
    """
    try:
        return json.loads(text, object_pairs_hook=object_pairs_hook)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}" if text.strip() else None
        problem = f"this is not JSON: {error.msg}" if text.strip() else "the file is empty"
        raise FormatError(path, problem, record=place) from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists in lists
        raise FormatError(path, f"this JSON cannot be read: {error}") from error


def json_type(value: object) -> str:
    """What people call a value of JSON."""
    if value is None:
        return "null"
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return kinds.get(type(value), f"the number {value}")


# Controls, formatting, halves of characters.
UNPRINTABLE = frozenset(
    chr(code)
    for first, last in (
        (0x00, 0x1F),
        (0x7F, 0x9F),
        (0x61C, 0x61C),
        (0x200C, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x206F),
        (0xD800, 0xDFFF),
        (0xFEFF, 0xFEFF),
        (0xFFF9, 0xFFFB),
        (0xE0001, 0xE007F),
    )
    for code in range(first, last + 1)
)
_ESCAPES = {
    ord(character): character.encode("unicode_escape").decode("ascii")
    for character in UNPRINTABLE - {"\n"}
}


def escape_unprintable(text: str) -> str:
    r"""A text as a terminal may have it: ``\x1b`` for an escape; only line ends stay."""
    return text.translate(_ESCAPES)
