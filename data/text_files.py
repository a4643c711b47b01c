"""Text files as the editors of all systems save them: the one rule of how bytes become text.

UTF-8, or UTF-16 or UTF-32 behind its byte order mark; lines end in LF or CRLF, or, in a file
without any LF, in CR; compressed by gzip, xz or bzip2, whatever the name. Other encodings are
refused, as every guess at them is wrong for some file.

smart_open is not used: it reads xz and bzip2 by lzma and bz2, which take a later stream with a
damaged header for the end of the file.
"""

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from vl.data.errors import FormatError

# First bytes of compressed files: RFC 1952, the .xz file format 1.2.1, bzip2's manual.
_GZIP, _XZ, _BZIP2 = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh"
# Of those that are refused: .ZIP's note 4.3.7, RFC 8878, 7-Zip's 7zFormat.txt.
_REFUSED = {b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf\x27\x1c": "7z"}
_COMPRESSED = (".gz", ".xz", ".bz2")  # suffixes
_BLOCK = 1 << 16  # bytes read and decompressed at a time
_CHARACTER = 4  # bytes of the longest in UTF-8, UTF-16 and UTF-32
MAX_LINE = 1 << 20  # bytes; a longer line is read in parts
# UTF-32's little-endian mark begins as UTF-16's does.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
NOT_UTF_8 = "`iconv -f WINDOWS-1252 -t UTF-8` converts Windows' and Latin text"
_ZERO_BYTE = (
    "a zero byte: an archive or no text at all; UTF-8 was expected, or UTF-16 with its byte order "
    "mark (`iconv -f UTF-16LE -t UTF-8` converts what has none)"
)


def suffix_of_text(path: Path) -> str:
    """The suffix in lower case, before that of a compression: ``.csv`` of ``a.CSV.gz``."""
    return next((s for s in map(str.lower, path.suffixes[::-1]) if s not in _COMPRESSED), "")


def read_text(path: Path) -> str:
    """The whole text of a file; see `decode_text`.

    Raises:
        FormatError: it is not text.
        OSError: it cannot be read.
    """
    return decode_text(path, path.read_bytes())


def decode_text(path: Path | str, content: bytes) -> str:
    """A file's content as text, decompressed, without a byte order mark; lines end in LF or CRLF.

    Args:
        path: named in errors.
        content: the whole file.

    Raises:
        FormatError: damaged compression, a zero byte, or neither UTF-8 nor text behind a byte order
            mark.
    """
    if content.startswith((_GZIP, _XZ, _BZIP2, *_REFUSED)):
        raw = BufferedReader(cast(Any, BytesIO(content)))
        with decompressed(raw, lambda: None, path=path) as file:
            content = file.read()
    mark = _mark(content)
    try:
        text = content[mark.size :].decode(mark.encoding)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].decode(mark.encoding).count("\n") + 1
        problem = f"not {mark.name} in line {line}: {error.reason}"
        if mark.name == "UTF-8":
            problem = f"{problem}; {NOT_UTF_8}"
        record = f"byte {mark.size + error.start}"
        raise FormatError(path, problem, record=record) from error
    if (position := text.find("\0")) >= 0:  # letters and zeros are UTF-8
        raise FormatError(path, _ZERO_BYTE, record=f"line {text.count(chr(10), 0, position) + 1}")
    return text.replace("\r", "\n") if _ends_in_cr(text) else text


def split_lines(text: str) -> list[str]:
    """The lines of a text, without their ends; the last line may lack one.

    ``str.splitlines`` would also cut at rarer separators, which a caption may contain.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def text_lines(
    path: Path, *, advance: Callable[[int], object] | None = None, max_line: int = MAX_LINE
) -> Iterator[str]:
    """The lines of a text file, one in memory at a time.

    A longer line than ``max_line`` is split at spaces, as some texts are a single line.

    Args:
        path: may be a pipe.
        advance: called with the number of bytes read from the file since its last call; of a
            pipe, with those of its lines.
        max_line: longest line that is not split, in bytes.

    Raises:
        FormatError: the file is not UTF-8 or UTF-16, has a zero byte, or its compressed data is
            truncated or damaged; names the line.
        OSError: the file cannot be read.
    """
    number, rest, last_offset = 1, b"", 0
    with path.open("rb") as raw, open_text(raw, lambda: f"line {number}") as file:
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
                raise FormatError(path, _ZERO_BYTE, record=f"line {number}")
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 at byte {error.start} of the line; {NOT_UTF_8}"
                raise FormatError(path, problem, record=f"line {number}") from error
            number += ended


@contextmanager
def open_text(raw: BufferedReader, record: Callable[[], str | None]) -> Iterator[IO[bytes]]:
    """The content of a file as UTF-8 without a byte order mark, in lines that end in LF or CRLF.

    A file without a mark is not checked to be UTF-8, so that a reader can name its records, and a
    binary one comes as it is. Of an encoding or line end other than these the first block decides.

    Args:
        raw: the file, open at its beginning.
        record: the record being read, for the message.

    Raises:
        FormatError: while reading; see `decompressed`, or it is not UTF-16 as its mark says.
    """
    with decompressed(raw, record) as file:
        head: bytes = cast(Any, file).peek(len(codecs.BOM_UTF32_LE))
        mark = _mark(head)
        file.read(mark.size)
        head, start = head[mark.size :], b""
        ends_in_cr = _ends_in_cr(head.decode(mark.encoding, "ignore"))
        if ends_in_cr:  # unless this block ends between CR and LF
            start = file.read(len(head) + _CHARACTER)
            ends_in_cr = _ends_in_cr(start.decode(mark.encoding, "ignore"))
        elif mark.name == "UTF-8":
            yield file
            return
        recoded = _Recoded(file, mark.encoding, start, ends_in_cr=ends_in_cr)
        try:
            yield BufferedReader(recoded, _BLOCK)
        except UnicodeDecodeError as error:
            problem = f"not {mark.name}, as its byte order mark says: {error.reason}"
            raise FormatError(Path(raw.name), problem, record=record()) from error


class _Mark(NamedTuple):
    encoding: str
    size: int  # bytes

    @property
    def name(self) -> str:
        """As in messages: UTF-16."""
        return self.encoding.upper().removesuffix("-LE").removesuffix("-BE")


def _mark(head: bytes) -> _Mark:
    """The byte order mark that a file begins with."""
    marks = (_Mark(name, len(mark)) for mark, name in _MARKS.items() if head.startswith(mark))
    return next(marks, _Mark("utf-8", 0))


def _ends_in_cr(text: str) -> bool:
    """Whether lines end as on the Macintosh before 2001; a CR among LFs is part of a line."""
    return "\r" in text and "\n" not in text


class _Recoded(RawIOBase):
    """A file of another encoding, or with lines that end in CR, as UTF-8 with LF."""

    def __init__(self, file: IO[bytes], encoding: str, start: bytes, *, ends_in_cr: bool) -> None:
        self._file = file
        self._start = start  # what has been read of the file
        # Bytes that are not UTF-8 pass as they are.
        errors = "surrogateescape" if encoding == "utf-8" else "strict"
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._ends_in_cr = ends_in_cr
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block, self._start = self._start or self._file.read(_BLOCK), b""
            text = self._decoder.decode(block, not block)
            if self._ends_in_cr:
                text = text.replace("\r", "\n")
            self._rest = text.encode("utf-8", "surrogateescape")
            if not block:
                break
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


@contextmanager
def decompressed(
    raw: BufferedReader, record: Callable[[], str | None], *, path: Path | str | None = None
) -> Iterator[IO[bytes]]:
    """The content of a gzip, xz or bzip2 file, detected by its first bytes; others unchanged.

    Args:
        raw: the file, open at its beginning.
        record: the record being read, for the message.
        path: named in the message, if not the file itself.

    Raises:
        FormatError: it is compressed in another format; or, while reading, the compressed data is
            truncated or damaged.
    """
    path = raw.name if path is None else path
    head = raw.peek(len(_XZ))
    for magic, name in _REFUSED.items():
        if head.startswith(magic):
            raise FormatError(path, f"compressed as {name}; decompress it first")
    file: IO[bytes] = raw
    name = ""
    if head.startswith(_GZIP):
        name = "gzip"
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    elif head.startswith(_XZ):
        name = "xz"
        file = BufferedReader(_Streams(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)), _BLOCK)
    elif head.startswith(_BZIP2):
        name = "bzip2"
        file = BufferedReader(_Streams(raw, bz2.BZ2Decompressor), _BLOCK)
    try:
        yield file
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's own
            raise
        problem = f"its compressed data is truncated or damaged ({name}): {error}"
        raise FormatError(path, problem, record=record()) from error
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
