"""`vl train labeller`: labelled images and word vectors to a labeller."""

from dataclasses import dataclass, field

import tyro

from vl.data.bounds import InputPath
from vl.data.choices import LabellerMethod
from vl.labelling.recipe import (
    ConseConfig,
    EncoderConfig,
    LabellerRunConfig,
    LabelSpaceConfig,
    ProjectionRecipe,
    SplitConfig,
)


@dataclass(frozen=True, kw_only=True)
class TrainLabellerFlags:
    """Train a labeller: a projection of images into the space of word vectors."""

    images: tyro.conf.Positional[list[InputPath]]
    """Folders with a folder for each class, and lists of an image, a tab and its class."""
    method: LabellerMethod = "devise"
    """DeViSE's trained projection, ConSE's mix of training labels, or the mean of both."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    space: LabelSpaceConfig
    split: SplitConfig = field(default_factory=SplitConfig)
    conse: ConseConfig = field(default_factory=ConseConfig)
    recipe: ProjectionRecipe = field(default_factory=ProjectionRecipe)
    run: LabellerRunConfig


def run(flags: TrainLabellerFlags) -> int:
    """Train."""
    if not flags.images:
        raise ValueError("no images: give folders of classes or lists")
    from vl.labelling.training import train_labeller

    path = train_labeller(
        flags.images,
        flags.method,
        encoder=flags.encoder,
        space=flags.space,
        split=flags.split,
        conse=flags.conse,
        recipe=flags.recipe,
        run=flags.run,
    )
    if path:
        print(path)
    return 0
