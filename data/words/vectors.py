"""Word vectors, and the vector of a label: as a phrase, as the mean of its words, as a synonym.

It does not know how vectors are trained, nor the formats of their files.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.data.words.files import read_word_file
from vl.data.words.texts import synonyms
from vl.data.words.word_forms import fold_spelling, number_forms

LookupRule = Literal["phrase", "spelling", "number", "words", "compound", "part", "none"]
LOOKUP_RULES: dict[LookupRule, str] = {
    "phrase": "as written, words joined by underscores",
    "spelling": "in another spelling: hyphens, spaces, apostrophes, accents",
    "number": "as their plural or singular",
    "words": "by the mean of their words",
    "compound": "by the mean of their words, one of them split: book + case",
    "part": "by the mean of those of their words that have a vector",
    "none": "have no vector",
}
_NORM_TOLERANCE = 1e-3
# Words without a meaning of their own: alone they are no part of a label.
_STOP_WORDS = frozenset(
    "a an and as at by de des for from in la le of on or the to with".split()  # noqa: SIM905
)
# Halves of a compound must be long and frequent enough not to occur by chance. Of 100 words of
# WordNet that were split with a small Wikipedia's vectors, 92 were right; with three letters there
# was whip + pet.
_MIN_HALF_LETTERS = 4
_MAX_HALF_ROW = 30_000


class Lookup(NamedTuple):
    """The vector of a label and how it was found."""

    vector: NDArray[np.float32] | None  # (D,), unit length; None if there is none
    rule: LookupRule
    text: str  # the words of the vector: "stop_sign", or "stop + sign"; "" if there is none
    synonym: int  # index of the label's term that was found, from 0; -1 if none


@dataclass(frozen=True)
class Coverage:
    """How the vectors of a list of labels were found, in the list's order."""

    labels: tuple[str, ...]
    lookups: tuple[Lookup, ...]

    @property
    def counts(self) -> dict[LookupRule, int]:
        """Number of labels found by each rule."""
        counts = Counter(lookup.rule for lookup in self.lookups)
        return {rule: counts[rule] for rule in LOOKUP_RULES}


class WordVectors:
    """Words and their vectors, each of unit length.

    Args:
        words: the most frequent first, where the frequencies are known.
        matrix: a row a word, ``(V, D)``, float32, unit length; not copied, and made read-only.

    Raises:
        ValueError: their lengths differ, a word is there twice, or a row has no unit length.
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
        for row in np.flatnonzero(~(np.abs(norms - 1) <= _NORM_TOLERANCE)).tolist():  # NaN too
            raise ValueError(f"the vector of {words[row]!r} has length {norms[row]:.4g}, not 1")
        self.matrix = matrix
        self.matrix.setflags(write=False)
        self._rows_by_spelling: dict[str, int] | None = None  # of words that folding changes

    @classmethod
    def load(cls, path: Path | str, *, limit: int | None = None) -> "WordVectors":
        """Load a file of word2vec's binary or text format or GloVe's, compressed or not.

        Args:
            path: the format is detected from the content.
            limit: load only the first words, which are the most frequent.

        Raises:
            FormatError: the file has another format or is damaged.
            ValueError: the limit is below 1.
            OSError: the file cannot be read.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}; it must be at least 1")
        read = read_word_file(Path(path), limit=limit)
        return cls(read.words, read.matrix)

    @property
    def width(self) -> int:
        """Dimension of the vectors, ``D``."""
        return int(self.matrix.shape[1])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.index

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        """The vector of a word exactly as written, ``(D,)``; KeyError if it has none."""
        return self.matrix[self.index[word]].copy()

    def lookup(self, label: str) -> Lookup:
        """The vector of a label, its synonyms separated by commas: ``"stop sign, traffic sign"``.

        Each synonym in turn is looked up

        1. joined by underscores, as written and in lower case (``phrase``);
        2. in any spelling that differs in case, accents, hyphens, apostrophes and word boundaries:
           ``tee shirt``, ``tee-shirt``, ``teeshirt`` (``spelling``);
        3. with its last word in the plural or the singular (``number``);
        4. as the mean of its words' vectors if every word has one, found in the same ways; a word
           with hyphens may have several (``words``).

        If no synonym is found, each is looked up

        5. as the mean of its words where one or more are split into two frequent words,
           ``bookcase`` into ``book`` and ``case`` (``compound``).

        If that fails too, the synonym whose last word has a vector, or else the one with the
        largest share of words that do, gives the mean of those (``part``); stop words do not count.
        """
        terms = synonyms(label)
        for index, term in enumerate(terms):
            for rule, row in self._as_one_word(term):
                return Lookup(self.matrix[row].copy(), rule, self.words[row], index)
            if lookup := self._mean(self._rows(term), "words", index):
                return lookup
        for index, term in enumerate(terms):
            if lookup := self._mean(self._rows(term, split=True), "compound", index):
                return lookup
        return self._part(terms)

    def _as_one_word(self, words: list[str]) -> Iterator[tuple[LookupRule, int]]:
        """The rows of a term as a single word, the best first."""
        phrase = "_".join(words)
        for spelling in (phrase, phrase.lower()):
            if spelling in self.index:
                yield "phrase", self.index[spelling]
        row = self._by_spelling(phrase)
        if row is not None:
            yield "spelling", row
        *before, last = phrase.lower().split("_")
        last = last.removesuffix("'s")
        for form in (last, *number_forms(last)):
            row = self._by_spelling("_".join([*before, form]))
            if row is not None:
                yield "number", row

    def _by_spelling(self, text: str) -> int | None:
        """The row of the first word that is the same but for case, accents, hyphens and so on."""
        if self._rows_by_spelling is None:
            self._rows_by_spelling = {}
            for row, word in enumerate(self.words):
                if (folded := fold_spelling(word)) != word:
                    self._rows_by_spelling.setdefault(folded, row)
        key = fold_spelling(text)
        rows = [rows[key] for rows in (self.index, self._rows_by_spelling) if key in rows]
        return min(rows, default=None)

    def _rows(self, term: list[str], *, split: bool = False) -> list[int | None]:
        """The row of each word of a term, or those of its parts at hyphens, or of its halves."""
        rows: list[int | None] = []
        for word in term:
            row = next((row for _, row in self._as_one_word([word])), None)
            if row is None and "-" in word:
                rows += self._rows(word.split("-"), split=split)
            else:
                rows += self._halves(word) if split and row is None else [row]
        return rows

    def _halves(self, word: str) -> list[int] | list[None]:
        """The rows of the two words of a compound; of several splits, that of the frequent words.

        The first half is no plural: a redshank is not a hank of reds.
        """
        word = word.lower()
        splits = [
            (self.index[word[:cut]], self.index[word[cut:]])
            for cut in range(_MIN_HALF_LETTERS, len(word) - _MIN_HALF_LETTERS + 1)
            if word[:cut] in self.index and word[cut:] in self.index and word[cut - 1] != "s"
        ]
        best = min(splits, key=max, default=(_MAX_HALF_ROW, _MAX_HALF_ROW))
        return list(best) if max(best) < _MAX_HALF_ROW else [None]

    def _mean(
        self, word_rows: Sequence[int | None], rule: LookupRule, synonym: int
    ) -> Lookup | None:
        """The direction of the rows' mean; None if a row is missing or the mean is 0."""
        rows = [row for row in word_rows if row is not None]
        if len(rows) < len(word_rows) or not rows:
            return None
        mean = self.matrix[rows].mean(0, dtype=np.float64)
        norm = float(np.sqrt(mean @ mean))
        if norm < _NORM_TOLERANCE:  # opposite vectors
            return None
        vector = (mean / norm).astype(np.float32)
        return Lookup(vector, rule, " + ".join(self.words[row] for row in rows), synonym)

    def _part(self, terms: list[list[str]]) -> Lookup:
        best_score, best = (False, 0.0), Lookup(None, "none", "", -1)
        for index, term in enumerate(terms):
            word_rows = self._rows([word for word in term if word.lower() not in _STOP_WORDS])
            rows = [row for row in word_rows if row is not None]
            # The last word matters most: of a golden retriever, the retriever.
            score = (word_rows[-1:] == rows[-1:], len(rows) / max(1, len(word_rows)))
            if score > best_score and (lookup := self._mean(rows, "part", index)):
                best_score, best = score, lookup
        return best
