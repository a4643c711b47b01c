"""ENCODERS: the name of every encoder, and what builds it.

Nothing is built before it is asked for, and what is built has random weights: encoders/weights.py
brings trained ones in.
"""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, TypedDict, cast

import torch
from torch import Tensor, nn
from torchvision import models

from encoders.bn_inception import BNInception, bn_inception
from encoders.inception import (
    Inception,
    inception_v1,
    inception_v1_bn,
    inception_v1_torchvision,
    scaled,
)
from encoders.inception_v3 import InceptionV3, inception_v3
from encoders.lenet import LeNet5, lenet5


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

    Raises:
        ValueError: torchvision has no classification network of this name, or its last layer is
            not one that classifies.
    """

    def __init__(self, name: str) -> None:
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
        self.last_layer, self.width = _remove_last_layer(self.body)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, image_size, image_size)`` RGB in [0, 1] to ``(B, width)``."""
        return self.body((pixels - self.mean) / self.std)


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


# What each of ours can be told. Torchvision's have no classifier, and can be told nothing.
CHOICES: dict[str, tuple[str, ...]] = {
    "inception_v1": ("classes", "auxiliary", "width_factor"),
    "inception_v1_bn": ("classes", "auxiliary", "width_factor"),
    "inception_v1_torchvision": ("classes", "auxiliary"),
    "bn_inception": ("classes", "auxiliary", "width_factor"),
    "inception_v3": ("classes", "auxiliary"),
    "lenet5": ("classes",),
}


def encoder(
    name: str,
    *,
    classes: int | None = None,
    auxiliary: bool = False,
    width_factor: float = 1.0,
) -> Network:
    """Build the encoder of this name, in training mode and with random weights.

    Args:
        name: in ``ENCODERS``.
        classes: width of the classifier; by default as published.
        auxiliary: whether the heads that help training are there.
        width_factor: what the published numbers of channels are multiplied by; see
            ``encoders.inception.scaled``.

    Raises:
        ValueError: there is none, and the message has the closest names; or it cannot be told
            what it is told.
    """
    told = checked(name, classes=classes, auxiliary=auxiliary, width_factor=width_factor)
    return ENCODERS[name](**told)


def checked(
    name: str,
    *,
    classes: int | None = None,
    auxiliary: bool = False,
    width_factor: float = 1.0,
) -> Configuration:
    """What of this is not as published, for the builder of this name; nothing is built.

    Raises:
        ValueError: as ``encoder``.
    """
    if name not in ENCODERS:
        raise ValueError(
            f"no encoder {name!r}{_close_to(name)}; "
            f"there are {len(ENCODERS)}: {', '.join(CHOICES)}, and torchvision's by name"
        )
    told: Configuration = {}
    if classes is not None:
        if classes < 1:
            raise ValueError(f"classes is {classes}; at least 1 was expected")
        told["classes"] = classes
    if auxiliary:
        told["auxiliary"] = auxiliary
    if width_factor != 1:
        scaled(8, width_factor)  # raises if nothing can be scaled by it
        told["width_factor"] = width_factor
    for choice in told:
        if choice not in CHOICES.get(name, ()):
            able = ", ".join(other for other, choices in CHOICES.items() if choice in choices)
            raise ValueError(f"{name} has no choice of {choice}; those that have: {able}")
    return told


def configuration(built: Network) -> Configuration:
    """What ``configured`` must be told, besides the name, to build an encoder of these shapes."""
    if isinstance(built, TorchvisionFeatures):
        return {}
    told: Configuration = {"classes": built.classifier.out_features}
    if isinstance(built, InceptionV3):
        told["auxiliary"] = bool(built.body.aux_logits)
    if isinstance(built, Inception | BNInception):
        told["auxiliary"] = len(built.auxiliary) > 0
        told["width_factor"] = built.width_factor
    return told


def configured(name: str, told: Mapping[str, object]) -> Network:
    """Build the encoder of this name from a configuration that was read from a file.

    Raises:
        ValueError: as ``encoder``, or the configuration has an unknown key or a value of a wrong
            kind.
    """
    kinds = {"classes": (int, "a whole number"), "auxiliary": (bool, "true or false")}
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
    built: nn.Module = models.get_model(name, weights=None, **_choices(name, _image_size(name)))
    return built


def _image_size(name: str) -> int:
    return int(models.get_model_weights(name).DEFAULT.transforms().crop_size[0])


def _close_to(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), ENCODERS, n=5)
    return f"; close to it are {', '.join(close)}" if close else ""


def _choices(name: str, image_size: int) -> dict[str, object]:
    """What torchvision's builder must be told so that its default weights would fit and be fed."""
    if name.startswith("vit_"):  # the only ones whose weights depend on the image size
        return {"image_size": image_size}
    if name in ("googlenet", "inception_v3"):  # their dropout is out of _remove_last_layer's sight
        return {"transform_input": True, "init_weights": False, "aux_logits": False, "dropout": 0.0}
    return {}


def _remove_last_layer(body: nn.Module) -> tuple[str, int]:
    """Put an identity in the place of the classifier; its name and the width of what enters it."""
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
    if isinstance(parent, nn.Sequential):
        names = [child for child, _ in parent.named_children()]
        before = names[names.index(own) - 1]
        if isinstance(parent.get_submodule(before), nn.Dropout):
            setattr(parent, before, nn.Identity())
    setattr(parent, own, nn.Identity())
    return name, width
