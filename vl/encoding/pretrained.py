"""An encoder by name with trained weights in it, wherever they are."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from vl import bundle
from vl.data.errors import FormatError
from vl.encoders.flops import on_meta
from vl.encoders.inception import Inception
from vl.encoders.table import (
    ENCODERS,
    OPTIONS,
    Network,
    build,
    choices,
    configuration,
    encoder,
    validated_options,
)
from vl.encoders.weights import fingerprint, load_caffe, load_torchvision

_FROM_FILES = ("inception_v1", "inception_v1_bn")  # torchvision publishes nothing for them


def load_encoder(name: str, weights: Path | None, *, classifier: bool = False) -> Network:
    """Build an encoder and fill it.

    Args:
        name: in the table of encoders.
        weights: BVLC's blobs as a safetensors file, or the bundle of a captioner, a labeller or an
            encoder, whose encoder is taken with the classes and the width that it has there; None
            fetches what torchvision publishes (from download.pytorch.org).
        classifier: what is fetched keeps its classifier of ImageNet's 1000 classes; of those that
            torchvision has by name only the embedding is wanted otherwise.

    Raises:
        FormatError: the file is neither, or holds another encoder.
        FileNotFoundError: there is no such file.
        OSError: nothing could be fetched.
        ValueError: there is no such encoder, or no weights for it are published.
    """
    validated_options(name)
    if weights is None:
        if name in _FROM_FILES:
            raise ValueError(f"no weights are published for {name}: give a file with --weights")
        wanted = 1000 if classifier and name not in OPTIONS else None
        built = encoder(name, classes=wanted)
        load_torchvision(built, progress=True)
        return built
    if bundle.is_bundle(weights):
        held = bundle.read(weights, kind=("captioner", "labeller", "encoder"))
        found = encoder_name_of(held)
        if found != name:
            raise FormatError(weights, f"holds an encoder {found!r}, not {name!r}")
        return encoder_of(held)
    built = encoder(name)
    if not isinstance(built, Inception):
        raise FormatError(weights, f"holds Caffe's blobs, which fit inception_v1, not {name}")
    load_caffe(built, weights)
    return built


def encoder_config(name: str, built: Network) -> dict[str, Any]:
    """What a bundle's configuration says of its encoder, from which ``encoder_of`` builds it.

    Args:
        name: in the table of encoders.
        built: the encoder, without auxiliary heads.
    """
    told = {key: value for key, value in configuration(built).items() if key in choices(name)}
    return {"name": name, "fingerprint": fingerprint(built), "configuration": told}


def drop_auxiliary(name: str, built: Network) -> Network:
    """The same encoder, sharing its numbers, without the heads that are for training only."""
    if not configuration(built).get("auxiliary"):
        return built
    told = {key: value for key, value in configuration(built).items() if key in choices(name)}
    with on_meta():
        bare = build(name, {**told, "auxiliary": False})
    numbers = built.state_dict()
    bare.load_state_dict({key: numbers[key] for key in bare.state_dict()}, assign=True)
    return bare.train(built.training)


def encoder_name_of(held: bundle.Bundle) -> str:
    """What the encoder in a bundle is called.

    Raises:
        FormatError: the bundle does not say, or this version has none of that name.
    """
    name = _encoder_part(held).get("name")
    if not isinstance(name, str) or name not in ENCODERS:
        raise FormatError(
            held.path, f"made with encoder {name!r}, which this version does not have"
        )
    return name


def encoder_of(held: bundle.Bundle) -> Network:
    """The encoder in a bundle, built as it says there; without a word there, as published.

    It never has auxiliary heads.

    Raises:
        FormatError: it is unknown, cannot be built as the file says, or its weights are not whole
            or not those it was made with.
    """
    name = encoder_name_of(held)
    said = _encoder_part(held)
    told = said.get("configuration", {})
    record = "configuration 'encoder'"
    if not isinstance(told, dict):
        problem = f"its configuration is of type {type(told).__name__}; expected an object"
        raise FormatError(held.path, problem, record=record)
    if told.get("auxiliary"):
        told = {**told, "auxiliary": False}
    try:
        # First without memory: a file may ask for more than there is.
        with _shapes_alone(name):
            shapes = build(name, told)
        bundle.check(held, "encoder", shapes)
        built = build(name, told)
    except FormatError:
        raise
    # The last two: too many numbers to count, and a factor beyond all of them.
    except (TypeError, ValueError, RuntimeError, OverflowError) as cause:
        problem = f"cannot be built: {' '.join(str(cause).split())}"
        raise FormatError(held.path, problem, record=record) from cause
    bundle.fill(held, "encoder", built)
    if fingerprint(built) != said.get("fingerprint"):
        raise FormatError(held.path, "the encoder's weights are not those it was made with")
    return built


def _encoder_part(held: bundle.Bundle) -> dict[str, Any]:
    """What a bundle says of its encoder: a captioner's and labeller's as a part of the embedder."""
    if held.configuration.get("kind") == "encoder":
        config: dict[str, Any] = bundle.required(held, "encoder", dict)
        return config
    config = bundle.required(held, "embedder", dict).get("encoder")
    if not isinstance(config, dict):
        raise FormatError(held.path, "expected an encoder in it", record="configuration 'embedder'")
    return config


def check_fingerprint(built: Network, expected: str, *, made: Path) -> None:
    """Refuse an encoder that is not the one which made a file.

    Raises:
        ValueError: it is another.
    """
    own = fingerprint(built)
    if own != expected:
        raise ValueError(f"{made} was made by an encoder {expected}, these weights are {own}")


def _shapes_alone(name: str) -> AbstractContextManager[object]:
    """Where an encoder of this name is built without numbers.

    A width factor is the one choice that makes buffers large, and these only the device "meta"
    leaves out; but there not every encoder can be built.
    """
    return torch.device("meta") if "width_factor" in choices(name) else on_meta()
