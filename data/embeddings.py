"""Embeddings on disk: float16 vectors, the images' names, and how they were computed.

``NAME.npy`` has an array of shape (images, views, D), and ``NAME.json`` the names of its rows and
the encoder's name and fingerprint.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from vl.data.choices import Resize
from vl.data.errors import FormatError
from vl.data.files import atomic_write, first_few, read_json, write_text

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


@dataclass(frozen=True)
class Embeddings:
    """Vectors of named images."""

    provenance: Provenance
    names: tuple[str, ...]  # in the order of the rows
    vectors: Tensor  # (images, views, D), float16

    def select(self, names: Sequence[str]) -> Tensor:
        """Vectors of these images in this order, ``(len(names), views, D)``, float32.

        Raises:
            ValueError: an image has no embedding.
        """
        row = {name: index for index, name in enumerate(self.names)}
        missing = [name for name in names if name not in row]
        if missing:
            problem = f"{len(missing)} of {len(names)} images have no embedding"
            raise ValueError(f"{problem}: {first_few(missing)}")
        return self.vectors[torch.tensor([row[name] for name in names], dtype=torch.long)].float()


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
    provenance, names = _read_index(index)
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FormatError(path, "not an array in NumPy's format") from error
    expected = (len(names), len(provenance.views), provenance.width)
    if vectors.shape != expected or vectors.dtype != np.float16:
        difference = f"of shape {expected} by {index.name}, got {vectors.dtype} of {vectors.shape}"
        raise FormatError(path, f"expected float16 {difference}")
    return Embeddings(provenance, names, torch.from_numpy(vectors))


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
        self.names: list[str] = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        row_bytes = len(provenance.views) * provenance.width * 2
        if self._names.exists() and self._rows.exists():
            before, names = _read_index(self._names)
            self._check_equal(before, self._names)
            # A kill between the two writes leaves rows without names or part of a row: cut them.
            complete = min(len(names), self._rows.stat().st_size // row_bytes)
            self.names = list(names[:complete])
            with self._rows.open("rb+") as file:
                file.truncate(complete * row_bytes)
        elif self._index.exists():
            finished = load_embeddings(self.path)
            self._check_equal(finished.provenance, self.path)
            self._rows.write_bytes(finished.vectors.numpy().tobytes())
            self.names = list(finished.names)
        else:
            self._rows.write_bytes(b"")
        self._unique = set(self.names)
        self.save()

    def __contains__(self, name: str) -> bool:
        return name in self._unique

    def add(self, names: Sequence[str], vectors: Tensor) -> None:
        """Append ``vectors``, ``(len(names), views, D)``.

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
        self._unique.update(names)

    def save(self) -> None:
        """Save the names, so that the rows so far survive a kill."""
        write_text(self._names, _index_text(self.provenance, self.names))

    def finish(self, names: Iterable[str] | None = None) -> Embeddings:
        """Write the rows of ``names`` in this order, by default all, and return them."""
        self.save()
        shape = (len(self.names), len(self.provenance.views), self.provenance.width)
        vectors = np.fromfile(self._rows, dtype=np.float16).reshape(shape)
        embeddings = Embeddings(self.provenance, tuple(self.names), torch.from_numpy(vectors))
        if names is not None:
            names = tuple(names)
            embeddings = replace(embeddings, names=names, vectors=embeddings.select(names).half())
        # A kill between the two must not leave names of other rows.
        self._index.unlink(missing_ok=True)
        with atomic_write(self.path) as temporary, temporary.open("wb") as file:
            np.save(file, embeddings.vectors.numpy(), allow_pickle=False)
        write_text(self._index, _index_text(self.provenance, embeddings.names))
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


def _index_text(provenance: Provenance, names: Sequence[str]) -> str:
    index = {"format": _FORMAT, **asdict(provenance), "names": list(names)}
    return json.dumps(index, indent=0) + "\n"


def _read_index(path: Path) -> tuple[Provenance, tuple[str, ...]]:
    index = read_json(path)
    try:
        if index["format"] != _FORMAT:
            raise FormatError(path, f"format {index['format']}, this version reads {_FORMAT}")
        if index["resize"] not in get_args(Resize):
            raise FormatError(path, f"resize is {index['resize']!r}, not one of {get_args(Resize)}")
        texts = {name: str(index[name]) for name in ("encoder", "fingerprint", "precision")}
        views, width = _strings(index["views"]), int(index["width"])
        provenance = Provenance(**texts, resize=index["resize"], views=views, width=width)
        return provenance, _strings(index["names"])
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(path, "not an index of embeddings") from error


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError
    return tuple(value)
