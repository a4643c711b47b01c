"""A small drawn world: coloured shapes with true captions, for demonstrations and tests.

Every picture and caption comes from a seed; what a caption says is on the picture.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.15, 0.15),
    "green": (0.15, 0.65, 0.25),
    "blue": (0.15, 0.3, 0.85),
    "yellow": (0.95, 0.85, 0.2),
    "white": (0.97, 0.97, 0.97),
    "black": (0.05, 0.05, 0.05),
}
KINDS = ("ball", "box", "triangle", "ring")
GROUNDS: dict[str, tuple[float, float, float]] = {
    "grass": (0.45, 0.6, 0.35),
    "sand": (0.8, 0.7, 0.5),
    "stone": (0.55, 0.55, 0.58),
}


class Scene(NamedTuple):
    """A picture of one thing, and what is true of it."""

    pixels: Tensor  # (3, side, side), RGB in [0, 1]
    kind: str
    colour: str
    ground: str
    captions: tuple[str, ...]  # five, all true


def draw(seed: int, *, side: int = 64) -> Scene:
    """The scene of a seed.

    Args:
        seed: says everything: the same seed gives the same scene.
        side: of the picture, in pixels.
    """
    generator = torch.Generator().manual_seed(seed)

    def chance(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    kind = KINDS[chance(len(KINDS))]
    colour = list(COLOURS)[chance(len(COLOURS))]
    ground = list(GROUNDS)[chance(len(GROUNDS))]
    big = chance(2) == 1
    radius = (0.32 if big else 0.18) + 0.04 * float(torch.rand((), generator=generator))
    x, y = (0.4 + 0.2 * torch.rand(2, generator=generator)).tolist()
    inside = _cover(kind, x, y, radius, side)
    noise = 0.04 * torch.randn(3, side, side, generator=generator)
    paint = torch.tensor(COLOURS[colour]).view(3, 1, 1)
    floor = torch.tensor(GROUNDS[ground]).view(3, 1, 1)
    pixels = (inside * paint + (1 - inside) * floor + noise).clamp(0, 1)
    size = "big" if big else "small"
    captions = (
        f"a {colour} {kind} on {ground}",
        f"a {size} {colour} {kind} lies on the {ground}",
        f"there is a {colour} {kind} on the {ground}",
        f"a {size} {kind}",
        f"a {colour} {kind} lies on {ground}",
    )
    return Scene(pixels, kind, colour, ground, captions)


def _cover(kind: str, x: float, y: float, radius: float, side: int) -> Tensor:
    """How much of each pixel a shape covers, ``(side, side)``, edges a pixel soft."""
    ticks = (torch.arange(side) + 0.5) / side
    across, down = ticks[None, :] - x, ticks[:, None] - y
    if kind == "ball":
        distance = (across**2 + down**2).sqrt() - radius
    elif kind == "ring":
        distance = ((across**2 + down**2).sqrt() - 0.8 * radius).abs() - 0.2 * radius
    elif kind == "box":
        distance = torch.maximum(across.abs(), down.abs()) - 0.85 * radius
    else:  # three half-planes, the edges' normals a third of a turn apart
        turns = [math.pi / 2 + turn * 2 * math.pi / 3 for turn in range(3)]
        edges = [across * math.cos(turn) + down * math.sin(turn) for turn in turns]
        farthest = torch.maximum(torch.maximum(edges[0], edges[1]), edges[2])
        distance = farthest - 0.5 * radius
    return (0.5 - distance * side).clamp(0, 1)
