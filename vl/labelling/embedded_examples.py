"""Labelled images with their embeddings: from a cache, or encoded now."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from vl.data.choices import Resize
from vl.data.embeddings import Embeddings, load_embeddings
from vl.data.errors import FormatError
from vl.data.words.label_lists import LabelList, Lemmas
from vl.encoding.embedder import Embedder
from vl.encoding.pretrained import check_fingerprint, load_encoder
from vl.inputs import error_message
from vl.labelling.examples import Examples, hold_out, read_examples
from vl.labelling.recipe import EncoderConfig
from vl.terminal import ProgressBar

_log = logging.getLogger(__name__)


class EmbeddedExamples(NamedTuple):
    """Labelled images, their embeddings, and what makes them."""

    embedder: Embedder
    examples: Examples
    vectors: Tensor  # (N, views, image width)
    failed: int = 0  # images that could not be read

    def without(self, labels: LabelList) -> "EmbeddedExamples":
        """The same without the images of some labels."""
        examples, rows = hold_out(self.examples, labels)
        for note in labels.notes:
            _log.info("held out: %s", note)
        _log.info(
            "held out: %d images of %d labels; %d are listed",
            len(self.examples.names) - len(examples.names),
            len(self.examples.labels) - len(examples.labels),
            len(labels.labels),
        )
        return self._replace(examples=examples, vectors=self.vectors[rows])


def load_embedded_examples(
    sources: Sequence[Path],
    config: EncoderConfig,
    *,
    lemmas: Lemmas | None,
    device: torch.device,
    quiet: bool = False,
) -> EmbeddedExamples:
    """Labelled images with cached embeddings, or encoded now.

    Args:
        sources: see ``read_examples``.
        config: the encoder, and the embeddings if there are.
        lemmas: the words of WordNet's ids.
        device: where the encoder runs.
        quiet: show no progress.

    Raises:
        FormatError: the embeddings were made with an unknown resize mode.
        FileNotFoundError: an image of a list has no embedding.
        ValueError: an image of a folder has none, or no image can be read; the encoder is not the
            one of the embeddings; or see ``read_examples``.
    """
    encoder = load_encoder(config.encoder, config.weights)
    if config.embeddings is None:
        embedder = Embedder(
            encoder,
            encoder_name=config.encoder,
            views=config.views,
            resize=config.resize,
            device=device,
        )
        examples = read_examples(sources, lemmas=lemmas)
        return embed_examples(examples, embedder, quiet=quiet)
    embeddings = load_embeddings(config.embeddings)
    provenance = embeddings.provenance
    if provenance.resize not in get_args(Resize):
        index = config.embeddings.with_suffix(".json")
        raise FormatError(index, f"resize is {provenance.resize!r}, not a resize mode")
    check_fingerprint(encoder, provenance.fingerprint, made=config.embeddings)
    embedder = Embedder(
        encoder,
        encoder_name=config.encoder,
        views=provenance.views,
        resize="center-crop" if provenance.resize == "center-crop" else "squash",
        device=device,
    )
    return _from_cache(sources, embeddings, embedder, lemmas=lemmas)


def load_examples_for(
    embedder: Embedder,
    sources: Sequence[Path],
    path: Path | None,
    *,
    lemmas: Lemmas | None,
) -> EmbeddedExamples:
    """Labelled images with embeddings of a labeller's embedder.

    Args:
        embedder: of the labeller.
        sources: see ``read_examples``.
        path: cached embeddings; None encodes the images.
        lemmas: the words of WordNet's ids.

    Raises:
        ValueError: the embeddings were not made by this embedder, or see
            ``load_embedded_examples``.
    """
    if path is None:
        return embed_examples(read_examples(sources, lemmas=lemmas), embedder)
    embeddings = load_embeddings(path)
    provenance = embeddings.provenance
    check_fingerprint(embedder.encoder, provenance.fingerprint, made=path)
    if (provenance.resize, set(provenance.views)) != (embedder.resize, set(embedder.views)):
        raise ValueError(
            f"{path} was made with resize {provenance.resize} and views "
            f"{', '.join(provenance.views)}, the labeller has {embedder.resize} and "
            f"{', '.join(embedder.views)}"
        )
    return _from_cache(sources, embeddings, embedder, lemmas=lemmas)


def embed_examples(
    examples: Examples, embedder: Embedder, *, quiet: bool = False
) -> EmbeddedExamples:
    """Encode labelled images; those that cannot be read are reported and left out.

    Raises:
        ValueError: no image can be read.
    """
    rows: list[int] = []
    parts: list[Tensor] = []
    with ProgressBar("embed", len(examples.paths), unit="images", quiet=quiet) as bar:
        for batch in embedder.stream(examples.paths):
            for _, error in batch.failures:
                bar.print(error_message(error))
            rows += batch.indices
            parts.append(batch.vectors)
            bar.advance(len(batch.indices) + len(batch.failures))
    if not rows:
        raise ValueError(f"none of {len(examples.paths)} images can be read")
    failed = len(examples.paths) - len(rows)
    if failed:
        _log.warning("%d of %d images are left out", failed, len(examples.paths))
    return EmbeddedExamples(embedder, examples.select(rows), torch.cat(parts), failed)


def _from_cache(
    sources: Sequence[Path], embeddings: Embeddings, embedder: Embedder, *, lemmas: Lemmas | None
) -> EmbeddedExamples:
    """Images go by the names that they have in the cache."""
    examples = read_examples(sources, lemmas=lemmas, embedded=frozenset(embeddings.names))
    return EmbeddedExamples(embedder, examples, embeddings.select(examples.names))
