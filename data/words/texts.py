"""Plain text files as lines of words, and labels cut the same way.

It does not know what the words are for.
"""

import bz2
import gzip
import lzma
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any, Protocol, cast

from vl.data.errors import FormatError

# How packed files begin: RFC 1952, the .xz file format 1.2.1, bzip2's manual.
_GZIP, _XZ, _BZIP2 = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh"
# And those that are refused: .ZIP's note 4.3.7, RFC 8878, 7-Zip's 7zFormat.txt.
_REFUSED = {b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf\x27\x1c": "7z"}
_BLOCK = 1 << 16  # bytes that are read at once, and unpacked
_LONGEST_LINE = 1 << 20  # bytes; of a longer line the parts come one by one
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
# Apostrophes and hyphens as books print them; a soft hyphen only says where a line may be cut.
_PRINTED = str.maketrans(
    {"\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-", "\u00ad": None}
)


def plain_words(text: str) -> list[str]:
    """The words of a text: runs of letters and digits, with apostrophes and hyphens inside.

    ``"The T-shirt's 3.5 m (a 'no_one')"`` has the words ``The``, ``T-shirt's``, ``3``, ``5``,
    ``m``, ``a``, ``no`` and ``one``: everything else parts words and is gone. Case stays.
    """
    if text.isascii():
        return _WORD.findall(text)
    text = unicodedata.normalize("NFC", text.translate(_PRINTED))
    if any(unicodedata.category(letter)[0] == "M" for letter in set(text)):
        return _marked_word().findall(text)
    return _WORD.findall(text)


def text_lines(path: Path, *, advance: Callable[[int], object] | None = None) -> Iterator[str]:
    """The lines of a text file, of which only one is in memory.

    A line of more than a million bytes comes in parts, cut at spaces: there are texts that are all
    one line.

    Args:
        path: UTF-8; gzip, xz and bzip2 are unpacked, whatever the file's name. May be a pipe.
        advance: called from time to time with how many bytes of the file have been read since; of a
            pipe, how many there are in its lines.

    Raises:
        FormatError: the file is not UTF-8, has a zero byte, or is packed and cut short or damaged;
            names the line.
        OSError: the file cannot be read.
    """
    number, rest, reported = 1, b"", 0
    with path.open("rb") as raw, unpacked(raw, lambda: f"line {number}") as file:
        while True:
            part = file.readline(_LONGEST_LINE)
            place = raw.tell() if advance and raw.seekable() else reported + len(part)
            if advance and place > reported:
                advance(place - reported)
            reported = place
            line, rest = rest + part, b""
            if not line:
                return
            ended = part.endswith(b"\n") or len(part) < _LONGEST_LINE
            if not ended:
                line, space, rest = line.rpartition(b" ")
                if not space:
                    problem = "a million bytes without a space are no text"
                    raise FormatError(path, problem, record=f"line {number}")
            if b"\0" in line:  # letters and zeros are UTF-8, and half of them would be lost
                problem = "a zero byte: an archive, UTF-16 or no text at all; UTF-8 was expected"
                raise FormatError(path, problem, record=f"line {number}")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 at byte {error.start} of the line"
                raise FormatError(path, problem, record=f"line {number}") from error
            number += ended


@contextmanager
def unpacked(raw: BufferedReader, where: Callable[[], str]) -> Iterator[IO[bytes]]:
    """What a gzip, xz or bzip2 file holds, by its first bytes; any other file as it is.

    Args:
        raw: the file, open and at its beginning.
        where: the record that is being read, for the message.

    Raises:
        FormatError: it is packed by another program; or what is packed is cut short or damaged,
            which is raised where it is read.
    """
    head = raw.peek(len(_XZ))
    for magic, name in _REFUSED.items():
        if head.startswith(magic):
            raise FormatError(Path(raw.name), f"packed as {name}; unpack it first")
    file: IO[bytes] = raw
    if head.startswith(_GZIP):
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    elif head.startswith(_XZ):
        file = BufferedReader(_Streams(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)), _BLOCK)
    elif head.startswith(_BZIP2):
        file = BufferedReader(_Streams(raw, bz2.BZ2Decompressor), _BLOCK)
    try:
        yield file
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's own
            raise
        problem = f"what is packed in it is cut short or damaged: {error}"
        raise FormatError(Path(raw.name), problem, record=where()) from error
    finally:
        file.close()


class _Unpacker(Protocol):
    """What lzma's and bz2's have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Streams(RawIOBase):
    """What the streams of a file hold, one after another.

    The readers of lzma and bz2 take a later stream with a damaged head for the file's end.
    """

    def __init__(self, packed: BufferedReader, start: Callable[[], _Unpacker]) -> None:
        self._packed = packed
        self._start = start
        self._stream = start()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            more = b""
            if self._stream.eof:
                more = self._next_stream()
                if not more:
                    return 0
                self._stream = self._start()
            elif self._stream.needs_input:
                more = self._packed.read(_BLOCK)
                if not more:
                    raise EOFError("the end is missing")
            data = self._stream.decompress(more, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next_stream(self) -> bytes:
        """How it begins; nothing at the file's end. Zeros may stand between streams of xz."""
        more = self._stream.unused_data.lstrip(b"\0")
        while not more:
            block = self._packed.read(_BLOCK)
            if not block:
                break
            more = block.lstrip(b"\0")
        return more


def synonyms(label: str) -> list[list[str]]:
    """The terms of a label, which commas part, each as its words; case stays.

    ``"stop sign, traffic sign"`` has ``[["stop", "sign"], ["traffic", "sign"]]``. What has no
    letter or digit is no term.
    """
    return [words for term in label.split(",") if (words := plain_words(term))]


@cache
def _marked_word() -> re.Pattern[str]:
    """As ``_WORD``, but with marks that no letter takes in: Devanagari's vowel signs, for one.

    Python's word letters are without them. Far slower on plain English, hence apart.
    """
    all_marks = [chr(c) for c in range(0x300, 0x20000) if unicodedata.category(chr(c))[0] == "M"]
    run = rf"[^\W_](?:[^\W_]|[{''.join(all_marks)}])*"
    return re.compile(rf"{run}(?:['-]{run})*")
