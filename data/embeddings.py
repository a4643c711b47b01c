"""Embeddings on disk: float16 vectors, the images' names, and how they were computed.

``NAME.npy`` has an array of shape (images, views, D), and ``NAME.json`` the names of its rows, the
files they were made from, and the encoder's name and fingerprint.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from vl.data.choices import Preprocessing
from vl.data.errors import FormatError
from vl.data.files import first_few, read_json
from vl.data.identity import FileStamp, NameIndex, current_stamp

_FORMAT = 1


@dataclass(frozen=True)
class Provenance:
    """How embeddings were computed; two files can be mixed only if all of it is equal."""

    encoder: str
    """Name of the encoder."""
    fingerprint: str
    """Hash of the encoder's weights."""
    resize: Preprocessing
    """How an image became a square."""
    precision: str
    """Of the encoder's arithmetic: ``float32`` or ``bfloat16``."""
    views: tuple[str, ...]
    """Views of an image: ``plain``, ``flip``."""
    width: int
    """D, the size of one embedding."""


class EmbeddedFile(NamedTuple):
    """The file that an embedding was made from."""

    folder: str  # absolute, without links; the image's name is its path below
    stamp: FileStamp


@dataclass(frozen=True)
class Embeddings:
    """Vectors of named images."""

    provenance: Provenance
    names: tuple[str, ...]  # in the order of the rows
    vectors: Tensor  # (images, views, D), float16
    files: tuple[EmbeddedFile | None, ...] = ()  # of the rows; None where unknown

    def rows(self, names: Sequence[str]) -> list[int]:
        """Rows of these images; a name may lack folders where it is unique, see ``NameIndex``.

        Raises:
            ValueError: an image has no embedding, or a name is that of several.
        """
        index = NameIndex(self.names)
        rows = [index.row(name) for name in names]
        missing = [name for name, row in zip(names, rows, strict=True) if row is None]
        if missing:
            problem = f"{len(missing)} of {len(names)} images have no embedding"
            raise ValueError(f"{problem}: {first_few(missing)}")
        return [row for row in rows if row is not None]

    def select(self, names: Sequence[str]) -> Tensor:
        """Vectors of these images in this order, ``(len(names), views, D)``, float32.

        Raises:
            ValueError: see ``rows``.
        """
        return self.vectors[torch.tensor(self.rows(names), dtype=torch.long)].float()

    def check_files(self, names: Sequence[str], paths: Sequence[Path]) -> None:
        """Check that images are those that were embedded, by content; files that are gone pass.

        Raises:
            ValueError: some have changed, or are other images of the same name.
        """
        if not self.files:
            return
        changed = []
        for row, path in zip(self.rows(names), paths, strict=True):
            file = self.files[row]
            if file and path.is_file() and current_stamp(path, file.stamp) is None:
                changed.append(str(path))
        if changed:
            problem = (
                f"{len(changed)} images are not those that were embedded: {first_few(changed)}"
            )
            raise ValueError(f"{problem}; run `vl embed` again, for another folder into a new file")


def load_embeddings(path: Path | str) -> Embeddings:
    """The embeddings at ``path``, the ``.npy`` file.

    Raises:
        FormatError: the two files are not what ``EmbeddingWriter`` writes, or disagree.
        FileNotFoundError: one of them does not exist.
    """
    path = Path(path)
    index = path.with_suffix(".json")
    for file in (path, index):
        if not file.exists():
            raise FileNotFoundError(f"{file}: there is no such file; `vl embed` writes it")
    provenance, names, files = read_index(index)
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FormatError(path, "not an array in NumPy's format") from error
    expected = (len(names), len(provenance.views), provenance.width)
    if vectors.shape != expected or vectors.dtype != np.float16:
        difference = f"of shape {expected} by {index.name}, got {vectors.dtype} of {vectors.shape}"
        raise FormatError(path, f"expected float16 {difference}")
    return Embeddings(provenance, names, torch.from_numpy(vectors), files)


def read_provenance(path: Path | str) -> Provenance | None:
    """How the embeddings at ``path``, finished or not, were computed; None if there are none."""
    index = Path(path).with_suffix(".json")
    for file in (part_of(index), index):
        if file.exists():
            return read_index(file)[0]
    return None


def part_of(path: Path) -> Path:
    """Where a file of embeddings, or an index, is while it is written."""
    return path.with_name(path.name + ".part")


def index_text(
    provenance: Provenance,
    names: Sequence[str],
    files: Sequence[EmbeddedFile | None],
    *,
    checksum: int | None = None,
) -> str:
    """The text of an index; ``checksum`` is that of a part's rows, CRC-32."""
    index: dict[str, Any] = {"format": _FORMAT, **asdict(provenance), "names": list(names)}
    if checksum is not None:
        index["rows_crc32"] = checksum
    if any(files):
        folders = {file.folder: None for file in files if file}
        position = {folder: index for index, folder in enumerate(folders)}
        rows = [[*file.stamp, position[file.folder]] if file else None for file in files]
        index |= {"folders": list(folders), "files": rows}
    return json.dumps(index, indent=0) + "\n"


def read_index(path: Path) -> tuple[Provenance, tuple[str, ...], tuple[EmbeddedFile | None, ...]]:
    """Provenance, names and files of an index.

    Raises:
        FormatError: it is none.
    """
    index = read_json(path)
    try:
        if index["format"] != _FORMAT:
            raise FormatError(path, f"format {index['format']}, this version reads {_FORMAT}")
        if index["resize"] not in (modes := get_args(Preprocessing)):
            raise FormatError(path, f"resize is {index['resize']!r}, not one of {modes}")
        texts = {name: str(index[name]) for name in ("encoder", "fingerprint", "precision")}
        views, width = _strings(index["views"]), int(index["width"])
        provenance = Provenance(**texts, resize=index["resize"], views=views, width=width)
        names = _strings(index["names"])
        return provenance, names, _files(index, len(names))
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(path, "not an index of embeddings") from error


def _files(index: dict[str, Any], count: int) -> tuple[EmbeddedFile | None, ...]:
    """Of the rows; all unknown in the files of versions that did not record them."""
    if "files" not in index:
        return (None,) * count
    folders = _strings(index["folders"])
    files: list[EmbeddedFile | None] = []
    for row in index["files"]:
        if row is None:
            files.append(None)
            continue
        size, mtime_ns, digest, folder = row
        files.append(
            EmbeddedFile(folders[folder], FileStamp(int(size), int(mtime_ns), str(digest)))
        )
    if len(files) != count:
        raise ValueError
    return tuple(files)


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError
    return tuple(value)
