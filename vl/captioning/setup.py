"""What a captioner's training starts from: captions of both splits, embedder, decoder and images.

The decoder is trained alone on cached embeddings, or together with the encoder on images (Vinyals
et al. 2016, PAMI).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vl.captioning.captioner import Captioner
from vl.captioning.recipe import CaptionFiles
from vl.data.batches import ImageSource, random_view
from vl.data.captions.captions import CaptionedImage, read_captions
from vl.data.captions.vocabulary import Vocabulary
from vl.data.embeddings import load_embeddings
from vl.encoders.table import Network
from vl.encoding.embedder import Embedder, image_file_source
from vl.encoding.pretrained import check_fingerprint, unfreeze_used_parameters


class CaptionSplits(NamedTuple):
    """Captioned images of the training and development splits, and the training vocabulary."""

    training: Sequence[CaptionedImage]
    development: Sequence[CaptionedImage]
    vocabulary: Vocabulary


class TrainingSetup(NamedTuple):
    """The images of a training, and the embedder."""

    embedder: Embedder
    source: ImageSource  # of the training images
    development: Callable[[Network | None], Tensor]  # (images, D), by the encoder in training


def read_splits(files: CaptionFiles) -> CaptionSplits:
    """Read the captions of both splits.

    Raises:
        ValueError: no development split is named, the splits share an image, or no word is
            frequent enough.
    """
    if not (files.dev_captions or files.dev_split or files.dev_list):
        raise ValueError(
            "a development split is required, for validation: "
            "--dev-split NAME, --dev-list FILE or --dev-captions FILE"
        )
    training = read_captions(files.captions, split=files.train_split, images=files.train_list)
    development = read_captions(
        files.dev_captions or files.captions, split=files.dev_split, images=files.dev_list
    )
    vocabulary = Vocabulary.from_captions(
        training, min_count=files.min_count, evaluation=development
    )
    return CaptionSplits(training, development, vocabulary)


def load_single_decoder(path: Path, vocabulary: Vocabulary, device: torch.device) -> Captioner:
    """A captioner whose only decoder can be trained further on captions of this vocabulary.

    Raises:
        ValueError: the captioner has another vocabulary, or several decoders.
    """
    captioner = Captioner.load(path, device=device)
    if captioner.vocabulary != vocabulary:
        raise ValueError(
            f"{path} has another vocabulary ({len(captioner.vocabulary)} words) than "
            f"these captions ({len(vocabulary)} words)"
        )
    if len(captioner.decoders) != 1:
        raise ValueError(f"{path} has {len(captioner.decoders)} decoders; training needs one")
    return captioner


def setup_on_embeddings(
    path: Path,
    splits: CaptionSplits,
    embedder: Embedder,
    *,
    standardize: Callable[[Tensor], None] | None = None,
) -> TrainingSetup:
    """The decoder alone, on cached embeddings of both splits.

    The embedder's encoder made the embeddings; its views and resize mode become theirs.
    ``standardize`` is called with the embeddings of the training split, ``(N, D)``.

    Raises:
        ValueError: another encoder made the embeddings, or an image has none.
    """
    embeddings = load_embeddings(path)
    provenance = embeddings.provenance
    check_fingerprint(embedder.encoder, provenance.fingerprint, made=path)
    embedder = Embedder(
        embedder.encoder,
        encoder_name=embedder.encoder_name,
        views=provenance.views,
        resize=provenance.resize,
        device=embedder.device,
    )
    vectors = embeddings.select([image.file_name for image in splits.training])
    if standardize:
        standardize(vectors.flatten(0, 1))
    names = [image.file_name for image in splits.development]
    development = embeddings.select(names).mean(1).to(embedder.device)
    return TrainingSetup(embedder, random_view(vectors), lambda encoder: development)


def setup_on_images(folder: Path, splits: CaptionSplits, embedder: Embedder) -> TrainingSetup:
    """Encoder and decoder together, on the images in a folder.

    Parameters of the encoder that the embedding does not depend on, such as a classifier's, stay
    frozen.

    Raises:
        FileNotFoundError: an image is missing.
    """
    training = [folder / image.file_name for image in splits.training]
    development = [folder / image.file_name for image in splits.development]
    missing = [path for path in [*training, *development] if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} images are missing, the first {missing[0]}")
    unfreeze_used_parameters(embedder.encoder)

    def development_embeddings(encoder: Network | None) -> Tensor:
        assert encoder is not None
        batches = []
        for batch in embedder.with_encoder(encoder).stream(development):
            if batch.failures:
                raise batch.failures[0][1]
            batches.append(batch.vectors)
        return torch.cat(batches).mean(1).to(embedder.device)

    source = image_file_source(training, preprocess=embedder.preprocess, views=embedder.views)
    return TrainingSetup(embedder, source, development_embeddings)
