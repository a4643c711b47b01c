"""Pretrained encoders: by name with published weights, or from the file of a model."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vl import bundle as bundles
from vl.bundle import Bundle
from vl.data.choices import Preprocessing
from vl.data.errors import FormatError
from vl.encoders.table import (
    OPTIONS,
    Network,
    configuration,
    create_encoder,
    is_encoder,
    on_meta,
    options,
    validated_options,
)
from vl.encoders.timm_features import PREFIX, TimmFeatures, fetch_timm
from vl.encoders.weight_files import is_safetensors
from vl.encoders.weights import (
    class_count,
    fingerprint,
    from_timm,
    load_torchvision,
    load_weights,
)

# torchvision publishes no weights for these; checked before anything is built.
_FROM_FILES = ("inception_v1", "inception_v1_bn")


@dataclass(frozen=True)
class StoredEncoder:
    """What a model's file says of its encoder."""

    name: str
    fingerprint: str
    configuration: dict[str, Any]  # see ``vl.encoders.table.create_encoder``

    def __post_init__(self) -> None:
        if not is_encoder(self.name):
            raise ValueError(f"unknown encoder {self.name!r}; another version has made it")


@dataclass(frozen=True)
class StoredEmbedder:
    """What a model's file says of its embedder; that of an encoder has the defaults."""

    encoder: StoredEncoder
    views: list[str]
    resize: Preprocessing


def load_encoder(name: str, weights: Path | None, *, classifier: bool = False) -> Network:
    """Build an encoder and load its weights.

    Args:
        name: of the encoder, see ``create_encoder``.
        weights: the file of an encoder, captioner or labeller, whose encoder may have another width
            or other classes than published; or published weights: BVLC's .caffemodel, torchvision's
            .pth, timm's safetensors, see ``vl.encoders.weight_files``. None downloads torchvision's
            or timm's.
        classifier: whether a published network of torchvision or timm keeps its classifier, of
            ImageNet's 1000 classes in downloads of torchvision, if it is linear.

    Raises:
        FormatError: the file is none of these, or contains another encoder.
        FileNotFoundError: there is no such file.
        OSError: the download failed.
        ValueError: there is no such encoder, or no weights are published for it.
    """
    validated_options(name, {})
    if weights is None:
        if name in _FROM_FILES:
            raise ValueError(f"no weights are published for {name}: give a file with --weights")
        if name.startswith(PREFIX):
            return _load_timm(name, classifier=classifier)
        classes = 1000 if classifier and name not in OPTIONS else None
        encoder = create_encoder(name, {"classes": classes})
        load_torchvision(encoder)
        return encoder
    if is_safetensors(weights) and bundles.is_bundle(weights):
        # A projection or decoder that is initialized next is the same with every kind of file.
        return encoder_from_bundle(read_model(weights, name), initialize=True)
    config: dict[str, Any] = {}
    if classifier:
        with on_meta():
            config = {"classes": class_count(create_encoder(name), weights)}
    encoder = create_encoder(name, config)
    try:
        load_weights(encoder, weights)
    except FormatError:
        raise
    except ValueError as cause:
        problem = f"no model file of vl, and no other weights are read for {name}"
        raise FormatError(weights, problem) from cause
    return encoder


def _load_timm(name: str, *, classifier: bool) -> Network:
    """One of timm's models with the weights that its hub publishes."""
    state = fetch_timm(name.removeprefix(PREFIX))
    encoder = create_encoder(name)
    assert isinstance(encoder, TimmFeatures)
    if classifier and encoder.last_layer_is_linear:
        classes = len(state[f"{encoder.last_layer}.weight"])
        encoder = create_encoder(name, {"classes": classes})
        assert isinstance(encoder, TimmFeatures)
    from_timm(state, encoder)
    return encoder


def encoder_config(name: str, encoder: Network) -> dict[str, Any]:
    """The description in a model's file of an encoder without auxiliary heads."""
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
        bare = create_encoder(name, {**_options_of(name, encoder), "auxiliary": False})
    state = encoder.state_dict()
    bare.load_state_dict({key: state[key] for key in bare.state_dict()}, assign=True)
    return bare.train(encoder.training)


def read_model(path: Path, name: str | None = None) -> Bundle:
    """Read the file of an encoder, embedder, captioner or labeller.

    Raises:
        FormatError: it is none of these, or contains another encoder than ``name``.
        OSError: it cannot be read.
    """
    bundle = bundles.read(path, kind=("captioner", "labeller", "encoder", "embedder"))
    if bundle.configuration["kind"] == "embedder":  # the others are read for their encoder alone
        bundles.check_nothing_left(bundle, ["encoder"])
    stored = stored_embedder(bundle).encoder.name
    if name not in (None, stored):
        raise FormatError(path, f"contains the encoder {stored!r}, not {name!r}")
    return bundle


def stored_embedder(bundle: Bundle) -> StoredEmbedder:
    """The description of the embedder in the file of an encoder, captioner or labeller.

    Raises:
        FormatError: it is not what it should be, or of an unknown encoder.
    """
    if bundle.configuration["kind"] == "encoder":
        encoder = bundles.parse(bundle, StoredEncoder, "encoder")
        timms = encoder.name.startswith(PREFIX)
        return StoredEmbedder(encoder, ["plain"], "encoder" if timms else "squash")
    return bundles.parse(bundle, StoredEmbedder, "embedder")


def encoder_from_bundle(bundle: Bundle, *, initialize: bool = False) -> Network:
    """The encoder in a model's file, without auxiliary heads; ``initialize`` as `bundle.build`.

    Raises:
        FormatError: as ``stored_embedder``; or it cannot be built from its configuration, or its
            weights are not complete or do not match their fingerprint.
    """
    stored = stored_embedder(bundle).encoder
    config = {**stored.configuration, "auxiliary": False}
    encoder: Network = bundles.build(
        bundle,
        "encoder",
        lambda: create_encoder(stored.name, config),
        without_memory=_without_memory(stored.name),
        initialize=initialize,
    )
    if fingerprint(encoder) != stored.fingerprint:
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


def _options_of(name: str, encoder: Network) -> dict[str, Any]:
    return {key: value for key, value in configuration(encoder).items() if key in options(name)}


def _without_memory(name: str) -> AbstractContextManager[object]:
    """A context that builds an encoder of this name without allocating memory.

    The device "meta" leaves out buffers too, which a width factor makes large; but not every
    encoder can be built there.
    """
    return torch.device("meta") if "width_factor" in options(name) else on_meta()


def unfreeze_used_parameters(encoder: Network) -> None:
    """Require gradients of the parameters that the embedding depends on, and of no others.

    DistributedDataParallel waits for a gradient of every parameter that requires one.
    """
    parameters = list(encoder.requires_grad_(True).eval().parameters())
    side, device = encoder.image_size, parameters[0].device
    embedding = encoder(torch.zeros(1, 3, side, side, device=device))
    gradients = torch.autograd.grad(embedding.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    encoder.to(memory_format=torch.channels_last)
