"""LeNet-5, the reader of digits (LeCun et al. 1998, "Gradient-Based Learning Applied to ...")."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vl.encoders.inception import Logits

EMBEDDING_WIDTH = 84
IMAGE_SIZE = 32

# Table I of the paper: for each of C3's 16 maps, those of S2's 6 maps that it sees.
SEEN = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

GREY = (0.299, 0.587, 0.114)  # of R, G and B: ITU-R BT.601's luma

# The paper feeds background as -0.1 and ink as 1.175; MNIST's files have them as 0 and 1.
MEAN = 0.1 / 1.275
STD = 1 / 1.275


class LeNet5(nn.Module):
    """LeNet-5: 32 x 32 pixels to an embedding of width 84, and to class logits.

    The layers C1 to F6 are the paper's, with its 60,000 numbers: subsampling with a coefficient and
    a bias a map, C3's maps that see some of S2's only, 1.7159 tanh(2/3 x) after each layer. What is
    modern: colours are turned to grey; the answer is linear, for a softmax, where the paper has
    distances to drawn characters; a subsampling begins as a plain mean, and the other first
    weights keep the variance of what enters.

    Args:
        classes: width of the classifier; ten digits in the paper.
        mean: subtracted from the grey, in [0, 1].
        std: the grey is divided by it after the mean is gone.

    Source:
        LeCun et al. 1998, section II.B, table I and appendix A, recalled; the paper's sums, 60,000
        numbers and 340,908 connections with the answer's 840, hold for what stands here. First
        weights: LeCun, Bottou, Orr and Mueller 1998, "Efficient BackProp", equation 16.
    """

    width = EMBEDDING_WIDTH
    image_size = IMAGE_SIZE

    def __init__(self, *, classes: int = 10, mean: float = MEAN, std: float = STD) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.grey: Tensor
        self.register_buffer("mean", torch.full((1, 3, 1, 1), mean))
        self.register_buffer("std", torch.full((1, 3, 1, 1), std))
        self.register_buffer("grey", torch.tensor(GREY).view(1, 3, 1, 1), persistent=False)
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = PartialConvolution(SEEN, side=5)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, EMBEDDING_WIDTH)
        self.classifier = nn.Linear(EMBEDDING_WIDTH, classes)
        for layer in (self.c1, self.c5, self.f6, self.classifier):
            _draw(layer.weight, fan_in=layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, 32, 32)`` RGB in [0, 1] to ``(B, 84)``.

        Raises:
            ValueError: the images have another side.
        """
        if pixels.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(
                f"images have shape {tuple(pixels.shape[1:])}; "
                f"LeNet-5 takes (3, {IMAGE_SIZE}, {IMAGE_SIZE})"
            )
        x = ((pixels - self.mean) / self.std * self.grey).sum(1, keepdim=True)  # (B, 1, 32, 32)
        x = squashed(self.s2(squashed(self.c1(x))))  # (B, 6, 14, 14)
        x = squashed(self.s4(squashed(self.c3(x))))  # (B, 16, 5, 5)
        x = squashed(self.c5(x))  # (B, 120, 1, 1)
        return squashed(self.f6(x.flatten(1)))  # (B, 84)

    def classify(self, pixels: Tensor) -> Logits:
        """``(B, 3, 32, 32)`` to logits; there are no auxiliary heads."""
        return Logits(self.classifier(self(pixels)), ())


class Subsampling(nn.Module):
    """The sum of each 2 x 2 pixels times a coefficient, plus a bias; both one a map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((maps, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, maps, H, W)`` to ``(B, maps, H / 2, W / 2)``."""
        return F.avg_pool2d(x, 2) * 4 * self.coefficient + self.bias


class PartialConvolution(nn.Module):
    """A convolution in which each output sees some of the inputs only.

    Args:
        seen: for each output, the inputs that it sees.
        side: of the kernels, pixels.
    """

    def __init__(self, seen: tuple[tuple[int, ...], ...], *, side: int) -> None:
        super().__init__()
        pairs = [(source, target) for target, sources in enumerate(seen) for source in sources]
        self.sources: Tensor
        self.targets: Tensor
        for name, ends in zip(("sources", "targets"), zip(*pairs)):
            self.register_buffer(name, torch.tensor(ends), persistent=False)
        # One kernel a connection, so that there are no more numbers than connections.
        self.kernels = nn.Conv2d(len(pairs), len(pairs), side, groups=len(pairs), bias=False)
        self.bias = nn.Parameter(torch.zeros(len(seen), 1, 1))
        for kernel, target in zip(self.kernels.weight.detach(), self.targets.tolist()):
            _draw(kernel, fan_in=side * side * len(seen[target]))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H - side + 1, W - side + 1)``."""
        each = self.kernels(x[:, self.sources])  # (B, connections, H', W')
        shape = (len(x), len(self.bias), *each.shape[2:])
        return each.new_zeros(shape).index_add(1, self.targets, each) + self.bias


def squashed(x: Tensor) -> Tensor:
    """1.7159 tanh(2/3 x), which is near 1 at 1 and near -1 at -1."""
    return 1.7159 * torch.tanh(x * (2 / 3))  # appendix A of the paper


def lenet5(*, classes: int = 10) -> LeNet5:
    """LeNet-5 as published but for its answer: 60,000 numbers, and 85 for each class."""
    return LeNet5(classes=classes)


def _draw(weight: Tensor, *, fan_in: int) -> None:
    """Draw with mean 0 and standard deviation 1 / sqrt(fan_in), evenly spread."""
    nn.init.uniform_(weight, -math.sqrt(3 / fan_in), math.sqrt(3 / fan_in))
