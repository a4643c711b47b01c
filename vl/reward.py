"""What a sampled caption is worth: CIDEr-D against the image's true captions, on word ids."""

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
