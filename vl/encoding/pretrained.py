"""Pretrained encoders: by name with published weights, or from the file of a model."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from vl import bundle as bundles
from vl.bundle import Bundle
from vl.data.errors import FormatError
from vl.encoders.inception import Inception
from vl.encoders.table import (
    OPTIONS,
    Network,
    build,
    configuration,
    create_encoder,
    is_encoder,
    on_meta,
    options,
    validated_options,
)
from vl.encoders.weights import fingerprint, load_caffe, load_torchvision

# torchvision publishes no weights for these; checked before anything is built.
_FROM_FILES = ("inception_v1", "inception_v1_bn")


def load_encoder(name: str, weights: Path | None, *, classifier: bool = False) -> Network:
    """Build an encoder and load its weights.

    Args:
        name: of the encoder, see ``create_encoder``.
        weights: BVLC's blobs as a safetensors file; or the file of an encoder, captioner or
            labeller, whose encoder may have another width or other classes than published. None
            downloads torchvision's weights.
        classifier: whether a downloaded network of torchvision keeps its classifier of ImageNet's
            1000 classes.

    Raises:
        FormatError: the file is neither, or contains another encoder.
        FileNotFoundError: there is no such file.
        OSError: the download failed.
        ValueError: there is no such encoder, or no weights are published for it.
    """
    validated_options(name)
    if weights is None:
        if name in _FROM_FILES:
            raise ValueError(f"no weights are published for {name}: give a file with --weights")
        classes = 1000 if classifier and name not in OPTIONS else None
        encoder = create_encoder(name, classes=classes)
        load_torchvision(encoder, progress=True)
        return encoder
    if bundles.is_bundle(weights):
        bundle = bundles.read(weights, kind=("captioner", "labeller", "encoder"))
        stored_name = encoder_name_of(bundle)
        if stored_name != name:
            raise FormatError(weights, f"contains the encoder {stored_name!r}, not {name!r}")
        return encoder_from_bundle(bundle)
    encoder = create_encoder(name)
    if not isinstance(encoder, Inception):
        raise FormatError(weights, f"contains Caffe blobs, which are for inception_v1, not {name}")
    load_caffe(encoder, weights)
    return encoder


def encoder_config(name: str, encoder: Network) -> dict[str, Any]:
    """The description of an encoder in a model's file, for ``encoder_from_bundle``.

    Args:
        name: of the encoder.
        encoder: without auxiliary heads.
    """
    return {
        "name": name,
        "fingerprint": fingerprint(encoder),
        "configuration": _options_of(name, encoder),
    }


def drop_auxiliary(name: str, encoder: Network) -> Network:
    """The same encoder, sharing its weights, without auxiliary heads."""
    if not configuration(encoder).get("auxiliary"):
        return encoder
    with on_meta():
        bare = build(name, {**_options_of(name, encoder), "auxiliary": False})
    state = encoder.state_dict()
    bare.load_state_dict({key: state[key] for key in bare.state_dict()}, assign=True)
    return bare.train(encoder.training)


def encoder_name_of(bundle: Bundle) -> str:
    """The name of the encoder in a model's file.

    Raises:
        FormatError: it is missing or unknown.
    """
    name = _description(bundle).get("name")
    if not isinstance(name, str) or not is_encoder(name):
        raise FormatError(bundle.path, f"unknown encoder {name!r}; another version has made it")
    return name


def encoder_from_bundle(bundle: Bundle) -> Network:
    """The encoder in a model's file, without auxiliary heads.

    Without a configuration in the file it is built as published.

    Raises:
        FormatError: it is unknown, cannot be built from its configuration, or its weights are not
            complete or do not match their fingerprint.
    """
    name, description = encoder_name_of(bundle), _description(bundle)
    config = description.get("configuration", {})
    record = "configuration 'encoder'"
    if not isinstance(config, dict):
        problem = f"its configuration is of type {type(config).__name__}; expected an object"
        raise FormatError(bundle.path, problem, record=record)
    if config.get("auxiliary"):
        config = {**config, "auxiliary": False}
    try:
        # First without memory: a file may ask for more than there is.
        with _without_memory(name), bundles.SkipInit():
            bundles.check(bundle, "encoder", build(name, config))
        with bundles.SkipInit():
            encoder = build(name, config)
    except FormatError:
        raise
    # The last two: more elements than an integer counts, and an infinite width factor.
    except (TypeError, ValueError, RuntimeError, OverflowError) as cause:
        problem = f"cannot be built: {' '.join(str(cause).split())}"
        raise FormatError(bundle.path, problem, record=record) from cause
    bundles.load(bundle, "encoder", encoder)
    if fingerprint(encoder) != description.get("fingerprint"):
        raise FormatError(bundle.path, "the encoder's weights do not match their fingerprint")
    return encoder


def check_fingerprint(encoder: Network, expected: str, *, made: Path) -> None:
    """Check that a file was made by this encoder.

    Raises:
        ValueError: it was made by another.
    """
    actual = fingerprint(encoder)
    if actual != expected:
        raise ValueError(f"{made} was made by an encoder {expected}, these weights are {actual}")


def _description(bundle: Bundle) -> dict[str, Any]:
    """The encoder's description, in captioners and labellers a part of the embedder's."""
    if bundle.configuration.get("kind") == "encoder":
        description: dict[str, Any] = bundles.required(bundle, "encoder", dict)
        return description
    description = bundles.required(bundle, "embedder", dict).get("encoder")
    if not isinstance(description, dict):
        problem = f"expected an encoder, it is {description!r}"
        raise FormatError(bundle.path, problem, record="configuration 'embedder'")
    return description


def _options_of(name: str, encoder: Network) -> dict[str, Any]:
    return {key: value for key, value in configuration(encoder).items() if key in options(name)}


def _without_memory(name: str) -> AbstractContextManager[object]:
    """A context that builds an encoder of this name without allocating memory.

    The device "meta" leaves out buffers too, which a width factor makes large; but not every
    encoder can be built there.
    """
    return torch.device("meta") if "width_factor" in options(name) else on_meta()
