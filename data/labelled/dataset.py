"""Data sets of labelled images for training: encoded bytes of files or shards, or a subset of them.

A data set reads images and does not decode them. It can be pickled for worker processes.
"""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from vl.data.labelled.folders import LabelledImages, read_labelled_images
from vl.data.labelled.shards import ShardDataset, is_shards


class ImageDataset(Protocol):
    """Labelled images."""

    names: Sequence[str]  # of the images, without duplicates
    labels: Sequence[int]  # of the images, as indices of `classes`
    classes: Sequence[str]  # without duplicates
    warnings: Sequence[str]  # what was skipped, a sentence a reason

    def read(self, index: int) -> bytes:
        """An encoded image, JPEG, PNG and so on; OSError if it cannot be read."""
        ...


class FileDataset:
    """Images in separate files, as ``vl.data.labelled.folders`` reads them."""

    def __init__(self, source: LabelledImages) -> None:
        class_index = {name: index for index, name in enumerate(source.classes)}
        labels = [class_index[image.label] for image in source.images]
        self.names: Sequence[str] = tuple(image.name for image in source.images)
        self.labels: Sequence[int] = array("q", labels)
        self.classes: Sequence[str] = source.classes
        self.warnings: Sequence[str] = source.warnings
        # As text: a million paths would take long to pickle.
        self._files = tuple(str(image.path) for image in source.images)

    def read(self, index: int) -> bytes:
        """An encoded image; OSError if it cannot be read."""
        return Path(self._files[index]).read_bytes()

    def stamp(self, index: int) -> tuple[int, ...]:
        """Size and time of change: they differ once the image has been changed."""
        status = Path(self._files[index]).stat()
        return status.st_size, status.st_mtime_ns


class DatasetSubset:
    """Some images of a data set.

    Args:
        dataset: the data set.
        indices: which of its images.
        labels: of these images; by default those of ``dataset``.
        classes: that the labels are indices of; by default those of ``dataset``.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        indices: Sequence[int],
        *,
        labels: Sequence[int] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self._dataset = dataset
        self._indices = indices
        self.names: Sequence[str] = tuple(dataset.names[index] for index in indices)
        self.labels: Sequence[int] = (
            tuple(dataset.labels[index] for index in indices) if labels is None else labels
        )
        self.classes: Sequence[str] = dataset.classes if classes is None else classes
        self.warnings: Sequence[str] = dataset.warnings

    def read(self, index: int) -> bytes:
        """An encoded image; OSError if it cannot be read."""
        return self._dataset.read(self._indices[index])


def open_dataset(path: Path) -> FileDataset | ShardDataset:
    """The data set at a path.

    Args:
        path: a folder of classes or a list of images; a folder of shards, or one shard.

    Raises:
        ValueError, OSError: see `read_labelled_images` and `ShardDataset`.
    """
    return ShardDataset(path) if is_shards(path) else FileDataset(read_labelled_images(path))


def split_dataset(
    dataset: ImageDataset, validation_share: float, *, seed: int
) -> tuple[DatasetSubset, DatasetSubset]:
    """Training and validation images, the latter a share of each class.

    Args:
        dataset: all images.
        validation_share: of each class, between 0 and 1, rounded; at least one image of each class
            stays in training, and a class of two or more has at least one for validation.
        seed: of the choice.

    Raises:
        ValueError: no class has two images.
    """
    generator = torch.Generator().manual_seed(seed)
    members: list[list[int]] = [[] for _ in dataset.classes]
    for index in torch.randperm(len(dataset.labels), generator=generator).tolist():
        members[dataset.labels[index]].append(index)
    training: list[int] = []
    validation: list[int] = []
    for indices in members:
        count = min(max(round(validation_share * len(indices)), 1), max(len(indices) - 1, 0))
        validation += indices[:count]
        training += indices[count:]
    if not validation:
        raise ValueError("no class has two images to split")
    return DatasetSubset(dataset, sorted(training)), DatasetSubset(dataset, sorted(validation))
