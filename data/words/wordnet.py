"""WordNet's nouns: the words of each synset, and how near two of them are (Miller 1995).

A synset is known by its id, part of speech and offset in WordNet 3.0, as in ImageNet: n00001740.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vl.data.errors import FormatError
from vl.data.files import decode_text, first_few, split_lines

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

_ID = re.compile(r"[nvars]\d{8}")
_SHOWN = 4  # ids of a circle that its message names


class Corpus(Protocol):
    """What is used of NLTK's corpus reader."""

    def all_synsets(self, pos: str) -> Iterable[Any]:
        """Synsets of a part of speech."""


class Near(NamedTuple):
    """Some synsets around one, the nearest first; equals in WordNet's order."""

    rows: Rows  # (R,)
    hops: Rows  # (R,) is-a edges to each, up or down


class WordNet:
    """Synsets and the is-a edges between them, which form no circle; a synset may have two parents.

    Args:
        words: of each synset, by id; in this order they are numbered, which is their row.
        is_a: pairs of a synset and a kind of it, parent first.

    Raises:
        ValueError: a pair has an unknown id, is there twice, or closes a circle.
    """

    def __init__(self, words: Mapping[str, Sequence[str]], is_a: Sequence[tuple[str, str]]) -> None:
        self.ids: tuple[str, ...] = tuple(words)  # by row
        self._words = tuple(tuple(each) for each in words.values())
        self._rows = {name: row for row, name in enumerate(self.ids)}
        pairs = self._checked(is_a)
        self._children = _graph(pairs[:, 0], pairs[:, 1], len(self))
        self._parents = _graph(pairs[:, 1], pairs[:, 0], len(self))
        self._neighbours = _graph(pairs.T.ravel(), pairs[:, ::-1].T.ravel(), len(self))
        self._refuse_circles(pairs)

    @classmethod
    def read(cls, words: Path | str, *, is_a: Path | str) -> "WordNet":
        """The two files that ImageNet published.

        Args:
            words: lines of an id, a tab, and its words with commas between.
            is_a: lines of a parent's id, a space, and a child's.

        Raises:
            FormatError: a line is not of that form, or wrong as of the constructor.
            OSError: a file cannot be read.
        """
        pairs = []
        for number, line in enumerate(_lines(is_a), 1):
            parent, space, child = line.partition(" ")
            if not space:
                raise _wrong(is_a, number, f"expected two ids and a space between, not {line!r}")
            pairs.append((parent, child))
        try:
            return cls(_read_words(words), pairs)
        except _PairError as error:
            raise _wrong(is_a, error.index + 1, error.problem) from error

    @classmethod
    def at(cls, place: Path | str) -> "WordNet":
        """What a flag names: a folder with ImageNet's words.txt and is_a.txt, or ``nltk``.

        Raises:
            FormatError: see ``read``.
            OSError: there are no such files, or NLTK has no WordNet.
        """
        if str(place) == "nltk":
            return cls.from_nltk()
        return cls.read(Path(place) / "words.txt", is_a=Path(place) / "is_a.txt")

    @classmethod
    def from_nltk(cls, corpus: Corpus | None = None) -> "WordNet":
        """The nouns of NLTK's WordNet 3.0, which must be on this machine.

        Args:
            corpus: NLTK's reader; by default that of the corpus `wordnet`. NLTK's other WordNets
                number their synsets otherwise.

        Returns:
            Their edges are between kinds. As in ImageNet's file, an instance has none: Saki is a
            writer, and no kind of writer.

        Raises:
            FileNotFoundError: the corpus is not there; nothing is ever downloaded.
        """
        if corpus is None:
            from nltk.corpus import (
                wordnet,
            )  # here, as it takes longer than reading ImageNet's files

            corpus = wordnet
        try:
            words: dict[str, list[str]] = {}
            pairs: list[tuple[str, str]] = []
            for synset in corpus.all_synsets("n"):
                name = _nltk_id(synset)
                words[name] = [lemma.replace("_", " ") for lemma in synset.lemma_names()]
                pairs += [(_nltk_id(parent), name) for parent in synset.hypernyms()]
        except LookupError as error:
            raise FileNotFoundError(
                "NLTK has no WordNet on this machine: corpora/wordnet.zip of "
                "https://www.nltk.org/nltk_data is missing; fetch it with "
                "python -c \"import nltk; nltk.download('wordnet')\""
            ) from error
        return cls(words, pairs)

    def __len__(self) -> int:
        """Number of synsets, ``S``."""
        return len(self.ids)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def rows(self, names: Iterable[str]) -> Rows:
        """Where in ``ids`` these are, in their order.

        Raises:
            ValueError: one is no synset; the first three are named.
        """
        names = list(names)
        unknown = [name for name in names if name not in self._rows]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of {len(names)} are no synsets of this WordNet: "
                f"{first_few(unknown)}"
            )
        return np.array([self._rows[name] for name in names], dtype=np.int64)

    def words(self, name: str) -> tuple[str, ...]:
        """What a synset is called, its commonest word first."""
        return self._words[self._row(name)]

    def names(self) -> Mapping[str, tuple[str, ...]]:
        """What every synset is called, by id."""
        return dict(zip(self.ids, self._words))

    def parents(self, name: str) -> tuple[str, ...]:
        """What it is a kind of, one step up."""
        return self._named(self._parents.beyond(self.rows([name])))

    def children(self, name: str) -> tuple[str, ...]:
        """The kinds of it, one step down."""
        return self._named(self._children.beyond(self.rows([name])))

    def ancestors(self, name: str) -> tuple[str, ...]:
        """All that it is a kind of, the nearest first."""
        return self._reached(self._parents, name)

    def descendants(self, name: str) -> tuple[str, ...]:
        """All kinds of it, the nearest first."""
        return self._reached(self._children, name)

    def hops(self, sources: Iterable[str]) -> Rows:
        """Edges from each synset to the nearest source, up or down, ``(S,)``; -1 without a way."""
        found = np.full(len(self), -1, dtype=np.int64)
        for hop, level in enumerate(_levels(self._neighbours, np.unique(self.rows(sources)))):
            found[level] = hop
        return found

    def distance(self, one: str, other: str) -> int | None:
        """Edges between two synsets, up or down; None without a way."""
        found = int(self.hops([one])[self._row(other)])
        return None if found < 0 else found

    def within(self, sources: Iterable[str], hops: int) -> tuple[str, ...]:
        """All at most that many edges from some source, the sources too, in WordNet's order.

        The published zero-shot lists count in a tree of their own: their "2-hops" are, but for
        ``animal``, just those labels of ImageNet that are one edge of `is_a.txt` from its 1,000.
        """
        found = self.hops(sources)
        return self._named(np.flatnonzero((found >= 0) & (found <= hops)))

    def nearest(self, name: str, among: Mask, *, at_least: int) -> Near:
        """The synsets nearest to one: hop by hop, until there are enough of them or no way on.

        Args:
            name: where to begin; it is itself among those found if ``among`` has it.
            among: which synsets count, ``(S,)``; the way may lead through others.
            at_least: the last hop is taken whole, so that there may be more.
        """
        rows: list[Rows] = []
        count = 0
        for level in _levels(self._neighbours, self.rows([name])):
            rows.append(level[among[level]])
            count += len(rows[-1])
            if count >= at_least:
                break
        hops = np.repeat(np.arange(len(rows)), [len(level) for level in rows])
        return Near(np.concatenate(rows), hops)

    def read_list(self, path: Path | str) -> tuple[str, ...]:
        """A file of labels: a synset's id a line; what follows a space, as its words, is not read.

        Raises:
            FormatError: an id is unknown or there twice, or the file is empty.
            OSError: the file cannot be read.
        """
        names: dict[str, int] = {}
        for number, line in enumerate(_lines(path), 1):
            name = line.partition(" ")[0]
            if name not in self._rows:
                raise _wrong(path, number, f"{name!r} is no synset of this WordNet")
            if names.setdefault(name, number) != number:
                raise _wrong(path, number, f"{name} is on line {names[name]} already")
        if not names:
            raise FormatError(path, "the file is empty")
        return tuple(names)

    def _row(self, name: str) -> int:
        return int(self.rows([name])[0])

    def _named(self, rows: Rows) -> tuple[str, ...]:
        return tuple(self.ids[row] for row in rows.tolist())

    def _reached(self, graph: "_Graph", name: str) -> tuple[str, ...]:
        return self._named(np.concatenate(list(_levels(graph, self.rows([name]))))[1:])

    def _checked(self, is_a: Sequence[tuple[str, str]]) -> Rows:
        """Pairs of ids to pairs of rows, ``(E, 2)``."""
        rows = [self._rows.get(name, -1) for pair in is_a for name in pair]
        pairs = np.array(rows, dtype=np.int64).reshape(-1, 2)
        for index, column in np.argwhere(pairs < 0)[:1].tolist():
            raise _PairError(index, f"{is_a[index][column]!r} has no words, so it is no synset")
        _, first = np.unique(pairs @ [len(self), 1], return_index=True)
        for index in np.setdiff1d(np.arange(len(pairs)), first)[:1].tolist():
            raise _PairError(index, f"{' '.join(is_a[index])} is there already")
        return pairs

    def _refuse_circles(self, pairs: Rows) -> None:
        """Take away what has no parent, again and again; what cannot be is in or below a circle."""
        parents_left = np.bincount(pairs[:, 1], minlength=len(self))
        free = np.flatnonzero(parents_left == 0)
        while len(free):
            below = self._children.beyond(free)
            parents_left -= np.bincount(below, minlength=len(self))
            below = np.unique(below)
            free = below[parents_left[below] == 0]
        stuck = np.flatnonzero(parents_left)
        if not len(stuck):
            return
        place: dict[int, int] = {}  # on a way up through what is stuck, which must meet itself
        row = int(stuck[0])
        while row not in place:
            place[row] = len(place)
            above = self._parents.beyond(np.array([row]))
            row = int(above[parents_left[above] > 0][0])
        circle = [*list(place)[place[row] :], row]
        edges = {(parent, child) for child, parent in pairwise(circle)}
        last = max(index for index, pair in enumerate(pairs.tolist()) if tuple(pair) in edges)
        shown = " is a ".join(self._named(np.array(circle[:_SHOWN])))
        raise _PairError(last, f"closes a circle: {shown}{' ...' if len(circle) > _SHOWN else ''}")


class _Graph(NamedTuple):
    """Edges by where they begin: those of row r lead to ``to[first[r] : first[r + 1]]``."""

    first: Rows  # (S + 1,)
    to: Rows  # (E,)

    def beyond(self, rows: Rows) -> Rows:
        """Where the edges of these rows lead, ``(their number,)``; one place may come twice."""
        begin = self.first[rows]
        count = self.first[rows + 1] - begin
        begin = begin - (np.cumsum(count) - count)  # so that counting goes on from row to row
        return self.to[np.repeat(begin, count) + np.arange(count.sum())]


def _graph(begin: Rows, end: Rows, size: int) -> _Graph:
    first = np.concatenate([[0], np.cumsum(np.bincount(begin, minlength=size))])
    return _Graph(first, end[np.lexsort((end, begin))])


def _levels(graph: _Graph, level: Rows) -> Iterator[Rows]:
    """The rows themselves, those one edge away, those two edges away, ..., each row once."""
    seen = np.zeros(len(graph.first) - 1, dtype=np.bool_)
    while len(level):
        seen[level] = True
        yield level
        beyond = graph.beyond(level)
        level = np.unique(beyond[~seen[beyond]])


class _PairError(ValueError):
    def __init__(self, index: int, problem: str) -> None:
        super().__init__(f"is-a pair {index}: {problem}")
        self.index = index
        self.problem = problem


def _read_words(path: Path | str) -> dict[str, list[str]]:
    words: dict[str, list[str]] = {}
    for number, line in enumerate(_lines(path), 1):
        name, _, text = line.partition("\t")
        found = text.split(", ")
        if not _ID.fullmatch(name) or not all(found):
            problem = f"expected an id as n00001740, a tab, and words, not {line!r}"
            raise _wrong(path, number, problem)
        if name in words:
            raise _wrong(path, number, f"{name} is there already")
        words[name] = found
    return words


def _lines(path: Path | str) -> list[str]:
    path = Path(path)
    return split_lines(decode_text(path, path.read_bytes()))


def _wrong(path: Path | str, number: int, problem: str) -> FormatError:
    return FormatError(path, problem, record=f"line {number}")


def _nltk_id(synset: Any) -> str:
    return f"{synset.pos()}{synset.offset():08d}"
