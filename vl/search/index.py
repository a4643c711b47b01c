"""Images in word space, found by an image, a word or the arithmetic of both.

It knows no labels: queries are vectors.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vl.data.embeddings import EmbeddedFile, Embeddings, load_embeddings
from vl.data.errors import FormatError
from vl.encoding.pretrained import check_fingerprint
from vl.search.nearest import NearestNeighbors

if TYPE_CHECKING:
    from vl.encoding.embedder import Embedder

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


class Index:
    """Images by their vectors in word space.

    Args:
        names: one an image.
        vectors: ``(N, D)``, of any length but 0, in the order of the names.
        files: that the vectors were made from, in the same order, where known.

    Raises:
        ValueError: the two do not match, there is none, or a vector has no direction.
    """

    def __init__(
        self, names: Sequence[str], vectors: Tensor, files: Sequence[EmbeddedFile | None] = ()
    ) -> None:
        if not names or len(vectors) != len(names):
            raise ValueError(f"{len(names)} names of images, {len(vectors)} vectors")
        self.names = tuple(names)
        self.files = tuple(files) or (None,) * len(self.names)
        self._vectors = vectors.detach().cpu().float()
        self._neighbors = NearestNeighbors(self._vectors)
        for row in (~self._neighbors.valid).nonzero()[:1, 0].tolist():
            raise ValueError(f"the vector of {names[row]!r} has no direction")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def load(
        cls, path: Path | str, embedder: "Embedder", project: Callable[[Tensor], Tensor]
    ) -> "Index":
        """The images of a file that `vl embed` made, each the mean over its views.

        Args:
            path: the embeddings.
            embedder: a labeller's; it must have made them.
            project: a labeller's; ``(B, width of the encoder)`` into word space, ``(B, D)``.

        Raises:
            FileNotFoundError: there is no such file.
            FormatError: it is not a file of embeddings, or has none.
            ValueError: see ``load_embeddings_of``.
        """
        embeddings = load_embeddings_of(embedder, Path(path))
        if not embeddings.names:
            raise FormatError(path, "there are no images in it")
        projected = [
            project(part.float().mean(1)).cpu()  # (B, views, width) -> (B, D)
            for part in torch.split(embeddings.vectors, _BATCH_SIZE)
        ]
        return cls(embeddings.names, torch.cat(projected), embeddings.files)

    def search(self, queries: Tensor, *, top_k: int) -> list[list[Hit]]:
        """The images nearest to each query, the nearest first; of equally near ones the earlier.

        Args:
            queries: ``(Q, D)``, of any length but 0.
            top_k: images for each; if there are fewer, all.

        Raises:
            ValueError: a query has another width or is not finite, or ``top_k`` is below 1.
        """
        queries = queries.detach().cpu().float()
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


def load_embeddings_of(embedder: "Embedder", path: Path) -> Embeddings:
    """The embeddings at ``path``, which this embedder made.

    Raises:
        FileNotFoundError, FormatError: see ``load_embeddings``.
        ValueError: they were made by another encoder, in another resize mode or of other views.
    """
    embeddings = load_embeddings(path)
    provenance = embeddings.provenance
    check_fingerprint(embedder.encoder, provenance.fingerprint, made=path)
    if (provenance.resize, set(provenance.views)) != (embedder.resize, set(embedder.views)):
        raise ValueError(  # a mean over views has no order
            f"{path} was made with resize {provenance.resize} and views "
            f"{', '.join(provenance.views)}, the labeller has {embedder.resize} and "
            f"{', '.join(embedder.views)}"
        )
    return embeddings


def query_vector(vectors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The direction of a weighted sum of directions, ``(D,)``, float32, on the CPU.

    Args:
        vectors: at least one, ``(D,)``; each is brought to unit length, so that none counts for
            more because it is longer.
        weights: of each; 1 adds its direction, -1 subtracts it.

    Raises:
        ValueError: the terms cancel out.
    """
    total = torch.zeros_like(vectors[0], dtype=torch.float64, device="cpu")
    for vector, weight in zip(vectors, weights, strict=True):
        exact = vector.detach().cpu().double()
        total += weight * exact / exact.norm()
    length = total.norm()
    if not length.item() > _MIN_LENGTH:  # NaN is not
        raise ValueError("the terms of the query cancel out: nothing is left to search for")
    return (total / length).float()
