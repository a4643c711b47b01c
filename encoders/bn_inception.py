"""BN-Inception, the network of Ioffe and Szegedy 2015 ("Batch Normalization").

GoogLeNet with batch normalization before every ReLU, each 5x5 convolution replaced by two of 3x3,
wider late modules, and strides instead of pools between the three groups of modules.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from vl.encoders.inception import (
    IMAGE_SIZE,
    STEM_WIDTHS,
    TORCHVISION_MEAN,
    TORCHVISION_STD,
    Convolution,
    Logits,
    auxiliary_heads,
    classify,
    embed,
    round_channels,
)

Pool = Literal["average", "max"]


class ModuleWidths(NamedTuple):
    """Output channels of a module's convolutions; modules of stride 2 lack those with 0."""

    one: int
    three_reduce: int
    three: int
    double_reduce: int
    double: int  # of both 3x3 convolutions that replace a 5x5
    pool: Pool
    projection: int


# Checked row by row against TF-slim's inception_v2.py, where they are Mixed_3b to Mixed_5c.
MODULES = {
    "3a": ModuleWidths(64, 64, 64, 64, 96, "average", 32),
    "3b": ModuleWidths(64, 64, 96, 64, 96, "average", 64),
    "3c": ModuleWidths(0, 128, 160, 64, 96, "max", 0),
    "4a": ModuleWidths(224, 64, 96, 96, 128, "average", 128),
    "4b": ModuleWidths(192, 96, 128, 96, 128, "average", 128),
    "4c": ModuleWidths(160, 128, 160, 128, 160, "average", 96),
    "4d": ModuleWidths(96, 128, 192, 160, 192, "average", 96),
    "4e": ModuleWidths(0, 128, 192, 192, 256, "max", 0),
    "5a": ModuleWidths(352, 192, 320, 160, 224, "average", 128),
    "5b": ModuleWidths(352, 192, 320, 192, 224, "max", 128),
}


class BNInception(nn.Module):
    """BN-Inception: pixels, scaled to [-1, 1], to an embedding of width 1024, and to class logits.

    Args:
        classes: outputs of the classifiers.
        auxiliary: whether to add two auxiliary heads, which are for training only.
        width_factor: scales the channels of every layer, see
            ``vl.encoders.inception.round_channels``; the embedding too.

    Raises:
        ValueError: an invalid width factor.

    Source:
        Ioffe and Szegedy 2015; the rows of ``MODULES``, and average pools that ignore padding, from
        TF-slim's inception_v2.py. The rows were not compared with the paper's own figure; a Caffe
        port has pool projections of 128 in 4c and 4d. Three differences from TF-slim: the first
        layer is GoogLeNet's 7x7 convolution instead of a separable one of depth 8; there is no
        dropout instead of 0.2; the auxiliary heads are GoogLeNet's, after the modules of the same
        names, which are 14 x 14 here too.
    """

    image_size = IMAGE_SIZE

    def __init__(
        self,
        *,
        classes: int = 1000,
        auxiliary: bool = False,
        width_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.width_factor = width_factor
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(TORCHVISION_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(TORCHVISION_STD).view(1, 3, 1, 1))
        first, second, third = (round_channels(width, width_factor) for width in STEM_WIDTHS)
        self.stem = nn.Sequential(
            Convolution(3, first, 7, norm="batch", stride=2),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Convolution(first, second, 1, norm="batch"),
            Convolution(second, third, 3, norm="batch"),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
        )
        self.inception = nn.ModuleDict()
        channels, module_widths = third, {}
        for name, row in MODULES.items():
            module = BNInceptionModule(channels, row, width_factor=width_factor)
            self.inception[name] = module
            channels = module_widths[name] = module.width
        self.width = channels
        self.pool_after = nn.ModuleDict()  # the modules of stride 2 pool
        self.dropout: nn.Module = nn.Identity()
        self.classifier = nn.Linear(self.width, classes)
        self.auxiliary = nn.ModuleDict()
        if auxiliary:
            self.auxiliary = auxiliary_heads(
                module_widths,
                classes,
                norm="batch",
                topology="published",
                width_factor=width_factor,
            )

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, H, W)`` RGB in [0, 1] to ``(B, width)``; made for 224 x 224."""
        return embed(self, pixels)[0]

    def classify(self, pixels: Tensor) -> Logits:
        """``(B, 3, H, W)`` to logits; those of the auxiliary heads in training mode only."""
        return classify(self, pixels)


class BNInceptionModule(nn.Module):
    """Parallel branches, concatenated along the channels: four, or three with stride 2.

    A module of stride 2 has no 1x1 branch and no projection after its pool.
    """

    def __init__(
        self, in_channels: int, widths: ModuleWidths, *, width_factor: float = 1.0
    ) -> None:
        super().__init__()
        strided = widths.one == 0
        stride = 2 if strided else 1
        one, three_reduce, three, double_reduce, double, projection = (
            round_channels(width, width_factor) if width else 0
            for width in (*widths[:5], widths.projection)
        )
        if not strided:
            self.one = Convolution(in_channels, one, 1, norm="batch")
        self.three_reduce = Convolution(in_channels, three_reduce, 1, norm="batch")
        self.three = Convolution(three_reduce, three, 3, norm="batch", stride=stride)
        self.double_reduce = Convolution(in_channels, double_reduce, 1, norm="batch")
        self.double_first = Convolution(double_reduce, double, 3, norm="batch")
        self.double_second = Convolution(double, double, 3, norm="batch", stride=stride)
        self.pool: nn.Module
        if strided:  # centered where the convolutions of stride 2 are, on odd sides too
            self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        elif widths.pool == "max":
            self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        else:
            self.pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.projection: nn.Module = nn.Identity()
        if not strided:
            self.projection = Convolution(in_channels, projection, 1, norm="batch")
        self.strided = strided
        self.width = one + three + double + (in_channels if strided else projection)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, width, H / stride, W / stride)``, rounded up."""
        branches = [
            self.three(self.three_reduce(x)),
            self.double_second(self.double_first(self.double_reduce(x))),
            self.projection(self.pool(x)),
        ]
        if not self.strided:
            branches.insert(0, self.one(x))
        return torch.cat(branches, dim=1)
