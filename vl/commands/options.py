"""Flags that several commands share: mixins of their dataclasses."""

from dataclasses import dataclass

from vl.commands.bounds import NonNegativeFloat, NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Where a command computes."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, or one GPU of several: cuda:1."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(DeviceOptions):
    """How a training is started, saved and resumed; torchrun starts one process per device."""

    seed: NonNegativeInt = 0
    """Seed of the initial weights, the order of the examples, augmentation and dropout."""
    checkpoint_seconds: NonNegativeFloat = 60.0
    """Seconds between checkpoints."""
    resume: bool = False
    """Continue the run in the output folder."""
