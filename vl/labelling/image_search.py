"""Searching images by words, by images, and by their arithmetic: an image - a word + a word."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from vl import sheets
from vl.data.identity import read_stamped
from vl.data.outputs import check_no_inputs
from vl.data.words.vectors import LOOKUP_RULES
from vl.labelling.labeller import Labeller
from vl.search.index import Hit, Index, query_vector

_log = logging.getLogger(__name__)
_COLUMNS = 5
_HEIGHT = 180  # of an image on the contact sheet, in pixels


@dataclass(frozen=True)
class ImageQuery:
    """Directions in word space, added up."""

    text: Sequence[str] = ()
    """Words to add."""
    images: Sequence[Path] = ()
    """Images whose embeddings are added to the query."""
    minus: Sequence[str] = ()
    """Words to subtract."""

    def __str__(self) -> str:
        """The sum: ``cat.jpg + dog - cat``."""
        added = [*(image.name for image in self.images), *self.text]
        return " - ".join([" + ".join(added), *self.minus])


def search_images(
    index: Index, labeller: Labeller, query: ImageQuery, *, top_k: int, exclude_query: bool = False
) -> list[Hit]:
    """The images nearest to a query, the nearest first.

    How each word's vector was found is logged. ``exclude_query`` leaves the query's images out, if
    they are in the index by their path, or after a move by their content.

    Raises:
        FormatError: a file is not an image.
        OSError: a file cannot be read.
        ValueError: the query cancels out, or a word has no vector.
    """
    query_direction = _encode(query, labeller)
    excluded = _names_of(query.images, index) if exclude_query else []
    hits = index.search(query_direction[None], top_k=top_k + len(excluded))[0]
    if exclude_query:
        nothing = "nothing: no image of the query is in the index"
        _log.info("excluded: %s", ", ".join(excluded) or nothing)
    return [hit for hit in hits if hit.name not in excluded][:top_k]


def write_search_sheet(
    path: Path, query: ImageQuery, hits: Sequence[Hit], *, image_dir: Path
) -> list[Exception]:
    """Write the query's images, framed, above the images found in a folder, as .png.

    Returns:
        Why images could not be drawn; they are empty frames.

    Raises:
        ValueError: there are too many images, or the file is one of them.
        OSError: the file cannot be written.
    """
    check_no_inputs([path], [*query.images, *(_inside(image_dir, hit.name) for hit in hits)])
    cells: list[sheets.Cell | None] = [
        sheets.Cell(image, [sheets.Line(sheets.file_name(image)), sheets.Line("query")], "tab:red")
        for image in query.images
    ]
    cells += [None] * (-len(cells) % _COLUMNS)  # hits begin on a new row
    for name, cosine in hits:
        lines = [sheets.Line(sheets.file_name(Path(name))), sheets.Line(f"{cosine:.4f}")]
        cells.append(sheets.Cell(_inside(image_dir, name), lines))
    return sheets.write(path, cells, columns=_COLUMNS, image_height=_HEIGHT, title=str(query))


def _encode(query: ImageQuery, labeller: Labeller) -> Tensor:
    """The direction of a query, ``(D,)``."""
    words = (*query.text, *query.minus)
    label_vectors = labeller.space.embed(words)  # with the hypernyms and the mean that labels have
    if label_vectors.missing:
        raise ValueError(f"no word vector for {', '.join(map(repr, label_vectors.missing))}")
    for word, lookup in zip(words, label_vectors.coverage.lookups, strict=True):
        if lookup.vector is None:
            _log.info("%s: no vector of its own, but of its hypernyms", word)
        elif lookup.rule != "phrase" or lookup.synonym:
            _log.info("%s: %s: %s", word, LOOKUP_RULES[lookup.rule], lookup.text)
    vectors = list(torch.from_numpy(label_vectors.vectors))
    if query.images:
        vectors += labeller.project(labeller.embedder(query.images).mean(1))  # (B, D)
    signs = [1.0] * len(query.text) + [-1.0] * len(query.minus) + [1.0] * len(query.images)
    return query_vector(vectors, signs)


def _names_of(images: Sequence[Path], index: Index) -> list[str]:
    """The names in the index of the same files, or, if there are none, of the same contents.

    Of an index that does not know its files, the names that are the end of an image's path. The
    file's name alone would not do where each folder has its ``image_0001.jpg``.
    """
    entries = list(zip(index.names, index.files, strict=True))
    names: dict[str, None] = {}
    for image in images:
        path = image.parent.resolve() / image.name
        same = [
            name
            for name, file in entries
            if (file and Path(file.folder, name) == path)
            or (file is None and path.as_posix().endswith(f"/{name}"))
        ]
        if not same and any(index.files):
            digest = read_stamped(image)[1].digest
            same = [name for name, file in entries if file and file.stamp.digest == digest]
        names |= dict.fromkeys(same)
    return list(names)


def _inside(folder: Path, name: str) -> Path:
    """The path of an image; a name never leads out of the folder."""
    relative = PurePosixPath(name)
    outside = relative.is_absolute() or ".." in relative.parts
    return folder / (relative.name if outside else relative)
