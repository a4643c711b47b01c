"""Photographs in word space, found by an image, a word or the arithmetic of both.

The nearest are exact, by faiss. It knows no labels: what it is asked for are vectors.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vl.data.embeddings import Embeddings
from vl.data.errors import FormatError
from vl.encoding.embedder import Embedder
from vl.encoding.pretrained import check_fingerprint

_UNIT = 1e-3  # how far from 1 the length of a vector that is given may be
# Below this length a sum of unit vectors is what rounding to float32 has left of nothing.
_NOTHING = 1e-5
# What faiss's float32 products may err by: ten times the most that was seen, 8e-7, with 100,000
# vectors of 300 and of 1,024 numbers. Too large a number costs only time.
_ROUNDING = 1e-5
_AT_ONCE = 4096  # photographs that are projected together


class FaissError(OSError):
    """faiss is not there or does not load; an OSError, as the fault lies outside this program."""


class Hit(NamedTuple):
    """A photograph that was found."""

    name: str
    cosine: float  # of the angle between it and the query


class Part(NamedTuple):
    """A term of a query."""

    vector: Tensor  # (D,), of any length but 0
    weight: float  # 1 adds its direction, -1 takes it away


class Projector(Protocol):
    """What of a labeller brings photographs into word space."""

    embedder: Embedder

    def project(self, vectors: Tensor) -> Tensor:
        """``(B, width of the encoder)`` to unit vectors ``(B, D)``."""
        ...


class Index:
    """Photographs by their unit vectors in word space.

    Args:
        names: one a photograph.
        vectors: ``(N, D)``, unit length, a row a name; they are copied.

    Raises:
        ValueError: the two do not fit, there is none, or a row is not of unit length.
        FaissError: faiss is not installed.
    """

    def __init__(self, names: Sequence[str], vectors: Tensor) -> None:
        if vectors.ndim != 2 or len(vectors) != len(names):
            raise ValueError(
                f"vectors have shape {tuple(vectors.shape)}, not a row for each of "
                f"{len(names)} names"
            )
        if not names:
            raise ValueError("there are no photographs to search")
        lengths = vectors.detach().double().norm(dim=1)  # (N,)
        for row in ((lengths - 1).abs() <= _UNIT).logical_not().nonzero().flatten().tolist():
            length = f"{lengths[row].item():.4g}"  # NaN is one of them
            raise ValueError(f"the vector of {names[row]!r} has length {length}, not 1")
        self.names = tuple(names)
        self.width = int(vectors.shape[1])
        """Of word space."""
        self._nearest: Any = _faiss().IndexFlatIP(self.width)
        self._nearest.add(_float32(vectors))

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(
        cls, embeddings: Embeddings, labeller: Projector, *, made: Path = Path("the index")
    ) -> "Index":
        """The photographs of a cache of embeddings, each the mean over its views.

        Args:
            embeddings: made by the labeller's encoder, with its resize and its views.
            labeller: projects them.
            made: the cache's file, for the messages.

        Raises:
            FormatError: they were made with another resize or other views.
            ValueError: they were made by another encoder, or there are none.
            FaissError: faiss is not installed.
        """
        _faiss()  # before the work, not after it
        provenance = embeddings.provenance
        check_fingerprint(labeller.embedder.encoder, provenance.fingerprint, made=made)
        if provenance.resize != labeller.embedder.resize:
            raise FormatError(
                made,
                f"made with resize {provenance.resize}, "
                f"the labeller has {labeller.embedder.resize}",
            )
        if set(provenance.views) != set(labeller.embedder.views):  # a mean has no order
            had, has = ", ".join(provenance.views), ", ".join(labeller.embedder.views)
            raise FormatError(made, f"made with views {had}; the labeller has {has}")
        if not embeddings.names:
            raise FormatError(made, "there are no photographs in it")
        projected = [
            labeller.project(part.float().mean(1)).cpu()  # (B, views, width) -> (B, D)
            for part in torch.split(embeddings.vectors, _AT_ONCE)
        ]
        return cls(embeddings.names, torch.cat(projected))

    def search(self, queries: Tensor, *, top: int) -> list[list[Hit]]:
        """The photographs nearest to each query, the nearest first.

        Of equally near ones the earlier row comes first, whether or not faiss had it so.

        Args:
            queries: ``(Q, D)``, unit length.
            top: photographs for each; if there are fewer, all.

        Raises:
            ValueError: a query has another width or is not of unit length, or ``top`` is below 1.
        """
        if top < 1:
            raise ValueError(f"top is {top}; it must be at least 1")
        if queries.ndim != 2 or queries.shape[1] != self.width:
            shape = tuple(queries.shape)
            raise ValueError(f"queries have shape {shape}; expected (Q, {self.width})")
        lengths = queries.detach().double().norm(dim=1)  # (Q,)
        if not bool(((lengths - 1).abs() <= _UNIT).all()):
            raise ValueError("a query is not of unit length; see vl.search.index.query")
        asked = _float32(queries)
        last = min(top, len(self)) - 1
        count = min(top + 1, len(self))
        while True:
            scores, rows = self._nearest.search(asked, count)  # (Q, count)
            # Further ones may be as near as the last, or nearer once rounding is undone.
            beyond = scores[:, last] - scores[:, -1] > _ROUNDING
            if count == len(self) or bool(beyond.all()):
                break
            count = min(2 * count, len(self))
        return [self._sorted(query, found)[:top] for query, found in zip(asked, rows, strict=True)]

    def _sorted(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> list[Hit]:
        """These rows by their cosines in float64: equal photographs have equal ones."""
        vectors = self._nearest.reconstruct_batch(rows).astype(np.float64)  # (count, D)
        wide = query.astype(np.float64)
        lengths = np.sqrt((vectors**2).sum(1) * (wide**2).sum())  # float32 leaves them near 1
        cosines = (vectors * wide).sum(1) / lengths
        order = np.lexsort((rows, -cosines))
        return [Hit(self.names[int(rows[place])], float(cosines[place])) for place in order]


def query(parts: Sequence[Part]) -> Tensor:
    """The direction of a weighted sum of directions, ``(D,)``, float32, on the CPU.

    Each part is brought to unit length before it is weighted, so that none counts for more because
    it is longer, and so is the sum.

    Raises:
        ValueError: there is no part, widths differ, a part has no direction, or nothing is left of
            the sum.
    """
    if not parts:
        raise ValueError("a query wants at least one vector")
    total = torch.zeros(parts[0].vector.shape[-1], dtype=torch.float64)
    for vector, weight in parts:
        if vector.ndim != 1 or vector.shape != total.shape:
            shape = tuple(vector.shape)
            raise ValueError(f"a part of the query has shape {shape}; expected ({len(total)},)")
        wide = vector.detach().cpu().double()
        length = wide.norm()
        if not 0 < length.item() < float("inf"):  # NaN is not
            raise ValueError(f"a part of the query has length {length.item():g}: no direction")
        total += weight * wide / length
    length = total.norm()
    if not length.item() > _NOTHING:
        raise ValueError("the parts of the query cancel out: nothing is left to search for")
    return (total / length).float()


def _float32(vectors: Tensor) -> NDArray[np.float32]:
    held: NDArray[np.float32] = vectors.detach().cpu().float().contiguous().numpy()
    return held


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as cause:
        problem = f"searching needs faiss: pip install -e '.[search]' ({cause})"
        raise FaissError(problem) from cause
    return faiss
