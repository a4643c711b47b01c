"""Settings of the captioner's beam search."""

from dataclasses import dataclass

from vl.data.choices import RankBy

MAX_COUNT = 1000  # beams or words
MAX_LENGTH_PENALTY = 10  # MAX_COUNT ** 10 is finite in float32


@dataclass(frozen=True)
class SearchSettings:
    """How captions are searched for.

    Raises:
        ValueError: a setting is out of its range, or no caption could end.
    """

    num_beams: int = 3
    """Beam width; 3 in im2txt."""
    max_length: int = 20
    """Maximum number of words, including the end word; 20 in im2txt."""
    length_penalty: float = 0.0
    """Compare captions by log-probability / length ** length_penalty; 0 does not normalize."""
    min_length: int = 0
    """Minimum number of words."""
    no_repeat_ngram_size: int = 0
    """Never repeat an n-gram of this length; 0 turns it off."""
    rank_by: RankBy = "log-prob"
    """Rank the captions by log-probability, or by minimum Bayes risk: the one most similar to the
    others first."""

    def __post_init__(self) -> None:
        for name, minimum, maximum in (
            ("num_beams", 1, MAX_COUNT),
            ("max_length", 1, MAX_COUNT),
            ("length_penalty", 0, MAX_LENGTH_PENALTY),
            ("min_length", 0, MAX_COUNT),
            ("no_repeat_ngram_size", 0, MAX_COUNT),
        ):
            value = getattr(self, name)
            if not minimum <= value <= maximum:  # NaN is not
                raise ValueError(f"{name} is {value}; it must be from {minimum} to {maximum}")
        if self.min_length >= self.max_length:
            raise ValueError(
                f"min_length is {self.min_length}; it must be below max_length, "
                f"{self.max_length}, which counts the end word"
            )

    def check_n_best(self, n_best: int) -> None:
        """Raise ValueError if the search cannot return this many captions."""
        if not 1 <= n_best <= self.num_beams:
            raise ValueError(
                f"n_best is {n_best}; it must be from 1 to the number of beams, {self.num_beams}"
            )
