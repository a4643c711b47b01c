"""Files of word vectors: word2vec's two formats and GloVe's, distinguished by content.

gensim's readers are not used: of two vectors of a word they keep one, they leave out what is beyond
the header's number, take one number in a line for all, and name no line.
"""

import logging
import re
import shlex
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.data.errors import FormatError
from vl.data.files import first_few
from vl.data.words.texts import unpacked

_log = logging.getLogger(__name__)
_HEADER = re.compile(rb"\s*(\d{1,15})[ \t]+(\d{1,15})\s*")
_HEAD = 1 << 16  # bytes that say what a file is
_BLOCK = 1 << 20  # bytes that are read at once
_ROWS = 256  # rows that are made unit length at once
_LONGEST_WORD = 4096  # bytes
_FASTTEXT = struct.pack("<i", 793712314)  # FASTTEXT_FILEFORMAT_MAGIC_INT32 in its source
_NUMPY = b"\x93NUMPY"  # numpy.lib.format
_ARRAY = re.compile(
    r"(.+?)(?:\.wv)?\.(?:vectors|syn0)\w*\.npy"
)  # what gensim adds for a large array
_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # PROTO and its number, in Python's pickletools


class WordFile(NamedTuple):
    """What was in a file of word vectors."""

    words: list[str]
    rows: dict[str, int]  # of each word its place
    matrix: NDArray[np.float32]  # (V, D), each row of unit length


def read_word_file(path: Path, *, limit: int | None = None) -> WordFile:
    """Words and their vectors, which are brought to unit length; the matrix is the only copy.

    Args:
        path: word2vec's binary or text format, or GloVe's text, which has no header; packed or not.
        limit: only so many words from the beginning; what comes behind is not looked at.

    Raises:
        FormatError: the file is something else, cut short, has two vectors for a word, rows of
            different lengths, a number that is not finite, or a header that does not fit.
        OSError: the file cannot be read.
    """
    form = _form(path)
    count = form.words if limit is None else min(form.words, limit)
    matrix = _room(path, count, form)
    read = _read_binary if form.binary else _read_text
    with path.open("rb") as raw:
        rows: dict[str, int] = {}
        where = _record_of(form)
        with unpacked(raw, lambda: where(len(rows))) as file:
            if form.header:
                file.readline()
            read(_Source(path, file, where), rows, matrix, rest=limit is None)
    words = list(rows)
    norms = _normalise(path, matrix, words, where)
    if norms.all():
        return WordFile(words, rows, matrix)
    return _without_zeros(path, words, matrix, norms > 0)


class _Form(NamedTuple):
    binary: bool
    header: bool
    words: int
    width: int  # numbers in a vector


class _Source(NamedTuple):
    path: Path
    file: IO[bytes]
    where: Callable[[int], str]  # the record of a row

    def error(self, row: int, problem: str) -> FormatError:
        return FormatError(self.path, problem, record=self.where(row))

    def add(self, rows: dict[str, int], name: bytes) -> None:
        try:
            word = name.decode()
        except UnicodeDecodeError as error:
            problem = f"the word {name[:40]!r} is not UTF-8"
            raise self.error(len(rows), problem) from error
        if not word:
            raise self.error(len(rows), "the word is missing")
        if word in rows:
            first = self.where(rows[word])
            raise self.error(len(rows), f"{word!r} is there twice, at first in {first}")
        rows[word] = len(rows)


def _record_of(form: _Form) -> Callable[[int], str]:
    if form.binary:
        return lambda row: f"word {row + 1}"
    return lambda row: f"line {row + 1 + form.header}"


def _form(path: Path) -> _Form:
    with path.open("rb") as raw, unpacked(raw, lambda: "beginning") as file:
        head = file.read(_HEAD)
    if not head.strip():
        raise FormatError(path, "there is nothing in it")
    if _PICKLE.match(head):
        raise FormatError(
            path,
            "a pickle, as gensim's save() writes it; to read one is to run whatever it holds. If "
            f"you trust it, convert it once, by gensim itself: {_conversion(path)}",
        )
    if head.startswith(_NUMPY):
        problem = "a numpy array: numbers without words"
        if own := _ARRAY.match(path.name):
            command = _conversion(path.with_name(own[1]))
            problem += f". gensim wrote it beside {own[1]}, which can be converted: {command}"
        raise FormatError(path, problem)
    if head.startswith(_FASTTEXT):
        raise FormatError(path, "fastText's own format; its .vec file is wanted")
    first, _, following = head.partition(b"\n")
    header = _HEADER.fullmatch(first)
    if header:
        count, size = int(header[1]), int(header[2])
        if not (count and size):
            raise FormatError(path, f"no vectors: the header says {count} words of {size} numbers")
        return _Form(not _is_text(following, size), True, count, size)
    if not _is_text(head):
        raise FormatError(path, "no word vectors: neither a header nor text at the beginning")
    with path.open("rb") as raw, unpacked(raw, lambda: "line 1") as file:
        size = len(_fields(file.readline())) - 1
        if size < 1:
            raise FormatError(path, "expected a word and its numbers", record="line 1")
        count = 1 + sum(1 for line in file if line.strip())
    return _Form(False, False, count, size)


def _conversion(path: Path) -> str:
    """The command that writes gensim's own file, of a whole model too, in word2vec's format."""
    code = (
        f"from gensim.models import KeyedVectors; held = KeyedVectors.load({str(path)!r}); "
        f"getattr(held, 'wv', held).save_word2vec_format({f'{path}.bin'!r}, binary=True)"
    )
    plain = not set(code) & set('"$`\\!')  # of what shells look at between double quotes
    return f'python -c "{code}"' if plain else f"python -c {shlex.quote(code)}"


def _is_text(head: bytes, size: int = 1) -> bool:
    """Whether rows of text begin here, perhaps faulty ones; else it is word2vec's binary format.

    Args:
        head: from the first row on.
        size: numbers in a row, if that is known.
    """
    fields = _fields(head.partition(b"\n")[0])
    # Not the last alone: the bytes of binary numbers hold a blank, a digit and a newline now and
    # then.
    if 2 * sum(map(_is_number, fields[1:])) >= size:
        return True
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not only the last letter, which may be cut
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


def _room(path: Path, count: int, form: _Form) -> NDArray[np.float32]:
    try:
        return np.empty((count, form.width), np.float32)
    except (MemoryError, ValueError) as error:
        problem = f"{count} words of {form.width} numbers do not fit into memory"
        raise FormatError(path, problem, record="line 1" if form.header else None) from error


def _read_binary(
    source: _Source, rows: dict[str, int], matrix: NDArray[np.float32], *, rest: bool
) -> None:
    count, size = matrix.shape
    buffer, place = b"", 0
    for row in range(count):
        while (space := buffer.find(b" ", place)) < 0 or len(buffer) < space + 1 + 4 * size:
            if space < 0 and len(buffer) - place > _LONGEST_WORD:
                raise source.error(row, f"no word, or the header's {size} numbers are wrong")
            # As much again: by blocks alone, a row as wide as a wrong header has it takes for ever.
            more = source.file.read(max(_BLOCK, len(buffer) - place))
            if not more:
                problem = f"the file ends here, but the header says {count} words of {size} numbers"
                raise source.error(row, problem)
            buffer, place = buffer[place:] + more, 0
        # The original tool ends a vector with a line feed, gensim does not.
        source.add(rows, buffer[place:space].removeprefix(b"\n"))
        matrix[row] = np.frombuffer(buffer, "<f4", size, space + 1)
        place = space + 1 + 4 * size
    if rest and (buffer[place:] + source.file.read(1)).strip(b"\n"):
        problem = f"the header says {count} words of {size} numbers, but more follows"
        raise source.error(count, problem)


def _read_text(
    source: _Source, rows: dict[str, int], matrix: NDArray[np.float32], *, rest: bool
) -> None:
    count, size = matrix.shape
    for row in range(count):
        line = source.file.readline()
        if not line:
            raise source.error(row, f"the file ends here, but the header says {count} words")
        name, *numbers = line.rstrip(b" \r\n").rsplit(b" ", size)
        # GloVe's largest file has words with spaces in them, such as ". . .".
        if len(numbers) < size or (b" " in name and _is_number(name.rpartition(b" ")[2])):
            found = len(_fields(line)) - 1
            raise source.error(row, f"expected a word and {size} numbers, found {found}")
        source.add(rows, name)
        try:
            with np.errstate(over="ignore"):  # 1e39 is infinite, and is refused as that later on
                matrix[row] = [float(number) for number in numbers]
        except ValueError as error:
            wrong = next(number for number in numbers if not _is_number(number))
            problem = f"{wrong.decode(errors='replace')!r} is no number"
            raise source.error(row, problem) from error
    if rest and source.file.read(_HEAD).strip():
        raise source.error(count, f"the header says {count} words, but more follow")


def _normalise(
    path: Path, matrix: NDArray[np.float32], words: list[str], where: Callable[[int], str]
) -> NDArray[np.float64]:
    """Bring each row to unit length in its place; return the lengths they had, ``(V,)``."""
    norms = np.empty(len(matrix))
    for start in range(0, len(matrix), _ROWS):
        with np.errstate(invalid="ignore"):  # some kinds of NaN warn, and all are refused below
            # Squares of 1e30 overflow float32.
            block = matrix[start : start + _ROWS].astype(np.float64)
            norm = np.sqrt((block**2).sum(1))
        if not np.isfinite(norm).all():
            row = start + int(np.flatnonzero(~np.isfinite(norm))[0])
            problem = f"the vector of {words[row]!r} has a number that is not finite"
            raise FormatError(path, problem, record=where(row))
        matrix[start : start + _ROWS] = block / np.where(norm > 0, norm, 1)[:, None]
        norms[start : start + _ROWS] = norm
    return norms


def _without_zeros(
    path: Path, words: list[str], matrix: NDArray[np.float32], kept: NDArray[np.bool_]
) -> WordFile:
    """Leave out vectors that have no direction, and say so: files for other uses pad with them."""
    zeros = [word for word, keep in zip(words, kept) if not keep]
    some = first_few(zeros)
    _log.warning("%s: %d words have a vector of zeros and are left out: %s", path, len(zeros), some)
    if not kept.any():
        raise FormatError(path, "there are no vectors but zeros in it")
    words = [word for word, keep in zip(words, kept) if keep]
    return WordFile(words, {word: row for row, word in enumerate(words)}, matrix[kept])
