"""`vl finetune labeller`: a labeller's encoder and projection, trained together on images."""

from dataclasses import dataclass, field

import tyro

from vl.data.bounds import InputFile, InputPath
from vl.labelling.recipe import EncoderAndProjectionRecipe, LabellerRunConfig, SplitConfig


@dataclass(frozen=True, kw_only=True)
class FinetuneLabellerFlags:
    """Fine-tune a labeller: encoder and DeViSE's projection together, on images."""

    images: tyro.conf.Positional[list[InputPath]]
    """Folders with a folder for each class, and lists of an image, a tab and its class."""
    model: InputFile
    """Labeller's file, by `vl train labeller --method devise` or both."""
    split: SplitConfig = field(default_factory=SplitConfig)
    recipe: EncoderAndProjectionRecipe = field(default_factory=EncoderAndProjectionRecipe)
    run: LabellerRunConfig


def run(flags: FinetuneLabellerFlags) -> int:
    """Fine-tune."""
    if not flags.images:
        raise ValueError("no images: give folders of classes or lists")
    from vl.labelling.training import finetune_labeller

    path = finetune_labeller(
        flags.images, flags.model, split=flags.split, recipe=flags.recipe, run=flags.run
    )
    if path:
        print(path)
    return 0
