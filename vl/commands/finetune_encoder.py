"""`vl finetune encoder`: a pretrained encoder to one of other classes."""

from dataclasses import dataclass

from vl.commands.encoder_flags import EncoderDataFlags, started
from vl.data.bounds import InputFile
from vl.encoding.config import EncoderFinetuningConfig


@dataclass(frozen=True, kw_only=True)
class EncoderFinetuning(EncoderDataFlags, EncoderFinetuningConfig):
    """Fine-tune a pretrained encoder to classify images."""

    pretrained: InputFile
    """The file of an encoder, captioner or labeller, or published weights, see `vl embed`."""


def run(flags: EncoderFinetuning) -> int:
    """Fine-tune."""
    from vl.encoders.table import validated_options
    from vl.encoding.finetuning import finetune_encoder, load_pretrained

    if flags.classes and flags.depth == "last":
        raise ValueError("--depth last fits the classes of DATA; leave out --classes")
    if flags.encoder:
        validated_options(flags.encoder, {})
    with started(flags, steps=flags.depth != "last") as encoder_run:
        finetune_encoder(
            load_pretrained(flags.pretrained, flags.encoder),
            flags,
            encoder_run,
            all_classes=flags.classes is not None,
        )
    return 0
