"""Plain text files as lines of words, and labels tokenized the same way.

smart_open is not used: it reads xz and bzip2 by lzma and bz2, which take a later stream with a
damaged header for the end of the file.
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
from typing import IO, Any, cast

from vl.data.errors import FormatError

# First bytes of compressed files: RFC 1952, the .xz file format 1.2.1, bzip2's manual.
_GZIP, _XZ, _BZIP2 = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh"
# Of those that are refused: .ZIP's note 4.3.7, RFC 8878, 7-Zip's 7zFormat.txt.
_REFUSED = {b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf\x27\x1c": "7z"}
_BLOCK = 1 << 16  # bytes read and decompressed at a time
MAX_LINE = 1 << 20  # bytes; a longer line is read in parts
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
# Typographic apostrophes and hyphens; a soft hyphen only marks where a line may break.
_TYPOGRAPHIC = str.maketrans(
    {"\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-", "\u00ad": None}
)


def plain_words(text: str) -> list[str]:
    """The words of a text: runs of letters and digits, with apostrophes and hyphens inside.

    ``"The T-shirt's 3.5 m (a 'no_one')"`` has the words ``The``, ``T-shirt's``, ``3``, ``5``,
    ``m``, ``a``, ``no`` and ``one``; everything else separates words. Case is kept.
    """
    if text.isascii():
        return _WORD.findall(text)
    text = unicodedata.normalize("NFC", text.translate(_TYPOGRAPHIC))
    if any(unicodedata.category(letter)[0] == "M" for letter in set(text)):
        return _marked_word().findall(text)
    return _WORD.findall(text)


def text_lines(
    path: Path, *, advance: Callable[[int], object] | None = None, max_line: int = MAX_LINE
) -> Iterator[str]:
    """The lines of a text file, one in memory at a time.

    A longer line than ``max_line`` is split at spaces, as some texts are a single line.

    Args:
        path: UTF-8, perhaps compressed by gzip, xz or bzip2, whatever its name. May be a pipe.
        advance: called with the number of bytes read from the file since its last call; of a
            pipe, with those of its lines.
        max_line: longest line that is not split, in bytes.

    Raises:
        FormatError: the file is not UTF-8, has a zero byte, or its compressed data is truncated or
            damaged; names the line.
        OSError: the file cannot be read.
    """
    number, rest, last_offset = 1, b"", 0
    with path.open("rb") as raw, decompressed(raw, lambda: f"line {number}") as file:
        while True:
            part = file.readline(max_line)
            offset = raw.tell() if advance and raw.seekable() else last_offset + len(part)
            if advance and offset > last_offset:
                advance(offset - last_offset)
            last_offset = offset
            line, rest = rest + part, b""
            if not line:
                return
            ended = part.endswith(b"\n") or len(part) < max_line
            if not ended:
                line, space, rest = line.rpartition(b" ")
                if not space:
                    problem = f"not text: {max_line} bytes without a space"
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
def decompressed(raw: BufferedReader, record: Callable[[], str]) -> Iterator[IO[bytes]]:
    """The content of a gzip, xz or bzip2 file, detected by its first bytes; others unchanged.

    Args:
        raw: the file, open at its beginning.
        record: the record being read, for the message.

    Raises:
        FormatError: it is compressed in another format; or, while reading, the compressed data is
            truncated or damaged.
    """
    head = raw.peek(len(_XZ))
    for magic, name in _REFUSED.items():
        if head.startswith(magic):
            raise FormatError(Path(raw.name), f"compressed as {name}; decompress it first")
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
        problem = f"its compressed data is truncated or damaged: {error}"
        raise FormatError(Path(raw.name), problem, record=record()) from error
    finally:
        file.close()


_Decompressor = lzma.LZMADecompressor | bz2.BZ2Decompressor


class _Streams(RawIOBase):
    """The concatenated content of a file's compressed streams."""

    def __init__(self, compressed: BufferedReader, start: Callable[[], _Decompressor]) -> None:
        self._compressed = compressed
        self._start = start
        self._stream = start()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            block = b""
            if self._stream.eof:
                block = self._stream.unused_data.lstrip(b"\0")  # xz allows zeros between streams
                while not block:
                    more = self._compressed.read(_BLOCK)
                    if not more:
                        return 0
                    block = more.lstrip(b"\0")
                self._stream = self._start()
            elif self._stream.needs_input:
                block = self._compressed.read(_BLOCK)
                if not block:
                    raise EOFError("the end is missing")
            data = self._stream.decompress(block, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def synonyms(label: str) -> list[list[str]]:
    """The words of each of a label's comma-separated terms; case is kept.

    ``"stop sign, traffic sign"`` has ``[["stop", "sign"], ["traffic", "sign"]]``. A term without a
    letter or digit is left out.
    """
    return [words for term in label.split(",") if (words := plain_words(term))]


@cache
def _marked_word() -> re.Pattern[str]:
    """As ``_WORD``, but with combining marks, such as Devanagari's vowel signs.

    Python's word characters exclude them. Far slower on plain English, hence separate.
    """
    all_marks = [chr(c) for c in range(0x300, 0x20000) if unicodedata.category(chr(c))[0] == "M"]
    run = rf"[^\W_](?:[^\W_]|[{''.join(all_marks)}])*"
    return re.compile(rf"{run}(?:['-]{run})*")
