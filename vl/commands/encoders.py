"""`vl encoders`: which encoders there are, how large they are, and what an image costs them."""

import json
from dataclasses import dataclass

import tyro

from vl.encoders.flops import ModelSize, model_size
from vl.encoders.table import OPTIONS, TORCHVISION_NAMES, validated_options
from vl.encoders.weights import published_weights

# Of torchvision's, those that one compares with first.
_COMPARED = ("alexnet", "resnet50")

_HEAD = ("encoder", "parameters", "for embedding", "multiply-adds", "image", "width", "weights")
_WIDTHS = (11, 13, 17, 9, 5)  # letters of the largest numbers, vit_h_14's, and of the head


@dataclass(frozen=True)
class EncodersRun:
    """List the encoders: size, cost of an image, published weights."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Encoders by name; by default ours, AlexNet and ResNet-50."""
    all: bool = False
    """All there are: ours and every one of torchvision's."""
    width_factor: float = 1.0
    """What the published numbers of channels are multiplied by; of those that can be scaled."""
    json: bool = False
    """One JSON line an encoder."""


def run(flags: EncodersRun) -> int:
    """Count and print, a line as soon as it is known: all of them take half a minute."""
    names = _chosen(flags)
    first = max(len(name) for name in (*names, _HEAD[0]))
    if not flags.json:
        print(_line(_HEAD, first=first))
    for name in names:
        counts = model_size(name, width_factor=flags.width_factor)
        weights = published_weights(name) if flags.width_factor == 1 else None
        if flags.json:
            line = json.dumps({"name": name, **counts._asdict(), "weights": weights})
        else:
            line = _line(_cells(name, counts, weights), first=first)
        print(line, flush=True)
    return 0


def _chosen(flags: EncodersRun) -> list[str]:
    """The names to list, each of which there is and can be scaled if that is asked for."""
    if flags.names and flags.all:
        raise ValueError("names and --all were given; --all has every name")
    names = [*OPTIONS, *_COMPARED]
    if flags.names:
        names = list(dict.fromkeys(flags.names))
    elif flags.all:
        names = [*OPTIONS, *(name for name in TORCHVISION_NAMES if name not in OPTIONS)]
    elif flags.width_factor != 1:
        names = [name for name, choices in OPTIONS.items() if "width_factor" in choices]
    for name in names:
        validated_options(name, width_factor=flags.width_factor)
    return names


def _cells(name: str, counts: ModelSize, weights: str | None) -> tuple[str, ...]:
    return (
        name,
        f"{counts.parameters:,}",
        f"{counts.embedding_parameters:,}",
        f"{counts.multiply_adds:,}",
        f"{counts.image_size} x {counts.image_size}",
        f"{counts.width:,}",
        weights or "none published",
    )


def _line(cells: tuple[str, ...], *, first: int) -> str:
    """The name to the left in so many letters, numbers to the right, the weights as they are."""
    name, *numbers, weights = cells
    aligned = [f"{number:>{width}}" for number, width in zip(numbers, _WIDTHS, strict=True)]
    return "  ".join([f"{name:<{first}}", *aligned, weights])
