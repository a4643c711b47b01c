"""What a sampled caption is worth against the image's true ones, on word ids: CIDEr-D and BLEU."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_SIZES = range(1, 5)  # of the n-grams
_SIGMA = 6.0  # of the penalty for another length, in words
Words = tuple[int, ...]


class _Weighed(NamedTuple):
    """A caption's n-grams by size, each weighed by how few images have it."""

    grams: list[dict[Words, float]]
    norms: list[float]
    length: int


class CaptionReward:
    """CIDEr-D of a caption and so many times its BLEU-4.

    CIDEr-D alone keeps captions various, BLEU alone makes all alike and short.

    Args:
        references: for each image its true captions as ids from start to end word.
        bleu: weight of BLEU beside CIDEr-D.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]], *, bleu: float = 0.0) -> None:
        self._cider = CiderReward([[words[1:] for words in each] for each in references])
        self._spoken = [[tuple(words[1:-1]) for words in each] for each in references]
        self._bleu = bleu

    def __call__(self, image: int, words: Sequence[int]) -> float:
        """What a caption, ids after the start with the end word last, is worth for an image."""
        worth = self._cider(image, words)
        if self._bleu:
            worth += self._bleu * smoothed_bleu(words[:-1], self._spoken[image])
        return worth


def smoothed_bleu(words: Sequence[int], references: Sequence[Sequence[int]]) -> float:
    """BLEU-4 of one caption, 0 to 1; one is added to counts of two words and more.

    Source:
        Lin and Och 2004, the smoothing; the closest reference's length, as in pycocoevalcap.
    """
    if not words:
        return 0.0
    log_precision = 0.0
    for size in _SIZES:
        counts = Counter(_grams(words, size))
        most: Counter[Words] = Counter()
        for true in references:
            most |= Counter(_grams(true, size))
        right, possible = (counts & most).total(), max(0, len(words) - size + 1)
        if size > 1:
            right, possible = right + 1, possible + 1
        elif right == 0:
            return 0.0
        log_precision += math.log(right / possible) / len(_SIZES)
    closest = min((abs(len(true) - len(words)), len(true)) for true in references)[1]
    return math.exp(log_precision + min(0.0, 1 - closest / len(words)))


class CiderReward:
    """CIDEr-D of single captions, the document frequencies from the training captions.

    The end word counts as a word, so that stopping in mid-sentence is not rewarded.

    Args:
        references: for each image its true captions as ids, the end word last, the start left out.

    Source:
        Vedantam et al. 2015; numbers as in pycocoevalcap. The factor of 10 is left out.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]]) -> None:
        self._images_with: Counter[Words] = Counter()
        for captions in references:
            self._images_with.update(
                {gram for words in captions for size in _SIZES for gram in _grams(words, size)}
            )
        self._log_images = math.log(max(2, len(references)))
        self._references = [[self._weighed(words) for words in each] for each in references]

    def __call__(self, image: int, words: Sequence[int]) -> float:
        """What a caption, ids with the end word last, is worth for an image: 0 to about 1."""
        said = self._weighed(words)
        total = 0.0
        for true in self._references[image]:
            likeness = 0.0
            for own, other, own_norm, other_norm in zip(
                said.grams, true.grams, said.norms, true.norms, strict=True
            ):
                if own_norm and other_norm:
                    shared = sum(
                        min(weight, other[gram]) * other[gram]
                        for gram, weight in own.items()
                        if gram in other
                    )
                    likeness += shared / (own_norm * other_norm)
            apart = said.length - true.length
            total += likeness / len(_SIZES) * math.exp(-(apart**2) / (2 * _SIGMA**2))
        return total / len(self._references[image])

    def _weighed(self, words: Sequence[int]) -> _Weighed:
        grams = []
        for size in _SIZES:
            counts = Counter(_grams(words, size))
            grams.append(
                {
                    gram: count * (self._log_images - math.log(max(1, self._images_with[gram])))
                    for gram, count in counts.items()
                }
            )
        norms = [math.sqrt(sum(weight**2 for weight in each.values())) for each in grams]
        return _Weighed(grams, norms, len(words))


def _grams(words: Sequence[int], size: int) -> list[Words]:
    return [tuple(words[begin : begin + size]) for begin in range(len(words) - size + 1)]
