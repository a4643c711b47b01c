"""Labelled pictures as training takes them, wherever they are: files, or shards of them.

It reads their bytes and does not decode them.
"""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from data.folders import Photographs, labelled
from data.shards import Shards, are_shards


class Pictures(Protocol):
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


class Files:
    """Pictures that are files each.

    Args:
        photographs: from ``data.folders``.
    """

    def __init__(self, photographs: Photographs) -> None:
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


def pictures(path: Path) -> Files | Shards:
    """The labelled pictures that a path stands for.

    Args:
        path: a folder of classes or a list, see ``data.folders``; a folder of shards or one shard,
            see ``data.shards``.

    Raises:
        FileNotFoundError: there is nothing, or pictures of the list are not there.
        ValueError: it is none of these, or is damaged.
        OSError: it cannot be read.
    """
    return Shards(path) if are_shards(path) else Files(labelled(path))
