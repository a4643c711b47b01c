"""Label vectors in word space: by a label's own words, and by its hypernyms in WordNet.

It does not know what the vectors are compared with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vl.data.words.vectors import LOOKUP_RULES, Coverage, Lookup, WordVectors
from vl.data.words.word_forms import number_forms
from vl.data.words.wordnet import WordNet

Synonyms = Literal["first", "mean"]
Vector = NDArray[np.float32]

_MIN_NORM = 1e-6  # below it a sum has no direction
_ADVANCE_EVERY = 1000  # labels


class LabelVectors(NamedTuple):
    """Labels in word space."""

    vectors: Vector  # (K, D), unit length; a row of NaN is a label without a vector
    coverage: Coverage  # how the vector of each label's own words was found
    synsets: tuple[str | None, ...]  # the sense of each label
    num_by_hypernym: int  # labels without a vector of their words that have one of their hypernyms

    @property
    def missing(self) -> list[str]:
        """The labels without a vector."""
        is_missing = np.isnan(self.vectors[:, 0]).tolist()
        return [label for label, missing in zip(self.coverage.labels, is_missing) if missing]

    def summary(self) -> list[str]:
        """A line for each rule that found some label."""
        by_synonym = sum(lookup.synonym > 0 for lookup in self.coverage.lookups)
        lines = [
            f"{len(self.coverage.labels)} labels, {by_synonym} of them found by a later synonym"
        ]
        lines += [f"{n:6} {LOOKUP_RULES[rule]}" for rule, n in self.coverage.counts.items() if n]
        if self.num_by_hypernym:
            lines.append(f"{self.num_by_hypernym:6} of those have the vector of their hypernyms")
        return lines


@dataclass(frozen=True)
class LabelSpace:
    """The vector of every label in word space.

    Args:
        words: the word vectors.
        wordnet: hypernyms; without it a label's vector is that of its own words.
        synonyms: ``"first"`` takes the first of a label's synonyms that has a vector, ``"mean"``
            the mean direction of all that have one.
        hypernym_weight: a label's vector is its words' vector plus ``hypernym_weight`` times the
            mean vector of its parents in WordNet, which in turn have those of theirs. 0: its own
            words only, as in DeViSE. Ours; docs/zeroshot.md has what it brings.
        mean: subtracted from every vector of unit length, which is then normalized again,
            ``(D,)``: a direction that all labels share tells none from another.

    Raises:
        ValueError: ``hypernym_weight`` is out of range or needs a WordNet, or the mean has another
            width than the words.
    """

    words: WordVectors
    wordnet: WordNet | None = None
    synonyms: Synonyms = "first"
    hypernym_weight: float = 0.0
    mean: Vector | None = None
    # Caches: by synset its vector and the share of its parents, by label that of its own words.
    _vectors: dict[str, Vector] = field(default_factory=dict, init=False, repr=False, compare=False)
    _parents: dict[str, Vector] = field(default_factory=dict, init=False, repr=False, compare=False)
    _lookups: dict[str, Lookup] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.synonyms not in get_args(Synonyms):
            choices = " or ".join(map(repr, get_args(Synonyms)))
            raise ValueError(f"synonyms is {self.synonyms!r}; it must be {choices}")
        weight = self.hypernym_weight
        if not 0 <= weight < 1:  # from 1 on the root would outweigh the label
            raise ValueError(f"hypernym_weight is {weight}; it must be from 0 to less than 1")
        if self.hypernym_weight and self.wordnet is None:
            raise ValueError("hypernym_weight needs a WordNet")
        if self.mean is not None and self.mean.shape != (self.words.width,):
            raise ValueError(f"the mean has shape {self.mean.shape}, the words width {self.width}")

    @property
    def width(self) -> int:
        """Dimension of the vectors, ``D``."""
        return self.words.width

    def embed(
        self,
        labels: Sequence[str],
        synsets: Sequence[str | None] | None = None,
        *,
        advance: Callable[[int], object] | None = None,
    ) -> LabelVectors:
        """The vectors of labels, and how they were found.

        Args:
            labels: synonyms are separated by commas.
            synsets: the WordNet id of each, where it is known. For a label without one a sense is
                chosen: one that is written with the same capitals and whose first word this is, and
                of several such the one whose hypernyms are nearest to the label's own words.
            advance: called with the number of labels since its last call.

        Raises:
            ValueError: there are not as many ids as labels, or one is not in the WordNet.
        """
        if synsets is not None and len(synsets) != len(labels):
            raise ValueError(f"{len(labels)} labels, {len(synsets)} ids")
        lookups: list[Lookup] = []
        vectors = np.full((len(labels), self.width), np.nan, np.float32)
        senses: list[str | None] = []
        num_by_hypernym = 0
        for row, label in enumerate(labels):
            lookup = self._lookup(label)
            lookups.append(lookup)
            synset, vector = synsets[row] if synsets is not None else None, lookup.vector
            if synset is None and self.hypernym_weight:
                synset = self._sense(label, vector)
            senses.append(synset)
            if self.hypernym_weight and synset is not None:
                parents = self._parent_vector(synset)
                vector = parents if vector is None else (vector + parents).astype(np.float32)
                num_by_hypernym += lookup.vector is None and bool(parents.any())
            if vector is not None and (unit := self._normalized(vector)) is not None:
                vectors[row] = unit
            if advance is not None and (row + 1) % _ADVANCE_EVERY == 0:
                advance(_ADVANCE_EVERY)
        if advance is not None:
            advance(len(labels) % _ADVANCE_EVERY)
        coverage = Coverage(tuple(labels), tuple(lookups))
        return LabelVectors(vectors, coverage, tuple(senses), num_by_hypernym)

    def all_words(self) -> LabelVectors:
        """Every word with a vector; underscores become spaces.

        With hypernyms, only the words in WordNet: the vectors of the others lie elsewhere than
        those of labels and images.
        """
        words = self.words
        if self.hypernym_weight:
            texts = [word.replace("_", " ") for word in words.words]
            return self.embed([text for text in texts if text.casefold() in self._synsets_of])
        lookups = tuple(
            Lookup(vector, "phrase", word, 0) for word, vector in zip(words.words, words.matrix)
        )
        coverage = Coverage(tuple(word.replace("_", " ") for word in words.words), lookups)
        vectors = words.matrix if self.mean is None else words.matrix - self.mean
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            vectors = np.where(norms < _MIN_NORM, np.nan, vectors / norms).astype(np.float32)
        return LabelVectors(vectors, coverage, (None,) * len(words), 0)

    def subtract_mean(self, vectors: Vector) -> "LabelSpace":
        """The same space with the mean of some label vectors subtracted.

        Args:
            vectors: of this space, ``(K, D)``, which must have no mean; NaN rows are left out.
        """
        vectors = vectors[~np.isnan(vectors[:, 0])]
        return replace(self, mean=vectors.mean(0, dtype=np.float64).astype(np.float32))

    def _normalized(self, vector: Vector) -> Vector | None:
        """The vector at unit length, less the mean, at unit length; None without a direction."""
        unit = _unit(vector)
        return unit if unit is None or self.mean is None else _unit(unit - self.mean)

    def _lookup(self, label: str) -> Lookup:
        """The vector of a label's own words."""
        if label not in self._lookups:
            self._lookups[label] = self._look_up(label)
        return self._lookups[label]

    def _look_up(self, label: str) -> Lookup:
        lookup = self.words.lookup(label)
        if self.synonyms == "first" or "," not in label or lookup.vector is None:
            return lookup
        terms = [self.words.lookup(term) for term in label.split(",")]
        terms = [term for term in terms if term.rule != "part"]
        vectors = [term.vector for term in terms if term.vector is not None]
        if len(vectors) < 2:
            return lookup
        mean = _unit(np.sum(vectors, axis=0, dtype=np.float64))
        if mean is None:
            return lookup
        text = " + ".join(term.text for term in terms if term.vector is not None)
        return lookup._replace(vector=mean, text=text)

    def _parent_vector(self, synset: str) -> Vector:
        """The weighted mean vector of a synset's parents, ``(D,)``; 0 without parents."""
        assert self.wordnet is not None
        stack = [] if synset in self._parents else [synset]
        while stack:  # no recursion: a file's hypernym chain may be of any length
            parents = self.wordnet.parents(stack[-1])
            missing = [parent for parent in parents if parent not in self._parents]
            if missing:
                stack += missing
                continue
            mean = np.zeros(self.width)
            if parents:
                vectors = [self._synset_vector(parent) for parent in parents]
                mean = np.mean(vectors, axis=0, dtype=np.float64)
            self._parents[stack.pop()] = _float32(self.hypernym_weight * mean)
        return self._parents[synset]

    def _synset_vector(self, synset: str) -> Vector:
        """The sum of a synset's own words and its parents', ``(D,)``, of any length."""
        assert self.wordnet is not None
        if synset not in self._vectors:
            parents = self._parent_vector(synset)
            words = self._lookup(", ".join(self.wordnet.words(synset))).vector
            vector = parents if words is None else (parents + words).astype(np.float32)
            self._vectors[synset] = vector
        return self._vectors[synset]

    def _sense(self, label: str, vector: Vector | None) -> str | None:
        """The synset of a label; of several the one with the nearest hypernyms."""
        for term in label.split(","):
            senses = self._senses(term)
            if vector is not None and len(senses) > 1:
                return max(senses, key=lambda synset: self._sense_score(synset, term, vector))
            if senses:
                return senses[0]
        return None

    def _sense_score(self, synset: str, term: str, vector: Vector) -> tuple[bool, bool, float]:
        """How likely a synset is meant; the greatest is."""
        assert self.wordnet is not None
        words = self.wordnet.words(synset)
        name = " ".join(term.split())
        is_first = words[0].casefold() == name.casefold()  # its most frequent word
        parents = self._parent_vector(synset)
        direction = _float32(parents / max(float(np.linalg.norm(parents)), _MIN_NORM))
        return name in words, is_first, float(vector @ direction)

    def _senses(self, term: str) -> list[str]:
        """The synsets of a term as it is, or in the singular or plural."""
        name = " ".join(term.split()).casefold()
        if not name:
            return []
        for form in (name, *number_forms(name)):
            if form in self._synsets_of:
                return self._synsets_of[form]
        return []

    @cached_property
    def _synsets_of(self) -> dict[str, list[str]]:
        """The synsets of every word, by its lower-case form."""
        synsets: dict[str, list[str]] = {}
        if self.wordnet is not None:
            for synset in self.wordnet.ids:
                for word in dict.fromkeys(map(str.casefold, self.wordnet.words(synset))):
                    synsets.setdefault(word, []).append(synset)
        return synsets


def _unit(vector: NDArray[np.floating[Any]]) -> Vector | None:
    """The vector at unit length; None without a direction."""
    norm = float(np.linalg.norm(vector))
    return None if norm < _MIN_NORM else _float32(vector / norm)


def _float32(vector: ArrayLike) -> Vector:
    return np.asarray(vector, dtype=np.float32)
