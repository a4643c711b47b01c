"""Reading labels: from a file, a line or a record each, or from a flag's value.

It does not know which of them have vectors.
"""

import contextlib
import errno
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vl.data.errors import FormatError
from vl.data.words.label_tables import (
    DEFAULT_COLUMNS,
    LabelColumns,
    LabelRecord,
    read_label_records,
)
from vl.data.words.labels import SYNSET_ID, Label, text_of_class

Lemmas = Mapping[str, Sequence[str]]  # the words of WordNet's synsets, by id

_ID_PREFIX = re.compile(rf"({SYNSET_ID.pattern})(?:[\s,]+|$)")
_BLANK = ", \t"  # of which alone a label cannot be
_FILE_SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".lst")


class LabelList(NamedTuple):
    """Labels in the order of a file or a command line, and what was left out."""

    labels: tuple[Label, ...]
    notes: tuple[str, ...] = ()  # a sentence for each reason to leave something out
    num_left_out: int = 0  # records that are empty or repeated

    @property
    def texts(self) -> tuple[str, ...]:
        """The labels' texts: in "tench, Tinca tinca" commas separate synonyms."""
        return tuple(label.text for label in self.labels)

    @property
    def synsets(self) -> tuple[str | None, ...]:
        """The labels' WordNet ids."""
        return tuple(label.synset for label in self.labels)


def read_labels(
    argument: str, *, lemmas: Lemmas | None = None, columns: LabelColumns = DEFAULT_COLUMNS
) -> LabelList:
    """Labels from a flag's value: the name of a file, or labels separated by commas.

    Args:
        argument: read as a file if there is one of that name.
        lemmas: see ``read_label_file``.
        columns: see ``read_label_file``.

    Raises:
        ValueError: see ``read_label_file`` and ``parse_labels``.
        OSError: see ``find_label_file``, or the file cannot be read.
    """
    path = find_label_file(argument)
    if path is None:
        return parse_labels(argument, lemmas=lemmas)
    return read_label_file(path, lemmas=lemmas, columns=columns)


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
    try:
        items = [LabelRecord(f"item {n}", item) for n, item in enumerate(text.split(","), 1)]
        return _read_list(items, lemmas)
    except _ItemError as error:
        where = f"{error.item} of the labels" if error.item else repr(text)
        raise ValueError(f"{where}: {error}") from error


def read_label_file(
    path: Path, *, lemmas: Lemmas | None = None, columns: LabelColumns = DEFAULT_COLUMNS
) -> LabelList:
    """The labels of a file, a line or a record each; commas separate a label's synonyms.

    A line may begin with a WordNet id, as WordNet's ``n00001740<TAB>entity`` and ImageNet's
    ``n01440764 tench, Tinca tinca`` do. Blank lines and repeated labels are left out. A label is
    repeated if its id is, or, without one, all its names: two synsets may have the same words.

    Args:
        path: lines, a table or JSON; see ``read_label_records``.
        lemmas: the words of WordNet's ids, for lines that are an id only.
        columns: of a table, by their names.

    Raises:
        FormatError: see ``read_label_records``; a line is an id without words, or there is no
            label.
        OSError: the file cannot be read.
    """
    content = read_label_records(path, columns)
    try:
        listed = _read_list(content.records, lemmas)
    except _ItemError as error:
        raise FormatError(path, str(error), record=error.item) from error
    listed = listed._replace(notes=(*content.notes, *listed.notes))
    label = listed.labels[0]
    if (
        len(content.records) == 1
        and len(listed.labels) == 1
        and "," in label.text
        and not label.synset
    ):
        note = "the only line is one label with synonyms; write each label on its own line"
        return listed._replace(notes=(*listed.notes, note))
    return listed


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
        raise ValueError(
            f"a tab may only separate a WordNet id from its words, not {text!r}; a table is a .tsv "
            "whose first line names its columns"
        )
    return Label(text, synset)


def read_class(name: str) -> Label:
    """The label of a class as a classifier, a folder or a user calls it; an id needs no words."""
    text = text_of_class(name)
    try:
        return read_label(text)
    except ValueError:  # an id or commas alone
        return Label(text, text if SYNSET_ID.fullmatch(text) else None)


class _ItemError(ValueError):
    def __init__(self, problem: str, item: str | None = None) -> None:
        super().__init__(problem)
        self.item = item


def _read_list(records: Sequence[LabelRecord], lemmas: Lemmas | None) -> LabelList:
    """The labels of lines or items, without empty and repeated ones."""
    labels: list[Label] = []
    first_of: dict[str | tuple[str, ...], str] = {}  # by id or names, where a label came first
    empty: list[str] = []
    repeated: list[str] = []
    for record, text in records:
        if not text.strip().strip(_BLANK):
            empty.append(record)
            continue
        try:
            label = read_label(text, lemmas=lemmas)
        except ValueError as error:
            raise _ItemError(str(error), record) from error
        first = first_of.setdefault(label.synset or label.names, record)
        if first == record:
            labels.append(label)
        else:
            name = label.synset or label.text
            repeated.append(f"{name!r} in {record}, the same as {first}")
    if not labels:
        raise _ItemError("there is no label in it")
    notes = []
    if empty:
        unit = empty[0].partition(" ")[0]
        notes.append(f"left out: empty {unit}s ({len(empty)}), first {empty[0]}")
    if repeated:
        notes.append(f"left out: repeated labels ({len(repeated)}), first {repeated[0]}")
    return LabelList(tuple(labels), tuple(notes), len(empty) + len(repeated))
