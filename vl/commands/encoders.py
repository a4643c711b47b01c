"""`vl encoders`: the encoders, their sizes, and their multiply-adds for an image."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from vl.data.bounds import PositiveFloat

if TYPE_CHECKING:
    from vl.encoders.flops import ModelSize

# Those of torchvision's that are usually compared with.
_COMPARISONS = ("alexnet", "resnet50")

_HEAD = ("encoder", "parameters", "for embedding", "multiply-adds", "image", "width", "weights")
_WIDTHS = (11, 13, 17, 9, 5)  # of the columns: the largest values, vit_h_14's, or the head


@dataclass(frozen=True)
class EncodersRun:
    """List encoders: parameters, multiply-adds for an image, pretrained weights."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Encoders by name; by default ours, AlexNet and ResNet-50."""
    all: bool = False
    """List all: ours and every classification network of torchvision."""
    width_factor: PositiveFloat = 1.0
    """Scale the channels of encoders that have this option."""
    json: bool = False
    """Print a JSON line for each encoder."""


def run(flags: EncodersRun) -> int:
    """Count and print line by line: all encoders take half a minute."""
    from vl.encoders.flops import model_size
    from vl.encoders.table import published_weights

    names = _names(flags)
    first = max(len(name) for name in (*names, _HEAD[0]))
    if not flags.json:
        print(_line(_HEAD[0], _HEAD[1:-1], _HEAD[-1], first=first))
    for name in names:
        size = model_size(name, {"width_factor": flags.width_factor})
        weights = published_weights(name) if flags.width_factor == 1 else None
        if flags.json:
            line = json.dumps({"name": name, **size._asdict(), "weights": weights})
        else:
            line = _line(name, _row(size), weights or "none published", first=first)
        print(line, flush=True)
    return 0


def _names(flags: EncodersRun) -> Sequence[str]:
    """The encoders to list, all of which exist and can be scaled if that is asked for."""
    from vl.encoders.table import OPTIONS, validated_options
    from vl.encoders.torchvision_features import torchvision_names

    if flags.names and flags.all:
        raise ValueError("give either names or --all")
    names = [*OPTIONS, *_COMPARISONS]
    if flags.names:
        names = list(dict.fromkeys(flags.names))
    elif flags.all:
        names = list(dict.fromkeys([*OPTIONS, *torchvision_names()]))
    elif flags.width_factor != 1:
        names = [name for name, options in OPTIONS.items() if "width_factor" in options]
    for name in names:
        validated_options(name, {"width_factor": flags.width_factor})
    return names


def _row(size: "ModelSize") -> tuple[str, ...]:
    return (
        f"{size.parameters:,}",
        f"{size.embedding_parameters:,}",
        f"{size.multiply_adds:,}",
        f"{size.image_size} x {size.image_size}",
        f"{size.width:,}",
    )


def _line(name: str, numbers: tuple[str, ...], weights: str, *, first: int) -> str:
    aligned = [f"{number:>{width}}" for number, width in zip(numbers, _WIDTHS, strict=True)]
    return "  ".join([f"{name:<{first}}", *aligned, weights])
