"""ENCODERS: every encoder by its name, and how it is built; timm's are ``timm:NAME``.

Encoders are built with random weights; encoders/weights.py loads pretrained ones.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypedDict, cast

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from vl.encoders.bn_inception import BNInception
from vl.encoders.inception import (
    IMAGE_SIZE,
    Inception,
    inception_v1,
    inception_v1_bn,
    inception_v1_torchvision,
    round_channels,
)
from vl.encoders.inception_v3 import InceptionV3
from vl.encoders.lenet import LeNet5
from vl.encoders.timm_features import PREFIX, TimmFeatures, import_timm, timm_names
from vl.encoders.torchvision_features import TorchvisionFeatures, torchvision_names

# Each takes (B, 3, H, W), RGB in [0, 1], has its own mean and std as buffers, and gives (B, width).
Network = Inception | BNInception | InceptionV3 | LeNet5 | TorchvisionFeatures | TimmFeatures

# Ours; torchvision's classification networks are encoders by their names there.
ENCODERS: dict[str, Callable[..., Network]] = {
    "inception_v1": inception_v1,
    "inception_v1_bn": inception_v1_bn,
    "inception_v1_torchvision": inception_v1_torchvision,
    "bn_inception": BNInception,
    "inception_v3": InceptionV3,
    "lenet5": LeNet5,
}
# Options of their builders.
OPTIONS: dict[str, tuple[str, ...]] = {
    "inception_v1": ("classes", "auxiliary", "width_factor", "image_size"),
    "inception_v1_bn": ("classes", "auxiliary", "width_factor", "image_size"),
    "inception_v1_torchvision": ("classes", "auxiliary", "image_size"),
    "bn_inception": ("classes", "auxiliary", "width_factor", "image_size"),
    "inception_v3": ("classes", "auxiliary"),
    "lenet5": ("classes",),
}
TORCHVISION_OPTIONS = ("classes",)  # without it, they have no classifier
TIMM_OPTIONS = ("classes", "preprocessing")  # the same
LEAST_IMAGE_SIZE = 32  # pixels; the last feature map of an Inception network is then 1 x 1


class EncoderConfig(TypedDict, total=False):
    """Options of a builder, as a model's file stores them beside the encoder's name."""

    classes: int | None  # outputs of the classifier; by default as published, torchvision's: none
    auxiliary: bool  # whether to add the auxiliary heads, for images of 224 pixels a side
    width_factor: float  # scales the channels, see ``vl.encoders.inception.round_channels``
    image_size: int | None  # pixels a side; by default as published. No layer depends on it
    preprocessing: dict[str, Any] | None  # of timm's, see ``vl.encoders.timm_features``


# Values that the published networks have.
_PUBLISHED = {"classes": None, "auxiliary": False, "width_factor": 1, "image_size": None}
_PUBLISHED |= {"preprocessing": None}
_TYPES: dict[str, tuple[type, ...]] = {
    "classes": (int,),
    "image_size": (int,),
    "preprocessing": (dict,),
}
_TYPES |= {"auxiliary": (bool,), "width_factor": (int, float)}


def is_encoder(name: str) -> bool:
    """Whether there is an encoder of this name: ours, torchvision's, or timm's.

    Raises:
        ValueError: it is one of timm's, which is not installed.
    """
    return name in ENCODERS or name in (
        timm_names() if name.startswith(PREFIX) else torchvision_names()
    )


def options(name: str) -> tuple[str, ...]:
    """The options that this encoder's builder takes."""
    if name.startswith(PREFIX):
        return TIMM_OPTIONS
    return OPTIONS.get(name, () if name in ENCODERS else TORCHVISION_OPTIONS)


def create_encoder(name: str, config: Mapping[str, object] | None = None) -> Network:
    """Build an encoder by its name, in training mode and randomly initialized.

    Args:
        name: in ``ENCODERS``, of a classification network of torchvision, or ``timm:`` and the
            name of a model of timm.
        config: an ``EncoderConfig``, which may be from a file; by default as published.

    Raises:
        ValueError: there is no such encoder, or it does not take an option or its value.
    """
    options = validated_options(name, config or {})
    side = options.pop("image_size", None)
    if name.startswith(PREFIX):
        return TimmFeatures(name.removeprefix(PREFIX), **options)  # type: ignore[misc]  # has both
    if name not in ENCODERS:
        return TorchvisionFeatures(name, **options)  # type: ignore[misc]  # has but classes
    network = ENCODERS[name](**options)
    if side is not None and not isinstance(network, TorchvisionFeatures | TimmFeatures):
        network.image_size = side
    return network


def validated_options(name: str, config: Mapping[str, object]) -> EncoderConfig:
    """The options that differ from the published network, without building it.

    Raises:
        ValueError: as ``create_encoder``.
    """
    if not is_encoder(name):
        timms = name.startswith(PREFIX)
        names = timm_names() if timms else [*ENCODERS, *torchvision_names()]
        close = difflib.get_close_matches(name.lower(), names, n=5)
        hint = f"; close to it are {', '.join(close)}" if close else ""
        raise ValueError(
            f"no encoder {name!r}{hint}; there are {', '.join(OPTIONS)}, "
            f"{len(torchvision_names())} of torchvision's, and timm's as {PREFIX}NAME"
        )
    for option, value in config.items():
        if option not in _TYPES:
            raise ValueError(f"unknown option {option!r}; there are {', '.join(_TYPES)}")
        if type(value) not in _TYPES[option] and value is not _PUBLISHED[option]:
            expected = " or ".join(each.__name__ for each in _TYPES[option])
            raise ValueError(f"{option} of an encoder is {value!r}; expected {expected}")
    changed = cast(EncoderConfig, {k: v for k, v in config.items() if v != _PUBLISHED[k]})
    for option in changed:
        if option not in options(name):
            others = ", ".join(other for other, taken in OPTIONS.items() if option in taken)
            raise ValueError(f"{name} has no option {option}; these have: {others}")
    if (classes := changed.get("classes")) is not None and classes < 1:
        raise ValueError(f"classes is {classes}; it must be at least 1")
    round_channels(8, changed.get("width_factor", 1.0))  # raises if it is invalid
    size = changed.get("image_size")
    size = IMAGE_SIZE if size is None else size
    if size < LEAST_IMAGE_SIZE:
        raise ValueError(f"image size is {size}; it must be at least {LEAST_IMAGE_SIZE}")
    if changed.get("auxiliary") and size != IMAGE_SIZE:
        raise ValueError(f"auxiliary heads need images of {IMAGE_SIZE} x {IMAGE_SIZE} pixels")
    return changed


def configuration(network: Network) -> EncoderConfig:
    """The options with which ``create_encoder`` gives an encoder of the same shapes."""
    config: EncoderConfig = {}
    if isinstance(network, TimmFeatures):
        config["preprocessing"] = asdict(network.preprocessing)
    if network.classifier is None:
        return config
    config["classes"] = network.classifier.out_features
    if isinstance(network, InceptionV3):
        config["auxiliary"] = bool(network.body.aux_logits)
    if isinstance(network, Inception | BNInception):
        config["auxiliary"] = len(network.auxiliary) > 0
        config["width_factor"] = network.width_factor
        if network.image_size != IMAGE_SIZE:
            config["image_size"] = network.image_size
    return config


def published_weights(name: str) -> str | None:
    """The source of an encoder's pretrained weights; None if there are none."""
    if name == "inception_v1":
        return "BVLC's, from a file"
    if name.startswith(PREFIX):
        published = import_timm().models.is_model_pretrained(name.removeprefix(PREFIX))
        return "timm's" if published else None
    theirs = "googlenet" if name == "inception_v1_torchvision" else name
    if theirs not in torchvision_names():
        return None
    from torchvision import models

    return f"torchvision's {theirs} {models.get_model_weights(theirs).DEFAULT.name}"


@contextmanager
def on_meta() -> Iterator[None]:
    """Networks that are built inside have shapes and no memory: parameters on the device "meta".

    ``torch.device("meta")`` would be simpler, but torchvision's regnets compute their widths with
    tensors.
    """

    def to_meta(
        module: nn.Module, name: str, parameter: nn.Parameter | None
    ) -> nn.Parameter | None:
        if parameter is None:
            return None
        return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    # The hook may return a parameter, although PyTorch's annotation says None.
    handle = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()
