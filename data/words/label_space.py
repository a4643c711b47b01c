"""Where labels lie in word space: by their own words, and by what they are a kind of.

It does not know what the vectors are compared with.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vl.data.words.vectors import Coverage, Found, WordVectors
from vl.data.words.word_forms import plurals, singulars
from vl.data.words.wordnet import WordNet

Synonyms = Literal["first", "mean"]
Vector = NDArray[np.float32]

_LEAST = 1e-6  # length below which a sum has no direction
_TOLD = 1000  # labels after which progress is told


class Placed(NamedTuple):
    """Labels in word space."""

    vectors: Vector  # (K, D), unit length; a row of NaN is a label without
    coverage: Coverage  # how the vector of each label's own words was found
    synsets: tuple[str | None, ...]  # which of WordNet's each label is taken for
    kinds: int  # labels whose words have no vector and that lie where their kind does

    @property
    def missing(self) -> list[str]:
        """The labels without a vector."""
        lost = np.isnan(self.vectors[:, 0])
        return [label for label, none in zip(self.coverage.labels, lost.tolist()) if none]

    def summary(self) -> str:
        """A line for each way that some label went, and the labels without a vector."""
        lines = self.coverage.summary().splitlines()
        lines = [line for line in lines if not line.startswith("no vector: ")]
        if self.kinds:
            lines.append(
                f"{self.kinds:6} of those without have the place of what they are a kind of"
            )
        return "\n".join([*lines, *(f"no vector: {label}" for label in self.missing)])


@dataclass(frozen=True)
class LabelSpace:
    """The place that each label has in word space.

    Args:
        words: and their vectors.
        wordnet: what is a kind of what; without it labels are their own words only.
        synonyms: ``"first"`` takes the first of a label's synonyms that has a vector, ``"mean"``
            the mean direction of all that have one.
        kinds: how much of a label's place is that of what it is a kind of, which in turn has as
            much of its own kind's: a label lies at its words' vector plus ``kinds`` times the place
            of its parents in WordNet (their mean). 0: labels are their own words only, as in the
            paper. Ours; see docs/zeroshot.md for what it brings.
        centre: what is taken off every vector before it is brought to unit length, ``(D,)``: the
            direction that all labels have in common tells none from another.

    Raises:
        ValueError: ``kinds`` is out of its range or wants a WordNet, or the centre has another
            width than the words.
    """

    words: WordVectors
    wordnet: WordNet | None = None
    synonyms: Synonyms = "first"
    kinds: float = 0.0
    centre: Vector | None = None
    # What was worked out once: of a synset its place and what it gets from above, of a label its
    # own words' vector.
    _places: dict[str, Vector] = field(default_factory=dict, init=False, repr=False, compare=False)
    _aboves: dict[str, Vector] = field(default_factory=dict, init=False, repr=False, compare=False)
    _owns: dict[str, Found] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.synonyms not in get_args(Synonyms):
            known = " or ".join(map(repr, get_args(Synonyms)))
            raise ValueError(f"synonyms is {self.synonyms!r}; it must be {known}")
        if not 0 <= self.kinds < 1:  # from 1 on the root would outweigh the label
            raise ValueError(f"kinds is {self.kinds}; it must be from 0 to less than 1")
        if self.kinds and self.wordnet is None:
            raise ValueError("kinds want a WordNet, which says what is a kind of what")
        if self.centre is not None and self.centre.shape != (self.words.width,):
            raise ValueError(
                f"the centre has shape {self.centre.shape}, the words width {self.words.width}"
            )

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return self.words.width

    def place(
        self,
        labels: Sequence[str],
        ids: Sequence[str | None] | None = None,
        *,
        advance: Callable[[int], object] | None = None,
    ) -> Placed:
        """The vectors of labels, and how they were found.

        Args:
            labels: each may have synonyms, which commas part.
            ids: of each its synset in WordNet, where it is known. Of a label without, a sense is
                taken: one that is written with the same capitals and commonly called so, and of
                several such the one whose kinds are nearest to the label's own words.
            advance: is told from time to time how many labels have been placed since.

        Raises:
            ValueError: there are not as many ids as labels, or one is not in the WordNet.
        """
        if ids is not None and len(ids) != len(labels):
            raise ValueError(f"{len(labels)} labels, {len(ids)} ids")
        found_all: list[Found] = []
        vectors = np.full((len(labels), self.width), np.nan, np.float32)
        synsets: list[str | None] = []
        kinds = 0
        for row, label in enumerate(labels):
            found = self._own(label)
            found_all.append(found)
            synset = ids[row] if ids is not None else None
            if synset is None and self.kinds:
                synset = self._sense(label, found.vector)
            synsets.append(synset)
            vector = found.vector
            if self.kinds and synset is not None:
                above = self._above(synset)
                vector = above if vector is None else (vector + above).astype(np.float32)
                kinds += found.vector is None and bool(above.any())
            if vector is not None and (unit := self._unit(vector)) is not None:
                vectors[row] = unit
            if advance is not None and (row + 1) % _TOLD == 0:
                advance(_TOLD)
        if advance is not None:
            advance(len(labels) % _TOLD)
        coverage = Coverage(tuple(labels), tuple(found_all))
        return Placed(vectors, coverage, tuple(synsets), kinds)

    def all_words(self) -> Placed:
        """Every word that has a place of its own; underscores are blanks.

        With kinds, these are the words that WordNet has: the others' own vectors lie elsewhere
        than where labels and photographs do.
        """
        words = self.words
        if self.kinds:
            texts = [word.replace("_", " ") for word in words.words]
            return self.place([text for text in texts if text.casefold() in self._by_name])
        found = tuple(
            Found(vector, "phrase", word, 0) for word, vector in zip(words.words, words.matrix)
        )
        coverage = Coverage(tuple(word.replace("_", " ") for word in words.words), found)
        vectors = words.matrix if self.centre is None else words.matrix - self.centre
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            vectors = np.where(lengths < _LEAST, np.nan, vectors / lengths).astype(np.float32)
        return Placed(vectors, coverage, (None,) * len(words), 0)

    def centred(self, vectors: Vector) -> "LabelSpace":
        """The same with the mean of some labels' places as its centre, those without left out.

        Args:
            vectors: of this space, ``(K, D)``, which must have no centre.
        """
        assert self.centre is None
        known = vectors[~np.isnan(vectors[:, 0])]
        return replace(self, centre=known.mean(0, dtype=np.float64).astype(np.float32))

    def _unit(self, vector: Vector) -> Vector | None:
        """Of unit length, and then less the centre if there is one; None without a direction."""
        length = float(np.linalg.norm(vector))
        if length < _LEAST:
            return None
        unit = vector / length
        if self.centre is None:
            return _float32(unit)
        unit = unit - self.centre
        length = float(np.linalg.norm(unit))
        return None if length < _LEAST else _float32(unit / length)

    def _own(self, label: str) -> Found:
        """The vector of a label's own words."""
        if label not in self._owns:
            self._owns[label] = self._looked_up(label)
        return self._owns[label]

    def _looked_up(self, label: str) -> Found:
        found = self.words.vector_of(label)
        if self.synonyms == "first" or "," not in label or found.vector is None:
            return found
        each = [self.words.vector_of(term) for term in label.split(",")]
        whole = [one for one in each if one.way != "part"]
        vectors = [one.vector for one in whole if one.vector is not None]
        if len(vectors) < 2:
            return found
        mean = np.sum(vectors, axis=0, dtype=np.float64)
        length = float(np.linalg.norm(mean))
        if length < _LEAST:
            return found
        text = " + ".join(one.text for one in whole if one.vector is not None)
        return found._replace(vector=_float32(mean / length), text=text)

    def _above(self, synset: str) -> Vector:
        """What a synset gets from what it is a kind of, ``(D,)``; 0 if it is a kind of nothing."""
        assert self.wordnet is not None
        waiting = [] if synset in self._aboves else [synset]
        while waiting:  # no recursion: a file's chain of kinds may be of any length
            parents = self.wordnet.parents(waiting[-1])
            lacking = [parent for parent in parents if parent not in self._aboves]
            if lacking:
                waiting += lacking
                continue
            above = np.zeros(self.width)
            if parents:
                places = [self._place(parent) for parent in parents]
                above = np.mean(places, axis=0, dtype=np.float64)
            self._aboves[waiting.pop()] = _float32(self.kinds * above)
        return self._aboves[synset]

    def _place(self, synset: str) -> Vector:
        """A synset's own words and its kind, ``(D,)``, of whatever length."""
        assert self.wordnet is not None
        if synset not in self._places:
            place = self._above(synset)
            own = self._own(", ".join(self.wordnet.words(synset))).vector
            self._places[synset] = place if own is None else (place + own).astype(np.float32)
        return self._places[synset]

    def _sense(self, label: str, own: Vector | None) -> str | None:
        """Which synset a label is: of several the one whose kind is nearest to its own words."""
        for term in label.split(","):
            senses = self._senses(term)
            if len(senses) < 2 or own is None:
                if senses:
                    return senses[0]
                continue
            return max(senses, key=lambda synset: self._likeness(synset, term, own))
        return None

    def _likeness(self, synset: str, term: str, own: Vector) -> tuple[bool, bool, float]:
        """How likely a synset is meant; the greatest is."""
        assert self.wordnet is not None
        words = self.wordnet.words(synset)
        name = " ".join(term.split())
        common = words[0].casefold() == name.casefold()  # its first word is its commonest
        return name in words, common, float(own @ _direction(self._above(synset)))

    def _senses(self, term: str) -> list[str]:
        """The synsets that a term names, as it is or in the singular or plural."""
        name = " ".join(term.split()).casefold()
        if not name:
            return []
        for each in (name, *singulars(name), *plurals(name)):
            if each in self._by_name:
                return self._by_name[each]
        return []

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        if self.wordnet is not None:
            for synset in self.wordnet.ids:
                for word in dict.fromkeys(_names(self.wordnet.words(synset))):
                    names.setdefault(word, []).append(synset)
        return names


def _names(words: Iterable[str]) -> Iterable[str]:
    return (word.casefold() for word in words)


def _direction(vector: Vector) -> Vector:
    return _float32(vector / max(float(np.linalg.norm(vector)), _LEAST))


def _float32(vector: ArrayLike) -> Vector:
    return np.asarray(vector, dtype=np.float32)
