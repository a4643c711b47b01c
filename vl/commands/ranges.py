"""What a flag's number may be."""

import math


def check_range(
    name: str, value: float, least: float, most: float = math.inf, *, above: bool = False
) -> None:
    """See that a flag's number can be meant.

    Args:
        name: the flag's field.
        value: what was given.
        least: it is at least this.
        most: and at most this.
        above: it must be more than ``least``.

    Raises:
        ValueError: it is not so, or not finite.
    """
    if least <= value <= most and math.isfinite(value) and not (above and value == least):
        return
    wanted = f"more than {least}" if above else f"at least {least}"
    if most < math.inf:
        wanted = f"from {least} to {most}"
    raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be {wanted}")
