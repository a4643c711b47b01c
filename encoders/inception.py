"""GoogLeNet, the Inception network of Szegedy et al. 2015 ("Going Deeper with Convolutions").

Pretrained weights are loaded by encoders/weights.py.
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vl.encoders.response_norm import ResponseNorm

Norm = Literal["response", "batch"]
Topology = Literal["published", "torchvision"]

# Table 1 of the paper: input channels and output channels of the six convolutions of each module.
# name: (input, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection)
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
STEM_WIDTHS = (64, 64, 192)  # output channels of the three convolutions before the first module
HEAD_WIDTHS = (128, 1024)  # of an auxiliary head's convolution and hidden layer
AUXILIARY_AFTER = ("4a", "4d")  # modules whose output feeds an auxiliary head
IMAGE_SIZE = 224

# ImageNet's mean color as BVLC subtracted it, (123, 117, 104) of 255 in R, G, B. BVLC does not
# divide by a standard deviation, so one unit of its input is 1/255 of ours.
BVLC_MEAN = (123 / 255, 117 / 255, 104 / 255)
BVLC_STD = (1 / 255, 1 / 255, 1 / 255)

# torchvision's transform_input undoes ImageNet's mean and std in favor of these.
TORCHVISION_MEAN = (0.5, 0.5, 0.5)
TORCHVISION_STD = (0.5, 0.5, 0.5)


class Logits(NamedTuple):
    """Outputs of the classifiers, before the softmax."""

    main: Tensor  # (B, classes)
    auxiliary: tuple[Tensor, ...]  # (B, classes) for each auxiliary head


class InceptionNetwork(Protocol):
    """What GoogLeNet and BN-Inception share: a stem, modules in a row, and classifiers.

    ``embed`` and ``classify`` run any network of this form.
    """

    training: bool
    mean: Tensor
    std: Tensor
    stem: nn.Sequential
    inception: nn.ModuleDict
    pool_after: nn.ModuleDict  # by the name of the module before the pool
    dropout: nn.Module
    classifier: nn.Linear
    auxiliary: nn.ModuleDict  # heads by the name of the module that feeds them


class Inception(nn.Module):
    """GoogLeNet: pixels to an embedding of width 1024, and to class logits.

    Args:
        classes: outputs of the classifiers.
        norm: ``"response"`` is the published network (two local response normalizations, biases
            in every convolution); ``"batch"`` has batch normalization before every ReLU and no
            biases in the convolutions.
        topology: ``"published"`` is table 1; ``"torchvision"`` is the network of torchvision's
            weights, where the 5x5 convolutions are 3x3 (pytorch/vision#906), the pool after 4e is
            2x2, the auxiliary heads pool adaptively to 4 x 4, and the last dropout is 0.2.
        auxiliary: whether to add the two auxiliary heads, which are for training only.
        width_factor: scales the channels of every layer, see ``round_channels``; the embedding
            too. A narrow network is for small data.
        mean: of each color, subtracted from pixels in [0, 1].
        std: of each color, the divisor after that.

    Raises:
        ValueError: an unknown norm or topology, or an invalid width factor.

    Source:
        Szegedy et al. 2015, table 1; paddings, ceil-mode pools, the normalization's constants and
        the initialization from BVLC's train_val.prototxt; torchvision/models/googlenet.py.
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
        channels, widths = third, {}
        for name, (_, *row) in MODULES.items():
            module = InceptionModule(
                channels,
                *(round_channels(width, width_factor) for width in row),
                norm=norm,
                five_kernel=5 if published else 3,
            )
            self.inception[name] = module
            channels = widths[name] = module.width
        self.width = channels
        last = pool if published else nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.pool_after = nn.ModuleDict({"3b": pool, "4e": last})
        self.dropout: nn.Module = nn.Dropout(0.4 if published else 0.2)  # table 1
        self.classifier = nn.Linear(self.width, classes)
        self.auxiliary = nn.ModuleDict()
        if auxiliary:
            self.auxiliary = auxiliary_heads(
                widths, classes, norm=norm, topology=topology, width_factor=width_factor
            )
        if norm == "response":
            self.apply(_initialize)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, H, W)`` RGB in [0, 1] to ``(B, width)``; trained at 224 x 224."""
        return embed(self, pixels)[0]

    def classify(self, pixels: Tensor) -> Logits:
        """``(B, 3, H, W)`` to logits; those of the auxiliary heads in training mode only."""
        return classify(self, pixels)


def embed(network: InceptionNetwork, pixels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """``(B, 3, H, W)`` to embeddings ``(B, width)``, and the inputs of the auxiliary heads."""
    x = network.stem((pixels - network.mean) / network.std)  # (B, C, H/8, W/8)
    head_inputs: dict[str, Tensor] = {}
    for name, module in network.inception.items():
        x = module(x)
        if name in network.pool_after:
            x = network.pool_after[name](x)
        if name in network.auxiliary:
            head_inputs[name] = x
    return x.mean((2, 3)), head_inputs


def classify(network: InceptionNetwork, pixels: Tensor) -> Logits:
    """``(B, 3, H, W)`` to logits; those of the auxiliary heads in training mode only."""
    embedding, head_inputs = embed(network, pixels)
    auxiliary = ()
    if network.training:
        auxiliary = tuple(head(head_inputs[name]) for name, head in network.auxiliary.items())
    return Logits(network.classifier(network.dropout(embedding)), auxiliary)


class InceptionModule(nn.Module):
    """Four parallel branches, concatenated along the channels."""

    def __init__(
        self,
        in_channels: int,
        one: int,
        three_reduce: int,
        three: int,
        five_reduce: int,
        five: int,
        projection: int,
        *,
        norm: Norm,
        five_kernel: int,
    ) -> None:
        super().__init__()
        self.one = Convolution(in_channels, one, 1, norm=norm)
        self.three_reduce = Convolution(in_channels, three_reduce, 1, norm=norm)
        self.three = Convolution(three_reduce, three, 3, norm=norm)
        self.five_reduce = Convolution(in_channels, five_reduce, 1, norm=norm)
        self.five = Convolution(five_reduce, five, five_kernel, norm=norm)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.projection = Convolution(in_channels, projection, 1, norm=norm)
        self.width = one + three + five + projection

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, width, H, W)``."""
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
    """A convolution with "same" padding, batch normalization or none, then ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, norm: Norm, stride: int = 1
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=norm == "response",
        )
        # The eps of torchvision's googlenet.py, `BatchNorm2d(out_channels, eps=0.001)`, with which
        # its weights were trained, and the default of TF-slim's batch_norm.
        self.norm = nn.BatchNorm2d(out_channels, eps=0.001) if norm == "batch" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H / stride, W / stride)``."""
        return F.relu(self.norm(self.convolution(x)), inplace=True)


class AuxiliaryHead(nn.Module):
    """A small classifier that feeds gradient into the middle of the network during training."""

    def __init__(
        self,
        in_channels: int,
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
        self.convolution = Convolution(in_channels, convolved, 1, norm=norm)
        self.hidden = nn.Linear(convolved * 4 * 4, hidden)
        self.dropout = nn.Dropout(0.7)  # section 5 of the paper
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, 14, 14)`` to ``(B, classes)``."""
        x = self.convolution(self.pool(x))  # (B, C, 4, 4)
        return self.classifier(self.dropout(F.relu(self.hidden(x.flatten(1)))))


def auxiliary_heads(
    widths: Mapping[str, int],
    classes: int,
    *,
    norm: Norm,
    topology: Topology,
    width_factor: float,
) -> nn.ModuleDict:
    """The two heads after ``AUXILIARY_AFTER``; ``widths`` has each module's output channels."""
    return nn.ModuleDict(
        {
            name: AuxiliaryHead(
                widths[name], classes, norm=norm, topology=topology, width_factor=width_factor
            )
            for name in AUXILIARY_AFTER
        }
    )


def round_channels(channels: int, width_factor: float) -> int:
    """Channels times the factor, rounded to the nearest multiple of 8 (halves up), at least 8.

    CPUs process channels in groups of eight. The published widths are such multiples, so that a
    factor of 1 changes nothing.

    Raises:
        ValueError: the factor is not positive and finite.
    """
    if not (math.isfinite(width_factor) and width_factor > 0):
        raise ValueError(f"width factor is {width_factor}; it must be positive and finite")
    return max(8, 8 * math.floor(channels * width_factor / 8 + 0.5))


def inception_v1(
    *, classes: int = 1000, auxiliary: bool = False, width_factor: float = 1.0
) -> Inception:
    """GoogLeNet as published: 6,998,552 parameters, 13,378,280 with the auxiliary heads."""
    return Inception(classes=classes, auxiliary=auxiliary, width_factor=width_factor)


def inception_v1_bn(
    *, classes: int = 1000, auxiliary: bool = False, width_factor: float = 1.0
) -> Inception:
    """GoogLeNet with batch normalization and no convolution biases: 7,005,832 parameters."""
    return Inception(classes=classes, norm="batch", auxiliary=auxiliary, width_factor=width_factor)


def inception_v1_torchvision(*, classes: int = 1000, auxiliary: bool = False) -> Inception:
    """The googlenet of torchvision with the preprocessing of its weights: 6,624,904 parameters."""
    return Inception(
        classes=classes,
        norm="batch",
        topology="torchvision",
        auxiliary=auxiliary,
        mean=TORCHVISION_MEAN,
        std=TORCHVISION_STD,
    )


def _initialize(module: nn.Module) -> None:
    """Caffe's "xavier" for weights, 0.2 for the biases of convolutions, 0 for those of classifiers.

    As in BVLC's train_val.prototxt (``weight_filler``, ``bias_filler``). With PyTorch's default
    initialization the differences between images shrink more than ten-thousandfold from the stem
    to the embedding, and the network does not train.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        fan_in = module.weight[0].numel()
        nn.init.uniform_(module.weight, -math.sqrt(3 / fan_in), math.sqrt(3 / fan_in))
        if module.bias is not None:
            nn.init.constant_(module.bias, 0.2 if isinstance(module, nn.Conv2d) else 0.0)
