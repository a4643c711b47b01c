"""Phrases joined into single words: ``stop sign`` becomes ``stop_sign``."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from vl.data.words.texts import synonyms

Phrase = tuple[str, ...]


class PhraseJoiner:
    """Joins phrases from left to right, at each word the longest that begins there.

    Args:
        phrases: of two words or more, case-sensitive.
    """

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        # By the first two words: looking up every pair of a text is faster than comparing the
        # second word after every "of" that begins some phrase.
        self._by_pair: dict[tuple[str, str], list[tuple[list[str], str]]] = {}
        for phrase in sorted(set(phrases), key=len, reverse=True):
            ends = self._by_pair.setdefault((phrase[0], phrase[1]), [])
            ends.append((list(phrase[2:]), "_".join(phrase)))

    def __call__(self, words: list[str]) -> list[str]:
        """The words with phrases joined; a new list only if there are any."""
        joined: list[str] = []
        done = 0
        for start, end, phrase in self._matches(words):
            if start >= done:
                joined += [*words[done:start], phrase]
                done = end
        return joined + words[done:] if done else words

    def count(self, lines: Iterable[list[str]]) -> Counter[Phrase]:
        """Occurrences of each phrase in the lines, also within and across others."""
        return Counter(
            tuple(words[start:end]) for words in lines for start, end, _ in self._matches(words)
        )

    def _matches(self, words: list[str]) -> Iterator[tuple[int, int, str]]:
        """Start, end and joined form of every phrase, from left to right, the longest first."""
        by_pair = self._by_pair
        pairs = enumerate(pairwise(words))
        for start in [start for start, pair in pairs if pair in by_pair]:
            for rest, phrase in by_pair[words[start], words[start + 1]]:
                end = start + 2 + len(rest)
                if words[start + 2 : end] == rest:
                    yield start, end, phrase


def label_phrases(labels: Iterable[str]) -> set[Phrase]:
    """All terms of two words or more among the labels' synonyms, in lower case."""
    terms = (term for label in labels for term in synonyms(label.lower()))
    return {tuple(term) for term in terms if len(term) > 1}
