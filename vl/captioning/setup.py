"""The two phases of a captioner's training: what is trained, on which images, judged on which.

First the decoder alone, on embeddings that an encoder made once; then encoder and decoder together,
on photographs (Vinyals et al. 2016, PAMI). Losses and rates are not known here.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from vl.captioning.captioner import Captioner
from vl.captioning.training import CaptionerTask
from vl.data.batches import ImageSource, random_view
from vl.data.captions.vocabulary import Vocabulary
from vl.data.choices import Resize
from vl.data.embeddings import load_embeddings
from vl.data.errors import FormatError
from vl.decoders.show_and_tell import ShowAndTell
from vl.encoding.embedder import Embedder, image_file_source
from vl.encoding.finetuning import unfreeze_used_parameters
from vl.encoding.pretrained import check_fingerprint, load_encoder

Shown = Literal["standardised", "raw"]


class Phase(NamedTuple):
    """What is trained on what."""

    embedder: Embedder
    decoder: ShowAndTell
    source: ImageSource  # of the training images
    development: Callable[[CaptionerTask], Tensor]  # embeddings (images, D) of those to judge by


class Names(NamedTuple):
    """The images of both splits, by file name."""

    training: Sequence[str]
    development: Sequence[str]


def on_embeddings(
    path: Path,
    names: Names,
    *,
    encoder: str,
    weights: Path | None,
    decoder: Callable[[int], ShowAndTell],
    shown: Shown,
    device: torch.device,
) -> Phase:
    """Phase 1: the decoder, on cached embeddings.

    Args:
        path: of the embeddings of both splits.
        names: of their images.
        encoder: its name in the table.
        weights: those that made the embeddings; they go into the captioner.
        decoder: builds one for embeddings of a width.
        shown: whether it sees embeddings less the training split's mean and in units of its
            deviation, or as they were made, as published.
        device: where the development split's embeddings lie.

    Raises:
        FormatError: the embeddings were made with an unknown resize mode.
        ValueError: the encoder is not the one that made the embeddings, or an image has none.
    """
    held = load_embeddings(path)
    if held.provenance.resize not in get_args(Resize):
        known = " or ".join(map(repr, get_args(Resize)))
        raise FormatError(
            path.with_suffix(".json"), f"resize is {held.provenance.resize!r}, not {known}"
        )
    built = load_encoder(encoder, weights)
    check_fingerprint(built, held.provenance.fingerprint, made=path)
    vectors = held.of(names.training)
    development = held.of(names.development).mean(1).to(device)
    speaker = decoder(held.provenance.width)
    if shown == "standardised":
        speaker.standardize(vectors.flatten(0, 1))
    return Phase(
        embedder=Embedder(
            built,
            encoder_name=encoder,
            views=held.provenance.views,
            resize="center-crop" if held.provenance.resize == "center-crop" else "squash",
            device=device,
        ),
        decoder=speaker,
        source=random_view(vectors),
        development=lambda model: development,
    )


def self_critical(
    start: Path, vocabulary: Vocabulary, *, embeddings: Path, names: Names, device: torch.device
) -> Phase:
    """After phase 1: the decoder of a captioner goes on, on the same cached embeddings.

    Raises:
        ValueError: the captioner has another vocabulary or several decoders, its encoder is not the
            one that made the embeddings, or an image has none.
    """
    captioner = _started(start, vocabulary, device=device)
    return on_embeddings(
        embeddings,
        names,
        encoder=captioner.embedder.encoder_name,
        weights=start,
        decoder=lambda image_width: captioner.decoders[0],
        shown="raw",  # it standardises them itself, if it ever did
        device=device,
    )


def from_captioner(
    start: Path, vocabulary: Vocabulary, *, folder: Path, names: Names, device: torch.device
) -> Phase:
    """Phase 2: encoder and decoder of a captioner that phase 1 made, on photographs.

    Raises:
        ValueError: the captioner has another vocabulary, or several decoders.
        FileNotFoundError: a photograph is not there.
    """
    captioner = _started(start, vocabulary, device=device)
    return on_photographs(
        folder,
        names,
        embedder=captioner.embedder,
        decoder=captioner.decoders[0],
    )


def on_photographs(
    folder: Path,
    names: Names,
    *,
    embedder: Embedder,
    decoder: ShowAndTell,
) -> Phase:
    """Encoder and decoder together, on photographs in a folder.

    What of the encoder the embedding does not depend on, such as a classifier, is left alone.

    Raises:
        FileNotFoundError: a photograph is not there.
    """
    paths = [folder / name for name in names.training]
    to_judge_by = [folder / name for name in names.development]
    missing = [path for path in [*paths, *to_judge_by] if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} photographs are missing, the first {missing[0]}")
    unfreeze_used_parameters(embedder.encoder)

    def development(model: CaptionerTask) -> Tensor:
        assert model.encoder is not None
        parts = []
        for part in embedder.with_encoder(model.encoder).stream(to_judge_by):
            if part.failures:
                raise part.failures[0][1]
            parts.append(part.vectors)
        return torch.cat(parts).mean(1).to(embedder.device)

    return Phase(
        embedder=embedder,
        decoder=decoder,
        source=image_file_source(
            paths,
            image_size=embedder.image_size,
            resize=embedder.resize,
            views=embedder.views,
        ),
        development=development,
    )


def _started(start: Path, vocabulary: Vocabulary, *, device: torch.device) -> Captioner:
    """A captioner whose only decoder can go on with these captions."""
    captioner = Captioner.load(start, device=device)
    if captioner.vocabulary != vocabulary:
        raise ValueError(
            f"{start} has another vocabulary ({len(captioner.vocabulary)} words) than "
            f"these captions give ({len(vocabulary)} words)"
        )
    if len(captioner.decoders) != 1:
        raise ValueError(f"{start} has {len(captioner.decoders)} decoders; one can go on")
    return captioner
