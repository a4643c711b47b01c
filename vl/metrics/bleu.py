"""BLEU, the share of a caption's word runs that people also wrote (Papineni et al. 2002).

It knows nothing of tokenisers: captions come as lists of words.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

LONGEST = 4  # words of the longest run that counts; BLEU-4 is the usual figure

# coco-caption adds these above and below each fraction, so that nothing is divided by zero.
_TINY = 1e-15
_SMALL = 1e-9

Scores = tuple[float, float, float, float]  # BLEU-1, BLEU-2, BLEU-3, BLEU-4, each in [0, 1]
PerLength = tuple[int, int, int, int]  # of runs of one, two, three and four words

_NONE: PerLength = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Counts:
    """All that BLEU needs to know of a caption, or of many: counts of captions add up."""

    candidate_length: int = 0  # words
    reference_length: int = 0  # words of the reference closest in length, the shorter one of two
    possible: PerLength = _NONE  # runs in the candidate
    right: PerLength = _NONE  # those also in a reference, each as often as in one of them at most

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.candidate_length + other.candidate_length,
            self.reference_length + other.reference_length,
            _sum(self.possible, other.possible),
            _sum(self.right, other.right),
        )


class Bleu(NamedTuple):
    """BLEU of a corpus."""

    scores: Scores  # of all captions counted together; not the mean of those below
    images: list[Scores]  # of each caption by itself, in the order given
    counts: Counts
    fewest_references: int
    most_references: int


def corpus_bleu(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> Bleu:
    """BLEU-1 to BLEU-4 of many captions.

    Args:
        candidates: the words of one caption an image.
        references: for each image, in the same order, the words of each of its true captions.

    Raises:
        ValueError: there is no caption, the two differ in number, an image has no reference, or
            a caption is a string instead of a list of words.

    Source:
        The figures of coco-caption's BleuScorer (closest reference length) on the same words.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} captions, but references of {len(references)} images")
    if not candidates:
        raise ValueError("there is no caption to score")
    counts = [count(*pair) for pair in zip(candidates, references, strict=True)]
    total = sum(counts, Counts())
    numbers = [len(captions) for captions in references]
    return Bleu(bleu(total), [bleu(one) for one in counts], total, min(numbers), max(numbers))


def count(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> Counts:
    """Count one caption's runs of words against the true captions of its image.

    Raises:
        ValueError: there is no reference, or a caption is a string instead of a list of words.
    """
    if not references:
        raise ValueError("an image has no reference caption")
    for caption in (candidate, *references):
        if isinstance(caption, str):
            raise ValueError(f"a caption must be a list of words, not the string {caption!r}")
    most: Counter[tuple[str, ...]] = Counter()
    for reference in references:
        most |= _runs(reference)  # the greater number of the two
    right = [0] * LONGEST
    for run, times in _runs(candidate).items():
        right[len(run) - 1] += min(times, most[run])
    length = len(candidate)
    closest = min((abs(len(reference) - length), len(reference)) for reference in references)[1]
    return Counts(length, closest, _per_length(_possible(length)), _per_length(right))


def bleu(counts: Counts) -> Scores:
    """BLEU-1 to BLEU-4 of what was counted."""
    ratio = (counts.candidate_length + _TINY) / (counts.reference_length + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product = 1.0
    scores = []
    for size, (right, possible) in enumerate(zip(counts.right, counts.possible, strict=True), 1):
        product *= (right + _TINY) / (possible + _SMALL)
        scores.append(product ** (1 / size) * brevity)
    one, two, three, four = scores
    return one, two, three, four


def signature(result: Bleu, *, tokeniser: str, version: str) -> str:
    """BLEU-4 with all that could change it: ``BLEU-4 <score> | refs 5 | tok ptb | ...``."""
    references = f"{result.fewest_references}"
    if result.most_references != result.fewest_references:
        references += f"-{result.most_references}"
    return (
        f"BLEU-4 {result.scores[3]:.4f} | refs {references} | tok {tokeniser} | closest"
        f" | vl {version}"
    )


def _runs(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    """How often each run of one to four words occurs."""
    return Counter(
        tuple(words[first : first + size])
        for size in range(1, LONGEST + 1)
        for first in range(len(words) - size + 1)
    )


def _possible(length: int) -> list[int]:
    return [max(0, length - size + 1) for size in range(1, LONGEST + 1)]


def _per_length(numbers: Sequence[int]) -> PerLength:
    one, two, three, four = numbers
    return one, two, three, four


def _sum(left: PerLength, right: PerLength) -> PerLength:
    return _per_length([a + b for a, b in zip(left, right, strict=True)])
