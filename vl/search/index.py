"""Images in word space, found by an image, a word or the arithmetic of both.

It knows no labels: queries are vectors.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from vl.data.embeddings import Embeddings, load_embeddings
from vl.data.errors import FormatError
from vl.encoding.embedder import Embedder
from vl.encoding.pretrained import check_fingerprint
from vl.search.nearest import NearestNeighbors

_UNIT_TOLERANCE = 1e-3  # of the length of a vector
# Below this length a sum of unit vectors is what rounding to float32 has left of nothing.
_MIN_LENGTH = 1e-5
# What float32 products may err by: ten times the most that was seen, 8e-7, with 100,000 vectors of
# widths 300 and 1,024. A larger value costs only time.
_ROUNDING = 1e-5
_BATCH_SIZE = 4096  # images that are projected together


class Hit(NamedTuple):
    """An image that was found."""

    name: str
    cosine: float  # between it and the query


class QueryTerm(NamedTuple):
    """A term of a query."""

    vector: Tensor  # (D,), of any length but 0
    weight: float  # 1 adds its direction, -1 subtracts it


class Projector(Protocol):
    """What of a labeller projects images into word space."""

    @property
    def embedder(self) -> Embedder:
        """What encodes images."""
        ...

    def project(self, vectors: Tensor) -> Tensor:
        """``(B, width of the encoder)`` to unit vectors ``(B, D)``."""
        ...


class Index:
    """Images by their unit vectors in word space.

    Args:
        names: one an image.
        vectors: ``(N, D)``, unit length, in the order of the names.

    Raises:
        ValueError: the two do not match, there is none, or a row is not of unit length.
    """

    def __init__(self, names: Sequence[str], vectors: Tensor) -> None:
        if vectors.ndim != 2 or len(vectors) != len(names):
            raise ValueError(
                f"vectors have shape {tuple(vectors.shape)}; expected one for each of "
                f"{len(names)} names"
            )
        if not names:
            raise ValueError("there are no images to search")
        self._vectors = vectors.detach().cpu().float()
        lengths = self._vectors.norm(dim=1)  # (N,)
        for row in (~_is_unit(lengths)).nonzero().flatten().tolist():
            length = f"{lengths[row].item():.4g}"  # NaN is one of them
            raise ValueError(f"the vector of {names[row]!r} has length {length}, not 1")
        self.names = tuple(names)
        self.width = int(vectors.shape[1])
        """Of word space."""
        self._neighbors = NearestNeighbors(self._vectors)

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def load(cls, path: Path | str, labeller: Projector) -> "Index":
        """The images of a file that `vl embed` made with the labeller's encoder.

        Raises:
            FileNotFoundError: there is no such file.
            FormatError: it is not a file of embeddings, or see ``from_embeddings``.
            ValueError: see ``from_embeddings``.
        """
        return cls.from_embeddings(load_embeddings(path), labeller, path=Path(path))

    @classmethod
    def from_embeddings(
        cls, embeddings: Embeddings, labeller: Projector, *, path: Path = Path("the index")
    ) -> "Index":
        """The images of cached embeddings, each the mean over its views.

        Args:
            embeddings: made by the labeller's encoder, with its resize mode and its views.
            labeller: projects them.
            path: the embeddings' file, for messages.

        Raises:
            FormatError: they were made with another resize mode or other views.
            ValueError: they were made by another encoder, or there are none.
        """
        provenance, embedder = embeddings.provenance, labeller.embedder
        check_fingerprint(embedder.encoder, provenance.fingerprint, made=path)
        if provenance.resize != embedder.resize:
            raise FormatError(
                path, f"made with resize {provenance.resize}, the labeller has {embedder.resize}"
            )
        if set(provenance.views) != set(embedder.views):  # a mean has no order
            made, expected = ", ".join(provenance.views), ", ".join(embedder.views)
            raise FormatError(path, f"made with views {made}, the labeller has {expected}")
        if not embeddings.names:
            raise FormatError(path, "there are no images in it")
        projected = [
            labeller.project(part.float().mean(1)).cpu()  # (B, views, width) -> (B, D)
            for part in torch.split(embeddings.vectors, _BATCH_SIZE)
        ]
        return cls(embeddings.names, torch.cat(projected))

    def search(self, queries: Tensor, *, top_k: int) -> list[list[Hit]]:
        """The images nearest to each query, the nearest first; of equally near ones the earlier.

        Args:
            queries: ``(Q, D)``, unit length.
            top_k: images for each; if there are fewer, all.

        Raises:
            ValueError: a query has another width or is not of unit length, or ``top_k`` is below 1.
        """
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}; it must be at least 1")
        if queries.ndim != 2 or queries.shape[1] != self.width:
            shape = tuple(queries.shape)
            raise ValueError(f"queries have shape {shape}; expected (Q, {self.width})")
        queries = queries.detach().cpu().float()
        if not bool(_is_unit(queries.norm(dim=1)).all()):
            raise ValueError("a query is not of unit length; see vl.search.index.query_vector")
        last = min(top_k, len(self)) - 1
        count = min(top_k + 1, len(self))
        while True:
            scores, rows = self._neighbors.nearest(queries, top_k=count)  # (Q, count)
            # Further ones may be as near as the last, or nearer in float64.
            beyond = scores[:, last] - scores[:, -1] > _ROUNDING
            if count == len(self) or bool(beyond.all()):
                break
            count = min(2 * count, len(self))
        return [self._sort(query, each)[:top_k] for query, each in zip(queries, rows, strict=True)]

    def _sort(self, query: Tensor, rows: Tensor) -> list[Hit]:
        """These rows by their cosines in float64: equal images have equal ones."""
        rows = rows.sort().values  # of equal cosines the earlier row first
        vectors, exact = self._vectors[rows].double(), query.double()
        # float32 leaves lengths near 1. Sums row by row: a product's would depend on the others.
        lengths = (vectors.square().sum(1) * exact.square().sum()).sqrt()
        cosines, order = ((vectors * exact).sum(1) / lengths).sort(descending=True, stable=True)
        return [
            Hit(self.names[row], cosine)
            for row, cosine in zip(rows[order].tolist(), cosines.tolist(), strict=True)
        ]


def query_vector(terms: Sequence[QueryTerm]) -> Tensor:
    """The direction of a weighted sum of directions, ``(D,)``, float32, on the CPU.

    Each term is brought to unit length before it is weighted, so that none counts for more because
    it is longer, and so is the sum.

    Raises:
        ValueError: there is no term, widths differ, a term has no direction, or the terms cancel
            out.
    """
    if not terms:
        raise ValueError("a query needs at least one vector")
    total = torch.zeros(terms[0].vector.shape[-1], dtype=torch.float64)
    for vector, weight in terms:
        if vector.ndim != 1 or vector.shape != total.shape:
            shape = tuple(vector.shape)
            raise ValueError(f"a term of the query has shape {shape}; expected ({len(total)},)")
        exact = vector.detach().cpu().double()
        length = exact.norm()
        if not 0 < length.item() < float("inf"):  # NaN is not
            raise ValueError(f"a term of the query has length {length.item():g}: no direction")
        total += weight * exact / length
    length = total.norm()
    if not length.item() > _MIN_LENGTH:
        raise ValueError("the terms of the query cancel out: nothing is left to search for")
    return (total / length).float()


def _is_unit(lengths: Tensor) -> Tensor:
    return (lengths - 1).abs() <= _UNIT_TOLERANCE  # NaN is not
