"""A trained encoder as one file: the encoder with its classifier, and the names of the classes.

Auxiliary heads are for training only and not stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vl import bundle as bundles
from vl.data.errors import FormatError
from vl.data.words.label_tables import DEFAULT_COLUMNS, LabelColumns
from vl.encoders.table import Network
from vl.encoders.torchvision_features import torchvision_names
from vl.encoders.weight_files import is_safetensors, read_tensors
from vl.encoding.classes import read_classes
from vl.encoding.pretrained import (
    StoredEncoder,
    drop_auxiliary,
    encoder_config,
    encoder_from_bundle,
    load_encoder,
)

KIND = "encoder"


class TrainedEncoder(NamedTuple):
    """An encoder with a classifier, and its description."""

    encoder: Network
    name: str  # see ``create_encoder``
    classes: tuple[str, ...]  # in the order of the classifier's outputs
    training: dict[str, Any]  # data and settings, for readers


def save(path: Path | str, trained: TrainedEncoder, *, overwrite: bool = False) -> None:
    """Write an encoder to a file without auxiliary heads, see ``vl.bundle.write``.

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
        overwrite=overwrite,
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


def import_weights(
    path: Path,
    output: Path,
    *,
    encoder: str | None = None,
    classes: Path | None = None,
    columns: LabelColumns = DEFAULT_COLUMNS,
    overwrite: bool = False,
) -> TrainedEncoder:
    """Convert a file of published weights to the file of an encoder with a classifier.

    Args:
        path: see ``vl.encoders.weight_files``.
        output: the file to write.
        encoder: whose weights they are; by default GoogLeNet for BVLC's blobs, or a network of
            torchvision that the file is named after: ``resnet50-11ad3fa6.pth``.
        classes: the file of the classifier's classes, see ``read_classes``; by default ImageNet's.
        columns: of that file, if it is a table.
        overwrite: whether to replace a file that is not an encoder's.

    Raises:
        FormatError: a file is not what it should be, or the weights are of another encoder.
        OSError: a file cannot be read or written.
        ValueError: the file is a model file already, its encoder cannot be inferred, there is no
            classifier, or it is of another count of classes.
    """
    if is_safetensors(path) and bundles.is_bundle(path):
        raise ValueError(f"{path} is a model file of vl already")
    name = encoder or _encoder_of(path)
    network = load_encoder(name, path, classifier=True)
    if network.classifier is None:
        raise ValueError(
            f"{path}: the file of an encoder needs one linear classifier on the embedding, which "
            f"these weights of {name} lack; other commands take them as they are by --weights"
        )
    outputs = network.classifier.out_features
    names = read_classes(classes, columns) if classes else _imagenet_classes()
    if not classes and outputs != len(names):
        raise ValueError(f"{path} has a classifier of {outputs} classes: name them by --classes")
    trained = TrainedEncoder(network, name, tuple(names), {"imported from": path.name})
    save(output, trained, overwrite=overwrite)
    return trained


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


def _encoder_of(path: Path) -> str:
    """The encoder that a file of weights is of, by its tensors or its name."""
    if "conv1/7x7_s2.weight" in read_tensors(path):
        return "inception_v1"
    name = path.stem.partition("-")[0]
    if name in torchvision_names():
        return name
    raise ValueError(f"{path}: which encoder these weights are of is not known: give --encoder")


def _imagenet_classes() -> Sequence[str]:
    """The names of ImageNet's 1000 classes in the order of all published classifiers."""
    from torchvision.models import ResNet50_Weights

    names: Sequence[str] = ResNet50_Weights.DEFAULT.meta["categories"]
    return names
