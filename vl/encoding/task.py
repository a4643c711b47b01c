"""What an encoder is trained on and judged by, and the recipes it is trained by.

It does not know the command's flags, nor the loss.
"""

import logging
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vl.data.choices import Schedule
from vl.data.labelled.dataset import DatasetSubset, ImageDataset, open_dataset, split_dataset
from vl.encoding.classes import places

_log = logging.getLogger(__name__)


class Recipe(NamedTuple):
    """What a training has unless it is told otherwise."""

    rate: float
    schedule: Schedule
    stair_epochs: float
    stair: float
    warm_up: float
    smoothing: float
    weight_decay: float
    average: float


ADAM = 0.01  # of a recipe's rate, which is for sgd with momentum, is right for adam; our choice
TUNED = 0.1  # of a recipe's rate is right for weights that are borrowed; our choice
RECIPES = {
    # Szegedy et al. 2015: 4 % off the rate every 8 epochs, and Polyak's mean. They give neither the
    # first rate nor the decay; these are ours.
    "published": Recipe(0.01, "staircase", 8, 0.96, 0, 0.0, 2e-4, 0.9999),
    # The cosine of Loshchilov and Hutter 2017, the warm-up of Goyal et al. 2017, the smoothing of
    # Szegedy et al. 2016; ours are the rate, which is for batches of 256, and the decay.
    "modern": Recipe(0.1, "cosine", 8, 0.96, 5, 0.1, 5e-5, 0.0),
}


class Splits(NamedTuple):
    """Pictures of the same classes."""

    training: ImageDataset
    development: ImageDataset | None  # what is judged by


def splits(
    data: Path,
    development: Path | None,
    *,
    share: float,
    seed: int,
    quiet: bool,
    classes: Sequence[str] = (),
) -> Splits:
    """Find what is trained on and what is judged by, and say what was left out.

    Args:
        data: see ``vl.data.labelled.dataset.open_dataset``.
        development: the same for what is judged by; its classes are known by their names.
        share: of each class of ``data`` that is put aside for that instead; 0 for none.
        seed: of what is put aside.
        quiet: say nothing.
        classes: of the classifier, of which ``data`` may have only some, see
            ``vl.encoding.classes.places``; those of ``data`` if none are given.

    Raises:
        ValueError: there are fewer than two classes, or ``development`` has one that ``data`` has
            not, or ``data`` one that ``classes`` have not; or see ``open_dataset`` and
            ``split_dataset``.
        OSError: there is nothing, or it cannot be read.
    """
    whole: ImageDataset = open_dataset(data)
    notes = list(whole.warnings)
    if classes:
        whole = _among(whole, classes)
    if len(whole.classes) < 2:
        raise ValueError(f"{data} has one class; two or more can be told apart")
    training, judged = whole, None
    if share:
        training, judged = split_dataset(whole, share, seed=seed)
    if development:
        found = open_dataset(development)
        notes += found.warnings
        unknown = [name for name in found.classes if name not in set(whole.classes)]
        if unknown and not classes:
            raise ValueError(
                f"{development}: {len(unknown)} classes are not in {data}, the first {unknown[0]!r}"
            )
        judged = _among(found, whole.classes)
    if not quiet:
        for note in notes:
            _log.warning("%s", note)
    return Splits(training, judged)


def _among(found: ImageDataset, classes: Sequence[str]) -> DatasetSubset:
    """The same pictures, labelled by places in other classes, which theirs are some of."""
    place = places(found.classes, classes)
    labels = array("q", (place[found.classes[label]] for label in found.labels))
    return DatasetSubset(found, range(len(labels)), labels=labels, classes=classes)
