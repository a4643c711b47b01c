"""Word vectors, and the vector of a label: as a phrase, as the mean of its words, as a synonym.

It does not know how vectors are trained, nor how their files are laid out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.data.words.files import read_word_file
from vl.data.words.texts import synonyms
from vl.data.words.word_forms import folded, plurals, singulars

Way = Literal["phrase", "spelling", "number", "words", "compound", "part", "none"]
WAYS: dict[Way, str] = {
    "phrase": "as they are written, words joined by underscores",
    "spelling": "in another spelling: hyphens, spaces, apostrophes, accents",
    "number": "as their plural or singular",
    "words": "by the mean of their words",
    "compound": "by the mean of their words, one of them taken apart: book + case",
    "part": "by the mean of those of their words that have one",
    "none": "have no vector",
}
_UNIT = 1e-3  # how far from 1 the length of a vector that is given may be
# Words that say nothing of a thing when they are all of its label that is known.
_EMPTY = frozenset(
    "a an and as at by de des for from in la le of on or the to with".split()  # noqa: SIM905
)
# Halves of a compound: long and frequent enough not to be a chance. Of 100 of WordNet's words that
# came apart so in a small Wikipedia, 92 did so rightly; with three letters there was whip + pet.
_HALF_LETTERS = 4
_HALF_ROWS = 30_000


class Found(NamedTuple):
    """A label's vector and how it was found."""

    vector: NDArray[np.float32] | None  # (D,), unit length; None if there is none
    way: Way
    text: str  # the words whose vectors it is: "stop_sign", or "stop + sign"; "" if there is none
    synonym: int  # which of the label's terms it was, from 0; -1 if none


@dataclass(frozen=True)
class Coverage:
    """How the vectors of a list of labels were found, in the list's order."""

    labels: tuple[str, ...]
    found: tuple[Found, ...]

    @property
    def missing(self) -> list[str]:
        """The labels without a vector."""
        return [label for label, found in zip(self.labels, self.found) if found.vector is None]

    @property
    def counts(self) -> dict[Way, int]:
        """How many labels went each way; all ways are there."""
        counted = Counter(found.way for found in self.found)
        return {way: counted[way] for way in WAYS}

    def summary(self) -> str:
        """A line for each way that some label went, and the labels without a vector."""
        later = sum(found.synonym > 0 for found in self.found)
        lines = [f"{len(self.labels)} labels, {later} of them by a later synonym"]
        lines += [f"{count:6} {WAYS[way]}" for way, count in self.counts.items() if count]
        lines += [f"no vector: {label}" for label in self.missing]
        return "\n".join(lines)


class WordVectors:
    """Words and their vectors, each of unit length.

    Args:
        words: the most frequent first, where that is known.
        matrix: one row a word, ``(V, D)``, float32, unit length; it is kept, and made read-only.

    Raises:
        ValueError: the two do not fit, a word is there twice, or a row is not of unit length.
    """

    def __init__(self, words: Sequence[str], matrix: NDArray[np.float32]) -> None:
        if matrix.ndim != 2 or matrix.dtype != np.float32 or len(matrix) != len(words):
            raise ValueError(
                f"expected a float32 matrix with {len(words)} rows, one a word, "
                f"found {matrix.dtype} of shape {matrix.shape}"
            )
        self.words = tuple(words)
        self.index = {word: row for row, word in enumerate(words)}
        """The row of each word."""
        if len(self.index) < len(words):
            word, count = Counter(words).most_common(1)[0]
            raise ValueError(f"the word {word!r} is there {count} times")
        norms = np.sqrt(np.einsum("vd,vd->v", matrix, matrix))
        for row in np.flatnonzero(~(np.abs(norms - 1) <= _UNIT)).tolist():  # NaN is one of them
            raise ValueError(f"the vector of {words[row]!r} has length {norms[row]:.4g}, not 1")
        self.matrix = matrix
        self.matrix.setflags(write=False)
        self._others: dict[str, int] | None = None  # by folded spelling, where that is another

    @classmethod
    def load(cls, path: Path | str, *, limit: int | None = None) -> "WordVectors":
        """The vectors in a file of word2vec's binary or text format or GloVe's, packed or not.

        Args:
            path: the file; which kind it is, its content says.
            limit: only so many words from its beginning, which are the most frequent ones.

        Raises:
            FormatError: the file is not what it should be.
            ValueError: the limit is below 1.
            OSError: the file cannot be read.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"the limit is {limit} words; it must be at least 1")
        read = read_word_file(Path(path), limit=limit)
        return cls(read.words, read.matrix)

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return int(self.matrix.shape[1])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.index

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        """The vector of a word as it is written, ``(D,)``; KeyError if it has none."""
        return self.matrix[self.index[word]].copy()

    def vector_of(self, label: str) -> Found:
        """The vector of a label, whose synonyms commas part: ``"stop sign, traffic sign"``.

        Each synonym in turn is looked for

        1. joined by underscores, as it is written and in lower case (``phrase``);
        2. in any spelling that differs in case, accents, hyphens, apostrophes and in where words
           are parted: ``tee shirt``, ``tee-shirt``, ``teeshirt`` (``spelling``);
        3. with its last word in the plural or the singular (``number``);
        4. as the mean of its words' vectors if every word has one, found in these same ways; a word
           with hyphens may have several (``words``).

        If no synonym is found, each is looked for

        5. as the mean of its words where one or more are taken apart into two frequent words,
           ``bookcase`` into ``book`` and ``case`` (``compound``).

        If that fails too, the synonym of which the last word is known, or else the largest share of
        words, gives the mean of those that are (``part``); ``of``, ``the`` and so on do not count.
        """
        terms = synonyms(label)
        for place, term in enumerate(terms):
            for way, row in self._whole(term):
                return Found(self.matrix[row].copy(), way, self.words[row], place)
            if found := self._mean(self._rows(term), "words", place):
                return found
        for place, term in enumerate(terms):
            if found := self._mean(self._rows(term, apart=True), "compound", place):
                return found
        return self._part(terms)

    def coverage(self, labels: Iterable[str]) -> Coverage:
        """How the vector of each label is found; one without a vector stays in its place."""
        labels = tuple(labels)
        return Coverage(labels, tuple(self.vector_of(label) for label in labels))

    def _whole(self, words: list[str]) -> Iterator[tuple[Way, int]]:
        """The rows that a term has as one word, the best first."""
        joined = "_".join(words)
        for each in (joined, joined.lower()):
            if each in self.index:
                yield "phrase", self.index[each]
        row = self._spelled(joined)
        if row is not None:
            yield "spelling", row
        *before, last = joined.lower().split("_")
        last = last.removesuffix("'s")
        for other in (last, *plurals(last), *singulars(last)):
            row = self._spelled("_".join([*before, other]))
            if row is not None:
                yield "number", row

    def _spelled(self, text: str) -> int | None:
        """The row of the first word that is the same but for case, accents, hyphens and so on."""
        if self._others is None:
            self._others = {}
            for row, word in enumerate(self.words):
                if (other := folded(word)) != word:
                    self._others.setdefault(other, row)
        key = folded(text)
        rows = [index[key] for index in (self.index, self._others) if key in index]
        return min(rows, default=None)

    def _rows(self, term: list[str], *, apart: bool = False) -> list[int | None]:
        """For each word of a term its row, or those of its parts if it has hyphens or halves."""
        rows: list[int | None] = []
        for word in term:
            row = self._row(word)
            if row is None and "-" in word:
                rows += self._rows(word.split("-"), apart=apart)
            else:
                rows += self._halves(word) if apart and row is None else [row]
        return rows

    def _row(self, word: str) -> int | None:
        return next((row for _, row in self._whole([word])), None)

    def _halves(self, word: str) -> list[int] | list[None]:
        """The rows of the two words that a compound is made of; of several such, the frequent ones.

        The first half is no plural: a redshank is not a hank of reds.
        """
        word = word.lower()
        cuts = [
            (self.index[word[:cut]], self.index[word[cut:]])
            for cut in range(_HALF_LETTERS, len(word) - _HALF_LETTERS + 1)
            if word[:cut] in self.index and word[cut:] in self.index and word[cut - 1] != "s"
        ]
        best = min(cuts, key=max, default=(_HALF_ROWS, _HALF_ROWS))
        return list(best) if max(best) < _HALF_ROWS else [None]

    def _mean(self, rows: list[int | None], way: Way, place: int) -> Found | None:
        """The mean direction of the rows; None if one of them is missing or they have none."""
        known = [row for row in rows if row is not None]
        if len(known) < len(rows) or not known:
            return None
        mean = self.matrix[known].mean(0, dtype=np.float64)
        length = float(np.sqrt(mean @ mean))
        if length < _UNIT:  # opposite vectors
            return None
        vector = (mean / length).astype(np.float32)
        return Found(vector, way, " + ".join(self.words[row] for row in known), place)

    def _part(self, terms: list[list[str]]) -> Found:
        best, found = (False, 0.0), Found(None, "none", "", -1)
        for place, term in enumerate(terms):
            rows = self._rows([word for word in term if word.lower() not in _EMPTY])
            known: list[int | None] = [row for row in rows if row is not None]
            # Of a golden retriever the retriever says more.
            score = (rows[-1:] == known[-1:], len(known) / max(1, len(rows)))
            if score > best and (mean := self._mean(known, "part", place)):
                best, found = score, mean
        return found
