"""GoogLeNet, the Inception network of Szegedy et al. 2015 ("Going Deeper with Convolutions").

It knows nothing of files: encoders/weights.py brings trained numbers in.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vl.encoders.response_norm import ResponseNorm

Norm = Literal["response", "batch"]
Topology = Literal["published", "torchvision"]

# Table 1 of the paper: the widths of the six convolutions of each module.
# name: (inputs, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection)
MODULES = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}
STEM_WIDTHS = (64, 64, 192)  # of the three convolutions before the first module
HEAD_WIDTHS = (128, 1024)  # of an auxiliary head's convolution and hidden layer
AUXILIARY_AFTER = ("4a", "4d")  # the modules whose output the auxiliary heads hear
IMAGE_SIZE = 224

# ImageNet's mean colour as BVLC subtracted it, (123, 117, 104) of 255 in R, G, B; BVLC divides by
# nothing, so one unit of its input is 1/255 of ours.
BVLC_MEAN = (123 / 255, 117 / 255, 104 / 255)
BVLC_STD = (1 / 255, 1 / 255, 1 / 255)

# torchvision's transform_input turns pixels less ImageNet's mean and over its deviation into these.
TORCHVISION_MEAN = (0.5, 0.5, 0.5)
TORCHVISION_STD = (0.5, 0.5, 0.5)


class Logits(NamedTuple):
    """What the classifiers say of a batch, before any softmax."""

    main: Tensor  # (B, classes)
    auxiliary: tuple[Tensor, ...]  # each (B, classes); empty without the heads


class Inception(nn.Module):
    """GoogLeNet: pixels to an embedding of width 1024, and to class logits.

    A width factor other than 1 makes every layer wider or narrower by it, as ``round_channels`` says, and
    the embedding too: a narrow one is for small data.

    Args:
        classes: width of the classifiers.
        norm: ``"response"`` is the published network (two local response normalisations, biases
            in every convolution); ``"batch"`` has batch normalisation before every ReLU and no
            biases in the convolutions.
        topology: ``"published"`` is table 1; ``"torchvision"`` is what torchvision's weights were
            trained in. There the 5x5 convolutions are 3x3 (pytorch/vision#906), the pool after 4e
            is 2x2, the auxiliary heads pool to 4 x 4 adaptively, and the last dropout is 0.2.
        auxiliary: whether the two heads that help training are there.
        width_factor: 1 is the published network.
        mean: subtracted from each colour, pixels in [0, 1].
        std: each colour is divided by it after the mean is gone.

    Raises:
        ValueError: an unknown norm or topology, or a width factor that is not above 0 and finite.

    Source:
        Szegedy et al. 2015, table 1; paddings, ceil-mode pools, the normalisation's numbers and
        the first weights from BVLC's train_val.prototxt; torchvision/models/googlenet.py.
    """

    image_size = IMAGE_SIZE

    def __init__(
        self,
        *,
        classes: int = 1000,
        norm: Norm = "response",
        topology: Topology = "published",
        auxiliary: bool = False,
        width_factor: float = 1.0,
        mean: tuple[float, float, float] = BVLC_MEAN,
        std: tuple[float, float, float] = BVLC_STD,
    ) -> None:
        super().__init__()
        if norm not in ("response", "batch"):
            raise ValueError(f"norm is {norm!r}; it must be 'response' or 'batch'")
        if topology not in ("published", "torchvision"):
            raise ValueError(f"topology is {topology!r}; it must be 'published' or 'torchvision'")
        published = topology == "published"
        self.norm: Norm = norm
        self.topology: Topology = topology
        self.width_factor = width_factor
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        first, second, third = (round_channels(width, width_factor) for width in STEM_WIDTHS)
        response = ResponseNorm() if norm == "response" else nn.Identity()
        pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.stem = nn.Sequential(
            Convolution(3, first, 7, norm=norm, stride=2),
            pool,
            response,
            Convolution(first, second, 1, norm=norm),
            Convolution(second, third, 3, norm=norm),
            response,
            pool,
        )
        self.inception = nn.ModuleDict()
        inputs, tapped = third, {}
        for name, (_, *widths) in MODULES.items():
            module = InceptionModule(
                inputs,
                *(round_channels(width, width_factor) for width in widths),
                norm=norm,
                fifth_side=5 if published else 3,
            )
            self.inception[name] = module
            inputs = tapped[name] = module.width
        self.width = inputs
        last = pool if published else nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.pool_after = nn.ModuleDict({"3b": pool, "4e": last})
        self.dropout = nn.Dropout(0.4 if published else 0.2)  # table 1
        self.classifier = nn.Linear(self.width, classes)
        self.auxiliary = nn.ModuleDict()
        if auxiliary:
            for name in AUXILIARY_AFTER:
                self.auxiliary[name] = AuxiliaryHead(
                    tapped[name], classes, norm=norm, topology=topology, width_factor=width_factor
                )
        if norm == "response":
            self.apply(_initialise)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, H, W)`` RGB in [0, 1] to ``(B, width)``; trained at 224 x 224."""
        return self._features(pixels)[0]

    def classify(self, pixels: Tensor) -> Logits:
        """``(B, 3, H, W)`` to logits; the auxiliary heads answer while training only."""
        embedding, taps = self._features(pixels)
        auxiliary = ()
        if self.training:
            auxiliary = tuple(head(taps[name]) for name, head in self.auxiliary.items())
        return Logits(self.classifier(self.dropout(embedding)), auxiliary)

    def _features(self, pixels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x = self.stem((pixels - self.mean) / self.std)  # (B, 192, H/8, W/8)
        taps: dict[str, Tensor] = {}
        for name, module in self.inception.items():
            x = module(x)
            if name in self.pool_after:
                x = self.pool_after[name](x)
            if name in self.auxiliary:
                taps[name] = x
        return x.mean((2, 3)), taps  # (B, width)


class InceptionModule(nn.Module):
    """Four branches side by side, joined along the channels."""

    def __init__(
        self,
        inputs: int,
        one: int,
        three_reduce: int,
        three: int,
        five_reduce: int,
        five: int,
        projection: int,
        *,
        norm: Norm,
        fifth_side: int,
    ) -> None:
        super().__init__()
        self.one = Convolution(inputs, one, 1, norm=norm)
        self.three_reduce = Convolution(inputs, three_reduce, 1, norm=norm)
        self.three = Convolution(three_reduce, three, 3, norm=norm)
        self.five_reduce = Convolution(inputs, five_reduce, 1, norm=norm)
        self.five = Convolution(five_reduce, five, fifth_side, norm=norm)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.projection = Convolution(inputs, projection, 1, norm=norm)
        self.width = one + three + five + projection

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, width, H, W)``."""
        return torch.cat(
            [
                self.one(x),
                self.three(self.three_reduce(x)),
                self.five(self.five_reduce(x)),
                self.projection(self.pool(x)),
            ],
            dim=1,
        )


class Convolution(nn.Module):
    """A convolution that keeps the side (over its stride), batch norm or nothing, then ReLU."""

    def __init__(
        self, inputs: int, outputs: int, side: int, *, norm: Norm, stride: int = 1
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs, outputs, side, stride=stride, padding=side // 2, bias=norm == "response"
        )
        # The eps of torchvision's googlenet.py, `BatchNorm2d(out_channels, eps=0.001)`, with which
        # its weights were trained, and the default of TF-slim's batch_norm.
        self.norm = nn.BatchNorm2d(outputs, eps=0.001) if norm == "batch" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        return F.relu(self.norm(self.convolution(x)), inplace=True)


class AuxiliaryHead(nn.Module):
    """The small classifier that feeds gradient into the middle of the network while it trains."""

    def __init__(
        self,
        inputs: int,
        classes: int,
        *,
        norm: Norm,
        topology: Topology,
        width_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.pool: nn.Module = nn.AvgPool2d(5, stride=3)
        if topology == "torchvision":
            self.pool = nn.AdaptiveAvgPool2d(4)
        convolved, hidden = (round_channels(width, width_factor) for width in HEAD_WIDTHS)
        self.convolution = Convolution(inputs, convolved, 1, norm=norm)
        self.hidden = nn.Linear(convolved * 4 * 4, hidden)
        self.dropout = nn.Dropout(0.7)  # section 5 of the paper
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, 14, 14)`` to ``(B, classes)``."""
        x = self.convolution(self.pool(x))  # (B, C, 4, 4)
        return self.classifier(self.dropout(F.relu(self.hidden(x.flatten(1)))))


def round_channels(channels: int, width_factor: float) -> int:
    """Channels times the factor, to the nearest multiple of 8 (a half goes up), and 8 at least.

    Processors take channels in eights, and the published widths are such multiples: a factor of 1
    leaves them as they are.

    Raises:
        ValueError: the factor is not a finite number above 0.
    """
    if not (math.isfinite(width_factor) and width_factor > 0):
        raise ValueError(f"width factor is {width_factor}; a finite number above 0 was expected")
    return max(8, 8 * math.floor(channels * width_factor / 8 + 0.5))


def inception_v1(
    *, classes: int = 1000, auxiliary: bool = False, width_factor: float = 1.0
) -> Inception:
    """GoogLeNet as published: 6,998,552 numbers, 13,378,280 with the auxiliary heads."""
    return Inception(classes=classes, auxiliary=auxiliary, width_factor=width_factor)


def inception_v1_bn(
    *, classes: int = 1000, auxiliary: bool = False, width_factor: float = 1.0
) -> Inception:
    """The same with batch normalisation and no biases in the convolutions: 7,005,832 numbers."""
    return Inception(classes=classes, norm="batch", auxiliary=auxiliary, width_factor=width_factor)


def inception_v1_torchvision(*, classes: int = 1000, auxiliary: bool = False) -> Inception:
    """What torchvision calls googlenet, fed as its pretrained weights want: 6,624,904 numbers."""
    return Inception(
        classes=classes,
        norm="batch",
        topology="torchvision",
        auxiliary=auxiliary,
        mean=TORCHVISION_MEAN,
        std=TORCHVISION_STD,
    )


def _initialise(module: nn.Module) -> None:
    """Draw the first weights as Caffe's "xavier" does, and set the convolutions' biases to 0.2.

    Both are what BVLC's train_val.prototxt says: each convolution's ``weight_filler`` is xavier and
    its ``bias_filler`` the constant 0.2; the last classifier's bias is 0.

    With PyTorch's own start, made for other networks, what one image has that another has not
    shrinks more than ten-thousandfold from the stem to the embedding, and nothing is learnt.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        fan_in = module.weight[0].numel()
        nn.init.uniform_(module.weight, -math.sqrt(3 / fan_in), math.sqrt(3 / fan_in))
        if module.bias is not None:
            nn.init.constant_(module.bias, 0.2 if isinstance(module, nn.Conv2d) else 0.0)
