"""Small images of one colored shape with captions, all from a seed."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

COLORS = {
    "red": (0.85, 0.15, 0.15),
    "green": (0.15, 0.65, 0.25),
    "blue": (0.15, 0.3, 0.85),
    "yellow": (0.95, 0.85, 0.2),
    "white": (0.97, 0.97, 0.97),
    "black": (0.05, 0.05, 0.05),
}
SHAPES = ("ball", "box", "triangle", "ring")
GROUNDS = {"grass": (0.45, 0.6, 0.35), "sand": (0.8, 0.7, 0.5), "stone": (0.55, 0.55, 0.58)}


class ShapeImage(NamedTuple):
    pixels: Tensor  # (3, side, side), RGB in [0, 1]
    captions: tuple[str, ...]  # five, all true


def draw_shape(seed: int, *, side: int = 64) -> ShapeImage:
    """An image of a shape and its captions, determined by the seed."""
    generator = torch.Generator().manual_seed(seed)

    def choose(names):
        return list(names)[int(torch.randint(len(names), (), generator=generator))]

    shape, color, ground, size = (choose(n) for n in (SHAPES, COLORS, GROUNDS, ("small", "big")))
    radius = {"small": 0.18, "big": 0.32}[size] + 0.04 * float(torch.rand((), generator=generator))
    x, y = (0.4 + 0.2 * torch.rand(2, generator=generator)).tolist()
    mask = _mask(shape, x, y, radius, side)
    noise = 0.04 * torch.randn(3, side, side, generator=generator)
    foreground = torch.tensor(COLORS[color]).view(3, 1, 1)
    background = torch.tensor(GROUNDS[ground]).view(3, 1, 1)
    pixels = (mask * foreground + (1 - mask) * background + noise).clamp(0, 1)
    captions = (
        f"a {color} {shape} on {ground}",
        f"a {size} {color} {shape} lies on the {ground}",
        f"there is a {color} {shape} on the {ground}",
        f"a {size} {shape}",
        f"a {color} {shape} lies on {ground}",
    )
    return ShapeImage(pixels, captions)


def _mask(shape: str, x: float, y: float, radius: float, side: int) -> Tensor:
    """Coverage of each pixel, ``(side, side)``, with edges one pixel soft."""
    ticks = (torch.arange(side) + 0.5) / side
    dx, dy = ticks[None, :] - x, ticks[:, None] - y
    if shape == "ball":
        distance = (dx**2 + dy**2).sqrt() - radius
    elif shape == "ring":
        distance = ((dx**2 + dy**2).sqrt() - 0.8 * radius).abs() - 0.2 * radius
    elif shape == "box":
        distance = torch.maximum(dx.abs(), dy.abs()) - 0.85 * radius
    else:  # three half-planes, their normals a third of a turn apart
        angles = [math.pi / 2 + turn * 2 * math.pi / 3 for turn in range(3)]
        edges = [dx * math.cos(angle) + dy * math.sin(angle) for angle in angles]
        distance = torch.stack(edges).amax(0) - 0.5 * radius
    return (0.5 - distance * side).clamp(0, 1)
