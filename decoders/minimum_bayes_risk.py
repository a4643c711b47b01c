"""Minimum Bayes risk over an n-best list: the caption most similar to the others.

The likeliest caption may be an outlier; the one most similar to all likely ones is a better guess
of what a reference would say.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from vl.decoders.beam_search import Hypothesis

_SIZES = range(1, 5)  # of n-grams, as in BLEU-4
# Captions of a beam differ by whole nats, so that unscaled the likeliest would have nearly all the
# weight. Chosen on Flickr8k's development split among 0.1 to 1.
_LOG_PROB_SCALE = 0.3


def minimum_bayes_risk(hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """An image's captions, those with the greatest expected similarity to the others first.

    Similarity is the mean over n from 1 to 4 of the F1 of n-grams. The expectation is weighted by
    the softmax of scaled log-probabilities. Captions that did not end stay last.

    Source:
        Kumar and Byrne 2004, minimum Bayes risk; their loss is BLEU, this one is symmetric.
    """
    log_probs = torch.tensor([caption.log_prob for caption in hypotheses], dtype=torch.float64)
    weights = (_LOG_PROB_SCALE * log_probs).softmax(0).tolist()
    grams = [_ngrams(caption.words) for caption in hypotheses]
    expected = [0.0] * len(hypotheses)
    for i in range(len(hypotheses)):
        expected[i] += weights[i]
        for j in range(i):
            similarity = _ngram_f1(grams[i], grams[j])
            expected[i] += weights[j] * similarity
            expected[j] += weights[i] * similarity
    order = sorted(range(len(hypotheses)), key=lambda i: (not hypotheses[i].ended, -expected[i], i))
    return [hypotheses[i] for i in order]


def _ngrams(words: Sequence[int]) -> list[Counter[tuple[int, ...]]]:
    return [
        Counter(tuple(words[begin : begin + size]) for begin in range(len(words) - size + 1))
        for size in _SIZES
    ]


def _ngram_f1(
    candidate: list[Counter[tuple[int, ...]]], reference: list[Counter[tuple[int, ...]]]
) -> float:
    total = 0.0
    for a, b in zip(candidate, reference, strict=True):
        size = a.total() + b.total()
        if size:
            total += 2 * (a & b).total() / size
    return total / len(_SIZES)
