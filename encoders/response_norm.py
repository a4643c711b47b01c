"""Local response normalization (Krizhevsky et al. 2012) as in GoogLeNet, fast on a CPU.

``torch.nn.LocalResponseNorm`` pools over channels in 3-D and raises to a power, several times
slower.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_NEIGHBORS = 2  # channels on either side, 5 in all
_ALPHA = 1e-4 / (2 * _NEIGHBORS + 1)  # times the sum; the usual form has the mean


class ResponseNorm(nn.Module):
    """Local response normalization over 5 neighboring channels, alpha 1e-4, beta 0.75."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape.

        Equal to ``F.local_response_norm(x, 5, 1e-4, 0.75)``, with sums of shifted slices instead
        of a 3-D pool and square roots instead of a power.
        """
        needs_gradient = x.requires_grad and torch.is_grad_enabled()
        # A GPU gains nothing from one image at a time, and the compiler derives its own gradient.
        if needs_gradient and x.device.type == "cpu" and not torch.compiler.is_compiling():
            normalised: Tensor = _ImageByImage.apply(x)
            return normalised
        # In float16 the square of 256 is infinite, and a trained stem outputs more than that.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        square = F.pad(wide * wide, (0, 0, 0, 0, _NEIGHBORS, _NEIGHBORS))  # (B, C + 4, H, W)
        root = torch.rsqrt(1 + _ALPHA * _neighborhood_sums(square))
        return x * (root * root.sqrt()).to(x.dtype)


class _ImageByImage(torch.autograd.Function):
    """The same with an explicit gradient, one image at a time so that it stays in the cache.

    With r = 1 + a S(x^2), where S sums a channel and its neighbors, y = x r^(-3/4), and as S is
    symmetric dL/dx = g r^(-3/4) - 3/2 a x S(g x r^(-7/4)).
    """

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale, y = torch.empty_like(wide), torch.empty_like(x)
        images = (torch.split(batch, 1) for batch in (wide, scale, y))
        for image, r, output in zip(*images, strict=True):
            square = _padded(image)
            torch.mul(image, image, out=_inside(square))
            torch.mul(_neighborhood_sums(square), _ALPHA, out=r).add_(1)
            root = r.rsqrt()
            output.copy_(root.sqrt().mul_(root).mul_(image))
        context.save_for_backward(x, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """The gradient of the output to that of the input, both ``(B, C, H, W)``."""
        x, scale = context.saved_tensors
        wide, wide_gradient = x.to(scale.dtype), gradient.to(scale.dtype)
        result = torch.empty_like(scale)
        images = (torch.split(batch, 1) for batch in (wide, scale, wide_gradient, result))
        for image, r, g, output in zip(*images, strict=True):
            root = r.rsqrt()
            first_term = root.sqrt().mul_(root).mul_(g)  # g r^(-3/4)
            product = _padded(image)
            torch.mul(first_term, image, out=_inside(product)).div_(r)
            sums = _neighborhood_sums(product)
            torch.add(first_term, sums.mul_(image), alpha=-1.5 * _ALPHA, out=output)
        return result.to(x.dtype)


def _neighborhood_sums(padded: Tensor) -> Tensor:
    """``(B, C + 4, H, W)`` to sums over each channel and its neighbors, ``(B, C, H, W)``."""
    pairs = padded[:, :-1] + padded[:, 1:]
    fours = pairs[:, :-2] + pairs[:, 2:]
    return fours[:, :-1] + padded[:, 4:]


def _padded(like: Tensor) -> Tensor:
    """Uninitialized, with four more channels, which are 0; the memory format is kept."""
    count, channels, height, width = like.shape
    outer = channels + 2 * _NEIGHBORS
    if like.is_contiguous(memory_format=torch.channels_last):
        padded = like.new_empty(count, height, width, outer).permute(0, 3, 1, 2)
    else:
        padded = like.new_empty(count, outer, height, width)
    padded[:, :_NEIGHBORS] = 0
    padded[:, -_NEIGHBORS:] = 0
    return padded


def _inside(padded: Tensor) -> Tensor:
    return padded[:, _NEIGHBORS:-_NEIGHBORS]
