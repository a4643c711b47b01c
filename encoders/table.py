"""ENCODERS: the name of every encoder, and what builds it.

Nothing is built before it is asked for, and what is built has random weights: encoders/weights.py
brings trained ones in.
"""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol, TypedDict, cast

import torch
from torch import Tensor, nn
from torchvision import models

from vl.encoders.bn_inception import BNInception, bn_inception
from vl.encoders.inception import (
    IMAGE_SIZE,
    Inception,
    Logits,
    inception_v1,
    inception_v1_bn,
    inception_v1_torchvision,
    round_channels,
)
from vl.encoders.inception_v3 import InceptionV3, inception_v3
from vl.encoders.lenet import LeNet5, lenet5


class Encoder(Protocol):
    """The contract: an ``nn.Module`` that says how wide its answer is and what side it wants.

    It takes ``(B, 3, H, W)``, RGB in [0, 1], holds its own mean and std as buffers, and answers
    ``(B, width)``.
    """

    width: int
    image_size: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """``(B, 3, image_size, image_size)`` to ``(B, width)``."""
        ...


class TorchvisionFeatures(nn.Module):
    """One of torchvision's classification networks without its last layer.

    Mean, std and image size are those of the network's default weights. A dropout right before
    the last layer goes with it, as it belongs to the classifier.

    Args:
        name: what torchvision calls the network: ``"resnet50"``.
        classes: width of a classifier on the embedding, which stands where the network's own last
            layer did; None for no classifier.

    Raises:
        ValueError: torchvision has no classification network of this name, or its last layer is
            not one that classifies.
    """

    def __init__(self, name: str, *, classes: int | None = None) -> None:
        super().__init__()
        if name not in TORCHVISION_NAMES:
            raise ValueError(f"torchvision has no classification network {name!r}{_close_to(name)}")
        preset = models.get_model_weights(name).DEFAULT.transforms()
        self.name = name
        self.image_size = _image_size(name)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(preset.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(preset.std).view(1, 3, 1, 1))
        self.body = whole_torchvision_network(name)
        removed = _remove_last_layer(self.body)
        self.last_layer, self.width = removed.name, removed.width
        self.matrix = removed.matrix  # whether the last layer was one, as the classifier here is
        self.dropout = nn.Dropout(_DROPOUTS.get(name, removed.dropout))
        self.classifier: nn.Linear | None = None
        if classes is not None:
            self.classifier = nn.Linear(self.width, classes, bias=removed.biased)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, image_size, image_size)`` RGB in [0, 1] to ``(B, width)``."""
        return self.body((pixels - self.mean) / self.std)

    def classify(self, pixels: Tensor) -> Logits:
        """``(B, 3, image_size, image_size)`` to logits; there are no auxiliary heads.

        Raises:
            ValueError: it was told of no classes.
        """
        if self.classifier is None:
            raise ValueError(f"this {self.name} has no classifier, as it was told of no classes")
        return Logits(self.classifier(self.dropout(self(pixels))), ())


# Of the two whose dropout is out of _remove_last_layer's sight, as torchvision's builders have it.
_DROPOUTS = {"googlenet": 0.2, "inception_v3": 0.5}

Network = Inception | BNInception | InceptionV3 | LeNet5 | TorchvisionFeatures

TORCHVISION_NAMES: tuple[str, ...] = tuple(models.list_models(module=models))

ENCODERS: dict[str, Callable[..., Network]] = {
    **{name: partial(TorchvisionFeatures, name) for name in TORCHVISION_NAMES},
    "inception_v1": inception_v1,
    "inception_v1_bn": inception_v1_bn,
    "inception_v1_torchvision": inception_v1_torchvision,
    "bn_inception": bn_inception,
    "inception_v3": inception_v3,
    "lenet5": lenet5,
}


class Configuration(TypedDict, total=False):
    """What a builder can be told; a file of weights can hold it beside the encoder's name."""

    classes: int
    auxiliary: bool
    width_factor: float
    image_size: int


LEAST_IMAGE_SIZE = 32  # pixels a side; an Inception network's last maps are then 1 x 1

# What each of ours can be told.
OPTIONS: dict[str, tuple[str, ...]] = {
    "inception_v1": ("classes", "auxiliary", "width_factor", "image_size"),
    "inception_v1_bn": ("classes", "auxiliary", "width_factor", "image_size"),
    "inception_v1_torchvision": ("classes", "auxiliary", "image_size"),
    "bn_inception": ("classes", "auxiliary", "width_factor", "image_size"),
    "inception_v3": ("classes", "auxiliary"),
    "lenet5": ("classes",),
}
TORCHVISION_CHOICES = ("classes",)  # untold, they have no classifier


def choices(name: str) -> tuple[str, ...]:
    """What the builder of this name can be told."""
    return OPTIONS.get(name, TORCHVISION_CHOICES if name in TORCHVISION_NAMES else ())


def encoder(
    name: str,
    *,
    classes: int | None = None,
    auxiliary: bool = False,
    width_factor: float = 1.0,
    image_size: int | None = None,
) -> Network:
    """Build the encoder of this name, in training mode and with random weights.

    Args:
        name: in ``ENCODERS``.
        classes: width of the classifier; by default as published, and of torchvision's by name
            there is none by default.
        auxiliary: whether the heads that help training are there.
        width_factor: what the published numbers of channels are multiplied by; see
            ``vl.encoders.inception.scaled``.
        image_size: pixels a side that it is trained on and fed; by default as published. Where
            it can be told, the layers are the same whatever it is, but auxiliary heads want 224.

    Raises:
        ValueError: there is none, and the message has the closest names; or it cannot be told
            what it is told.
    """
    told = validated_options(
        name,
        classes=classes,
        auxiliary=auxiliary,
        width_factor=width_factor,
        image_size=image_size,
    )
    side = told.pop("image_size", None)
    built = ENCODERS[name](**told)
    if side is not None and not isinstance(built, TorchvisionFeatures):
        built.image_size = side
    return built


def validated_options(
    name: str,
    *,
    classes: int | None = None,
    auxiliary: bool = False,
    width_factor: float = 1.0,
    image_size: int | None = None,
) -> Configuration:
    """What of this is not as published, for the builder of this name; nothing is built.

    Raises:
        ValueError: as ``encoder``.
    """
    if name not in ENCODERS:
        raise ValueError(
            f"no encoder {name!r}{_close_to(name)}; "
            f"there are {len(ENCODERS)}: {', '.join(OPTIONS)}, and torchvision's by name"
        )
    told: Configuration = {}
    if classes is not None:
        if classes < 1:
            raise ValueError(f"classes is {classes}; at least 1 was expected")
        told["classes"] = classes
    if auxiliary:
        told["auxiliary"] = auxiliary
    if width_factor != 1:
        round_channels(8, width_factor)  # raises if nothing can be scaled by it
        told["width_factor"] = width_factor
    if image_size is not None:
        if image_size < LEAST_IMAGE_SIZE:
            raise ValueError(f"image size is {image_size}; at least {LEAST_IMAGE_SIZE} is wanted")
        if auxiliary and image_size != IMAGE_SIZE:
            raise ValueError(f"auxiliary heads want {IMAGE_SIZE} x {IMAGE_SIZE} pixels")
        told["image_size"] = image_size
    for choice in told:
        if choice not in choices(name):
            able = ", ".join(other for other, has in OPTIONS.items() if choice in has)
            raise ValueError(f"{name} has no choice of {choice}; those that have: {able}")
    return told


def configuration(built: Network) -> Configuration:
    """What ``build`` must be told, besides the name, to build an encoder of these shapes."""
    if built.classifier is None:
        return {}
    told: Configuration = {"classes": built.classifier.out_features}
    if isinstance(built, InceptionV3):
        told["auxiliary"] = bool(built.body.aux_logits)
    if isinstance(built, Inception | BNInception):
        told["auxiliary"] = len(built.auxiliary) > 0
        told["width_factor"] = built.width_factor
        if built.image_size != IMAGE_SIZE:
            told["image_size"] = built.image_size
    return told


def build(name: str, told: Mapping[str, object]) -> Network:
    """Build the encoder of this name from a configuration that was read from a file.

    Raises:
        ValueError: as ``encoder``, or the configuration has an unknown key or a value of a wrong
            kind.
    """
    whole = (int, "a whole number")
    kinds = {"classes": whole, "image_size": whole, "auxiliary": (bool, "true or false")}
    for key, value in told.items():
        if key not in Configuration.__annotations__:
            known = ", ".join(Configuration.__annotations__)
            raise ValueError(f"an encoder's configuration has {key!r}; known are {known}")
        kind, words = kinds.get(key, ((int, float), "a number"))
        if not isinstance(value, kind) or (isinstance(value, bool) and key != "auxiliary"):
            raise ValueError(f"{key} of an encoder is {value!r}; {words} was expected")
    return encoder(name, **cast(Configuration, told))


def whole_torchvision_network(name: str) -> nn.Module:
    """One of torchvision's classification networks with its last layer, random weights in it."""
    built: nn.Module = models.get_model(
        name, weights=None, **_choices_there(name, _image_size(name))
    )
    return built


def _image_size(name: str) -> int:
    return int(models.get_model_weights(name).DEFAULT.transforms().crop_size[0])


def _close_to(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), ENCODERS, n=5)
    return f"; close to it are {', '.join(close)}" if close else ""


def _choices_there(name: str, image_size: int) -> dict[str, object]:
    """What torchvision's builder must be told so that its default weights would fit and be fed."""
    if name.startswith("vit_"):  # the only ones whose weights depend on the image size
        return {"image_size": image_size}
    if name in _DROPOUTS:
        return {"transform_input": True, "init_weights": False, "aux_logits": False, "dropout": 0.0}
    return {}


class _LastLayer(NamedTuple):
    """The classifier that was taken out of a network."""

    name: str
    width: int  # of what entered it
    dropout: float  # probability, right before it
    biased: bool
    matrix: bool  # false for a convolution


def _remove_last_layer(body: nn.Module) -> _LastLayer:
    """Put identities in the place of the classifier and of a dropout right before it."""
    name, layer = [
        (name, layer)
        for name, layer in body.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ][-1]
    if isinstance(layer, nn.Linear):
        width, classes = layer.in_features, layer.out_features
    else:  # squeezenet
        width, classes = layer.in_channels, layer.out_channels
    if classes != 1000:  # ImageNet's classes, for which every one of them is built by default
        raise ValueError(f"the last layer, {name}, has {classes} outputs; expected 1000 classes")
    path, _, own = name.rpartition(".")
    parent = body.get_submodule(path)
    probability = 0.0
    if isinstance(parent, nn.Sequential):
        names = [child for child, _ in parent.named_children()]
        before = names[names.index(own) - 1]
        dropout = parent.get_submodule(before)
        if isinstance(dropout, nn.Dropout):
            probability = dropout.p
            setattr(parent, before, nn.Identity())
    setattr(parent, own, nn.Identity())
    return _LastLayer(
        name, width, probability, layer.bias is not None, isinstance(layer, nn.Linear)
    )
