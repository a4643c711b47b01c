"""Local response normalisation (Krizhevsky et al. 2012), as GoogLeNet has it, fast on a processor.

PyTorch's own pools over channels in 3-D and raises to a power, several times slower.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_NEIGHBOURS = 2  # channels on either side, 5 in all
_ALPHA = 1e-4 / (2 * _NEIGHBOURS + 1)  # of the sum; the usual form has it of the mean


class ResponseNorm(nn.Module):
    """Local response normalisation over 5 neighbouring channels, alpha 1e-4, beta 0.75."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape.

        The same numbers as ``F.local_response_norm(x, 5, 1e-4, 0.75)``: sums of shifted slices
        instead of a 3-D pool, and square roots instead of a power.
        """
        wanted = x.requires_grad and torch.is_grad_enabled()
        # A GPU would do an image at a time no better, and the compiler writes its own gradient.
        if wanted and x.device.type == "cpu" and not torch.compiler.is_compiling():
            normalised: Tensor = _ImageByImage.apply(x)
            return normalised
        # In float16 a square is infinite from 256 on, and the stem of trained weights passes that.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        square = F.pad(wide * wide, (0, 0, 0, 0, _NEIGHBOURS, _NEIGHBOURS))  # (B, C + 4, H, W)
        root = torch.rsqrt(1 + _ALPHA * _summed(square))
        return x * (root * root.sqrt()).to(x.dtype)


class _ImageByImage(torch.autograd.Function):
    """The same with its gradient written out; what an image touches stays in the cache.

    With r = 1 + a S(x^2), where S sums a channel and its neighbours, y = x r^(-3/4), and as S is
    symmetric dL/dx = g r^(-3/4) - 3/2 a x S(g x r^(-7/4)).
    """

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale, y = torch.empty_like(wide), torch.empty_like(x)
        parts = (torch.split(each, 1) for each in (wide, scale, y))
        for one, own, out in zip(*parts, strict=True):
            square = _padded(one)
            torch.mul(one, one, out=_inside(square))
            torch.mul(_summed(square), _ALPHA, out=own).add_(1)
            root = own.rsqrt()
            out.copy_(root.sqrt().mul_(root).mul_(one))
        context.save_for_backward(x, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """The gradient by the output to that by the input, both ``(B, C, H, W)``."""
        x, scale = context.saved_tensors
        wide, given = x.to(scale.dtype), gradient.to(scale.dtype)
        found = torch.empty_like(scale)
        parts = (torch.split(each, 1) for each in (wide, scale, given, found))
        for one, own, slope, out in zip(*parts, strict=True):
            root = own.rsqrt()
            round_channels = root.sqrt().mul_(root).mul_(slope)  # g r^(-3/4)
            product = _padded(one)
            torch.mul(round_channels, one, out=_inside(product)).div_(own)
            torch.add(round_channels, _summed(product).mul_(one), alpha=-1.5 * _ALPHA, out=out)
        return found.to(x.dtype)


def _summed(padded: Tensor) -> Tensor:
    """``(B, C + 4, H, W)`` to sums over each channel and its neighbours, ``(B, C, H, W)``."""
    pairs = padded[:, :-1] + padded[:, 1:]
    fours = pairs[:, :-2] + pairs[:, 2:]
    return fours[:, :-1] + padded[:, 4:]


def _padded(like: Tensor) -> Tensor:
    """Room for four more channels, those at the ends 0; in memory as the tensor itself is."""
    count, channels, height, width = like.shape
    outer = channels + 2 * _NEIGHBOURS
    if like.is_contiguous(memory_format=torch.channels_last):
        room = like.new_empty(count, height, width, outer).permute(0, 3, 1, 2)
    else:
        room = like.new_empty(count, outer, height, width)
    room[:, :_NEIGHBOURS] = 0
    room[:, -_NEIGHBOURS:] = 0
    return room


def _inside(padded: Tensor) -> Tensor:
    return padded[:, _NEIGHBOURS:-_NEIGHBOURS]
