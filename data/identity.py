"""What identifies an image: its path or its content, never its file name alone.

Names of files in lists and caption files are paths of which the first folders may be missing. Two
such names are of one image if one of them is the end of the other, and nothing else matches better.
"""

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vl.data.files import first_few


class FileStamp(NamedTuple):
    """A file's content, and what shows without reading it that it is still the same."""

    size: int  # in bytes
    mtime_ns: int  # time of change
    digest: str  # BLAKE2b of the content, 128 bits, hexadecimal


def read_stamped(path: Path | str) -> tuple[bytes, FileStamp]:
    """A file's content and its stamp; OSError if it cannot be read."""
    with open(path, "rb") as file:  # noqa: PTH123 - the path may be a string
        status = os.fstat(file.fileno())  # before reading: a later change shows
        content = file.read()
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return content, FileStamp(len(content), status.st_mtime_ns, digest)


def current_stamp(path: Path, before: FileStamp) -> FileStamp | None:
    """The stamp of a file whose content is as before; None if it has changed.

    The content is read only if the size is the same and the time of change is not.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    if status.st_size != before.size:
        return None
    if status.st_mtime_ns == before.mtime_ns:
        return before
    stamp = read_stamped(path)[1]
    return stamp if stamp.digest == before.digest else None


class NameIndex:
    """Names of images, found by the same names or by ones that lack or add folders.

    ``kitchen/1.jpg`` is found by ``1.jpg``, ``./kitchen/1.jpg`` and ``photos/kitchen/1.jpg``, but
    not by ``street/1.jpg``. Accents may be one character or two, as macOS writes them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._exact: dict[str, list[int]] = {}
        self._by_end: dict[str, list[int]] = {}
        self._by_path: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            self._exact.setdefault(name, []).append(row)
            for position, end in enumerate(_ends(name)):
                self._by_end.setdefault(end, []).append(row)
                if not position:
                    self._by_path.setdefault(end, []).append(row)

    def find(self, name: str) -> list[int]:
        """Rows of the images that the name can mean; the most folders in common decide."""
        if name in self._exact:
            return self._exact[name]
        for position, end in enumerate(_ends(name)):
            if rows := self._by_path.get(end) or (self._by_end.get(end) if not position else None):
                return rows
        return []

    def row(self, name: str) -> int | None:
        """The row of an image; None if there is none of this name.

        Raises:
            ValueError: there are several; the first are named.
        """
        rows = self.find(name)
        if len(rows) > 1:
            raise ValueError(ambiguous(name, [self.names[row] for row in rows]))
        return rows[0] if rows else None


def ambiguous(name: str, names: Sequence[str]) -> str:
    """The message that a name can mean several images."""
    return f"{name!r} can be {len(names)} images: {first_few(names)}; write it with its folders"


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file: the end of its path that no other file has, at least the last part.

    Equal paths have equal names.
    """
    whole = [Path(os.path.abspath(path)).parts[1:] for path in paths]  # noqa: PTH100 - no links
    lengths = dict.fromkeys(whole, 1)
    while True:
        groups: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        for parts, length in lengths.items():
            groups.setdefault(parts[-length:], []).append(parts)
        longer = [
            parts
            for group in groups.values()
            for parts in group
            if len(group) > 1 and lengths[parts] < len(parts)
        ]
        if not longer:
            return ["/".join(parts[-lengths[parts] :]) for parts in whole]
        for parts in longer:
            lengths[parts] += 1


def _ends(name: str) -> Iterator[str]:
    """A path in its normal form, and without its first folder, first two folders, ..."""
    parts = [
        part for part in unicodedata.normalize("NFC", name).split("/") if part not in ("", ".")
    ]
    if name.startswith("/"):
        yield "/" + "/".join(parts)
    for start in range(len(parts)):
        yield "/".join(parts[start:])
