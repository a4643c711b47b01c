"""How captions are looked for: the settings of a search, checked where they are made.

It does not know the search itself, which is in decoders/beam_search.py.
"""

from dataclasses import dataclass, fields
from typing import Literal

Order = Literal["likelihood", "consensus"]

# Of a beam and of a caption's words: 50 times what has been published, and it still fits into
# memory. Who says more, a file or a flag, is mistaken.
MOST = 1000
MOST_POWER = 10  # of a length: 1000 to this power is still a number in float32


@dataclass(frozen=True)
class Search:
    """How captions are looked for.

    Raises:
        ValueError: a number of the wrong kind or out of its range, or no caption could end.
    """

    beam: int = 3
    """Captions kept at each length; 3 in im2txt."""
    max_length: int = 20
    """Greatest number of words, the end counted; 20 in im2txt."""
    length_power: float = 0.0
    """Captions are compared by log-probability over length to this power; 0 does not normalise."""
    min_length: int = 0
    """Words before a caption may end."""
    block_ngram: int = 0
    """No so many words follow each other twice; 0 allows it."""
    order: Order = "likelihood"
    """Which caption found comes first: the likeliest, or the one most like all the others."""

    def __post_init__(self) -> None:
        if self.order not in ("likelihood", "consensus"):
            raise ValueError(f"order is {self.order!r}; it must be 'likelihood' or 'consensus'")
        for field in fields(self):
            if field.name == "order":
                continue
            value, name = getattr(self, field.name), field.name.replace("_", " ")
            kinds = (int, float) if field.type is float else (int,)
            if isinstance(value, bool) or not isinstance(value, kinds):
                wanted = "a number" if field.type is float else "a whole number"
                raise ValueError(f"{name} is {value!r}; it must be {wanted}")
            least = 1 if field.name in ("beam", "max_length") else 0
            most = MOST_POWER if field.type is float else MOST
            if not least <= value <= most:  # NaN is not either
                raise ValueError(f"{name} is {value}; it must be from {least} to {most}")
        if self.min_length >= self.max_length:
            raise ValueError(
                f"a caption of at least {self.min_length} words cannot end within max length "
                f"{self.max_length}, the end counted"
            )

    def check_n_best(self, n_best: int) -> None:
        """See that the search can find so many captions.

        Raises:
            ValueError: it cannot.
        """
        if not 1 <= n_best <= self.beam:
            raise ValueError(f"n-best is {n_best}; it must be from 1 to the beam, {self.beam}")
