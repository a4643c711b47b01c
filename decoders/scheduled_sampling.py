"""Scheduled sampling: how often a decoder in training hears its own word (Bengio et al. 2015)."""

import math
from collections.abc import Callable
from typing import Literal

Decay = Literal["linear", "exponential", "inverse sigmoid"]
SampleWord = Callable[[int], float]  # training step -> probability of the decoder's own word


def word_sampler(decay: Decay, *, most: float, steps: int) -> SampleWord:
    """The probability of the decoder's own word, growing from about 0 to ``most`` in ``steps``.

    Args:
        decay: how the true word's share falls. ``"linear"``: evenly, then constant.
            ``"exponential"``: by a constant factor a step, down to a hundredth of its range at
            ``steps``. ``"inverse sigmoid"``: k / (k + exp(i / k)), half-way at ``steps / 2``.
        most: the share it grows to.
        steps: training steps it takes.

    Raises:
        ValueError: a share outside 0 to 1, no steps, or an unknown decay.

    Source:
        Bengio et al. 2015, section 2.4; the free constants there are chosen here so that all
        three reach ``most`` together.
    """
    if not 0 <= most <= 1:
        raise ValueError(f"a probability lies between 0 and 1, not at {most}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if decay == "linear":
        return lambda step: most * min(1.0, step / steps)
    if decay == "exponential":
        return lambda step: most * (1 - 0.01 ** (step / steps))
    if decay == "inverse sigmoid":
        k = _sigmoid_constant(steps / 2)
        return lambda step: most * (1 - k / (k + math.exp(min(step / k, 700.0))))
    raise ValueError(f"decay is {decay!r}; it must be 'linear', 'exponential' or 'inverse sigmoid'")


def _sigmoid_constant(half_way: float) -> float:
    """The k at which k / (k + exp(half_way / k)) is one half: k ln k = half_way, by Newton."""
    k = max(2.0, half_way)
    for _ in range(100):
        k = max(1.0 + 1e-9, k - (k * math.log(k) - half_way) / (math.log(k) + 1))
    return k
