"""Reading labels: from a file with one a line, or from a flag's value.

It does not know which of them have vectors.
"""

import contextlib
import errno
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vl.data.errors import FormatError
from vl.data.words.labels import SYNSET_ID, Label, text_of_class
from vl.data.words.texts import text_lines

Lemmas = Mapping[str, Sequence[str]]  # the words of WordNet's synsets, by id

_ID_PREFIX = re.compile(rf"({SYNSET_ID.pattern})(?:[\s,]+|$)")
_BLANK = ", \t"  # of which alone a label cannot be
_FILE_SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".lst")


class LabelList(NamedTuple):
    """Labels in the order of a file or a command line, and what was left out."""

    labels: tuple[Label, ...]
    notes: tuple[str, ...] = ()  # a sentence for each reason to leave something out

    @property
    def texts(self) -> tuple[str, ...]:
        """The labels' texts: in "tench, Tinca tinca" commas separate synonyms."""
        return tuple(label.text for label in self.labels)

    @property
    def synsets(self) -> tuple[str | None, ...]:
        """The labels' WordNet ids."""
        return tuple(label.synset for label in self.labels)


def read_labels(argument: str, *, lemmas: Lemmas | None = None) -> LabelList:
    """Labels from a flag's value: the name of a file, or labels separated by commas.

    Args:
        argument: read as a file if there is one of that name.
        lemmas: see ``read_label_file``.

    Raises:
        FileNotFoundError: it looks like a file name, and there is no such file.
        IsADirectoryError: it is a folder.
        ValueError: see ``read_label_file`` and ``parse_labels``.
        OSError: the file cannot be read.
    """
    path = find_label_file(argument)
    return (
        parse_labels(argument, lemmas=lemmas)
        if path is None
        else read_label_file(path, lemmas=lemmas)
    )


def find_label_file(argument: str) -> Path | None:
    """The file that a flag's value names; None if it is labels separated by commas.

    Raises:
        FileNotFoundError: it looks like a file name, and there is no such file.
        IsADirectoryError: it is a folder.
    """
    path = Path(argument)
    exists = False
    with contextlib.suppress(OSError, ValueError):  # labels may be too long for a file name
        exists = bool(argument) and path.exists()
    if not exists:
        if "/" in argument or "\\" in argument or argument.lower().endswith(_FILE_SUFFIXES):
            problem = "no such file of labels (a label with a slash must come in a file)"
            raise FileNotFoundError(errno.ENOENT, problem, argument)
        return None
    if path.is_dir():
        problem = f"a folder, not a file of labels (write '{argument},' for the label itself)"
        raise IsADirectoryError(errno.EISDIR, problem, argument)
    return path


def parse_labels(text: str, *, lemmas: Lemmas | None = None) -> LabelList:
    """Labels separated by commas: ``"okapi, electric guitar, stop sign"`` are three.

    Raises:
        ValueError: there is no label, there are several lines, or a WordNet id has no words.
    """
    if len(text.strip().splitlines()) > 1:
        raise ValueError("the labels span several lines; give the name of a file that holds them")
    reader = _ListReader("item", lemmas)
    for index, item in enumerate(text.split(","), 1):
        try:
            reader.add(item, index)
        except ValueError as error:
            raise ValueError(f"item {index} of the labels: {error}") from error
    if not reader.labels:
        raise ValueError(f"there is no label in {text!r}")
    return LabelList(tuple(reader.labels), reader.notes())


def read_label_file(path: Path, *, lemmas: Lemmas | None = None) -> LabelList:
    """The labels of a file, one a line; commas separate a label's synonyms.

    A line may begin with a WordNet id, as WordNet's ``n00001740<TAB>entity`` and ImageNet's
    ``n01440764 tench, Tinca tinca`` do. Blank lines and repeated labels are left out. A label is
    repeated if its id is, or, without one, all its names: two synsets may have the same words.

    Args:
        path: UTF-8, compressed or not, as ``vl.data.words.texts.text_lines`` takes it.
        lemmas: the words of WordNet's ids, for lines that are an id only.

    Raises:
        FormatError: the file is not text, a line is an id without words, or there is no label.
        OSError: the file cannot be read.
    """
    reader = _ListReader("line", lemmas)
    for index, line in enumerate(text_lines(path), 1):
        try:
            reader.add(line, index)
        except ValueError as error:
            raise FormatError(path, str(error), record=f"line {index}") from error
    if not reader.labels:
        raise FormatError(path, "there is no label in it")
    notes = reader.notes()
    if len(reader.labels) == 1 and "," in reader.labels[0].text and not reader.labels[0].synset:
        notes += ("the only line is one label with synonyms; write each label on its own line",)
    return LabelList(tuple(reader.labels), notes)


def read_label(text: str, *, lemmas: Lemmas | None = None) -> Label:
    """A label from a line: its WordNet id if it begins with one, and its names.

    Args:
        text: as a line of a file; commas separate synonyms.
        lemmas: see ``read_label_file``.

    Raises:
        ValueError: there is no label, or an id has no words.
    """
    text = text.strip()
    if not text.strip(_BLANK):
        raise ValueError(f"there is no label in {text!r}")
    synset = None
    if match := _ID_PREFIX.match(text):
        synset, text = match[1], text[match.end() :]
        if not text:
            if lemmas is None:
                raise ValueError(
                    f"{synset} is without words; write them behind it, or give --wordnet"
                )
            if synset not in lemmas:
                raise ValueError(f"{synset} is without words, and WordNet has no such id")
            text = ", ".join(lemmas[synset])
    if "\t" in text:
        raise ValueError(f"a tab may only separate a WordNet id from its words, not {text!r}")
    return Label(text, synset)


def read_class(name: str) -> Label:
    """The label of a class as a classifier, a folder or a user calls it; an id needs no words."""
    text = text_of_class(name)
    try:
        return read_label(text)
    except ValueError:  # an id or commas alone
        return Label(text, text if SYNSET_ID.fullmatch(text) else None)


class _ListReader:
    """The labels of a list so far, and what was left out.

    Args:
        unit: what is counted, lines or items.
        lemmas: the words of WordNet's ids.
    """

    def __init__(self, unit: str, lemmas: Lemmas | None) -> None:
        self.labels: list[Label] = []
        self._unit = unit
        self._lemmas = lemmas
        self._first: dict[str | tuple[str, ...], int] = {}  # by id or names, where it came first
        self._empty: list[int] = []
        self._repeated: list[tuple[str, int, int]] = []  # label, where, where it came first

    def add(self, text: str, index: int) -> None:
        if not text.strip().strip(_BLANK):
            self._empty.append(index)
            return
        label = read_label(text, lemmas=self._lemmas)
        first = self._first.setdefault(label.synset or label.names, index)
        if first == index:
            self.labels.append(label)
        else:
            self._repeated.append((label.synset or label.text, index, first))

    def notes(self) -> tuple[str, ...]:
        notes = []
        if self._empty:
            count, first = len(self._empty), self._empty[0]
            subject = f"an empty {self._unit}" if count == 1 else f"{count} empty {self._unit}s"
            notes.append(f"left out: {subject}, first {self._unit} {first}")
        if self._repeated:
            label, index, first = self._repeated[0]
            count = len(self._repeated)
            subject = "a repeated label" if count == 1 else f"{count} repeated labels"
            notes.append(
                f"left out: {subject}, first {label!r} in {self._unit} {index}, "
                f"the same as {self._unit} {first}"
            )
        return tuple(notes)
