"""`vl finetune encoder`: a pretrained encoder to one of other classes."""

from dataclasses import dataclass

from vl.commands.encoder_flags import EncoderDataFlags, check_start, started
from vl.data.bounds import InputFile
from vl.encoding.config import EncoderFinetuningConfig


@dataclass(frozen=True, kw_only=True)
class EncoderFinetuning(EncoderDataFlags, EncoderFinetuningConfig):
    """Fine-tune a pretrained encoder to classify images."""

    pretrained: InputFile
    """The file of an encoder, captioner or labeller, or BVLC's blobs."""


def run(flags: EncoderFinetuning) -> int:
    """Fine-tune."""
    from vl.encoders.table import validated_options
    from vl.encoding.finetuning import finetune_encoder, load_pretrained

    if flags.classes and flags.depth == "last":
        raise ValueError("--depth last fits the classes of DATA; leave out --classes")
    if flags.encoder:
        validated_options(flags.encoder)
    check_start(flags, flags, steps=flags.depth != "last")
    with started(flags, flags) as start:
        path = finetune_encoder(
            load_pretrained(flags.pretrained, flags.encoder),
            start.splits,
            flags,
            flags.output_dir,
            processes=start.processes,
            precision=start.precision,
            all_classes=flags.classes is not None,
        )
        if start.processes.first:
            print(path)
    return 0
