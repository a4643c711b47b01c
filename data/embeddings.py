"""Embeddings on disk: float16 vectors, the images' names, and how they were computed.

``NAME.npy`` has an array of shape (images, views, D), and ``NAME.json`` the names of its rows, the
files they were made from, and the encoder's name and fingerprint.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from vl.data.choices import Resize
from vl.data.errors import FormatError
from vl.data.files import atomic_write, first_few, read_json, write_text
from vl.data.identity import FileStamp, NameIndex, current_stamp

_FORMAT = 1


@dataclass(frozen=True)
class Provenance:
    """How embeddings were computed; two files can be mixed only if all of it is equal."""

    encoder: str
    """Name of the encoder."""
    fingerprint: str
    """Hash of the encoder's weights."""
    resize: Resize
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
        found = [index.row(name) for name in names]
        missing = [name for name, row in zip(names, found, strict=True) if row is None]
        if missing:
            problem = f"{len(missing)} of {len(names)} images have no embedding"
            raise ValueError(f"{problem}: {first_few(missing)}")
        return [row for row in found if row is not None]

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
        FormatError: the two files are not what `EmbeddingWriter` writes, or disagree.
        FileNotFoundError: one of them does not exist.
    """
    path = Path(path)
    index = path.with_suffix(".json")
    for file in (path, index):
        if not file.exists():
            raise FileNotFoundError(f"{file}: there is no such file; `vl embed` writes it")
    provenance, names, files = _read_index(index)
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
    for file in (_part(index), index):
        if file.exists():
            return _read_index(file)[0]
    return None


class EmbeddingWriter:
    """Writes embeddings as they are computed; the work of a killed writer is resumed.

    Rows go to ``NAME.npy.part`` and their names to ``NAME.json.part``; `finish` turns them into
    ``NAME.npy`` and ``NAME.json``. Rows of an earlier writer, finished or killed, are kept.

    Raises:
        ValueError: the file has another suffix.
        FormatError: the existing embeddings were computed otherwise.
    """

    def __init__(self, path: Path | str, provenance: Provenance) -> None:
        self.path = Path(path)
        if self.path.suffix != ".npy":
            raise ValueError(f"embeddings are written to a .npy file, not to {self.path.name!r}")
        self.provenance = provenance
        self._index = self.path.with_suffix(".json")
        self._rows, self._names = _part(self.path), _part(self._index)
        self.names: list[str] = []  # of a repeated name the last row counts
        self.files: dict[str, EmbeddedFile | None] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        row_bytes = len(provenance.views) * provenance.width * 2
        if self._names.exists() and self._rows.exists():
            before, names, files = _read_index(self._names)
            self._check_equal(before, self._names)
            # A kill between the two writes leaves rows without names or part of a row: cut them.
            complete = min(len(names), self._rows.stat().st_size // row_bytes)
            self.names = list(names[:complete])
            self.files = dict(zip(names[:complete], files, strict=False))
            with self._rows.open("rb+") as file:
                file.truncate(complete * row_bytes)
        elif self._index.exists():
            finished = load_embeddings(self.path)
            self._check_equal(finished.provenance, self.path)
            self._rows.write_bytes(finished.vectors.numpy().tobytes())
            self.names = list(finished.names)
            self.files = dict(zip(finished.names, finished.files, strict=True))
        else:
            self._rows.write_bytes(b"")
        self.save()

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def add(
        self,
        names: Sequence[str],
        vectors: Tensor,
        files: Sequence[EmbeddedFile | None] | None = None,
    ) -> None:
        """Append ``vectors``, ``(len(names), views, D)``; they replace those of the same names.

        Args:
            names: of the images.
            vectors: of the images.
            files: that they were made from, where known.

        Raises:
            ValueError: another shape, or a value that float16 cannot represent.
        """
        expected = (len(names), len(self.provenance.views), self.provenance.width)
        if vectors.shape != expected:
            raise ValueError(f"expected vectors of shape {expected}, got {tuple(vectors.shape)}")
        rows = vectors.detach().cpu().half().contiguous()
        for name, row in zip(names, rows, strict=True):
            if not bool(torch.isfinite(row).all()):
                problem = "has a value beyond float16, whose largest is 65504"
                raise ValueError(f"the embedding of {name} {problem}")
        with self._rows.open("ab") as file:
            file.write(rows.numpy().tobytes())
        self.names += names
        self.files.update(zip(names, files or [None] * len(names), strict=True))

    def save(self) -> None:
        """Save the names, so that the rows so far survive a kill."""
        files = [self.files[name] for name in self.names]
        write_text(self._names, _index_text(self.provenance, self.names, files))

    def finish(self, names: Iterable[str] | None = None) -> Embeddings:
        """Write the rows of ``names`` in this order, by default all, and return them."""
        self.save()
        shape = (len(self.names), len(self.provenance.views), self.provenance.width)
        vectors = np.fromfile(self._rows, dtype=np.float16).reshape(shape)
        row = {name: index for index, name in enumerate(self.names)}
        names = tuple(row if names is None else names)
        embeddings = Embeddings(
            self.provenance,
            names,
            torch.from_numpy(vectors[[row[name] for name in names]]),
            tuple(self.files[name] for name in names),
        )
        # A kill between the two must not leave names of other rows.
        self._index.unlink(missing_ok=True)
        with atomic_write(self.path) as temporary, temporary.open("wb") as file:
            np.save(file, embeddings.vectors.numpy(), allow_pickle=False)
        write_text(self._index, _index_text(self.provenance, names, embeddings.files))
        self._names.unlink()
        self._rows.unlink()
        return embeddings

    def _check_equal(self, before: Provenance, path: Path) -> None:
        if before == self.provenance:
            return
        if before.fingerprint != self.provenance.fingerprint:
            one, other = (f"{it.encoder} {it.fingerprint}" for it in (before, self.provenance))
            problem = f"made by another encoder, {one}, not by {other}"
        else:
            one, other = (
                f"resize {it.resize}, {it.precision}, views {', '.join(it.views)}"
                for it in (before, self.provenance)
            )
            problem = f"made with {one}, not with {other}"
        raise FormatError(path, f"{problem}; choose another file")


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _index_text(
    provenance: Provenance, names: Sequence[str], files: Sequence[EmbeddedFile | None]
) -> str:
    index: dict[str, Any] = {"format": _FORMAT, **asdict(provenance), "names": list(names)}
    if any(files):
        folders = {file.folder: None for file in files if file}
        position = {folder: index for index, folder in enumerate(folders)}
        rows = [[*file.stamp, position[file.folder]] if file else None for file in files]
        index |= {"folders": list(folders), "files": rows}
    return json.dumps(index, indent=0) + "\n"


def _read_index(path: Path) -> tuple[Provenance, tuple[str, ...], tuple[EmbeddedFile | None, ...]]:
    index = read_json(path)
    try:
        if index["format"] != _FORMAT:
            raise FormatError(path, f"format {index['format']}, this version reads {_FORMAT}")
        if index["resize"] not in get_args(Resize):
            raise FormatError(path, f"resize is {index['resize']!r}, not one of {get_args(Resize)}")
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
