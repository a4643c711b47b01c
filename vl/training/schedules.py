"""How the learning rate changes over a training, as a factor of its first value."""

import math
from collections.abc import Callable
from typing import Literal

Schedule = Callable[[int], float]  # training step, from 0 -> factor of the rate
Shape = Literal["constant", "staircase", "cosine"]


def schedule(
    shape: Shape, *, steps: int, warm_up: int = 0, every: int = 1, factor: float = 0.5
) -> Schedule:
    """A schedule by name.

    Args:
        shape: ``"constant"``; ``"staircase"``, times ``factor`` every ``every`` steps (im2txt: 0.5
            every 8 epochs); ``"cosine"``, from 1 down to 0 at ``steps`` (Loshchilov and Hutter
            2017, without restarts).
        steps: training steps in all.
        warm_up: steps over which the rate first climbs to its shape, evenly.
        every: steps between stairs.
        factor: of a stair.

    Raises:
        ValueError: an unknown shape, or a count below what makes sense.
    """
    if steps < 1 or every < 1 or warm_up < 0:
        raise ValueError(f"steps {steps}, every {every} and warm-up {warm_up} make no schedule")

    def climb(step: int) -> float:
        return min(1.0, (step + 1) / warm_up) if warm_up else 1.0

    if shape == "constant":
        return climb
    if shape == "staircase":
        return lambda step: climb(step) * factor ** (step // every)
    if shape == "cosine":
        return lambda step: climb(step) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    raise ValueError(f"schedule is {shape!r}; it must be 'constant', 'staircase' or 'cosine'")
