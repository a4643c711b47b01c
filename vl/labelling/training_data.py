"""What a labeller is trained on: embedded images, their labels in word space, and the split."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vl.data.files import first_few
from vl.data.words.label_lists import read_label_file
from vl.data.words.label_space import LabelSpace
from vl.data.words.label_tables import DEFAULT_COLUMNS, LabelColumns
from vl.data.words.labels import Label, LabelIndex
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet
from vl.decoders.conse import Conse
from vl.encoding.softmax_regression import softmax_regression
from vl.labelling.examples import EmbeddedExamples, Split, split_examples
from vl.labelling.labeller_file import as_stored
from vl.labelling.recipe import ConseConfig, LabelSpaceConfig, SplitConfig

_log = logging.getLogger(__name__)
_CONSE_DECAY = 1e-3  # weight decay of ConSE's classifier, for standardized embeddings


class TrainingData(NamedTuple):
    """Embedded images, their labels' vectors, and the split."""

    embedded: EmbeddedExamples
    split: Split
    space: LabelSpace
    vectors: Tensor  # (L, D) of all labels; NaN for one without

    @property
    def label_vectors(self) -> Tensor:
        """The training labels' vectors, ``(K, D)``."""
        return self.vectors[list(self.split.training)]

    @property
    def training_labels(self) -> list[Label]:
        """The labels that are trained on."""
        return [self.embedded.examples.labels[index] for index in self.split.training]

    @property
    def development_labels(self) -> list[Label]:
        """The labels that validate the training and calibrate the labeller."""
        return [self.embedded.examples.labels[index] for index in self.split.development]

    def targets(self, rows: Sequence[int], labels: Sequence[int]) -> list[int]:
        """For each of these images the position of its label among some."""
        position = {label: i for i, label in enumerate(labels)}
        return [position[self.embedded.examples.targets[row]] for row in rows]


def load_label_space(config: LabelSpaceConfig, *, seed: int) -> LabelSpace:
    """The label space of a training, before any mean is subtracted.

    Raises:
        FormatError, OSError: word vectors or WordNet are damaged, or cannot be read.
        ValueError: see ``LabelSpace``.
    """
    wordnet = None if config.wordnet is None else WordNet.load(config.wordnet)
    words = WordVectors.load(config.word_vectors, limit=config.limit_words)
    if config.random_word_vectors:
        words = random_vectors(words, seed)
    return LabelSpace(
        as_stored(words), wordnet, synonyms=config.synonyms, hypernym_weight=config.hypernym_weight
    )


def random_vectors(words: WordVectors, seed: int) -> WordVectors:
    """The same words with random directions: a control without the words' meaning."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal(words.matrix.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return WordVectors(words.words, vectors)


def prepare_training_data(
    embedded: EmbeddedExamples,
    space: LabelSpace,
    config: SplitConfig,
    *,
    subtract_mean: bool = False,
    seed: int,
) -> TrainingData:
    """Embed the labels in word space, split them, and log what became of each.

    ``subtract_mean`` gives the space, which must have none, the mean of the training labels.

    Raises:
        ValueError: too few labels have a vector, or one equals the mean.
        FormatError, OSError: the file of held-out labels is damaged, or cannot be read.
    """
    if config.held_out:
        lemmas = None if space.wordnet is None else space.wordnet.lemmas()
        embedded = embedded.without(read_label_file(config.held_out, lemmas=lemmas, columns=config))
    examples = embedded.examples
    texts = [label.text for label in examples.labels]
    synsets = [label.synset for label in examples.labels]
    label_vectors = space.embed(texts, synsets)
    usable = ~np.isnan(label_vectors.vectors[:, 0])
    if len(usable) and not usable.any():
        raise ValueError(f"none of {len(texts)} labels has a word vector: {first_few(texts)}")
    split = split_examples(
        examples, usable.tolist(), development=config.development_share, seed=seed
    )
    if subtract_mean:
        space = space.subtract_mean(label_vectors.vectors[list(split.training)])
        label_vectors = space.embed(texts, synsets)
        for index in (*split.training, *split.development):
            if np.isnan(label_vectors.vectors[index, 0]):
                raise ValueError(
                    f"label {texts[index]!r} equals the mean of the training labels: it has a "
                    "vector only without --subtract-mean"
                )
    for line in label_vectors.summary():
        _log.info("%s", line)
    for label in label_vectors.missing:
        _log.info("no vector: %s", label)
    for index in sorted(set(range(len(texts))) - set(examples.targets)):
        _log.warning("no image of label %r is left", texts[index])
    if not config.development_share:
        _log.warning(
            "no development split (--development-share 0): the labeller will have no "
            "probabilities, no none of these, no calibrated stacking and no CSLS"
        )
    _log.info(
        "training split: %d images of %d labels; development split: %d images of %d other labels "
        "and %d of the same; no vector: %d images",
        len(split.training_rows),
        len(split.training),
        len(split.unseen_rows),
        len(split.development),
        len(split.seen_rows),
        sum(not usable[target] for target in examples.targets),
    )
    return TrainingData(embedded, split, space, torch.from_numpy(label_vectors.vectors))


def make_conse(
    data: TrainingData, config: ConseConfig, columns: LabelColumns = DEFAULT_COLUMNS
) -> Conse:
    """ConSE, by the encoder's own classifier or by one trained on the embeddings.

    Raises:
        ValueError: none of the labels is a class, or the encoder has no such classifier.
        FormatError, OSError: the file of classes is damaged, or cannot be read.
    """
    labels = data.split.training
    classes = config.classes
    if classes is None:
        rows = list(data.split.training_rows)
        vectors = data.embedded.vectors[rows]  # (N, views, image width)
        targets = torch.tensor(data.targets(rows, labels)).repeat_interleave(vectors.shape[1])
        images = vectors.flatten(0, 1)
        solution = softmax_regression(images, targets, classes=len(labels), decay=_CONSE_DECAY)
        return _conse(solution.weight, solution.bias, data.label_vectors, top_k=config.top_k)
    wordnet = data.space.wordnet
    lemmas = None if wordnet is None else wordnet.lemmas()
    listed = read_label_file(classes, lemmas=lemmas, columns=columns)
    if listed.num_left_out:
        raise ValueError(f"{classes}: each line is a class of the encoder; {listed.notes[-1]}")
    outputs = _outputs_of(data.training_labels, LabelIndex(listed.labels))
    if not outputs:
        raise ValueError(f"{classes}: none of the training labels is in it")
    _log.info("ConSE has classes for %d of %d training labels", len(outputs), len(labels))
    encoder = data.embedded.embedder.encoder
    classifier = getattr(encoder, "classifier", None)
    if not isinstance(classifier, nn.Linear):
        raise ValueError(f"the encoder, a {type(encoder).__name__}, has no classifier")
    if len(listed.labels) != classifier.out_features:  # a missing line would shift all below it
        raise ValueError(
            f"{classes} has {len(listed.labels)} classes, the encoder's classifier "
            f"{classifier.out_features}"
        )
    rows, vectors = list(outputs.values()), data.label_vectors[list(outputs)]
    return _conse(classifier.weight[rows], classifier.bias[rows], vectors, top_k=config.top_k)


def _outputs_of(labels: Sequence[Label], classes: LabelIndex) -> dict[int, int]:
    """The class of each label that has one, by index: that with its id, or with its first name."""
    outputs: dict[int, int] = {}
    for index, label in enumerate(labels):
        positions = classes.find(label)
        if label.synset and classes.has_ids:  # then a class without an id is no match
            positions = [i for i in positions if classes.labels[i].synset]
        if positions:
            outputs[index] = positions[0]
    return outputs


@torch.no_grad()
def _conse(weight: Tensor, bias: Tensor, label_vectors: Tensor, *, top_k: int) -> Conse:
    """ConSE with a classifier's weight, ``(K, image width)``, and bias."""
    count, width = label_vectors.shape
    conse = Conse(
        image_width=weight.shape[1], width=width, num_labels=count, top_k=min(top_k, count)
    )
    conse.classifier.weight.copy_(weight)
    conse.classifier.bias.copy_(bias)
    conse.label_vectors.copy_(label_vectors)
    return conse
