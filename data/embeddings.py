"""Embeddings on disk: float16 vectors, the images' names, and which encoder made them.

`NAME.npy` holds an array of shape (images, views, width) and `NAME.json` what the rows are. It does
not know how a vector is made; the encoder is a name and a fingerprint here.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vl.data.errors import FormatError
from vl.data.files import atomic_write, write_text

_FORMAT = 1


@dataclass(frozen=True)
class Provenance:
    """How embeddings were made; two caches mix only if all of it is the same."""

    encoder: str
    """The encoder's name in the table."""
    fingerprint: str
    """Of the encoder's weights."""
    resize: str
    """How a photograph became a square: ``center-crop`` or ``squash``."""
    precision: str
    """Of the encoder's arithmetic: ``float32`` or ``bfloat16``."""
    views: tuple[str, ...]
    """What was shown of each photograph: ``plain``, ``flip``."""
    width: int
    """Numbers in one embedding."""


@dataclass(frozen=True)
class Embeddings:
    """Vectors of named images.

    Args:
        making: how they were made.
        names: one an image, in the order of the rows.
        vectors: ``(images, views, width)``, float16.
    """

    provenance: Provenance
    names: tuple[str, ...]
    vectors: Tensor

    def of(self, names: Sequence[str]) -> Tensor:
        """Vectors of these images in this order, ``(len(names), views, width)``, float32.

        Raises:
            ValueError: an image has no embedding; the first three are named.
        """
        row = {name: index for index, name in enumerate(self.names)}
        missing = [name for name in names if name not in row]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(names)} images have no embedding: {', '.join(missing[:3])}"
                f"{' ...' if len(missing) > 3 else ''}"
            )
        return self.vectors[torch.tensor([row[name] for name in names], dtype=torch.long)].float()


def load_embeddings(path: Path | str) -> Embeddings:
    """The embeddings at ``path`` (the ``.npy`` file).

    Raises:
        FormatError: the two files are not what `Writer` leaves, or disagree.
        FileNotFoundError: one of them is not there.
    """
    path = Path(path)
    for each in (path, _index(path)):
        if not each.exists():
            raise FileNotFoundError(f"{each}: there is no such file; `vl embed` makes it")
    provenance, names = _read_index(_index(path))
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as cause:
        raise FormatError(path, "not an array in NumPy's format") from cause
    expected = (len(names), len(provenance.views), provenance.width)
    if vectors.shape != expected or vectors.dtype != np.float16:
        raise FormatError(
            path,
            f"expected float16 of shape {expected} as {_index(path).name} says, "
            f"found {vectors.dtype} of shape {vectors.shape}",
        )
    return Embeddings(provenance, names, torch.from_numpy(vectors))


def read_provenance(path: Path | str) -> Provenance | None:
    """How what lies at ``path``, finished or not, was made; None where nothing does.

    Raises:
        FormatError: its index is damaged.
    """
    index = _index(Path(path))
    for each in (index.with_name(index.name + ".part"), index):
        if each.exists():
            return _read_index(each)[0]
    return None


class EmbeddingWriter:
    """Adds embeddings to a cache as they are made; a killed writer's work is taken up again.

    Rows go to ``NAME.npy.part`` and their names to ``NAME.json.part``; `finish` turns them into
    the cache. Rows that an earlier writer, finished or killed, left at the same place are kept.

    Args:
        path: the ``.npy`` file to be.
        making: how the vectors are made.

    Raises:
        FormatError: what is there was made otherwise, by another encoder for instance.
    """

    def __init__(self, path: Path | str, provenance: Provenance) -> None:
        self.path = Path(path)
        if self.path.suffix != ".npy":
            raise ValueError(f"embeddings are written to a .npy file, not to {self.path.name!r}")
        self.provenance = provenance
        self._rows = self.path.with_name(self.path.name + ".part")
        self._names = _index(self.path).with_name(_index(self.path).name + ".part")
        self.names: list[str] = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        row_bytes = len(provenance.views) * provenance.width * 2
        if self._names.exists() and self._rows.exists():
            found, names = _read_index(self._names)
            self._refuse_other(found, self._names)
            # A kill between the two writes leaves rows without names or part of a row: cut them.
            whole = min(len(names), self._rows.stat().st_size // row_bytes)
            self.names = list(names[:whole])
            with self._rows.open("rb+") as file:
                file.truncate(whole * row_bytes)
        elif _index(self.path).exists():
            found, _ = _read_index(_index(self.path))
            self._refuse_other(found, self.path)
            finished = load_embeddings(self.path)
            self._rows.write_bytes(finished.vectors.numpy().tobytes())
            self.names = list(finished.names)
        else:
            self._rows.write_bytes(b"")
        self._known = set(self.names)
        self.save()

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def add(self, names: Sequence[str], vectors: Tensor) -> None:
        """Append ``vectors``, ``(len(names), views, width)``."""
        expected = (len(names), len(self.provenance.views), self.provenance.width)
        if vectors.shape != expected:
            raise ValueError(f"vectors have shape {tuple(vectors.shape)}, expected {expected}")
        rows = vectors.detach().cpu().half().contiguous()
        for name, row in zip(names, rows, strict=True):
            if not bool(torch.isfinite(row).all()):
                raise ValueError(
                    f"the embedding of {name} has a number that float16 cannot hold; the largest "
                    "it can is 65504"
                )
        with self._rows.open("ab") as file:
            file.write(rows.numpy().tobytes())
        self.names += names
        self._known.update(names)

    def save(self) -> None:
        """Make what was added so far survive the end of the process."""
        write_text(self._names, _index_text(self.provenance, self.names))

    def finish(self, names: Iterable[str] | None = None) -> Embeddings:
        """Turn what was added into the cache and return it.

        Args:
            names: the rows to keep, in this order; by default all, as they were added.
        """
        self.save()
        shape = (len(self.names), len(self.provenance.views), self.provenance.width)
        vectors = np.fromfile(self._rows, dtype=np.float16).reshape(shape)
        every = Embeddings(self.provenance, tuple(self.names), torch.from_numpy(vectors))
        kept = every
        if names is not None:
            wanted = tuple(names)
            kept = replace(every, names=wanted, vectors=every.of(wanted).half())
        # Without an index there is no cache: a kill in between leaves no names for other rows.
        _index(self.path).unlink(missing_ok=True)
        with atomic_write(self.path) as beside, beside.open("wb") as file:
            np.save(file, kept.vectors.numpy(), allow_pickle=False)
        write_text(_index(self.path), _index_text(self.provenance, kept.names))
        self._names.unlink()
        self._rows.unlink()
        return kept

    def _refuse_other(self, found: Provenance, path: Path) -> None:
        if found == self.provenance:
            return
        if found.fingerprint != self.provenance.fingerprint:
            raise FormatError(
                path,
                f"made by another encoder, {found.encoder} {found.fingerprint}, not by "
                f"{self.provenance.encoder} {self.provenance.fingerprint}; choose another file",
            )
        raise FormatError(
            path,
            f"made with {_told(found)}, not with {_told(self.provenance)}; choose another file",
        )


def _told(provenance: Provenance) -> str:
    return (
        f"resize {provenance.resize}, {provenance.precision}, views {', '.join(provenance.views)}"
    )


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError
    return tuple(value)


def _index(path: Path) -> Path:
    return path.with_suffix(".json")


def _index_text(provenance: Provenance, names: Sequence[str]) -> str:
    return (
        json.dumps({"format": _FORMAT, **asdict(provenance), "names": list(names)}, indent=0) + "\n"
    )


def _read_index(path: Path) -> tuple[Provenance, tuple[str, ...]]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["format"] != _FORMAT:
            raise FormatError(path, f"format {index['format']}, this version reads {_FORMAT}")
        provenance = Provenance(
            encoder=str(index["encoder"]),
            fingerprint=str(index["fingerprint"]),
            resize=str(index["resize"]),
            precision=str(index["precision"]),
            views=_strings(index["views"]),
            width=int(index["width"]),
        )
        return provenance, _strings(index["names"])
    except (json.JSONDecodeError, UnicodeDecodeError) as cause:
        raise FormatError(path, "not JSON") from cause
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as cause:
        raise FormatError(path, "not an index of embeddings") from cause
