"""A trained encoder as one file: the encoder with its classifier, and the classes it tells apart.

Auxiliary heads are for training only, and are not in the file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vl import bundle
from vl.data.errors import FormatError
from vl.encoders.table import Network
from vl.encoding.pretrained import drop_auxiliary, encoder_config, encoder_name_of, encoder_of

KIND = "encoder"


class TrainedEncoder(NamedTuple):
    """An encoder that classifies, and what its file says of it."""

    encoder: Network
    name: str  # in the table of encoders
    classes: tuple[str, ...]  # in the order of the classifier's outputs
    training: dict[str, Any]  # what it was trained on and how, for people to read


def save(path: Path | str, trained: TrainedEncoder) -> None:
    """Write an encoder as one file, whole or not at all; its auxiliary heads stay behind.

    Raises:
        OSError: the place cannot be written to.
        ValueError: the classes are not as many as the classifier's outputs, or one is there twice.
    """
    problem = _disagreement(trained.encoder, trained.classes)
    if problem:
        raise ValueError(problem)
    encoder = drop_auxiliary(trained.name, trained.encoder)
    bundle.write(
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
    """A trained encoder from its file, built without auxiliary heads.

    Raises:
        FormatError: the file is no trained encoder, is not whole, or its parts disagree.
        FileNotFoundError: there is no such file.
    """
    held = bundle.read(path, kind=KIND)
    classes = bundle.required(held, "classes", list)
    training = bundle.required(held, "training", dict)
    for number, text in enumerate(classes):
        if not isinstance(text, str):
            problem = f"number {number} is {text!r}; a text was expected"
            raise FormatError(held.path, problem, record="configuration 'classes'")
    bundle.check_nothing_left(held, ["encoder"])
    encoder = encoder_of(held)
    problem = _disagreement(encoder, classes)
    if problem:
        raise FormatError(held.path, problem, record="configuration 'classes'")
    return TrainedEncoder(encoder, encoder_name_of(held), tuple(classes), training)


def _disagreement(encoder: Network, classes: Sequence[str]) -> str:
    """Why these are not the encoder's classes; empty if they can be."""
    if encoder.classifier is None:
        return "the encoder has no classifier"
    outputs = encoder.classifier.out_features
    if len(classes) != outputs:
        return f"there are {len(classes)} classes, the classifier has {outputs} outputs"
    seen: dict[str, int] = {}
    for number, text in enumerate(classes):
        if seen.setdefault(text, number) != number:
            return f"{text!r} is number {seen[text]} and number {number}; each must be there once"
    return ""
