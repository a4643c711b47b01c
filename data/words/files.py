"""Files of word vectors: word2vec's two formats and GloVe's, detected from the content.

gensim's readers are not used: they silently keep one of two vectors of a word and ignore words
beyond the header's count, broadcast a line with a single number, and name no line in errors.
"""

import logging
import re
import shlex
import struct
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.data.errors import FormatError
from vl.data.files import first_few
from vl.data.text_files import open_text

_log = logging.getLogger(__name__)
_HEADER = re.compile(rb"\s*(\d{1,15})[ \t]+(\d{1,15})\s*")
_HEAD = 1 << 16  # bytes for detecting the format
_BLOCK = 1 << 20  # bytes read at a time
_ROWS = 256  # rows normalized at a time
_MAX_WORD = 4096  # bytes
_FASTTEXT = struct.pack("<i", 793712314)  # FASTTEXT_FILEFORMAT_MAGIC_INT32 in its source
_NUMPY = b"\x93NUMPY"  # numpy.lib.format
_ARRAY = re.compile(r"(.+?)(?:\.wv)?\.(?:vectors|syn0)\w*\.npy")  # gensim's suffix of a large array
_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # PROTO and its version, in Python's pickletools


class WordFile(NamedTuple):
    """The content of a file of word vectors."""

    words: list[str]
    matrix: NDArray[np.float32]  # (V, D), each row of unit length


def read_word_file(path: Path, *, limit: int | None = None) -> WordFile:
    """Read words and their vectors, normalized to unit length in place.

    Args:
        path: word2vec's binary or text format, or GloVe's text, which has no header; perhaps
            compressed.
        limit: read only the first words; the rest of the file is not checked.

    Raises:
        FormatError: the file has another format, is truncated, has two vectors of a word, rows of
            different lengths, a number that is not finite, or a header that does not match.
        OSError: the file cannot be read.
    """
    layout = _detect_layout(path)
    count = layout.num_words if limit is None else min(layout.num_words, limit)
    try:
        matrix = np.empty((count, layout.width), np.float32)
    except (MemoryError, ValueError) as error:
        problem = f"{count} words of {layout.width} numbers do not fit into memory"
        raise FormatError(path, problem, record="line 1" if layout.header else None) from error
    reader = _Reader(path, layout)
    with path.open("rb") as raw, open_text(raw, lambda: reader.record(len(reader.rows))) as file:
        if layout.header:
            file.readline()
        read = reader.read_binary if layout.binary else reader.read_text
        read(file, matrix, rest=limit is None)
    words = list(reader.rows)
    is_zero = _normalize(matrix, words, reader) == 0
    if is_zero.any():  # files for other uses are padded with them
        zeros = [word for word, zero in zip(words, is_zero) if zero]
        _log.warning("%s: left out: %d zero vectors: %s", path, len(zeros), first_few(zeros))
        if is_zero.all():
            raise FormatError(path, "all its vectors are zero")
        words = [word for word, zero in zip(words, is_zero) if not zero]
        matrix = matrix[~is_zero]
    return WordFile(words, matrix)


class _Layout(NamedTuple):
    binary: bool
    header: bool
    num_words: int
    width: int  # dimension of the vectors


class _Reader:
    """Reads words and vectors of one of the formats."""

    def __init__(self, path: Path, layout: _Layout) -> None:
        self.rows: dict[str, int] = {}  # of the words so far
        self._path = path
        self._layout = layout

    def record(self, row: int) -> str:
        """The name of a row in errors."""
        layout = self._layout
        return f"word {row + 1}" if layout.binary else f"line {row + 1 + layout.header}"

    def error(self, row: int, problem: str) -> FormatError:
        return FormatError(self._path, problem, record=self.record(row))

    def read_binary(self, file: IO[bytes], matrix: NDArray[np.float32], *, rest: bool) -> None:
        count, size = matrix.shape
        buffer, offset = b"", 0
        for row in range(count):
            while (space := buffer.find(b" ", offset)) < 0 or len(buffer) < space + 1 + 4 * size:
                if space < 0 and len(buffer) - offset > _MAX_WORD:
                    raise self.error(row, f"no word, or the header's size {size} is wrong")
                # Doubled, as a wrong header's huge row would take forever block by block.
                more = file.read(max(_BLOCK, len(buffer) - offset))
                if not more:
                    header = f"the header says {count} words of {size} numbers"
                    raise self.error(row, f"the file ends here, but {header}")
                buffer, offset = buffer[offset:] + more, 0
            # word2vec ends a vector with a line feed, gensim does not.
            self._add(buffer[offset:space].removeprefix(b"\n"))
            matrix[row] = np.frombuffer(buffer, "<f4", size, space + 1)
            offset = space + 1 + 4 * size
        if rest and (buffer[offset:] + file.read(1)).strip(b"\n"):
            header = f"the header says {count} words of {size} numbers"
            raise self.error(count, f"{header}, but more follows")

    def read_text(self, file: IO[bytes], matrix: NDArray[np.float32], *, rest: bool) -> None:
        count, size = matrix.shape
        for row in range(count):
            line = file.readline()
            if not line:
                raise self.error(row, f"the file ends here, but the header says {count} words")
            name, *numbers = line.rstrip(b" \r\n").rsplit(b" ", size)
            # GloVe's largest file has words with spaces in them, such as ". . .".
            if len(numbers) < size or (b" " in name and _is_number(name.rpartition(b" ")[2])):
                width = len(_fields(line)) - 1
                raise self.error(row, f"expected a word and {size} numbers, found {width}")
            self._add(name)
            try:
                with np.errstate(over="ignore"):  # 1e39 is infinite, which is refused later
                    matrix[row] = [float(number) for number in numbers]
            except ValueError as error:
                field = next(number for number in numbers if not _is_number(number))
                problem = f"{field.decode(errors='replace')!r} is not a number"
                raise self.error(row, problem) from error
        if rest and file.read(_HEAD).strip():
            raise self.error(count, f"the header says {count} words, but more follow")

    def _add(self, name: bytes) -> None:
        row = len(self.rows)
        try:
            word = name.decode()
        except UnicodeDecodeError as error:
            raise self.error(row, f"the word {name[:40]!r} is not UTF-8") from error
        if not word:
            raise self.error(row, "the word is missing")
        if (first := self.rows.setdefault(word, row)) != row:
            raise self.error(row, f"{word!r} is there twice, at first in {self.record(first)}")


def _detect_layout(path: Path) -> _Layout:
    with path.open("rb") as raw, open_text(raw, lambda: "beginning") as file:
        head = file.read(_HEAD)
    if not head.strip():
        raise FormatError(path, "the file is empty")
    if _PICKLE.match(head):
        raise FormatError(
            path,
            "a pickle, as gensim's save() writes it; reading one can run any code. If you "
            f"trust it, convert it once with gensim itself: {_conversion(path)}",
        )
    if head.startswith(_NUMPY):
        problem = "a numpy array: numbers without words"
        if match := _ARRAY.match(path.name):
            command = _conversion(path.with_name(match[1]))
            problem += f". gensim wrote it beside {match[1]}, which can be converted: {command}"
        raise FormatError(path, problem)
    if head.startswith(_FASTTEXT):
        raise FormatError(path, "fastText's binary format; expected its .vec file")
    first, _, following = head.partition(b"\n")
    header = _HEADER.fullmatch(first)
    if header:
        count, size = int(header[1]), int(header[2])
        if not (count and size):
            raise FormatError(path, f"no vectors: the header says {count} words of {size} numbers")
        return _Layout(not _is_text(following, size), True, count, size)
    if not _is_text(head):
        raise FormatError(path, "no word vectors: neither a header nor text at the beginning")
    with path.open("rb") as raw, open_text(raw, lambda: "line 1") as file:
        size = len(_fields(file.readline())) - 1
        if size < 1:
            raise FormatError(path, "expected a word and its numbers", record="line 1")
        count = 1 + sum(1 for line in file if line.strip())
    return _Layout(False, False, count, size)


def _conversion(path: Path) -> str:
    """The command that converts gensim's own file, of vectors or a model, to word2vec's format."""
    code = (
        f"from gensim.models import KeyedVectors; kv = KeyedVectors.load({str(path)!r}); "
        f"getattr(kv, 'wv', kv).save_word2vec_format({f'{path}.bin'!r}, binary=True)"
    )
    plain = not set(code) & set('"$`\\!')  # special to shells within double quotes
    return f'python -c "{code}"' if plain else f"python -c {shlex.quote(code)}"


def _is_text(head: bytes, size: int = 1) -> bool:
    """Whether rows of text begin here, perhaps broken ones; else the format is word2vec's binary.

    Args:
        head: from the first row on.
        size: dimension of the vectors, where it is known.
    """
    fields = _fields(head.partition(b"\n")[0])
    # Not the last alone: binary numbers contain a space, a digit and a line feed now and then.
    if 2 * sum(map(_is_number, fields[1:])) >= size:
        return True
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not just a truncated last letter
            return False
        text = head[: error.start].decode()
    return not any(letter < " " and letter not in "\t\r\n" for letter in text)


def _fields(line: bytes) -> list[bytes]:
    return line.rstrip(b" \r\n").split(b" ")


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _normalize(
    matrix: NDArray[np.float32], words: list[str], reader: _Reader
) -> NDArray[np.float64]:
    """Normalize each row in place; returns the norms, ``(V,)``."""
    norms = np.empty(len(matrix))
    for start in range(0, len(matrix), _ROWS):
        rows = slice(start, start + _ROWS)
        with np.errstate(invalid="ignore"):  # some NaNs warn; all are refused below
            block = matrix[rows].astype(np.float64)  # squares of 1e30 overflow float32
            norms[rows] = np.sqrt((block**2).sum(1))
        for row in (np.flatnonzero(~np.isfinite(norms[rows])) + start).tolist():
            raise reader.error(row, f"the vector of {words[row]!r} has a number that is not finite")
        matrix[rows] = block / np.where(norms[rows] > 0, norms[rows], 1)[:, None]
    return norms
