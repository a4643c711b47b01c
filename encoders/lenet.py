"""LeNet-5 for digits (LeCun et al. 1998, "Gradient-Based Learning Applied to Document ...")."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vl.encoders.inception import Logits

EMBEDDING_WIDTH = 84
IMAGE_SIZE = 32

# Table I of the paper: for each of C3's 16 maps, the maps of S2 it is connected to.
CONNECTIONS = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

GRAY = (0.299, 0.587, 0.114)  # of R, G and B: ITU-R BT.601's luma

# In the paper background is -0.1 and ink 1.175; in MNIST's files they are 0 and 1.
MEAN = 0.1 / 1.275
STD = 1 / 1.275


class LeNet5(nn.Module):
    """LeNet-5: 32 x 32 pixels to an embedding of width 84, and to class logits.

    Layers C1 to F6 are the paper's, with its 60,000 parameters: subsampling with a coefficient and
    a bias for each map, partial connections from S2 to C3, 1.7159 tanh(2/3 x) after each layer.
    Differences: colors are converted to gray; the output layer is linear, for a softmax, instead
    of distances to drawn characters; subsampling is initialized as a mean, and the other layers to
    keep the variance of their input.

    Args:
        classes: outputs of the classifier; ten digits in the paper.

    Source:
        LeCun et al. 1998, section II.B, table I and appendix A, from memory; the paper's counts of
        60,000 parameters and 340,908 connections, 840 in the output layer, hold here.
        Initialization: LeCun, Bottou, Orr and Mueller 1998, "Efficient BackProp", equation 16.
    """

    width = EMBEDDING_WIDTH
    image_size = IMAGE_SIZE

    def __init__(self, *, classes: int = 10) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.grey: Tensor
        self.register_buffer("mean", torch.full((1, 3, 1, 1), MEAN))
        self.register_buffer("std", torch.full((1, 3, 1, 1), STD))
        # Spelled as in published files: their fingerprints cover the names of buffers.
        self.register_buffer("grey", torch.tensor(GRAY).view(1, 3, 1, 1), persistent=False)
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = PartialConvolution(CONNECTIONS, kernel_size=5)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, EMBEDDING_WIDTH)
        self.classifier = nn.Linear(EMBEDDING_WIDTH, classes)
        for layer in (self.c1, self.c5, self.f6, self.classifier):
            _initialize(layer.weight, fan_in=layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, 32, 32)`` RGB in [0, 1] to ``(B, 84)``.

        Raises:
            ValueError: the images have another size.
        """
        if pixels.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(
                f"images have shape {tuple(pixels.shape[1:])}; "
                f"LeNet-5 takes (3, {IMAGE_SIZE}, {IMAGE_SIZE})"
            )
        x = ((pixels - self.mean) / self.std * self.grey).sum(1, keepdim=True)  # (B, 1, 32, 32)
        x = scaled_tanh(self.s2(scaled_tanh(self.c1(x))))  # (B, 6, 14, 14)
        x = scaled_tanh(self.s4(scaled_tanh(self.c3(x))))  # (B, 16, 5, 5)
        x = scaled_tanh(self.c5(x))  # (B, 120, 1, 1)
        return scaled_tanh(self.f6(x.flatten(1)))  # (B, 84)

    def classify(self, pixels: Tensor) -> Logits:
        """``(B, 3, 32, 32)`` to logits; there are no auxiliary heads."""
        return Logits(self.classifier(self(pixels)), ())


class Subsampling(nn.Module):
    """The sum of each 2 x 2 pixels times a coefficient, plus a bias; both learned for each map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((maps, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, maps, H, W)`` to ``(B, maps, H / 2, W / 2)``."""
        return F.avg_pool2d(x, 2) * 4 * self.coefficient + self.bias


class PartialConvolution(nn.Module):
    """A convolution with a kernel for some pairs of input and output channels only.

    Args:
        connections: for each output channel, its input channels.
        kernel_size: in pixels.
    """

    def __init__(self, connections: tuple[tuple[int, ...], ...], *, kernel_size: int) -> None:
        super().__init__()
        pairs = [
            (source, target) for target, sources in enumerate(connections) for source in sources
        ]
        self.sources: Tensor
        self.targets: Tensor
        for name, channels in zip(("sources", "targets"), zip(*pairs)):
            self.register_buffer(name, torch.tensor(channels), persistent=False)
        # A kernel for each connection: as many parameters as the paper has.
        self.kernels = nn.Conv2d(len(pairs), len(pairs), kernel_size, groups=len(pairs), bias=False)
        self.bias = nn.Parameter(torch.zeros(len(connections), 1, 1))
        for kernel, target in zip(self.kernels.weight.detach(), self.targets.tolist()):
            _initialize(kernel, fan_in=kernel_size**2 * len(connections[target]))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H', W')`` without padding."""
        products = self.kernels(x[:, self.sources])  # (B, connections, H', W')
        shape = (len(x), len(self.bias), *products.shape[2:])
        return products.new_zeros(shape).index_add(1, self.targets, products) + self.bias


def scaled_tanh(x: Tensor) -> Tensor:
    """1.7159 tanh(2/3 x), which is near 1 at 1 and near -1 at -1."""
    return 1.7159 * torch.tanh(x * (2 / 3))  # appendix A of the paper


def _initialize(weight: Tensor, *, fan_in: int) -> None:
    """Draw uniformly with mean 0 and standard deviation 1 / sqrt(fan_in)."""
    nn.init.uniform_(weight, -math.sqrt(3 / fan_in), math.sqrt(3 / fan_in))
