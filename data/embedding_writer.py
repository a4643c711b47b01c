"""Writes embeddings as they are computed; the work of a killed writer is resumed."""

import logging
import math
import os
import zlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vl.data.embeddings import (
    EmbeddedFile,
    Embeddings,
    Provenance,
    index_text,
    load_embeddings,
    part_of,
    read_index,
)
from vl.data.errors import FormatError, WriteError
from vl.data.files import atomic_write, read_json, write_text
from vl.data.outputs import (
    EMBEDDINGS,
    EMBEDDINGS_INDEX,
    check_output,
    is_replaceable,
    lock_output,
)

_log = logging.getLogger(__name__)


class EmbeddingWriter:
    """Writes embeddings as they are computed; the work of a killed writer is resumed.

    Rows go to ``NAME.npy.part`` and their names to ``NAME.json.part``; `finish` turns them into
    ``NAME.npy`` and ``NAME.json``. Rows of an earlier writer, finished or killed, are kept; a part
    whose rows are not those that its names were saved with is removed as a whole. The output is
    locked until `finish` or `close`.

    Args:
        path: the ``.npy`` file.
        provenance: of all rows.
        overwrite: whether to replace files that are no embeddings.

    Raises:
        ValueError: the file has another suffix, or there is a file of another kind.
        FormatError: the existing embeddings were computed otherwise.
        BlockingIOError: another process is writing the file.
    """

    def __init__(
        self, path: Path | str, provenance: Provenance, *, overwrite: bool = False
    ) -> None:
        self.path = Path(path)
        check_output(self.path, EMBEDDINGS, overwrite=overwrite)
        self.provenance = provenance
        self._index = self.path.with_suffix(".json")
        self._rows, self._names = part_of(self.path), part_of(self._index)
        self._row_bytes = len(provenance.views) * provenance.width * 2
        self.names: list[str] = []  # of a repeated name the last row counts
        self.files: dict[str, EmbeddedFile | None] = {}
        self.num_saved = 0  # rows that survive a kill
        self._checksum = 0  # CRC-32 of the rows
        self._is_copy = False  # whether the part has what the finished file has, no more
        self._lock = ExitStack()
        self._lock.enter_context(lock_output(self.path))
        try:
            if not self._resume():
                self._restart()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others write the file; what is saved stays, but no part without new rows."""
        if self._is_copy:
            self._names.unlink(missing_ok=True)
            self._rows.unlink(missing_ok=True)
        self._lock.close()

    def kept(self) -> str:
        """What a kill leaves, in a sentence."""
        if self._is_copy:
            return "no new embedding is saved yet, so the same command starts again"
        rows = f"{self.num_saved} embeddings are in {self._rows}"
        return f"{rows}, and the same command goes on from there"

    def _resume(self) -> bool:
        """Go on from the part, if there is one that fits."""
        if not (self._names.exists() and self._rows.exists()):
            return False
        try:
            before, names, files = read_index(self._names)
            self._check_equal(before, self._names)
            if _checksum(self._rows, len(names) * self._row_bytes) == _saved_checksum(self._names):
                self.names, self.files = list(names), dict(zip(names, files, strict=True))
                self._checksum = _saved_checksum(self._names) or 0
                self.save()
                return True
            problem = "its rows are not those of its names"
        except FormatError as error:
            if isinstance(error, _OtherProvenanceError):
                raise
            problem = error.problem
        _log.warning("%s is removed: %s", self._rows, problem)
        return False

    def _restart(self) -> None:
        """Begin with the rows of the finished file, or with none."""
        kinds = (self.path, EMBEDDINGS), (self._index, EMBEDDINGS_INDEX)
        rows = b""
        if self._index.exists() and all(is_replaceable(*each) for each in kinds):
            finished = load_embeddings(self.path)
            self._check_equal(finished.provenance, self.path)
            rows = finished.vectors.numpy().tobytes()
            self.names = list(finished.names)
            self.files = dict(zip(finished.names, finished.files, strict=True))
        self._names.unlink(missing_ok=True)  # first, as it would be of other rows
        self._write(rows, 0)
        self.save()
        self._is_copy = True

    def _write(self, rows: bytes, offset: int) -> None:
        """Write rows behind those that are named; what an interrupted write left is replaced."""
        try:
            with self._rows.open("rb+" if offset else "wb", buffering=0) as file:
                file.seek(offset)
                view = memoryview(rows)
                while view:
                    view = view[file.write(view) :]
        except OSError as error:
            raise WriteError(error.errno, error.strerror, str(self._rows)) from error
        self._checksum = zlib.crc32(rows, self._checksum)

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
        self._is_copy = False
        self._write(rows.numpy().tobytes(), len(self.names) * self._row_bytes)
        self.files.update(zip(names, files or [None] * len(names), strict=True))
        self.names += names

    def save(self) -> None:
        """Save the names, so that the rows so far survive a kill."""
        files = [self.files[name] for name in self.names]
        text = index_text(self.provenance, self.names, files, checksum=self._checksum)
        write_text(self._names, text)
        self.num_saved = len(self.names)

    def finish(self, names: Iterable[str] | None = None) -> Embeddings:
        """Write the rows of ``names`` in this order, by default all, and return them."""
        self._is_copy = False
        self.save()
        shape = (len(self.names), len(self.provenance.views), self.provenance.width)
        vectors = np.fromfile(self._rows, dtype=np.float16, count=math.prod(shape)).reshape(shape)
        row = {name: index for index, name in enumerate(self.names)}
        names = tuple(row if names is None else names)
        embeddings = Embeddings(
            self.provenance,
            names,
            torch.from_numpy(vectors[[row[name] for name in names]]),
            tuple(self.files[name] for name in names),
        )
        # Both are written before either is replaced: a full disk leaves the old pair.
        with atomic_write(self._index) as index, atomic_write(self.path) as rows:
            index.write_text(index_text(self.provenance, names, embeddings.files), encoding="utf-8")
            with rows.open("wb") as file:
                values = embeddings.vectors.numpy()
                # np.save's own error for a full disk has no number.
                np.lib.format.write_array_header_1_0(
                    file, np.lib.format.header_data_from_array_1_0(values)
                )
                file.write(values.tobytes())
                file.flush()
                os.fsync(file.fileno())  # some file systems only now find the disk full
            # A kill between the two must not leave names of other rows.
            self._index.resolve().unlink(missing_ok=True)
        self._names.unlink()
        self._rows.unlink()
        self.close()
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
        raise _OtherProvenanceError(path, f"{problem}; choose another file")


class _OtherProvenanceError(FormatError):
    """The embeddings of a file were computed otherwise."""


def _checksum(path: Path, size: int) -> int | None:
    """CRC-32 of the first bytes of a file; None if it has fewer."""
    checksum = 0
    with path.open("rb") as file:
        while size:
            block = file.read(min(size, 1 << 20))
            if not block:
                return None
            checksum, size = zlib.crc32(block, checksum), size - len(block)
    return checksum


def _saved_checksum(path: Path) -> int | None:
    """That of a part's index; None in a part of versions that did not record it."""
    checksum = read_json(path).get("rows_crc32")
    return checksum if isinstance(checksum, int) else None
