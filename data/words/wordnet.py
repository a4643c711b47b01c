"""WordNet's nouns: the words of each synset, and distances between synsets (Miller 1995).

A synset's id is its part of speech and offset in WordNet 3.0, as in ImageNet: n00001740. Graph
walks are NumPy's: a step of the breadth-first search by scipy.sparse takes 3 times as long.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.data.errors import FormatError
from vl.data.files import first_few
from vl.data.text_files import read_text, split_lines
from vl.data.words.labels import SYNSET_ID

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

_MAX_NAMED = 4  # ids of a cycle in its message


class Nearest(NamedTuple):
    """Synsets by their distance, ties in WordNet's order."""

    rows: Rows  # (R,)
    hops: Rows  # (R,) is-a edges to each, up or down


class WordNet:
    """Synsets and the is-a edges between them, an acyclic graph; a synset may have two parents.

    Args:
        words: the words of each synset by id; a synset's row is its position here.
        is_a: pairs of ids, hypernym first.

    Raises:
        ValueError: a pair has an unknown id, is there twice, or closes a cycle.
    """

    def __init__(self, words: Mapping[str, Sequence[str]], is_a: Sequence[tuple[str, str]]) -> None:
        self.ids: tuple[str, ...] = tuple(words)  # by row
        self._words = tuple(map(tuple, words.values()))
        self._rows = {name: row for row, name in enumerate(self.ids)}
        pairs = self._edges(is_a)
        self._children = _graph(pairs[:, 0], pairs[:, 1], len(self))
        self._parents = _graph(pairs[:, 1], pairs[:, 0], len(self))
        self._neighbors = _graph(pairs.T.ravel(), pairs[:, ::-1].T.ravel(), len(self))
        self._check_acyclic(pairs)

    @classmethod
    def load(cls, source: Path | str) -> "WordNet":
        """Load a folder with the two files published with ImageNet, or ``nltk``.

        Args:
            source: the folder. In ``words.txt`` a line has an id, a tab, and its words separated
                by commas; in ``is_a.txt`` a hypernym's id, a space, and a hyponym's.

        Raises:
            FormatError: a line has another format, or see the constructor.
            OSError: a file cannot be read, or NLTK has no WordNet.
        """
        if str(source) == "nltk":
            return cls.from_nltk()
        is_a = Path(source) / "is_a.txt"
        pairs = []
        for number, line in enumerate(_lines(is_a), 1):
            parent, space, child = line.partition(" ")
            if not space:
                problem = f"expected two ids separated by a space, not {line!r}"
                raise _line_error(is_a, number, problem)
            pairs.append((parent, child))
        try:
            return cls(_read_words(Path(source) / "words.txt"), pairs)
        except _PairError as error:
            raise _line_error(is_a, error.index + 1, error.problem) from error

    @classmethod
    def from_nltk(cls, corpus: Any = None) -> "WordNet":
        """Load the nouns of NLTK's WordNet 3.0, which must be on this machine.

        Args:
            corpus: NLTK's reader; by default that of the corpus `wordnet`. The synsets of NLTK's
                other WordNets have other ids.

        Returns:
            With edges between classes only, as in ImageNet's file: an instance such as Saki, a
            writer, has none.

        Raises:
            FileNotFoundError: the corpus is missing; nothing is ever downloaded.
        """
        if corpus is None:
            from nltk.corpus import wordnet  # slower to import than ImageNet's files are to read

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
        """Rows of some ids, in their order.

        Raises:
            ValueError: one is unknown; the first three are named.
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
        """The words of a synset, the most frequent first."""
        return self._words[int(self.rows([name])[0])]

    def lemmas(self) -> Mapping[str, tuple[str, ...]]:
        """The words of every synset, by id."""
        return dict(zip(self.ids, self._words))

    def parents(self, name: str) -> tuple[str, ...]:
        """The direct hypernyms of a synset."""
        return self._ids(self._parents.targets(self.rows([name])))

    def children(self, name: str) -> tuple[str, ...]:
        """The direct hyponyms of a synset."""
        return self._ids(self._children.targets(self.rows([name])))

    def ancestors(self, name: str) -> tuple[str, ...]:
        """All hypernyms of a synset, the nearest first."""
        return self._reachable(self._parents, name)

    def descendants(self, name: str) -> tuple[str, ...]:
        """All hyponyms of a synset, the nearest first."""
        return self._reachable(self._children, name)

    def hops(self, sources: Iterable[str]) -> Rows:
        """Edges from each synset to the nearest source, up or down, ``(S,)``; -1 without a path.

        The published zero-shot lists count hops in another tree: their "2-hops" are, but for
        ``animal``, the labels of ImageNet that are one edge of `is_a.txt` from its 1,000.
        """
        hops = np.full(len(self), -1, dtype=np.int64)
        for hop, level in enumerate(_levels(self._neighbors, np.unique(self.rows(sources)))):
            hops[level] = hop
        return hops

    def nearest(self, name: str, candidates: Mask, *, min_count: int) -> Nearest:
        """The synsets nearest to one, hop by hop until there are enough.

        Args:
            name: the source; it is in the result if it is a candidate.
            candidates: mask of synsets, ``(S,)``; paths may lead through others.
            min_count: the last hop is complete, so that there may be more.
        """
        rows: list[Rows] = []
        count = 0
        for level in _levels(self._neighbors, self.rows([name])):
            rows.append(level[candidates[level]])
            count += len(rows[-1])
            if count >= min_count:
                break
        hops = np.repeat(np.arange(len(rows)), [len(level) for level in rows])
        return Nearest(np.concatenate(rows), hops)

    def read_list(self, path: Path | str) -> tuple[str, ...]:
        """Read a list of synsets, an id a line; what follows a space is ignored.

        Raises:
            FormatError: an id is unknown or there twice, or the file is empty.
            OSError: the file cannot be read.
        """
        names: dict[str, int] = {}
        for number, line in enumerate(_lines(path), 1):
            name = line.partition(" ")[0]
            if name not in self._rows:
                raise _line_error(path, number, f"{name!r} is no synset of this WordNet")
            if names.setdefault(name, number) != number:
                raise _line_error(path, number, f"{name} is on line {names[name]} already")
        if not names:
            raise FormatError(path, "the file is empty")
        return tuple(names)

    def _ids(self, rows: Rows) -> tuple[str, ...]:
        return tuple(self.ids[row] for row in rows.tolist())

    def _reachable(self, graph: "_Graph", name: str) -> tuple[str, ...]:
        return self._ids(np.concatenate(list(_levels(graph, self.rows([name]))))[1:])

    def _edges(self, is_a: Sequence[tuple[str, str]]) -> Rows:
        """Pairs of ids as pairs of rows, ``(E, 2)``."""
        rows = [self._rows.get(name, -1) for pair in is_a for name in pair]
        pairs = np.array(rows, dtype=np.int64).reshape(-1, 2)
        for index, column in np.argwhere(pairs < 0)[:1].tolist():
            raise _PairError(index, f"{is_a[index][column]!r} has no words")
        _, first = np.unique(pairs @ [len(self), 1], return_index=True)
        for index in np.setdiff1d(np.arange(len(pairs)), first)[:1].tolist():
            raise _PairError(index, f"{' '.join(is_a[index])} is there already")
        return pairs

    def _check_acyclic(self, pairs: Rows) -> None:
        """Remove synsets without parents repeatedly; the rest is in or below a cycle."""
        num_parents = np.bincount(pairs[:, 1], minlength=len(self))
        roots = np.flatnonzero(num_parents == 0)
        while len(roots):
            below = self._children.targets(roots)
            num_parents -= np.bincount(below, minlength=len(self))
            below = np.unique(below)
            roots = below[num_parents[below] == 0]
        cyclic = np.flatnonzero(num_parents)
        if not len(cyclic):
            return
        visited: dict[int, int] = {}  # a path up through the rest, which must meet itself
        row = int(cyclic[0])
        while row not in visited:
            visited[row] = len(visited)
            above = self._parents.targets(np.array([row]))
            row = int(above[num_parents[above] > 0][0])
        cycle = [*list(visited)[visited[row] :], row]
        edges = {(parent, child) for child, parent in pairwise(cycle)}
        last = max(index for index, pair in enumerate(pairs.tolist()) if tuple(pair) in edges)
        path = " is a ".join(self._ids(np.array(cycle[:_MAX_NAMED])))
        raise _PairError(last, f"closes a cycle: {path}{' ...' if len(cycle) > _MAX_NAMED else ''}")


class _Graph(NamedTuple):
    """Edges in compressed rows: those of row r lead to ``indices[offsets[r] : offsets[r + 1]]``."""

    offsets: Rows  # (S + 1,)
    indices: Rows  # (E,)

    def targets(self, rows: Rows) -> Rows:
        """The rows that the edges of some rows lead to, perhaps repeated."""
        begin = self.offsets[rows]
        count = self.offsets[rows + 1] - begin
        begin = begin - (np.cumsum(count) - count)  # the arange below runs on from row to row
        return self.indices[np.repeat(begin, count) + np.arange(count.sum())]


def _graph(begin: Rows, end: Rows, size: int) -> _Graph:
    offsets = np.concatenate([[0], np.cumsum(np.bincount(begin, minlength=size))])
    return _Graph(offsets, end[np.lexsort((end, begin))])


def _levels(graph: _Graph, level: Rows) -> Iterator[Rows]:
    """Breadth-first search: the rows themselves, those one edge away, those two edges away, ..."""
    visited = np.zeros(len(graph.offsets) - 1, dtype=np.bool_)
    while len(level):
        visited[level] = True
        yield level
        targets = graph.targets(level)
        level = np.unique(targets[~visited[targets]])


class _PairError(ValueError):
    def __init__(self, index: int, problem: str) -> None:
        super().__init__(f"is-a pair {index}: {problem}")
        self.index = index
        self.problem = problem


def _read_words(path: Path | str) -> dict[str, list[str]]:
    words: dict[str, list[str]] = {}
    for number, line in enumerate(_lines(path), 1):
        name, _, text = line.partition("\t")
        lemmas = text.split(", ")
        if not SYNSET_ID.fullmatch(name) or not all(lemmas):
            problem = f"expected an id as n00001740, a tab, and words, not {line!r}"
            raise _line_error(path, number, problem)
        if name in words:
            raise _line_error(path, number, f"{name} is there already")
        words[name] = lemmas
    return words


def _lines(path: Path | str) -> list[str]:
    return split_lines(read_text(Path(path)))


def _line_error(path: Path | str, number: int, problem: str) -> FormatError:
    return FormatError(path, problem, record=f"line {number}")


def _nltk_id(synset: Any) -> str:
    return f"{synset.pos()}{synset.offset():08d}"
