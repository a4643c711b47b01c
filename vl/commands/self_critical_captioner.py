"""`vl self-critical captioner`: the decoder of a captioner trained on a reward."""

from dataclasses import dataclass, field

from vl.captioning.recipe import (
    CAPTIONER_FILE,
    CaptionerRunConfig,
    CaptionFiles,
    SelfCriticalRecipe,
)
from vl.data.bounds import InputFile


@dataclass(frozen=True, kw_only=True)
class SelfCriticalCaptionerFlags:
    """Train a captioner's decoder on CIDEr-D and BLEU-4 of samples (Rennie 2017)."""

    model: InputFile
    """Captioner to start from, of `vl train captioner`."""
    embeddings: InputFile
    """Embeddings of all images of both splits by the captioner's encoder, by `vl embed`."""
    data: CaptionFiles
    recipe: SelfCriticalRecipe = field(default_factory=SelfCriticalRecipe)
    run: CaptionerRunConfig


def run(flags: SelfCriticalCaptionerFlags) -> int:
    """Train."""
    from vl.captioning.training import self_critical_captioner

    result = self_critical_captioner(
        flags.data, flags.embeddings, model=flags.model, recipe=flags.recipe, run=flags.run
    )
    if result:
        print(flags.run.output_dir / CAPTIONER_FILE)
    return 0
