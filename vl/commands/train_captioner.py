"""`vl train captioner`: captions and cached embeddings to a captioner."""

from dataclasses import dataclass, field

from vl.captioning.recipe import (
    CAPTIONER_FILE,
    CaptionerRunConfig,
    CaptionFiles,
    DecoderConfig,
    TeacherForcingRecipe,
)
from vl.data.bounds import InputFile


@dataclass(frozen=True, kw_only=True)
class TrainCaptionerFlags:
    """Train a captioner: its decoder, on cached embeddings."""

    data: CaptionFiles
    embeddings: InputFile
    """Embeddings of all images of both splits, by `vl embed`."""
    encoder: str = "inception_v1"
    """Encoder that made the embeddings; it goes into the captioner."""
    weights: InputFile | None = None
    """Weights of the encoder."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    recipe: TeacherForcingRecipe = field(default_factory=TeacherForcingRecipe)
    run: CaptionerRunConfig


def run(flags: TrainCaptionerFlags) -> int:
    """Train."""
    from vl.captioning.training import train_captioner

    result = train_captioner(
        flags.data,
        flags.embeddings,
        encoder=flags.encoder,
        weights=flags.weights,
        decoder=flags.decoder,
        recipe=flags.recipe,
        run=flags.run,
    )
    if result:
        print(flags.run.output_dir / CAPTIONER_FILE)
    return 0
