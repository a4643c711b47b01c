"""`vl shard`: pack labelled images into tar shards."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vl.data.bounds import InputPath, PositiveInt
from vl.data.outputs import RESUMED_FOLDER, check_outside

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardRun:
    """Pack labelled images into tar shards, WebDataset's format, which training reads directly.

    An interrupted run is resumed by the same command.
    """

    source: tyro.conf.Positional[InputPath]
    """A folder of classes, a list of images and classes, or a folder of shards."""
    output_dir: Annotated[Path, RESUMED_FOLDER]
    """Folder of the shards."""
    images_per_shard: PositiveInt = 1000
    """Images in a shard; 1,000 of ImageNet's are about 100 MB."""
    seed: int = 0
    """Seed of the shuffling over all shards, which makes each like the whole."""
    no_shuffle: bool = False
    """Keep the order of SOURCE."""
    shorter_side: PositiveInt | None = None
    """Shrink images to this shorter side in pixels, as JPEG of quality 95; smaller ones are
    copied. By default all are copied."""
    check: bool = False
    """Decode every image, and leave out damaged ones; shrinking does so anyway."""


def run(flags: ShardRun) -> int:
    """Write the shards that are missing; 1 if an image was left out."""
    check_outside(flags.output_dir, [flags.source])

    from vl.data.labelled.dataset import open_dataset
    from vl.data.labelled.shard_writer import ShardSettings, write_shards
    from vl.inputs import error_message
    from vl.terminal import ProgressBar

    source = open_dataset(flags.source)
    for warning in source.warnings:
        _log.warning("%s: %s", flags.source, warning)
    settings = ShardSettings(
        images_per_shard=flags.images_per_shard,
        seed=None if flags.no_shuffle else flags.seed,
        shorter_side=flags.shorter_side,
        check=flags.check,
    )
    failures = reused = 0
    with ProgressBar("shard", len(source.names), unit="images") as bar:
        for image in write_shards(source, flags.output_dir, settings):
            if image.reused:
                reused += 1
                bar.skip(1)
                continue
            if image.error:
                failures += 1
                bar.print(error_message(image.error))
            bar.advance()
    _log.info(
        "%d images of %d classes in %s, %d of them from before; %d images failed",
        len(source.names) - failures,
        len(source.classes),
        flags.output_dir,
        reused,
        failures,
    )
    return 1 if failures else 0
