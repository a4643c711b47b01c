"""The samples of one tar as WebDataset has them: read by their headers, and written.

The members of a sample lie together and have one key, the path up to the first dot of the last
name; they differ in what follows it. ``000123.jpg`` is the picture, ``000123.cls`` its class, and
``000123.json`` says more. It does not know what a class means, nor of other tars.
"""

import io
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from vl.data.errors import FormatError
from vl.data.files import atomic_write
from vl.data.images.decode import SUFFIXES

CLASS, ABOUT = ".cls", ".json"
TAR = ".tar"
PACKED = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst")

# How packed files begin: RFC 1952, the .xz file format 1.2.1, bzip2's manual, RFC 8878.
_PACKED_BEGIN = (b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh", b"\x28\xb5\x2f\xfd")
_MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)", re.DOTALL)  # key and suffix, as webdataset 1.0
_BLOCK = 512  # bytes, of which tars consist (POSIX, ustar)
_LONGEST_TEXT = 1 << 16  # bytes of a .cls or .json that is looked into; ours have a hundred


class Sample(NamedTuple):
    """A sample as it lies in its tar."""

    key: str
    record: str  # what errors call it
    begin: int  # of the picture's bytes in the file
    size: int
    label: bytes  # the .cls
    about: bytes  # the .json; nothing if there is none, or a very long one


class Entry(NamedTuple):
    """A sample to be written."""

    key: str  # without a dot
    suffix: str  # of the picture
    picture: bytes
    label: str
    about: str


def samples(path: Path, file: BufferedReader, left_out: Counter[str]) -> Iterator[Sample]:
    """The samples of a tar in its order. Nothing of it is unpacked.

    Args:
        path: the tar, for messages.
        file: it, open, at its beginning.
        left_out: counts the members that belong to no sample, by their kind.

    Raises:
        FormatError: the tar is packed, cut short or damaged; or a sample has no picture or two, no
            class, or members in several places. Names the member.
        OSError: it cannot be read.
    """
    if file.peek(_BLOCK).startswith(_PACKED_BEGIN) or path.name.lower().endswith(PACKED):
        problem = "packed; unpack it to a plain .tar first, as pictures are read in any order"
        raise FormatError(path, problem)
    keys: set[str] = set()
    parts: dict[str, tarfile.TarInfo] = {}  # of one sample, by suffix
    key = ""
    for member in _members(path, file):
        match = _MEMBER.fullmatch(member.name)
        if not member.isreg() or match is None:
            left_out["without key and suffix" if member.isreg() else "folders and links"] += 1
            continue
        suffix = f".{match[2].lower()}"
        if suffix not in SUFFIXES and suffix not in (CLASS, ABOUT):
            left_out[suffix] += 1
            continue
        if match[1] != key:
            yield from _sample(path, file, key, parts, left_out)
            key, parts = match[1], {}
            if key in keys:
                problem = f"the key {key!r} is there before others as well"
                raise FormatError(path, problem, record=_record(member))
            keys.add(key)
        if suffix in parts:
            raise FormatError(path, "it is there twice", record=_record(member))
        if member.issparse():
            raise FormatError(path, "a sparse file; it lies in pieces", record=_record(member))
        parts[suffix] = member
    yield from _sample(path, file, key, parts, left_out)


def write(path: Path, entries: Iterable[Entry]) -> int:
    """Write a tar, whole or not at all; the same entries give the same bytes.

    Returns:
        How many entries there were.

    Raises:
        OSError: it cannot be written, or the disk is full.
    """
    count = 0
    try:
        with (
            atomic_write(path) as beside,
            tarfile.open(beside, "w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for entry in entries:
                _add(tar, entry.key + entry.suffix, entry.picture)
                _add(tar, entry.key + CLASS, entry.label.encode())
                _add(tar, entry.key + ABOUT, entry.about.encode())
                count += 1
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    return count


def bytes_at(descriptor: int, begin: int, size: int) -> bytes:
    """Bytes of an open file, fewer at its end. Nobody's place in the file moves."""
    content = os.pread(descriptor, size, begin)
    while len(content) < size:  # a signal, or more than the system reads at once
        more = os.pread(descriptor, size - len(content), begin + len(content))
        if not more:
            break
        content += more
    return content


def _members(path: Path, file: BufferedReader) -> Iterator[tarfile.TarInfo]:
    """The headers of a tar, one at a time, and at its end whether it is whole.

    ``TarFile.next`` would keep them all, and take whatever is no header for the end.
    """
    record = None
    length = os.fstat(file.fileno()).st_size
    try:
        tar = tarfile.TarFile(fileobj=file)
        begin = 0
        while True:
            file.seek(begin)
            block = file.read(_BLOCK)
            if len(block) < _BLOCK:
                raise tarfile.ReadError("it has no end")
            if not block.strip(b"\0"):
                break
            file.seek(begin)
            member = tarfile.TarInfo.fromtarfile(tar)
            record = _record(member)
            if tar.offset > length:
                raise tarfile.ReadError("its bytes are not all there")
            if tar.offset <= begin:
                raise tarfile.ReadError("a size below zero")
            begin = tar.offset
            yield member
    except (tarfile.TarError, ValueError, MemoryError, OverflowError, RecursionError) as error:
        problem = f"the tar is cut short or damaged here: {error}"
        raise FormatError(path, problem, record=record) from error
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            raise FormatError(path, "something lies behind the tar's end; is it two tars in one?")


def _sample(
    path: Path,
    file: BufferedReader,
    key: str,
    parts: Mapping[str, tarfile.TarInfo],
    left_out: Counter[str],
) -> Iterator[Sample]:
    """The sample of these members; none if there are none, or only a .json."""
    pictures = [member for suffix, member in parts.items() if suffix in SUFFIXES]
    label, about = parts.get(CLASS), parts.get(ABOUT)
    if len(pictures) > 1:
        problem = f"the sample has another picture, {pictures[0].name!r}"
        raise FormatError(path, problem, record=_record(pictures[1]))
    if label is None:
        if pictures:
            problem = f"the sample has no class ({CLASS})"
            raise FormatError(path, problem, record=_record(pictures[0]))
        left_out[ABOUT] += len(parts)
        return
    if not pictures:
        raise FormatError(path, "the sample has no picture", record=_record(label))
    if label.size > _LONGEST_TEXT:
        raise FormatError(path, f"{label.size} bytes are no class", record=_record(label))
    short = about if about is not None and about.size <= _LONGEST_TEXT else None
    yield Sample(
        key,
        _record(label),
        pictures[0].offset_data,
        pictures[0].size,
        bytes_at(file.fileno(), label.offset_data, label.size),
        bytes_at(file.fileno(), short.offset_data, short.size) if short else b"",
    )


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of no owner and no time
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _record(member: tarfile.TarInfo) -> str:
    return f"member {member.name!r}"
