"""Scheduled sampling: the schedule of the sampling probability (Bengio et al. 2015)."""

import math
from collections.abc import Callable

from vl.data.choices import SamplingDecay

SamplingSchedule = Callable[[int], float]  # training step -> sampling probability


def sampling_schedule(
    decay: SamplingDecay, *, max_probability: float, num_steps: int
) -> SamplingSchedule:
    """The sampling probability by training step, from about 0 to ``max_probability``.

    Args:
        decay: how the probability of the true word falls. ``"linear"``: linearly, then constant.
            ``"exponential"``: by a constant factor a step, to a hundredth of its range at
            ``num_steps``. ``"inverse-sigmoid"``: k / (k + exp(i / k)), half-way at
            ``num_steps / 2``.
        max_probability: the probability reached in the end.
        num_steps: training steps until then.

    Source:
        Bengio et al. 2015, section 2.4; its free constants are chosen here so that all three
        schedules reach ``max_probability`` together.
    """
    if decay == "linear":
        return lambda step: max_probability * min(1.0, step / num_steps)
    if decay == "exponential":
        return lambda step: max_probability * (1 - 0.01 ** (step / num_steps))
    half_way = (
        num_steps / 2
    )  # there k / (k + exp(half_way / k)) is 1 / 2, so that k ln k = half_way
    k = max(2.0, half_way)
    for _ in range(100):  # Newton's method
        k = max(1.0 + 1e-9, k - (k * math.log(k) - half_way) / (math.log(k) + 1))
    return lambda step: max_probability * (1 - k / (k + math.exp(min(step / k, 700.0))))
