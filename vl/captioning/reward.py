"""Reward of self-critical training: CIDEr-D + weight * BLEU-4, on word ids."""

from collections.abc import Sequence

from vl.metrics.bleu import bleu_statistics, smoothed_bleu
from vl.metrics.cider import DocumentFrequencies, cider_d, document_frequencies
from vl.metrics.ngrams import index_captions

Ids = Sequence[int]  # word ids of a caption


class CaptionReward:
    """CIDEr-D plus weighted BLEU-4 of sampled captions.

    CIDEr-D alone keeps captions diverse; BLEU alone makes them all alike and short. For CIDEr-D the
    end word counts as a word, so that stopping in mid-sentence is not rewarded; its document
    frequencies are those of the references.

    Args:
        references: for each image its captions as ids from start to end word.
        bleu_weight: weight of BLEU-4 beside CIDEr-D.

    Source:
        Vedantam et al. 2015, without coco-caption's factor of 10.
    """

    def __init__(self, references: Sequence[Sequence[Ids]], *, bleu_weight: float = 0.0) -> None:
        self._references = [
            [list(map(str, caption[1:])) for caption in image] for image in references
        ]
        self._bleu_weight = bleu_weight
        frequencies = document_frequencies(
            index_captions([[]] * len(self._references), self._references)
        )
        # With 2 images at least: the logarithm of 1 would make every weight 0.
        self._frequencies = DocumentFrequencies(max(2, frequencies.num_images), frequencies.counts)

    def __call__(self, images: Sequence[int], captions: Sequence[Ids]) -> list[float]:
        """The reward of each caption.

        Args:
            images: row of ``references`` for each caption.
            captions: ids after the start word, with the end word last.
        """
        references = [self._references[image] for image in images]
        samples = index_captions([list(map(str, caption)) for caption in captions], references)
        rewards = cider_d(samples, self._frequencies).per_image / 10
        if self._bleu_weight:
            without_end = index_captions(
                [list(map(str, caption[:-1])) for caption in captions],
                [[caption[:-1] for caption in image] for image in references],
            )
            rewards = rewards + self._bleu_weight * smoothed_bleu(bleu_statistics(without_end))
        return [float(reward) for reward in rewards]
