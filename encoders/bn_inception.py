"""BN-Inception, the network of Ioffe and Szegedy 2015 ("Batch Normalization").

It is GoogLeNet with batch normalisation before every ReLU, its 5x5 convolutions taken apart into
two of 3x3, wider late modules, and strides instead of pools between the three groups of modules.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from vl.encoders.inception import (
    IMAGE_SIZE,
    STEM_WIDTHS,
    TORCHVISION_MEAN,
    TORCHVISION_STD,
    AuxiliaryHead,
    Convolution,
    Logits,
    round_channels,
)

Pool = Literal["average", "max"]


class Row(NamedTuple):
    """The widths of a module's convolutions; 0 where it has none, as modules of stride 2 have."""

    one: int
    three_reduce: int
    three: int
    double_reduce: int
    double: int  # of both 3x3 convolutions that take the place of one 5x5
    pool: Pool
    projection: int


# Compared row by row with TF-slim's inception_v2.py, which calls them Mixed_3b to Mixed_5c.
MODULES = {
    "3a": Row(64, 64, 64, 64, 96, "average", 32),
    "3b": Row(64, 64, 96, 64, 96, "average", 64),
    "3c": Row(0, 128, 160, 64, 96, "max", 0),
    "4a": Row(224, 64, 96, 96, 128, "average", 128),
    "4b": Row(192, 96, 128, 96, 128, "average", 128),
    "4c": Row(160, 128, 160, 128, 160, "average", 96),
    "4d": Row(96, 128, 192, 160, 192, "average", 96),
    "4e": Row(0, 128, 192, 192, 256, "max", 0),
    "5a": Row(352, 192, 320, 160, 224, "average", 128),
    "5b": Row(352, 192, 320, 192, 224, "max", 128),
}
AUXILIARY_AFTER = ("4a", "4d")  # GoogLeNet's, by name; here too they are 14 x 14


class BNInception(nn.Module):
    """BN-Inception: pixels to an embedding of width 1024, and to class logits.

    A width factor other than 1 makes every layer wider or narrower by it, as ``round_channels`` says, and
    the embedding too: a narrow one is for small data.

    Args:
        classes: width of the classifiers.
        auxiliary: whether two heads that help training are there.
        width_factor: 1 is the published network.
        mean: subtracted from each colour, pixels in [0, 1].
        std: each colour is divided by it after the mean is gone; with the defaults the pixels
            enter in [-1, 1].

    Raises:
        ValueError: a width factor that is not above 0 and finite.

    Source:
        Ioffe and Szegedy 2015; all rows of ``MODULES``, and that a mean at the border is taken
        over the pixels that are there, from TF-slim's inception_v2.py. The rows were not compared
        with the paper's own figure; a Caffe port that is about has pool projections of 128 in 4c
        and 4d. Three things are not as there: the first layer is GoogLeNet's
        plain 7x7 convolution, slim's is a separable one of depth 8; there is no dropout, slim has
        0.2; and the auxiliary heads are GoogLeNet's, after modules of the same names, where slim
        has none.
    """

    image_size = IMAGE_SIZE

    def __init__(
        self,
        *,
        classes: int = 1000,
        auxiliary: bool = False,
        width_factor: float = 1.0,
        mean: tuple[float, float, float] = TORCHVISION_MEAN,
        std: tuple[float, float, float] = TORCHVISION_STD,
    ) -> None:
        super().__init__()
        self.width_factor = width_factor
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        first, second, third = (round_channels(width, width_factor) for width in STEM_WIDTHS)
        self.stem = nn.Sequential(
            Convolution(3, first, 7, norm="batch", stride=2),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Convolution(first, second, 1, norm="batch"),
            Convolution(second, third, 3, norm="batch"),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
        )
        self.inception = nn.ModuleDict()
        inputs, tapped = third, {}
        for name, row in MODULES.items():
            module = BNInceptionModule(inputs, row, width_factor=width_factor)
            self.inception[name] = module
            inputs = tapped[name] = module.width
        self.width = inputs
        self.classifier = nn.Linear(self.width, classes)
        self.auxiliary = nn.ModuleDict()
        if auxiliary:
            for name in AUXILIARY_AFTER:
                self.auxiliary[name] = AuxiliaryHead(
                    tapped[name],
                    classes,
                    norm="batch",
                    topology="published",
                    width_factor=width_factor,
                )

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, H, W)`` RGB in [0, 1] to ``(B, width)``; made for 224 x 224."""
        return self._features(pixels)[0]

    def classify(self, pixels: Tensor) -> Logits:
        """``(B, 3, H, W)`` to logits; the auxiliary heads answer while training only."""
        embedding, taps = self._features(pixels)
        auxiliary = ()
        if self.training:
            auxiliary = tuple(head(taps[name]) for name, head in self.auxiliary.items())
        return Logits(self.classifier(embedding), auxiliary)

    def _features(self, pixels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x = self.stem((pixels - self.mean) / self.std)  # (B, C, H/8, W/8)
        taps: dict[str, Tensor] = {}
        for name, module in self.inception.items():
            x = module(x)
            if name in self.auxiliary:
                taps[name] = x
        return x.mean((2, 3)), taps  # (B, width)


class BNInceptionModule(nn.Module):
    """Four branches side by side, joined along the channels; of stride 2, three.

    A module of stride 2 has no 1x1 branch, and its pool is joined as it is, without a projection.

    Args:
        inputs: channels that enter.
        row: the published widths.
        width_factor: what they are scaled by.
    """

    def __init__(self, inputs: int, row: Row, *, width_factor: float = 1.0) -> None:
        super().__init__()
        strided = row.one == 0
        stride = 2 if strided else 1
        one, three_reduce, three, double_reduce, double, projection = (
            round_channels(width, width_factor) if width else 0
            for width in (*row[:5], row.projection)
        )
        if not strided:
            self.one = Convolution(inputs, one, 1, norm="batch")
        self.three_reduce = Convolution(inputs, three_reduce, 1, norm="batch")
        self.three = Convolution(three_reduce, three, 3, norm="batch", stride=stride)
        self.double_reduce = Convolution(inputs, double_reduce, 1, norm="batch")
        self.double_first = Convolution(double_reduce, double, 3, norm="batch")
        self.double_second = Convolution(double, double, 3, norm="batch", stride=stride)
        self.pool: nn.Module
        if strided:  # centred on the same pixels as the convolutions of stride 2, on odd sides too
            self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        elif row.pool == "max":
            self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        else:
            self.pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.projection: nn.Module = nn.Identity()
        if not strided:
            self.projection = Convolution(inputs, projection, 1, norm="batch")
        self.strided = strided
        self.width = one + three + double + (inputs if strided else projection)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, width, H, W)``, or to half of the side, rounded up."""
        branches = [
            self.three(self.three_reduce(x)),
            self.double_second(self.double_first(self.double_reduce(x))),
            self.projection(self.pool(x)),
        ]
        if not self.strided:
            branches.insert(0, self.one(x))
        return torch.cat(branches, dim=1)


def bn_inception(
    *, classes: int = 1000, auxiliary: bool = False, width_factor: float = 1.0
) -> BNInception:
    """BN-Inception as published, but for what the class says of its first layer."""
    return BNInception(classes=classes, auxiliary=auxiliary, width_factor=width_factor)
