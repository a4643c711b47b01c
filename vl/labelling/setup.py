"""The two phases of DeViSE's training: what is trained, on which photographs (Frome et al. 2013).

First the map alone, on embeddings that an encoder made once; then encoder and map together, on
photographs. Losses and rates are not known here.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from vl.data.choices import Resize
from vl.data.embeddings import load_embeddings
from vl.data.errors import FormatError
from vl.encoding.embedder import Embedder
from vl.encoding.finetuning import unfreeze_used_parameters
from vl.encoding.pretrained import check_fingerprint, load_encoder
from vl.inputs import error_message
from vl.labelling.examples import Examples, read_examples
from vl.labelling.labeller import Labeller
from vl.terminal import ProgressBar

_log = logging.getLogger(__name__)


class Phase(NamedTuple):
    """An encoder, photographs, and what it makes of them."""

    embedder: Embedder
    examples: Examples
    vectors: Tensor  # (N, views, image width) of the examples


def on_embeddings(
    sources: Sequence[Path],
    path: Path,
    *,
    encoder: str,
    weights: Path | None,
    names: Mapping[str, Sequence[str]] | None,
) -> Phase:
    """Phase 1 on cached embeddings; photographs are known by the names that they have there.

    Raises:
        FormatError: the embeddings were made with an unknown resize mode.
        FileNotFoundError: a photograph of a list has no embedding.
        ValueError: one of a folder has none, the encoder is not the one that made them, or see
            ``read_examples``.
    """
    held = load_embeddings(path)
    if held.provenance.resize not in get_args(Resize):
        known = " or ".join(map(repr, get_args(Resize)))
        raise FormatError(
            path.with_suffix(".json"), f"resize is {held.provenance.resize!r}, not {known}"
        )
    built = load_encoder(encoder, weights)
    check_fingerprint(built, held.provenance.fingerprint, made=path)
    examples = read_examples(sources, names=names, embedded=frozenset(held.names))
    return Phase(
        Embedder(
            built,
            encoder_name=encoder,
            views=held.provenance.views,
            resize="center-crop" if held.provenance.resize == "center-crop" else "squash",
        ),
        examples=examples,
        vectors=held.select(examples.names),
    )


def on_photographs(
    sources: Sequence[Path],
    *,
    encoder: str,
    weights: Path | None,
    names: Mapping[str, Sequence[str]] | None,
    views: Sequence[str],
    resize: Resize,
    device: torch.device,
    quiet: bool = False,
) -> Phase:
    """Phase 1 on photographs, which are encoded first.

    Raises:
        ValueError: no photograph can be read, or see ``read_examples``.
    """
    examples = read_examples(sources, names=names)
    built = load_encoder(encoder, weights)
    embedder = Embedder(built, encoder_name=encoder, views=views, resize=resize, device=device)
    examples, vectors = encoded(examples, embedder, quiet=quiet)
    return Phase(embedder, examples, vectors)


def from_labeller(
    sources: Sequence[Path],
    labeller: Labeller,
    *,
    names: Mapping[str, Sequence[str]] | None,
    quiet: bool = False,
) -> Phase:
    """Phase 2: the encoder of a labeller that phase 1 made, ready to be trained on photographs.

    Raises:
        ValueError: no photograph can be read, or see ``read_examples``.
    """
    examples = read_examples(sources, names=names)
    examples, vectors = encoded(examples, labeller.embedder, quiet=quiet)
    unfreeze_used_parameters(labeller.embedder.encoder)
    return Phase(labeller.embedder, examples, vectors)


def encoded(
    examples: Examples, embedder: Embedder, *, quiet: bool = False
) -> tuple[Examples, Tensor]:
    """Embeddings of photographs, ``(N, views, image width)``; what is none is said and left out.

    Raises:
        ValueError: no photograph can be read.
    """
    rows: list[int] = []
    parts: list[Tensor] = []
    with ProgressBar("embed", len(examples.paths), unit="images", quiet=quiet) as bar:
        for extracted in embedder.stream(examples.paths):
            for _, error in extracted.failures:
                bar.print(error_message(error))
            rows += extracted.indices
            parts.append(extracted.vectors)
            bar.advance(len(extracted.indices) + len(extracted.failures))
    if not rows:
        raise ValueError(f"none of {len(examples.paths)} photographs can be read")
    left_out = len(examples.paths) - len(rows)
    if left_out:
        _log.warning("%d of %d photographs are left out", left_out, len(examples.paths))
    return examples.rows(rows), torch.cat(parts)
