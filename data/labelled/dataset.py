"""Labelled pictures as training takes them, wherever they are: files, or shards of them.

It reads their bytes and does not decode them.
"""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from vl.data.labelled.folders import LabelledImages, read_labelled_images
from vl.data.labelled.shards import ShardDataset, is_shards


class ImageDataset(Protocol):
    """Labelled pictures. They can be pickled, so that a loader's worker processes have them too."""

    @property
    def names(self) -> Sequence[str]:
        """One a picture, each once."""
        ...

    @property
    def labels(self) -> Sequence[int]:
        """The place of each picture's class in ``classes``."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Each once."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """A sentence for each kind of thing that was left out."""
        ...

    def read(self, row: int) -> bytes:
        """A picture as it is encoded: JPEG, PNG and so on.

        Raises:
            OSError: it cannot be read.
        """
        ...


class FileDataset:
    """Pictures that are files each.

    Args:
        photographs: from ``vl.data.labelled.folders``.
    """

    def __init__(self, photographs: LabelledImages) -> None:
        number = {label: place for place, label in enumerate(photographs.classes)}
        self.names: Sequence[str] = tuple(each.name for each in photographs.photographs)
        self.labels: Sequence[int] = array(
            "q", [number[each.label] for each in photographs.photographs]
        )
        self.classes: Sequence[str] = photographs.classes
        self.notes: Sequence[str] = photographs.notes
        # As text: a million paths would take long to pickle.
        self._files = tuple(str(each.path) for each in photographs.photographs)

    def read(self, row: int) -> bytes:
        """A picture as it is encoded.

        Raises:
            OSError: it cannot be read.
        """
        return Path(self._files[row]).read_bytes()

    def stamp(self, row: int) -> tuple[int, ...]:
        """Numbers that are others once the picture has been changed: bytes, and when.

        Raises:
            OSError: it is not there.
        """
        status = Path(self._files[row]).stat()
        return status.st_size, status.st_mtime_ns


def open_dataset(path: Path) -> FileDataset | ShardDataset:
    """The labelled pictures that a path stands for.

    Args:
        path: a folder of classes or a list, see ``vl.data.labelled.folders``; a folder of shards or one shard,
            see ``vl.data.labelled.shards``.

    Raises:
        FileNotFoundError: there is nothing, or pictures of the list are not there.
        ValueError: it is none of these, or is damaged.
        OSError: it cannot be read.
    """
    return ShardDataset(path) if is_shards(path) else FileDataset(read_labelled_images(path))


class DatasetSubset:
    """Some pictures of others; can be pickled if those can.

    Args:
        of: the pictures.
        rows: which of them.
        labels: of each row, if not those that it has there.
        classes: what the labels are places in, if not what they are there.

    Raises:
        ValueError: there are not as many labels as rows.
    """

    def __init__(
        self,
        of: ImageDataset,
        rows: Sequence[int],
        *,
        labels: Sequence[int] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if labels is not None and len(labels) != len(rows):
            raise ValueError(f"{len(labels)} labels for {len(rows)} pictures")
        self._of = of
        self._rows = rows
        self.names: Sequence[str] = tuple(of.names[row] for row in rows)
        self.labels: Sequence[int] = (
            tuple(of.labels[row] for row in rows) if labels is None else labels
        )
        self.classes: Sequence[str] = of.classes if classes is None else classes
        self.notes: Sequence[str] = of.notes

    def read(self, row: int) -> bytes:
        """A picture as it is encoded.

        Raises:
            OSError: it cannot be read.
        """
        return self._of.read(self._rows[row])


def split_dataset(
    pictures: ImageDataset, share: float, *, seed: int
) -> tuple[DatasetSubset, DatasetSubset]:
    """The pictures to train on, and those of each class that are put aside.

    Args:
        pictures: all.
        share: of each class that is put aside, rounded; a class keeps at least one picture, and
            one that has two or more gives at least one.
        seed: of the choice.

    Raises:
        ValueError: the share is none, or no class has two pictures.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; it must be between 0 and 1")
    generator = torch.Generator().manual_seed(seed)
    members: list[list[int]] = [[] for _ in pictures.classes]
    for row in torch.randperm(len(pictures.labels), generator=generator).tolist():
        members[pictures.labels[row]].append(row)
    kept, put = [], []
    for rows in members:
        given = min(max(round(share * len(rows)), 1), len(rows) - 1) if len(rows) > 1 else 0
        put += rows[:given]
        kept += rows[given:]
    if not put:
        raise ValueError("no class has two pictures, of which one could be put aside")
    return DatasetSubset(pictures, sorted(kept)), DatasetSubset(pictures, sorted(put))
