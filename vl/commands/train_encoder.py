"""`vl train encoder`: labelled images to an encoder that classifies them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vl.commands.encoder_flags import EncoderDataFlags, started
from vl.data.bounds import InputFile, PositiveFloat, PositiveInt

if TYPE_CHECKING:
    from vl.encoders.table import EncoderConfig, Network

_ENCODER = "inception_v1_bn"


@dataclass(frozen=True, kw_only=True)
class EncoderTraining(EncoderDataFlags):
    """Train an encoder to classify images."""

    width_factor: PositiveFloat = 1.0
    """Scale the published numbers of channels, for small data."""
    image_size: PositiveInt | None = None
    """Pixels a side, of encoders with this option; by default 224."""
    auxiliary: bool = False
    """Train with auxiliary heads; they are not saved."""
    pretrained: InputFile | None = None
    """Start from the file of an encoder, captioner or labeller, or published weights, see
    `vl embed`; with a new classifier, unless its classes are these."""


def run(flags: EncoderTraining) -> int:
    """Train."""
    from vl.encoding.training import train_encoder

    options = _options(flags)
    with started(flags) as encoder_run:
        name, encoder = _encoder(flags, options, encoder_run.splits.training.classes)
        train_encoder(name, encoder, flags, encoder_run)
    return 0


def _options(flags: EncoderTraining) -> "EncoderConfig":
    """How the encoder differs from the published one, but for its classes."""
    from vl.encoders.table import options, validated_options

    names = ("auxiliary", "width_factor", "image_size")
    name = flags.encoder or _ENCODER
    changed = validated_options(name, {option: getattr(flags, option) for option in names})
    if flags.pretrained and changed:
        raise ValueError("--width-factor, --image-size and --auxiliary exclude --pretrained")
    if "classes" not in options(name):
        raise ValueError(f"{name} cannot be trained: it has no classifier")
    return changed


def _encoder(
    flags: EncoderTraining, options: "EncoderConfig", classes: Sequence[str]
) -> "tuple[str, Network]":
    from vl.encoders.table import create_encoder
    from vl.encoding.finetuning import has_classes, load_pretrained, with_classes

    if flags.pretrained is None:
        name = flags.encoder or _ENCODER
        return name, create_encoder(name, {**options, "classes": len(classes)})
    pretrained = load_pretrained(flags.pretrained, flags.encoder)
    if has_classes(pretrained, classes, all_classes=flags.classes is not None):
        return pretrained.name, pretrained.encoder
    return pretrained.name, with_classes(pretrained.name, pretrained.encoder, len(classes))
