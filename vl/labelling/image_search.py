"""Searching images by words, by images, and by their arithmetic: an image - a word + a word."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vl.data.words.label_space import LabelSpace
from vl.data.words.vectors import LOOKUP_RULES
from vl.search.index import Hit, Index, Projector, QueryTerm, query_vector

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageQuery:
    """Directions in word space, added up."""

    text: Sequence[str] = ()
    """Words to add."""
    images: Sequence[Path] = ()
    """Images to add."""
    minus: Sequence[str] = ()
    """Words to subtract."""

    def __str__(self) -> str:
        """The sum: ``cat.jpg + dog - cat``."""
        added = [*(image.name for image in self.images), *self.text]
        return " - ".join([" + ".join(added), *self.minus])


def search_images(
    index: Index,
    labeller: Projector,
    space: LabelSpace,
    query: ImageQuery,
    *,
    top_k: int,
    exclude_query: bool = False,
) -> list[Hit]:
    """The images nearest to a query, the nearest first.

    Args:
        index: of the labeller's word space.
        labeller: projects the query's images.
        space: the labeller's, for the query's words.
        query: what to search for.
        top_k: images.
        exclude_query: leave the query's images out, if they are in the index by their path.

    Raises:
        FormatError: a file is not an image.
        OSError: a file cannot be read.
        ValueError: the query is empty or cancels out, or a word has no vector.
    """
    vector = encode_query(query, labeller, space)
    excluded = _names_of(query.images, index.names) if exclude_query else []
    hits = index.search(vector[None], top_k=top_k + len(excluded))[0]
    if exclude_query:
        nothing = "nothing: no image of the query is in the index"
        _log.info("excluded: %s", ", ".join(excluded) or nothing)
    return [hit for hit in hits if hit.name not in excluded][:top_k]


def encode_query(query: ImageQuery, labeller: Projector, space: LabelSpace) -> Tensor:
    """The direction of a query, ``(D,)``; how each word's vector was found is logged.

    Raises:
        ValueError, FormatError, OSError: see ``search_images``.
    """
    words = (*query.text, *query.minus)
    weights = [1.0] * len(query.text) + [-1.0] * len(query.minus)
    label_vectors = space.embed(words)  # with the hypernyms and the mean that labels have
    if label_vectors.missing:
        raise ValueError(f"no word vector for {', '.join(map(repr, label_vectors.missing))}")
    for word, lookup in zip(words, label_vectors.coverage.lookups, strict=True):
        if lookup.vector is None:
            _log.info("%s: no vector of its own, but of its hypernyms", word)
        elif lookup.rule != "phrase" or lookup.synonym:
            _log.info("%s: %s: %s", word, LOOKUP_RULES[lookup.rule], lookup.text)
    terms = list(map(QueryTerm, torch.from_numpy(label_vectors.vectors), weights))
    if query.images:
        projected = labeller.project(labeller.embedder(query.images).mean(1))  # (B, D)
        terms += [QueryTerm(vector, 1.0) for vector in projected]
    return query_vector(terms)


def _names_of(images: Sequence[Path], names: Sequence[str]) -> list[str]:
    """The names in the index that are the end of an image's path.

    The file's name alone would not do where each folder has its ``image_0001.jpg``.
    """
    paths = [(image.parent.resolve() / image.name).as_posix() for image in images]
    return [name for name in names if any(path.endswith(f"/{name}") for path in paths)]
