"""The labels that somebody asks for: a file with a label a line, or a few on the command line.

It does not know which of them have vectors.
"""

import contextlib
import errno
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vl.data.errors import FormatError
from vl.data.words.texts import text_lines

Names = Mapping[str, Sequence[str]]  # words of WordNet's ids

_ID = re.compile(
    r"([nvars]\d{8})(?:[\s,]+|$)"
)  # as in vl.data.words.wordnet, and what parts it from words
_FILE_ENDINGS = (".txt", ".csv", ".tsv", ".json", ".lst")


class LabelList(NamedTuple):
    """Labels, each once, in the order in which they are asked for."""

    labels: tuple[str, ...]  # as written: in "tench, Tinca tinca" commas part synonyms of one label
    ids: tuple[str | None, ...]  # WordNet's, where a line begins with one
    notes: tuple[str, ...]  # a sentence for each kind of thing that was left out


def of(argument: str, *, names: Names | None = None) -> LabelList:
    """What a flag means by ``argument``: a file of labels, or labels that commas part.

    Args:
        argument: where there is a file of that name, it is read.
        names: see ``read``.

    Raises:
        FileNotFoundError: it looks like a file's name, and there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: see ``read`` and ``parse``.
        OSError: the file cannot be read.
    """
    path = Path(argument)
    there = False
    with contextlib.suppress(OSError, ValueError):  # labels may be too long for a file's name
        there = bool(argument) and path.exists()
    if not there:
        if "/" in argument or "\\" in argument or argument.lower().endswith(_FILE_ENDINGS):
            problem = "no such file of labels (a label with a slash must come in a file)"
            raise FileNotFoundError(errno.ENOENT, problem, argument)
        return parse(argument, names=names)
    if path.is_dir():
        problem = f"a folder, no file of labels (the label itself is meant by '{argument},')"
        raise IsADirectoryError(errno.EISDIR, problem, argument)
    return read(path, names=names)


def parse(text: str, *, names: Names | None = None) -> LabelList:
    """The labels of a command line: ``"okapi, electric guitar, stop sign"`` are three.

    Raises:
        ValueError: there is no label, there are several lines, or a WordNet id is without words.
    """
    if len(text.strip().splitlines()) > 1:
        raise ValueError("the labels are of several lines; give the name of a file that holds them")
    gathered = _Gathered("item", names)
    for number, item in enumerate(text.split(","), 1):
        problem = gathered.add(item, number)
        if problem:
            raise ValueError(f"item {number} of the labels: {problem}")
    found = gathered.done()
    if not found.labels:
        raise ValueError(f"there is no label in {text!r}")
    return found


def read(path: Path, *, names: Names | None = None) -> LabelList:
    """The labels of a file, one a line; commas part a label's synonyms.

    A line may begin with a WordNet id, as WordNet's ``n00001740<TAB>entity`` and ImageNet's
    ``n01440764 tench, Tinca tinca`` do. Blank lines and labels that are there already are left
    out. A label is there already if it differs in capitals, blanks and Unicode's ways of writing a
    letter only; with an id, if the id is: two of WordNet's synsets may have the same words.

    Args:
        path: UTF-8, packed or not, as ``vl.data.words.texts.text_lines`` takes it.
        names: the words of WordNet's ids, for lines that are an id only.

    Raises:
        FormatError: the file is no text, a line is an id without words, or there is no label.
        OSError: the file cannot be read.
    """
    gathered = _Gathered("line", names)
    for number, line in enumerate(text_lines(path), 1):
        problem = gathered.add(line, number)
        if problem:
            raise FormatError(path, problem, record=f"line {number}")
    found = gathered.done()
    if not found.labels:
        raise FormatError(path, "there is no label in it")
    if len(found.labels) == 1 and "," in found.labels[0] and found.ids[0] is None:
        note = "all is one label with synonyms, for there is one line; labels stand one a line"
        return found._replace(notes=(*found.notes, note))
    return found


def one(text: str, *, names: Names | None = None) -> tuple[str, str | None]:
    """A label and its WordNet id, if it begins with one; commas part its synonyms.

    Args:
        text: as a line of a file.
        names: see ``read``.

    Raises:
        ValueError: there is no label, or an id is without words.
    """
    gathered = _Gathered("label", names)
    problem = gathered.add(text, 1)
    found = gathered.done()
    if problem or not found.labels:
        raise ValueError(problem or f"there is no label in {text!r}")
    return found.labels[0], found.ids[0]


class _Gathered:
    """Labels so far, and what was left out.

    Args:
        kind: what is numbered, a line or an item.
        names: the words of WordNet's ids.
    """

    def __init__(self, kind: str, names: Names | None) -> None:
        self._kind = kind
        self._names = names
        self._labels: list[str] = []
        self._ids: list[str | None] = []
        self._seen: dict[str, int] = {}  # the number of each
        self._empty: list[int] = []
        self._again: list[tuple[str, int, int]] = []  # label, its number, that of the first

    def add(self, text: str, number: int) -> str | None:
        """Take one more; returns what is wrong with it."""
        text = text.strip()
        if not text.strip(", \t"):
            self._empty.append(number)
            return None
        name, label = None, text
        if found := _ID.match(text):
            name, label = found[1], text[found.end() :]
            if not label:
                if self._names is None:
                    return f"{name} is without words; write them behind it, or give --wordnet"
                if name not in self._names:
                    return f"{name} is without words, and WordNet has no such id"
                label = ", ".join(self._names[name])
        if "\t" in label:
            return f"a tab parts a WordNet id from its words only, and here is {label!r}"
        first = self._seen.setdefault(name or _compared(label), number)
        if first != number:
            self._again.append((name or label, number, first))
        else:
            self._labels.append(label)
            self._ids.append(name)
        return None

    def done(self) -> LabelList:
        """All labels, and the notes."""
        notes = []
        if self._empty:
            count, first = len(self._empty), self._empty[0]
            these = (
                f"an empty {self._kind} is" if count == 1 else f"{count} empty {self._kind}s are"
            )
            notes.append(f"{these} left out, at first {self._kind} {first}")
        if self._again:
            label, number, first = self._again[0]
            count = len(self._again)
            these = "a label is" if count == 1 else f"{count} labels are"
            notes.append(
                f"{these} there already and left out, at first {label!r} in {self._kind} {number}, "
                f"which is {self._kind} {first}"
            )
        return LabelList(tuple(self._labels), tuple(self._ids), tuple(notes))


def _compared(label: str) -> str:
    """What two labels have in common that are the same."""
    label = " ".join(label.split()).casefold()
    return label if label.isascii() else unicodedata.normalize("NFC", label)


class SeenLabel(NamedTuple):
    """A label that the projections were trained on."""

    text: str
    synset: str | None  # WordNet's id, where it is known


def terms_of(label: str) -> set[str]:
    """The names of a label, as they are compared; an underscore is a blank."""
    return set(_names(label))


def _names(label: str) -> list[str]:
    names = [text_of_class(name).casefold() for name in label.split(",")]
    return [name for name in names if name] or [label]


def text_of_class(name: str) -> str:
    """A class, as its folder is called, into a label: ``"stop_sign"`` is ``"stop sign"``.

    ``"n01440764"`` stays, and ``"n01440764_tench"`` becomes ``"n01440764 tench"``, both of which
    ``vl.data.words.labels`` reads.
    """
    return unicodedata.normalize("NFC", " ".join(re.split(r"[\s_]+", name)).strip())
