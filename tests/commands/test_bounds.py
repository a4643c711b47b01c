"""Bounds of flags: what a type allows passes, and an error names the flag."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro
from annotated_types import Interval

from vl.commands.bounds import check_bounds, check_files
from vl.data.bounds import (
    InputFile,
    InputPath,
    LearningRate,
    NonNegativeFloat,
    PositiveInt,
    Probability,
)


@dataclass(frozen=True)
class Steps:
    """A group of flags."""

    grad_clip: NonNegativeFloat = 5.0


@dataclass(frozen=True)
class Flags:
    """Flags of each form that commands have."""

    inputs: tyro.conf.Positional[tuple[InputPath, ...]] = ()
    weights: InputFile | None = None
    batch_size: PositiveInt = 1
    patience: PositiveInt | None = None
    threshold: Probability | Literal["auto"] = "auto"
    epsilon: tuple[Probability, ...] = ()
    side: Annotated[int, Interval(ge=64, lt=225)] = 64
    learning_rate: LearningRate = 1e-3
    seed: int = 0
    steps: Steps = field(default_factory=Steps)


def test_accepts_values_on_their_bounds(tmp_path):
    for flags in (
        Flags(),
        Flags((tmp_path, Path("-")), patience=1, threshold=0.0, epsilon=(0.0, 1.0)),
        Flags(side=224, learning_rate=1e38, seed=-5, steps=Steps(0.0), weights=Path(__file__)),
    ):
        check_bounds(flags)
        check_files(flags)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "--batch-size is 0; it must be at least 1"),
        ({"patience": -1}, "--patience is -1; it must be at least 1"),
        ({"threshold": 1.5}, "--threshold is 1.5; it must be at least 0 and at most 1"),
        ({"epsilon": (0.5, 2.0)}, "--epsilon is 2.0; it must be at least 0 and at most 1"),
        ({"side": 225}, "--side is 225; it must be at least 64 and less than 225"),
        ({"learning_rate": 0.0}, "--learning-rate is 0.0; it must be more than 0"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan; it must be more than 0"),
        ({"steps": Steps(float("inf"))}, "--grad-clip is inf; it must be at least 0"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_refuses_values_out_of_bounds(changes, message):
    with pytest.raises(ValueError, match=message):
        check_bounds(Flags(**changes))


def test_refuses_missing_inputs(tmp_path):
    missing = tmp_path / "missing"
    for changes in ({"inputs": (tmp_path, missing)}, {"weights": missing}):
        check_bounds(Flags(**changes))
        with pytest.raises(FileNotFoundError, match="missing"):
            check_files(Flags(**changes))
    with pytest.raises(IsADirectoryError):
        check_files(Flags(weights=tmp_path))
