"""Files of word vectors: word2vec's two formats and GloVe's, detected from the content.

gensim's readers are not used: they silently keep one of two vectors of a word, ignore words
beyond the header's count, broadcast a line with a single number, and name no line in errors.
"""

import logging
import re
import shlex
import struct
from array import array
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vl.data.errors import FormatError
from vl.data.files import first_few
from vl.data.text_files import NOT_UTF_8, open_text

_log = logging.getLogger(__name__)
_HEADER = re.compile(rb"\s*(\d{1,15})[ \t]+(\d{1,15})\s*")
_HEAD = 1 << 16  # bytes for detecting the format
_BLOCK = 1 << 20  # bytes read at a time
_ROWS = 256  # rows normalized at a time
_MAX_WORD = 4096  # bytes
_MAX_BAD_SHARE, _MAX_BAD = 0.01, 10  # records that may be left out: the larger of the two
_NAMED = 3  # records in a warning
_NOT_FINITE = "the vector of {!r} has a number that is not finite"
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
            compressed. Text as ``vl.data.text_files`` reads it.
        limit: read only the first words; the rest of the file is not checked.

    Returns:
        Without bad records, each named in one warning: another width, a word that is missing or
        not UTF-8, something that is no finite number. Of a word that is there twice, as in
        glove.840B.300d, the first finite vector counts. Zero vectors are left out too.

    Raises:
        FormatError: the file has another format, which the first record tells, or is truncated,
            its header does not match, or more than 1 % of its records are bad (of less than 1,000:
            more than 10, or more than half).
        OSError: the file cannot be read.
    """
    layout = _detect_layout(path)
    count = layout.num_words if limit is None else min(layout.num_words, limit)
    try:
        matrix = np.empty((count, layout.width), np.float32)
    except (MemoryError, ValueError) as error:
        problem = f"{count} words of {layout.width} numbers do not fit into memory"
        raise FormatError(path, problem, record="line 1" if layout.header else None) from error
    reader = _Reader(path, layout, matrix)
    with path.open("rb") as raw, open_text(raw, lambda: reader.record) as file:
        if layout.header:
            file.readline()
        read = reader.read_binary if layout.binary else reader.read_text
        read(file, rest=limit is None)
    return reader.finish()


class _Layout(NamedTuple):
    binary: bool
    header: bool
    num_words: int
    width: int  # dimension of the vectors


class _Reader:
    """Reads words and vectors of one of the formats into a matrix, good ones only."""

    def __init__(self, path: Path, layout: _Layout, matrix: NDArray[np.float32]) -> None:
        self._rows: dict[str, int] = {}  # of the words so far
        self._path = path
        self._layout = layout
        self._matrix = matrix
        self._number = 0  # of the record being read, from 1: its line, or its place among the words
        self._numbers = array("q")  # the record of each row
        self._bad: list[FormatError] = []
        self._twice: list[str] = []
        # A few of a small file; of a large one a share: beyond it the format is another one.
        num_words = layout.num_words
        self._max_bad = max(int(_MAX_BAD_SHARE * num_words), min(_MAX_BAD, num_words // 2))

    @property
    def record(self) -> str:
        """The name of the record being read, in errors."""
        return self._name(self._number)

    def read_binary(self, file: IO[bytes], *, rest: bool) -> None:
        count, size = self._layout.num_words, self._layout.width
        header = f"the header says {count} words of {size} numbers"
        buffer, offset = b"", 0
        for self._number in range(1, count + 1):
            if self._full:
                return
            while (space := buffer.find(b" ", offset)) < 0 or len(buffer) < space + 1 + 4 * size:
                if space < 0 and len(buffer) - offset > _MAX_WORD:
                    raise self._error(f"no word, or the header's size {size} is wrong")
                # Doubled, as a wrong header's huge row would take forever block by block.
                more = file.read(max(_BLOCK, len(buffer) - offset))
                if not more:
                    raise self._error(f"the file ends here, but {header}")
                buffer, offset = buffer[offset:] + more, 0
            # word2vec ends a vector with a line feed, gensim does not.
            name = buffer[offset:space].removeprefix(b"\n")
            self._add(name, np.frombuffer(buffer, "<f4", size, space + 1))
            offset = space + 1 + 4 * size
        if rest and (buffer[offset:] + file.read(1)).strip(b"\n"):
            self._number += 1
            raise self._error(f"{header}, but more follows")

    def read_text(self, file: IO[bytes], *, rest: bool) -> None:
        count, size = self._layout.num_words, self._layout.width
        self._number = int(self._layout.header)
        num_records = 0
        while num_records < count and not self._full:
            line = file.readline()
            self._number += 1
            if not line:
                raise self._error(f"the file ends here, but the header says {count} words")
            if not line.strip():  # no record: `_detect_layout` does not count it either
                self._leave_out("the line is blank")
                continue
            num_records += 1
            name, *numbers = line.rstrip(b" \r\n").rsplit(b" ", size)
            # GloVe's largest file has words with spaces in them, such as ". . .".
            if len(numbers) < size or (b" " in name and _is_number(name.rpartition(b" ")[2])):
                problem = f"expected a word and {size} numbers, found {len(_fields(line)) - 1}"
                if not line.endswith(b"\n"):
                    problem += ", and the file ends here: it may be cut short"
                self._leave_out(problem, first=num_records == 1)
                continue
            try:
                vector = [float(number) for number in numbers]
            except ValueError:
                field = next(number for number in numbers if not _is_number(number))
                problem = f"{field.decode(errors='replace')!r} is not a number"
                self._leave_out(problem, first=num_records == 1)
                continue
            self._add(name, vector)
        if rest and file.read(_HEAD).strip():
            self._number += 1
            raise self._error(f"the header says {count} words, but more follow")

    def finish(self) -> WordFile:
        """The words and unit vectors that were read; what is left out is logged, a line a reason.

        Raises:
            FormatError: nothing is left, or too many records are bad.
        """
        words = list(self._rows)
        matrix = self._matrix[: len(words)]
        norms = _normalize(matrix)
        for row in np.flatnonzero(~np.isfinite(norms)).tolist():
            self._number = self._numbers[row]
            self._leave_out(_NOT_FINITE.format(words[row]))
        if self._bad:
            some = "; ".join(f"{bad.record}: {bad.problem}" for bad in self._bad[:_NAMED])
            more = "; ..." if len(self._bad) > _NAMED else ""
            count = f"bad records ({len(self._bad)} of {self._layout.num_words})"
            _log.warning("%s: left out: %s: %s%s", self._path, count, some, more)
        if self._twice:
            some = "; ".join(self._twice[:_NAMED]) + ("; ..." if len(self._twice) > _NAMED else "")
            problem = f"repeated words ({len(self._twice)}), of which the first counts"
            _log.warning("%s: left out: %s: %s", self._path, problem, some)
        zeros = [words[row] for row in np.flatnonzero(norms == 0).tolist()]
        if zeros:  # files for other uses are padded with them
            _log.warning(
                "%s: left out: %d zero vectors: %s", self._path, len(zeros), first_few(zeros)
            )
        is_good = (norms > 0) & np.isfinite(norms)
        if not is_good.any():
            raise self._bad[0] if self._bad else FormatError(self._path, "all its vectors are zero")
        if not is_good.all():
            words = [word for word, good in zip(words, is_good, strict=True) if good]
            matrix = matrix[is_good]
        return WordFile(words, matrix)

    @property
    def _full(self) -> bool:
        return len(self._rows) == len(self._matrix)

    def _add(self, name: bytes, vector: ArrayLike) -> None:
        """Append a word, if it is one and new."""
        try:
            word = name.decode()
        except UnicodeDecodeError:
            self._leave_out(f"the word {name[:40]!r} is not UTF-8; {NOT_UTF_8}")
            return
        if not word:
            self._leave_out("the word is missing")
            return
        row = len(self._rows)
        if (first := self._rows.setdefault(word, row)) != row:
            if not np.isfinite(self._matrix[first]).all():
                self._replace(first, word, vector)
                return
            self._twice.append(
                f"{word!r} in {self.record}, first {self._name(self._numbers[first])}"
            )
            return
        self._numbers.append(self._number)
        self._set(row, vector)

    def _replace(self, row: int, word: str, vector: ArrayLike) -> None:
        """Leave out a word's first record, whose vector is not finite, for the one being read."""
        number, self._number = self._number, self._numbers[row]
        self._leave_out(_NOT_FINITE.format(word))
        self._number = self._numbers[row] = number
        self._set(row, vector)

    def _set(self, row: int, vector: ArrayLike) -> None:
        with np.errstate(over="ignore"):  # 1e39 is infinite, which is left out later
            self._matrix[row] = vector

    def _leave_out(self, problem: str, *, first: bool = False) -> None:
        """Leave the record out, or refuse the file for it.

        Args:
            problem: of the record.
            first: it tells that the file has another format.
        """
        error = self._error(problem)
        self._bad.append(error)
        if first:
            raise error
        if len(self._bad) > self._max_bad:
            count = f"{len(self._bad)} records or more are bad, too many to leave out"
            first_bad = self._bad[0]
            raise FormatError(self._path, f"{first_bad.problem} ({count})", record=first_bad.record)

    def _error(self, problem: str) -> FormatError:
        return FormatError(self._path, problem, record=self.record)

    def _name(self, number: int) -> str:
        return f"word {number}" if self._layout.binary else f"line {number}"


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


def _normalize(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """Normalize each row in place; returns the norms, ``(V,)``, of which some may not be finite."""
    norms = np.empty(len(matrix))
    for start in range(0, len(matrix), _ROWS):
        rows = slice(start, start + _ROWS)
        with np.errstate(invalid="ignore"):  # some NaNs warn
            block = matrix[rows].astype(np.float64)  # squares of 1e30 overflow float32
            norms[rows] = np.sqrt((block**2).sum(1))
            matrix[rows] = block / np.where(norms[rows] > 0, norms[rows], 1)[:, None]
    return norms
