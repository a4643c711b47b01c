"""Numbers and paths with bounds, as types: ``batch_size: PositiveInt = 32``.

They annotate flags and the configurations that flags fill; the command line enforces them. It
imports no PyTorch, so that a command's help needs none.
"""

from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Interval, Predicate

from vl.data.outputs import FOLDER, PNG

PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Probability = Annotated[float, Interval(ge=0, le=1)]
OpenFraction = Annotated[float, Interval(gt=0, lt=1)]
PositiveFraction = Annotated[float, Interval(gt=0, le=1)]
LearningRate = Annotated[float, Interval(gt=0, le=1e38)]  # float32 ends there
HeldOutFraction = Annotated[float, Interval(ge=0, le=0.9)]  # something must be left to train on


InputFile = Annotated[Path, Predicate(Path.is_file)]  # neither a folder nor missing
InputPath = Annotated[Path, Predicate(Path.exists)]  # a file or a folder
OutputPng = Annotated[Path, PNG]  # an output is a path with its kind, see `vl.data.outputs`
OutputFolder = Annotated[Path, FOLDER]
