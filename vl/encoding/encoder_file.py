"""A trained encoder as one file: the encoder with its classifier, and the names of the classes.

Auxiliary heads are for training only and not stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vl import bundle as bundles
from vl.data.errors import FormatError
from vl.encoders.table import Network
from vl.encoding.pretrained import (
    StoredEncoder,
    drop_auxiliary,
    encoder_config,
    encoder_from_bundle,
)

KIND = "encoder"


class TrainedEncoder(NamedTuple):
    """An encoder with a classifier, and its description."""

    encoder: Network
    name: str  # see ``create_encoder``
    classes: tuple[str, ...]  # in the order of the classifier's outputs
    training: dict[str, Any]  # data and settings, for readers


def save(path: Path | str, trained: TrainedEncoder) -> None:
    """Write an encoder to a file, atomically and without auxiliary heads.

    Raises:
        OSError: the file cannot be written.
        ValueError: the classes do not match the classifier's outputs, or one is repeated.
    """
    problem = _mismatch(trained.encoder, trained.classes)
    if problem:
        raise ValueError(problem)
    encoder = drop_auxiliary(trained.name, trained.encoder)
    bundles.write(
        path,
        kind=KIND,
        configuration={
            "encoder": encoder_config(trained.name, encoder),
            "classes": list(trained.classes),
            "training": trained.training,
        },
        modules={"encoder": encoder},
    )


def load(path: Path | str) -> TrainedEncoder:
    """Read a trained encoder from its file.

    Raises:
        FormatError: the file is not a trained encoder, is damaged, or its parts do not match.
        FileNotFoundError: there is no such file.
    """
    bundle = bundles.read(path, kind=KIND)
    stored = bundles.parse(bundle, _StoredEncoderFile)
    bundles.check_nothing_left(bundle, ["encoder"])
    encoder = encoder_from_bundle(bundle)
    problem = _mismatch(encoder, stored.classes)
    if problem:
        raise FormatError(bundle.path, problem, record="configuration.classes")
    return TrainedEncoder(encoder, stored.encoder.name, tuple(stored.classes), stored.training)


@dataclass(frozen=True)
class _StoredEncoderFile:
    encoder: StoredEncoder
    classes: list[str]
    training: dict[str, Any]


def _mismatch(encoder: Network, classes: Sequence[str]) -> str:
    """Why these cannot be the encoder's classes; empty if they can."""
    if encoder.classifier is None:
        return "the encoder has no classifier"
    outputs = encoder.classifier.out_features
    if len(classes) != outputs:
        return f"there are {len(classes)} classes, the classifier has {outputs} outputs"
    first: dict[str, int] = {}
    for index, name in enumerate(classes):
        if first.setdefault(name, index) != index:
            return f"{name!r} is class {first[name]} and class {index}"
    return ""
