"""`vl finetune captioner`: encoder and decoder of a captioner trained together, on images."""

from dataclasses import dataclass, field

from vl.captioning.recipe import CAPTIONER_FILE, CaptionerRunConfig, CaptionFiles, FinetuningRecipe
from vl.data.bounds import InputFile, InputPath


@dataclass(frozen=True, kw_only=True)
class FinetuneCaptionerFlags:
    """Fine-tune a captioner: encoder and decoder together, on images."""

    model: InputFile
    """Captioner to start from, of `vl train captioner`."""
    image_dir: InputPath
    """Folder of the images."""
    data: CaptionFiles
    recipe: FinetuningRecipe = field(default_factory=FinetuningRecipe)
    run: CaptionerRunConfig


def run(flags: FinetuneCaptionerFlags) -> int:
    """Fine-tune."""
    from vl.captioning.training import finetune_captioner

    result = finetune_captioner(
        flags.data, flags.image_dir, model=flags.model, recipe=flags.recipe, run=flags.run
    )
    if result:
        print(flags.run.output_dir / CAPTIONER_FILE)
    return 0
