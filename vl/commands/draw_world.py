"""`vl draw-world`: a drawn world with full ground truth, to train and evaluate on."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from vl.data.bounds import NonNegativeInt, PositiveInt
from vl.data.outputs import RESUMED_FOLDER

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrawWorld:
    """Draw a world of scenes with captions, classes, ground truth, text and taxonomy.

    An interrupted run is resumed when the same command is given again.
    """

    output_dir: Annotated[Path, RESUMED_FOLDER]
    """The world's folder: empty, new, or holding a part of the same world."""
    training: NonNegativeInt = 2000
    """Number of images to draw for the training split."""
    development: NonNegativeInt = 300
    """Number of images to draw for the development split."""
    test: NonNegativeInt = 500
    """Number of images to draw for the test split."""
    held_out_combinations: NonNegativeInt = 300
    """Test images of seen kinds in combinations with a color that are in no other split."""
    held_out_kinds: NonNegativeInt = 300
    """Test images of kinds that are in no other split."""
    side: Annotated[int, Interval(ge=64, le=224)] = 96
    """Side of an image in pixels, from 64 to 224."""
    words: NonNegativeInt = 400_000
    """Least number of words of text, to train word vectors on; 0 for no text."""
    seed: NonNegativeInt = 0
    """Random seed; the same seed gives the same world."""
    num_workers: PositiveInt | None = None
    """Processes that draw; one a core by default."""


def run(flags: DrawWorld) -> int:
    """Draw the images and files that are not there yet."""
    from vl.data.world.files import World, draw_world
    from vl.data.world.scenes import SPLITS
    from vl.terminal import ProgressBar

    num_images = {split: getattr(flags, split.replace("-", "_")) for split in SPLITS}
    world = World(num_images, flags.side, flags.seed, flags.words)
    total = sum(num_images.values())
    with ProgressBar("draw", total, unit="images") as bar:
        num_present = draw_world(
            flags.output_dir,
            world,
            num_workers=flags.num_workers,
            skip=bar.skip,
            advance=bar.advance,
        )
    _log.info(
        "%d images of %d splits in %s, %d of them from before",
        total,
        sum(count > 0 for count in num_images.values()),
        flags.output_dir,
        num_present,
    )
    return 0
