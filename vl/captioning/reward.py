"""Reward of self-critical training: CIDEr-D + weight * BLEU-4, on word ids."""

from collections.abc import Callable, Sequence

from vl.metrics.bleu import bleu_statistics, smoothed_bleu
from vl.metrics.cider import DocumentFrequencies, cider_d, document_frequencies
from vl.metrics.ngrams import index_captions

Ids = Sequence[int]  # word ids of a caption
Reward = Callable[[Sequence[int], Sequence[Ids]], list[float]]


def caption_reward(references: Sequence[Sequence[Ids]], *, bleu_weight: float = 0.0) -> Reward:
    """CIDEr-D plus weighted BLEU-4 of sampled captions.

    CIDEr-D alone keeps captions diverse; BLEU alone makes them all alike and short. For CIDEr-D the
    end word counts as a word, so that stopping in mid-sentence is not rewarded; its document
    frequencies are those of the references.

    Args:
        references: for each image its captions as ids from start to end word.
        bleu_weight: weight of BLEU-4 beside CIDEr-D.

    Returns:
        The reward of captions by the row of ``references`` for each, and its ids after the start
        word, with the end word last.

    Source:
        Vedantam et al. 2015, without coco-caption's factor of 10.
    """
    texts = [[list(map(str, caption[1:])) for caption in image] for image in references]
    frequencies = document_frequencies(index_captions([[]] * len(texts), texts))
    # With 2 images at least: the logarithm of 1 would make every weight 0.
    frequencies = DocumentFrequencies(max(2, frequencies.num_images), frequencies.counts)

    def reward(images: Sequence[int], captions: Sequence[Ids]) -> list[float]:
        targets = [texts[image] for image in images]
        samples = index_captions([list(map(str, caption)) for caption in captions], targets)
        rewards = cider_d(samples, frequencies).per_image / 10
        if bleu_weight:
            without_end = index_captions(
                [list(map(str, caption[:-1])) for caption in captions],
                [[caption[:-1] for caption in image] for image in targets],
            )
            rewards = rewards + bleu_weight * smoothed_bleu(bleu_statistics(without_end))
        return [float(value) for value in rewards]

    return reward
