"""The caption that the others agree with most: minimum Bayes risk over an n-best list.

The likeliest caption may stand alone; the one most like all likely ones has the better chance to be
like what a person would write.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from vl.decoders.beam_search import Hypothesis

_SIZES = range(1, 5)  # of n-grams, as in BLEU-4
# Of the odds: captions of a beam differ by whole nats, and the first would be nearly all that
# counts. Chosen on Flickr8k's development split among 0.1 to 1.
FLATTENED = 0.3


def minimum_bayes_risk(
    hypotheses: Sequence[Hypothesis], *, power: float = FLATTENED
) -> list[Hypothesis]:
    """The same captions, those first whose expected likeness to the others is greatest.

    Likeness is the mean over n from 1 to 4 of the F1 of n-grams. What did not end stays last.

    Args:
        hypotheses: of one image.
        power: of each caption's probability, as its weight in the expectation.

    Source:
        Kumar and Byrne 2004, minimum Bayes risk; BLEU as the risk made symmetric.
    """
    if len(hypotheses) < 2:
        return list(hypotheses)
    log_probs = torch.tensor([one.log_prob for one in hypotheses], dtype=torch.float64)
    weights = (power * log_probs).softmax(0).tolist()
    grams = [_grams(one.words) for one in hypotheses]
    expected = [0.0] * len(hypotheses)
    for i in range(len(hypotheses)):
        expected[i] += weights[i]
        for j in range(i):
            likeness = _likeness(grams[i], grams[j])
            expected[i] += weights[j] * likeness
            expected[j] += weights[i] * likeness
    order = sorted(range(len(hypotheses)), key=lambda i: (not hypotheses[i].ended, -expected[i], i))
    return [hypotheses[i] for i in order]


def _grams(words: Sequence[int]) -> list[Counter[tuple[int, ...]]]:
    return [
        Counter(tuple(words[begin : begin + size]) for begin in range(len(words) - size + 1))
        for size in _SIZES
    ]


def _likeness(one: list[Counter[tuple[int, ...]]], other: list[Counter[tuple[int, ...]]]) -> float:
    total = 0.0
    for a, b in zip(one, other, strict=True):
        size = a.total() + b.total()
        if size:
            total += 2 * (a & b).total() / size
    return total / len(_SIZES)
