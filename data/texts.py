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
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from data.errors import FormatError

# How packed files begin: RFC 1952, the .xz file format 1.2.1, bzip2's manual.
_GZIP, _XZ, _BZIP2 = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh"
_LONGEST_LINE = 1 << 20  # bytes; of a longer line the parts come one by one
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
# Apostrophes and hyphens as books print them; a soft hyphen only says where a line may be cut.
_PRINTED = str.maketrans(
    {"\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-", "\u00ad": None}
)
_SYNSET = re.compile(r"^n\d{8}(?:\s+|$)")  # as lines of WordNet's and ImageNet's lists begin


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
        path: UTF-8; gzip, xz and bzip2 are unpacked, whatever the file's name.
        advance: is told from time to time how many bytes of the file have been read since.

    Raises:
        FormatError: the file is not UTF-8, or packed and cut short or damaged; names the line.
        OSError: the file cannot be read.
    """
    number, rest, told = 1, b"", 0
    with path.open("rb") as raw, unpacked(raw, lambda: f"line {number}") as file:
        while True:
            part = file.readline(_LONGEST_LINE)
            if advance and raw.tell() > told:
                advance(raw.tell() - told)
                told = raw.tell()
            line, rest = rest + part, b""
            if not line:
                return
            ended = part.endswith(b"\n") or len(part) < _LONGEST_LINE
            if not ended:
                line, space, rest = line.rpartition(b" ")
                if not space:
                    problem = "a million bytes without a space are no text"
                    raise FormatError(path, problem, record=f"line {number}")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 at byte {error.start} of the line"
                raise FormatError(path, problem, record=f"line {number}") from error
            number += ended


@contextmanager
def unpacked(raw: BufferedReader, where: Callable[[], str]) -> Iterator[IO[bytes]]:
    """What a gzip, xz or bzip2 file holds, told by how it begins; any other file as it is.

    Args:
        raw: the file, open and at its beginning.
        where: the record that is being read, for the message.

    Raises:
        FormatError: what is packed is cut short or damaged; raised where it is read.
    """
    head = raw.peek(len(_XZ))
    file: Any = raw
    for magic, opened in ((_GZIP, gzip.open), (_XZ, lzma.open), (_BZIP2, bz2.open)):
        if head.startswith(magic):
            file = opened(raw)
    try:
        yield file
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's own
            raise
        problem = f"what is packed in it is cut short or damaged: {error}"
        raise FormatError(Path(raw.name), problem, record=where()) from error
    finally:
        file.close()


def read_labels(path: Path) -> list[str]:
    """The labels of a file, one a line, less the synset's number where lines begin with one.

    So it reads WordNet's ``n00001740<TAB>entity``, ImageNet's ``n01440764 tench, Tinca tinca`` and
    plain lists. Blank lines are no labels.

    Raises:
        FormatError: the file is not UTF-8, is damaged, or a label is missing.
        OSError: the file cannot be read.
    """
    labels = []
    for number, line in enumerate(text_lines(path), 1):
        label = _SYNSET.sub("", line.strip())
        if label:
            labels.append(label)
        elif line.strip():
            problem = "a synset's number without a label"
            raise FormatError(path, problem, record=f"line {number}")
    if not labels:
        raise FormatError(path, "there is no label in it")
    return labels


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
