"""An encoder by name with trained weights in it, wherever they are."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from data.errors import FormatError
from encoders.inception import Inception
from encoders.table import Network, encoder
from encoders.weights import fingerprint, load_caffe, load_torchvision
from vl import bundle


def trained_encoder(name: str, weights: Path | None) -> Network:
    """Build an encoder and fill it.

    Args:
        name: in the table of encoders.
        weights: BVLC's blobs as a safetensors file, or a captioner's bundle, whose encoder is
            taken; None fetches what torchvision publishes (from download.pytorch.org).

    Raises:
        FormatError: the file is neither.
        FileNotFoundError: there is no such file.
        OSError: nothing could be fetched.
        ValueError: there is no such encoder, or no weights for it are published.
    """
    built = encoder(name)
    if weights is None:
        load_torchvision(built, progress=True)
        return built
    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: there is no such file")
    try:
        with safe_open(weights, framework="pt") as file:
            bundled = "vl" in (file.metadata() or {})
    except SafetensorError as cause:
        raise FormatError(weights, f"not a safetensors file ({cause})") from cause
    if bundled:
        held = bundle.read(weights, kind="captioner")
        found = bundle.required(held, "encoder", dict).get("name")
        if found != name:
            raise FormatError(weights, f"holds an encoder {found!r}, not {name!r}")
        bundle.fill(held, "encoder", built)
    elif isinstance(built, Inception):
        load_caffe(built, weights)
    else:
        raise FormatError(weights, f"holds Caffe's blobs, which fit inception_v1, not {name}")
    return built


def check_fingerprint(built: Network, expected: str, *, made: Path) -> None:
    """Refuse an encoder that is not the one which made a file.

    Raises:
        ValueError: it is another.
    """
    own = fingerprint(built)
    if own != expected:
        raise ValueError(f"{made} was made by an encoder {expected}, these weights are {own}")
