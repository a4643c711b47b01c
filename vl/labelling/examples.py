"""Labelled images to train and evaluate a labeller with, and how they are split.

What is held out is never trained on; the development split validates and calibrates.
"""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from vl.data.labelled.folders import read_labelled_images
from vl.data.words.label_lists import LabelList, Lemmas, read_label
from vl.data.words.labels import Label, LabelIndex, UniqueLabels, text_of_class

_log = logging.getLogger(__name__)
_MIN_LABELS = 2  # of the training split, and of the development split if there is one
_MIN_IMAGES = 3  # of a training label from which on one is in the development split


class Examples(NamedTuple):
    """Images, and the label of each."""

    names: tuple[str, ...]  # as `vl embed` calls them
    paths: tuple[Path, ...]
    targets: tuple[int, ...]  # index of each image's label
    labels: tuple[Label, ...]

    def select(self, rows: Sequence[int]) -> "Examples":
        """Some of the images; all labels keep their indices."""
        return self._replace(
            names=tuple(self.names[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows),
            targets=tuple(self.targets[row] for row in rows),
        )


class Split(NamedTuple):
    """Indices of labels and rows of images of the training and development splits."""

    training: tuple[int, ...]  # labels
    development: tuple[int, ...]  # labels that are not trained on
    training_rows: tuple[int, ...]
    seen_rows: tuple[int, ...]  # of the development split, with training labels
    unseen_rows: tuple[int, ...]  # of the development split, with development labels


def read_examples(
    sources: Sequence[Path],
    *,
    lemmas: Lemmas | None = None,
    embedded: Collection[str] | None = None,
) -> Examples:
    """The images of folders of classes and of lists; what is left out is logged.

    Args:
        sources: see ``vl.data.labelled.folders``. The same class in two of them is one label; see
            ``UniqueLabels``.
        lemmas: the words of WordNet's ids, for classes named by an id.
        embedded: names of images that have embeddings; see ``read_labelled_images``.

    Raises:
        ValueError: a source is not what ``vl.data.labelled.folders`` reads, two images have one
            name, or a class is an id without words.
        OSError: a source cannot be read.
    """
    unique = UniqueLabels()
    images: dict[str, tuple[Path, int, Path]] = {}
    for source in sources:
        labelled = read_labelled_images(source, embedded=embedded)
        for note in labelled.warnings:
            _log.info("%s: %s", source, note)
        index_of = {}
        for name in labelled.classes:
            try:
                index_of[name] = unique.add(read_label(text_of_class(name), lemmas=lemmas))
            except ValueError as cause:
                raise ValueError(f"{source}: class {name!r}: {cause}") from cause
        for image in labelled.images:
            if image.name in images:
                raise ValueError(f"{source}: {image.name!r} is in {images[image.name][2]} already")
            images[image.name] = (image.path, index_of[image.label], source)
    return Examples(
        names=tuple(images),
        paths=tuple(path for path, _, _ in images.values()),
        targets=tuple(target for _, target, _ in images.values()),
        labels=tuple(unique.labels),
    )


def hold_out(examples: Examples, labels: LabelList) -> tuple[Examples, list[int]]:
    """The examples without those of some labels, and which rows they are.

    A label is held out if its id is, or, where one of the two has no id, one of its names.
    """
    excluded = LabelIndex(labels.labels)
    rest = [i for i, label in enumerate(examples.labels) if not excluded.shares_name(label)]
    new_index = {index: new for new, index in enumerate(rest)}
    rows = [row for row, target in enumerate(examples.targets) if target in new_index]
    selected = examples.select(rows)._replace(labels=tuple(examples.labels[i] for i in rest))
    return selected._replace(targets=tuple(new_index[i] for i in selected.targets)), rows


def split_examples(
    examples: Examples, usable: Sequence[bool], *, development: float, seed: int
) -> Split:
    """Split labels and images at random into training and development.

    Args:
        examples: all images.
        usable: whether each label has a vector; the others are in neither split, nor are labels
            without an image.
        development: share of the labels, two at least, all of whose images are in the development
            split; and of the images of each other label: at least one if there are three, and
            never all. 0 for no development split.
        seed: of the random choice.

    Raises:
        ValueError: too few labels would be in a split.
    """
    rows: dict[int, list[int]] = {index: [] for index in range(len(examples.labels))}
    for row, target in enumerate(examples.targets):
        rows[target].append(row)
    labels = [index for index, has_vector in enumerate(usable) if has_vector and rows[index]]
    generator = torch.Generator().manual_seed(seed)
    order = [labels[i] for i in torch.randperm(len(labels), generator=generator).tolist()]
    # One label alone would always be predicted.
    count = max(_MIN_LABELS, round(development * len(labels))) if development else 0
    if len(labels) - count < _MIN_LABELS:
        rest = f" and {count} to validate (none with --development 0)" if count else ""
        raise ValueError(
            f"{len(labels)} labels with images and vectors are too few: at least {_MIN_LABELS} are "
            f"needed to train{rest}"
        )
    unseen, training = sorted(order[:count]), sorted(order[count:])
    seen_rows: list[int] = []
    for index in training:
        images = rows[index]
        size = 0
        if development and len(images) >= _MIN_IMAGES:
            size = min(max(1, round(development * len(images))), len(images) - 1)
        chosen = torch.randperm(len(images), generator=generator)[:size].tolist()
        seen_rows += [images[i] for i in chosen]
    in_development = set(seen_rows)
    return Split(
        training=tuple(training),
        development=tuple(unseen),
        training_rows=tuple(
            row for index in training for row in rows[index] if row not in in_development
        ),
        seen_rows=tuple(sorted(seen_rows)),
        unseen_rows=tuple(sorted(row for index in unseen for row in rows[index])),
    )
