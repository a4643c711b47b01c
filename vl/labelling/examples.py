"""Labelled images to train and evaluate a labeller with: read, embedded and split.

What is held out is never trained on; the development split validates and calibrates.
"""

import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vl.data.embeddings import read_provenance
from vl.data.labelled.folders import LabelledImage, read_labelled_images
from vl.data.words.label_lists import LabelList, Lemmas, read_label
from vl.data.words.labels import Label, LabelIndex, UniqueLabels, text_of_class
from vl.encoding.embedder import Embedder
from vl.encoding.pretrained import load_encoder
from vl.encoding.views import default_preprocessing
from vl.inputs import error_message
from vl.labelling.recipe import EncoderConfig
from vl.search.index import load_embeddings_of
from vl.terminal import ProgressBar

_log = logging.getLogger(__name__)
_MIN_LABELS = 2  # of the training split, and of the development split if there is one
_MIN_IMAGES = 3  # of a training label from which on one is in the development split


class Examples(NamedTuple):
    """Images, and the label of each."""

    names: tuple[str, ...]  # as `vl embed` calls them
    paths: tuple[Path, ...]
    targets: tuple[int, ...]  # index of each image's label
    labels: tuple[Label, ...]

    def select(self, rows: Sequence[int]) -> "Examples":
        """Some of the images; all labels keep their indices."""
        return self._replace(
            names=tuple(self.names[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows),
            targets=tuple(self.targets[row] for row in rows),
        )


class EmbeddedExamples(NamedTuple):
    """Labelled images, their embeddings, and what makes them."""

    embedder: Embedder
    examples: Examples
    vectors: Tensor  # (N, views, image width)
    failed: int = 0  # images that could not be read

    def without(self, held_out: LabelList) -> "EmbeddedExamples":
        """The same without the images of some labels.

        A label is held out if its id is, or, where one of the two has no id, one of its names.
        """
        examples, excluded = self.examples, LabelIndex(held_out.labels)
        rest = [i for i, label in enumerate(examples.labels) if not excluded.shares_name(label)]
        new_index = {index: new for new, index in enumerate(rest)}
        rows = [row for row, target in enumerate(examples.targets) if target in new_index]
        for note in held_out.notes:
            _log.info("held out: %s", note)
        _log.info(
            "held out: %d images of %d labels; %d are listed",
            len(examples.names) - len(rows),
            len(examples.labels) - len(rest),
            len(held_out.labels),
        )
        selected = examples.select(rows)._replace(
            targets=tuple(new_index[examples.targets[row]] for row in rows),
            labels=tuple(examples.labels[i] for i in rest),
        )
        return self._replace(examples=selected, vectors=self.vectors[rows])


class Split(NamedTuple):
    """Indices of labels and rows of images of the training and development splits."""

    training: tuple[int, ...]  # labels
    development: tuple[int, ...]  # labels that are not trained on
    training_rows: tuple[int, ...]
    seen_rows: tuple[int, ...]  # of the development split, with training labels
    unseen_rows: tuple[int, ...]  # of the development split, with development labels


def read_examples(
    sources: Sequence[Path],
    *,
    lemmas: Lemmas | None = None,
    embedded: Collection[str] | None = None,
) -> Examples:
    """The images of folders of classes and of lists; what is left out is logged.

    Args:
        sources: see ``vl.data.labelled.folders``. The same class in two of them is one label; see
            ``UniqueLabels``.
        lemmas: the words of WordNet's ids, for classes named by an id.
        embedded: names of images that have embeddings; see ``read_labelled_images``.

    Raises:
        ValueError: a source is not what ``vl.data.labelled.folders`` reads, an image is in two,
            two embedded images have one name, or a class is an id without words.
        OSError: a source cannot be read.
    """
    unique = UniqueLabels()
    images: dict[str, tuple[LabelledImage, int, Path]] = {}  # by path, or by name if embedded
    for source in sources:
        labelled = read_labelled_images(source, embedded=embedded)
        for note in labelled.warnings:
            _log.info("%s: %s", source, note)
        index_of = {}
        for name in labelled.classes:
            try:
                index_of[name] = unique.add(read_label(text_of_class(name), lemmas=lemmas))
            except ValueError as cause:
                raise ValueError(f"{source}: class {name!r}: {cause}") from cause
        for image in labelled.images:
            key = os.path.abspath(image.path) if embedded is None else image.name  # noqa: PTH100
            if key in images:
                raise ValueError(f"{source}: {image.name!r} is in {images[key][2]} already")
            images[key] = (image, index_of[image.label], source)
    return Examples(
        names=tuple(image.name for image, _, _ in images.values()),
        paths=tuple(image.path for image, _, _ in images.values()),
        targets=tuple(target for _, target, _ in images.values()),
        labels=tuple(unique.labels),
    )


def load_embedder(config: EncoderConfig, *, device: torch.device) -> Embedder:
    """The embedder of a training, with the views and the resize mode of cached embeddings.

    Raises:
        FormatError: the weights or the index of the embeddings are damaged.
        ValueError: see ``load_encoder``.
    """
    encoder = load_encoder(config.encoder, config.weights)
    views = config.views
    resize = config.resize or default_preprocessing(encoder, "center-crop")
    if config.embeddings and (provenance := read_provenance(config.embeddings)):
        views, resize = provenance.views, provenance.resize
    return Embedder(
        encoder,
        encoder_name=config.encoder,
        views=views,
        resize=resize,
        device=device,
    )


def load_examples(
    embedder: Embedder,
    sources: Sequence[Path],
    embeddings: Path | None,
    *,
    lemmas: Lemmas | None,
    quiet: bool = False,
) -> EmbeddedExamples:
    """Labelled images with the embedder's cached embeddings, or encoded by it now.

    Raises:
        FileNotFoundError: an image of a list has no embedding.
        ValueError: an image of a folder has none, has changed since or is of another folder, no
            image can be read, or another embedder made the embeddings; or see ``read_examples``.
    """
    if embeddings is None:
        return embed_examples(read_examples(sources, lemmas=lemmas), embedder, quiet=quiet)
    cached = load_embeddings_of(embedder, embeddings)
    # Images go by the names that they have in the cache.
    examples = read_examples(sources, lemmas=lemmas, embedded=cached.names)
    cached.check_files(examples.names, examples.paths)
    return EmbeddedExamples(embedder, examples, cached.select(examples.names))


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


def split_examples(
    examples: Examples, usable: Sequence[bool], *, development: float, seed: int
) -> Split:
    """Split labels and images at random into training and development.

    Args:
        examples: the images.
        usable: whether each label has a vector; the others are in neither split, nor are labels
            without an image.
        development: share of the labels, two at least, all of whose images are in the development
            split; and of the images of each other label: at least one if there are three, and
            never all. 0 for no development split.
        seed: of the random choice.

    Raises:
        ValueError: too few labels would be in a split.
    """
    rows: dict[int, list[int]] = {index: [] for index in range(len(examples.labels))}
    for row, target in enumerate(examples.targets):
        rows[target].append(row)
    labels = [index for index, has_vector in enumerate(usable) if has_vector and rows[index]]
    generator = torch.Generator().manual_seed(seed)
    order = [labels[i] for i in torch.randperm(len(labels), generator=generator).tolist()]
    # One label alone would always be predicted.
    count = max(_MIN_LABELS, round(development * len(labels))) if development else 0
    if len(labels) - count < _MIN_LABELS:
        rest = f" and {count} to validate (none with --development-share 0)" if count else ""
        raise ValueError(
            f"{len(labels)} labels with images and vectors are too few: at least {_MIN_LABELS} are "
            f"needed to train{rest}"
        )
    unseen, training = sorted(order[:count]), sorted(order[count:])
    seen_rows: list[int] = []
    for index in training:
        images = rows[index]
        size = 0
        if development and len(images) >= _MIN_IMAGES:
            size = min(max(1, round(development * len(images))), len(images) - 1)
        chosen = torch.randperm(len(images), generator=generator)[:size].tolist()
        seen_rows += [images[i] for i in chosen]
    in_development = set(seen_rows)
    return Split(
        training=tuple(training),
        development=tuple(unseen),
        training_rows=tuple(
            row for index in training for row in rows[index] if row not in in_development
        ),
        seen_rows=tuple(sorted(seen_rows)),
        unseen_rows=tuple(sorted(row for index in unseen for row in rows[index])),
    )
