"""Flags that several commands share: mixins of their dataclasses."""

from dataclasses import dataclass

from vl.data.bounds import PositiveInt


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Where a command computes."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, or one GPU of several: cuda:1."""


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """What an output may replace."""

    overwrite: bool = False
    """Replace an output file of another kind; an input is never replaced."""


@dataclass(frozen=True, kw_only=True)
class BatchOptions(DeviceOptions):
    """Where a command computes, and on how many images at once."""

    batch_size: PositiveInt = 32
    """Images in a batch."""
