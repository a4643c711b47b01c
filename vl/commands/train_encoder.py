"""`vl train encoder`: labelled images to an encoder that classifies them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vl.commands.encoder_flags import EncoderDataFlags, check_start, started
from vl.data.bounds import InputFile, PositiveFloat, PositiveInt
from vl.encoding.config import EncoderTrainingConfig

if TYPE_CHECKING:
    from vl.encoders.table import Network

_ENCODER = "inception_v1_bn"


@dataclass(frozen=True, kw_only=True)
class EncoderTraining(EncoderDataFlags, EncoderTrainingConfig):
    """Train an encoder to classify images."""

    width_factor: PositiveFloat = 1.0
    """Scale the published numbers of channels, for small data."""
    image_size: PositiveInt | None = None
    """Pixels a side, of encoders with this option; by default 224."""
    auxiliary: bool = False
    """Train with auxiliary heads; they are not saved."""
    pretrained: InputFile | None = None
    """Start from the file of an encoder, captioner or labeller, or from BVLC's blobs; with a new
    classifier, unless its classes are these."""


def run(flags: EncoderTraining) -> int:
    """Train."""
    from vl.encoding.training import train_encoder

    _check(flags)
    check_start(flags, flags, steps=True)
    with started(flags, flags) as start:
        name, encoder = _encoder(flags, start.splits.training.classes)
        path = train_encoder(
            name,
            encoder,
            start.splits,
            flags,
            flags.output_dir,
            processes=start.processes,
            precision=start.precision,
        )
        if start.processes.first:
            print(path)
    return 0


def _check(flags: EncoderTraining) -> None:
    from vl.encoders.table import options, validated_options

    changed = flags.width_factor != 1 or flags.image_size is not None or flags.auxiliary
    if flags.pretrained and changed:
        raise ValueError("--width-factor, --image-size and --auxiliary exclude --pretrained")
    name = flags.encoder or _ENCODER
    validated_options(
        name,
        auxiliary=flags.auxiliary,
        width_factor=flags.width_factor,
        image_size=flags.image_size,
    )
    if "classes" not in options(name):
        raise ValueError(f"{name} cannot be trained: it has no classifier")


def _encoder(flags: EncoderTraining, classes: Sequence[str]) -> "tuple[str, Network]":
    from vl.encoders.table import create_encoder
    from vl.encoding.finetuning import has_classes, load_pretrained, with_classes

    if flags.pretrained is None:
        name = flags.encoder or _ENCODER
        encoder = create_encoder(
            name,
            classes=len(classes),
            auxiliary=flags.auxiliary,
            width_factor=flags.width_factor,
            image_size=flags.image_size,
        )
        return name, encoder
    pretrained = load_pretrained(flags.pretrained, flags.encoder)
    if has_classes(pretrained, classes, all_classes=flags.classes is not None):
        return pretrained.name, pretrained.encoder
    return pretrained.name, with_classes(pretrained.name, pretrained.encoder, len(classes))
