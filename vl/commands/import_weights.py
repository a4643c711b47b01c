"""`vl import-weights`: published weights of Caffe, torchvision or timm to a model file."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vl.commands.options import OutputOptions
from vl.data.bounds import InputFile
from vl.data.outputs import model_kind
from vl.data.words.label_tables import LabelColumns

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsImport(OutputOptions, LabelColumns):
    """Convert weights of Caffe, torchvision or timm to a model file: an encoder with classes.

    Weights without a linear classifier on the embedding are refused; other commands take them, as
    all published weights, by --weights.
    """

    file: tyro.conf.Positional[InputFile]
    """A .caffemodel of GoogLeNet, a .pth of torchvision, or safetensors of timm."""
    output: Annotated[Path, model_kind("encoder")]
    """The model file to write: x.safetensors."""
    encoder: str | None = None
    """Encoder that the weights are of, see `vl encoders`; by default inferred, if that is possible
    from blobs of GoogLeNet or the name of torchvision's file."""
    classes: InputFile | None = None
    """File of the classes, lines or a table, in the order of the classifier's outputs; by default
    ImageNet's."""


def run(flags: WeightsImport) -> int:
    """Convert."""
    from vl.encoding.encoder_file import import_weights

    trained = import_weights(
        flags.file,
        flags.output,
        encoder=flags.encoder,
        classes=flags.classes,
        columns=flags,
        overwrite=flags.overwrite,
    )
    _log.info(
        "%s with %d classes, embeddings of width %d",
        trained.name,
        len(trained.classes),
        trained.encoder.width,
    )
    print(flags.output)
    return 0
