"""An encoder by name with trained weights in it, wherever they are."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from data.errors import FormatError
from encoders.inception import Inception
from encoders.table import ENCODERS, Network, encoder
from encoders.weights import fingerprint, load_caffe, load_torchvision
from vl import bundle

_FROM_FILES = ("inception_v1", "inception_v1_bn")  # torchvision publishes nothing for them


def trained_encoder(name: str, weights: Path | None) -> Network:
    """Build an encoder and fill it.

    Args:
        name: in the table of encoders.
        weights: BVLC's blobs as a safetensors file, or a captioner's or labeller's bundle, whose
            encoder is taken; None fetches what torchvision publishes (from download.pytorch.org).

    Raises:
        FormatError: the file is neither, or holds another encoder.
        FileNotFoundError: there is no such file.
        OSError: nothing could be fetched.
        ValueError: there is no such encoder, or no weights for it are published.
    """
    built = encoder(name)
    if weights is None:
        if name in _FROM_FILES:
            raise ValueError(f"no weights are published for {name}: give a file with --weights")
        load_torchvision(built, progress=True)
        return built
    if not weights.is_file():
        found = "a folder, not a file" if weights.is_dir() else "there is no such file"
        raise FileNotFoundError(f"{weights}: {found}")
    try:
        with safe_open(weights, framework="pt") as file:
            bundled = "vl" in (file.metadata() or {})
    except SafetensorError as cause:
        raise FormatError(weights, f"not a safetensors file ({cause})") from cause
    if bundled:
        held = bundle.read(weights, kind=("captioner", "labeller"))
        found = bundled_name(held)
        if found != name:
            raise FormatError(weights, f"holds an encoder {found!r}, not {name!r}")
        _fill(held, built)
    elif isinstance(built, Inception):
        load_caffe(built, weights)
    else:
        raise FormatError(weights, f"holds Caffe's blobs, which fit inception_v1, not {name}")
    return built


def bundled_name(held: bundle.Bundle) -> str:
    """What the encoder in a bundle is called.

    Raises:
        FormatError: the bundle does not say, or this version has none of that name.
    """
    name = bundle.required(held, "encoder", dict).get("name")
    if not isinstance(name, str) or name not in ENCODERS:
        raise FormatError(
            held.path, f"made with encoder {name!r}, which this version does not have"
        )
    return name


def bundled_encoder(held: bundle.Bundle) -> Network:
    """The encoder in a bundle.

    Raises:
        FormatError: it is unknown, or its weights are not whole or not those it was made with.
    """
    built = encoder(bundled_name(held))
    _fill(held, built)
    return built


def check_fingerprint(built: Network, expected: str, *, made: Path) -> None:
    """Refuse an encoder that is not the one which made a file.

    Raises:
        ValueError: it is another.
    """
    own = fingerprint(built)
    if own != expected:
        raise ValueError(f"{made} was made by an encoder {expected}, these weights are {own}")


def _fill(held: bundle.Bundle, built: Network) -> None:
    bundle.fill(held, "encoder", built)
    if fingerprint(built) != bundle.required(held, "encoder", dict).get("fingerprint"):
        raise FormatError(held.path, "the encoder's weights are not those it was made with")
