"""Labels, and when two of them are the same.

The one rule of label identity, in three strengths:

- ``UniqueLabels`` merges: two labels with WordNet ids are the same if the ids are, two without if
  all their names are; one without an id is one with an id if its first name is among the other's.
- ``LabelIndex.find`` looks up: by id where both have one, else the query's first name counts among
  all names of a label.
- ``LabelIndex.shares_name`` excludes: by id where both have one, else any name in common counts.

Names are compared without case, repeated blanks, underscores and Unicode's ways to write a letter.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

SYNSET_ID = re.compile(r"[nvars]\d{8}")  # of WordNet


@dataclass(frozen=True)
class Label:
    """A label: its names, separated by commas, and the WordNet id of its sense."""

    text: str
    synset: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its names as they are compared, at least one."""
        names = (text_of_class(name).casefold() for name in self.text.split(","))
        return tuple(name for name in names if name) or (self.text,)


class LabelIndex:
    """Labels in a fixed order, looked up by id or name.

    Args:
        labels: none is left out or merged: a position here is one in the sequence.
    """

    def __init__(self, labels: Iterable[Label]) -> None:
        self.labels = tuple(labels)
        self._by_id: dict[str, list[int]] = {}
        self._by_name: dict[str, list[int]] = {}
        for position, label in enumerate(self.labels):
            if label.synset:
                self._by_id.setdefault(label.synset, []).append(position)
            for name in dict.fromkeys(label.names):
                self._by_name.setdefault(name, []).append(position)

    @property
    def has_ids(self) -> bool:
        """Whether any of the labels has a WordNet id."""
        return bool(self._by_id)

    def find(self, label: Label) -> list[int]:
        """Positions of the labels that a label may be, in order.

        Those with its id; if there are none, those with its first name among theirs. A label with
        an id is never one with another id.
        """
        return self._matches(label, label.names[:1])

    def find_closest(self, label: Label) -> list[int]:
        """As ``find``, but labels with the same names exclude those that have others too.

        More than one position: the label is ambiguous.
        """
        positions = self.find(label)
        return [i for i in positions if self.labels[i].names == label.names] or positions

    def shares_name(self, label: Label) -> bool:
        """Whether some label has the same id, or any name in common and not another id."""
        return bool(self._matches(label, label.names))

    def _matches(self, label: Label, names: Sequence[str]) -> list[int]:
        if label.synset and label.synset in self._by_id:
            return self._by_id[label.synset]
        positions = [i for name in names for i in self._by_name.get(name, ())]
        return [i for i in positions if not (label.synset and self.labels[i].synset)]


class UniqueLabels:
    """Labels as they come, each once.

    A label without an id that could be one of several with ids is the first of them; one that came
    before its id takes the id on.
    """

    def __init__(self) -> None:
        self.labels: list[Label] = []  # the text that came first
        self._by_id: dict[str, int] = {}
        self._by_name_with_id: dict[str, int] = {}
        self._by_names: dict[tuple[str, ...], int] = {}  # of labels that came without an id
        self._waiting: dict[str, int] = {}  # first names of labels that have no id yet

    def add(self, label: Label) -> int:
        """Position of the label, which is new if none of those before is the same."""
        names = label.names
        position: int | None
        if label.synset:
            position = self._by_id.get(label.synset)
            name = next((name for name in names if name in self._waiting), None)
            if position is None and name is not None:
                position = self._waiting.pop(name)
        else:
            position = self._by_names.get(names, self._by_name_with_id.get(names[0]))
        if position is None:
            position = len(self.labels)
            self.labels.append(label)
        if label.synset:
            self.labels[position] = replace(self.labels[position], synset=label.synset)
            self._by_id[label.synset] = position
            for name in names:
                self._by_name_with_id.setdefault(name, position)
        else:
            self._by_names[names] = position
            if self.labels[position].synset is None:
                self._waiting.setdefault(names[0], position)
        return position


def text_of_class(name: str) -> str:
    """A label's text from a class's folder name: ``"stop_sign"`` is ``"stop sign"``.

    ``"n01440764"`` stays, and ``"n01440764_tench"`` becomes ``"n01440764 tench"``; ``read_label``
    reads both.
    """
    return unicodedata.normalize("NFC", " ".join(re.split(r"[\s_]+", name)).strip())
