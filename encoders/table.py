"""ENCODERS: the name of every encoder, and what builds it.

Nothing is built before it is asked for, and what is built has random weights: encoders/weights.py
brings trained ones in.
"""

import difflib
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torchvision import models

from encoders.inception import Inception, inception_v1, inception_v1_bn, inception_v1_torchvision
from encoders.inception_v3 import InceptionV3, inception_v3


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
        self.image_size = int(preset.crop_size[0])
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(preset.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(preset.std).view(1, 3, 1, 1))
        self.body: nn.Module = models.get_model(
            name, weights=None, **_choices(name, self.image_size)
        )
        self.last_layer, self.width = _remove_last_layer(self.body)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, image_size, image_size)`` RGB in [0, 1] to ``(B, width)``."""
        return self.body((pixels - self.mean) / self.std)


Network = Inception | InceptionV3 | TorchvisionFeatures

TORCHVISION_NAMES: tuple[str, ...] = tuple(models.list_models(module=models))

ENCODERS: dict[str, Callable[[], Network]] = {
    **{name: partial(TorchvisionFeatures, name) for name in TORCHVISION_NAMES},
    "inception_v1": inception_v1,
    "inception_v1_bn": inception_v1_bn,
    "inception_v1_torchvision": inception_v1_torchvision,
    "inception_v3": inception_v3,
}


def encoder(name: str) -> Network:
    """Build the encoder of this name, in training mode and with random weights.

    Raises:
        ValueError: there is none; the message has the closest names.
    """
    if name not in ENCODERS:
        raise ValueError(
            f"no encoder {name!r}{_close_to(name)}; "
            f"there are {len(ENCODERS)}: inception_v1, inception_v1_bn, and torchvision's by name"
        )
    return ENCODERS[name]()


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
