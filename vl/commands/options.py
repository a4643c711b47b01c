"""Flags that several commands share: mixins of their dataclasses."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Where a command computes."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, or one GPU of several: cuda:1."""
