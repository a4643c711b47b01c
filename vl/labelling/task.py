"""What a labeller is trained on: labels in word space and their photographs, and what is put aside.

It does not know the command's flags, nor the losses.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vl.data.files import first_few
from vl.data.words.label_lists import LabelList, read_label_file
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.data.words.vectors import WordVectors
from vl.decoders.conse import Conse
from vl.labelling.examples import Split, outputs_of, split, without
from vl.labelling.labeller import Labeller
from vl.labelling.labeller_file import Projection
from vl.labelling.setup import Phase, encoded
from vl.labelling.training import (
    LabellerTask,
    calibrated,
    encoders_own_classifier,
    make_validator,
    trained_classifier,
)
from vl.training.loop import Validation

_log = logging.getLogger(__name__)


class Task(NamedTuple):
    """Photographs, their labels' places, and which of them are trained on."""

    phase: Phase
    parts: Split
    space: LabelSpace
    vectors: Tensor  # (L, D) of all labels; NaN for one without

    @property
    def words(self) -> Tensor:
        """The training labels' vectors, ``(K, D)``."""
        return self.vectors[list(self.parts.training)]

    def numbers(self, rows: Sequence[int], labels: Sequence[int]) -> list[int]:
        """For each of these photographs the place of its label among some."""
        place = {label: number for number, label in enumerate(labels)}
        return [place[self.phase.examples.of[row]] for row in rows]


def task_of(
    phase: Phase, space: LabelSpace, *, development: float, centre: bool, seed: int, quiet: bool
) -> Task:
    """Find the labels' places, put some of them aside, and say what became of each.

    Args:
        phase: the photographs.
        space: without a centre of its own, if it is to get one.
        development: see ``examples.split``.
        centre: take the mean of the training labels' places off all.
        seed: of what is put aside.
        quiet: say nothing.

    Raises:
        ValueError: too few labels have a vector, or one lies where the centre does.
    """
    labels = phase.examples.labels
    texts, ids = [label.text for label in labels], [label.synset for label in labels]
    placed = space.embed(texts, ids)
    usable = ~np.isnan(placed.vectors[:, 0])
    if len(usable) and not usable.any():
        some = first_few(texts)
        raise ValueError(f"none of {len(texts)} labels has a word vector: {some}")
    if not development and not quiet:
        _log.warning(
            "no label is put aside (--development 0): the labeller will know no probabilities, no "
            "none of these, no stacking and no CSLS"
        )
    parts = split(phase.examples, usable.tolist(), share=development, seed=seed)
    if centre:
        space = space.subtract_mean(placed.vectors[list(parts.training)])
        placed = space.embed(texts, ids)
        wanted = [*parts.training, *parts.unseen]
        for number in (each for each in wanted if np.isnan(placed.vectors[each, 0])):
            raise ValueError(
                f"label {texts[number]!r} lies at the centre of the labels trained on: without "
                "--centre it has a vector"
            )
    if not quiet:
        for line in [*phase.examples.notes, *placed.summary().splitlines()]:
            _log.info("%s", line)
        empty = [text for number, text in enumerate(texts) if number not in set(phase.examples.of)]
        for text in empty:
            _log.warning("no photograph of label %r is left", text)
        _log.info(
            "%d photographs of %d labels are trained on; %d of %d other labels and %d of the same "
            "are put aside; %d are of labels without a vector",
            len(parts.training_rows),
            len(parts.training),
            len(parts.unseen_rows),
            len(parts.unseen),
            len(parts.seen_rows),
            sum(not usable[number] for number in phase.examples.of),
        )
    return Task(phase, parts, space, torch.from_numpy(placed.vectors))


def held_out(phase: Phase, labels: LabelList, *, quiet: bool) -> Phase:
    """The same without the photographs of some labels."""
    rest = without(phase.examples, labels)
    rows = {name: row for row, name in enumerate(phase.examples.names)}
    vectors = phase.vectors[[rows[name] for name in rest.names]]
    if not quiet:
        for note in labels.notes:
            _log.info("held out: %s", note)
        _log.info(
            "held out: %d photographs of %d labels; %d are listed",
            len(phase.examples.names) - len(rest.names),
            len(phase.examples.labels) - len(rest.labels),
            len(labels.labels),
        )
    return phase._replace(examples=rest, vectors=vectors)


def judge(task: Task, device: torch.device) -> Callable[[LabellerTask], Validation] | None:
    """A judge by the labels that are put aside; None if there are none."""
    rows, labels = task.parts.unseen_rows, task.parts.unseen
    if not rows:
        return None
    phase = task.phase
    vectors = phase.vectors[list(rows)].mean(1).to(device)

    def embeddings(model: LabellerTask) -> Tensor:
        if model.encoder is None:
            return vectors
        embedder = phase.embedder.with_encoder(model.encoder)
        _, found = encoded(phase.examples.rows(rows), embedder, quiet=True)
        return found.mean(1).to(device)

    truth = torch.tensor(task.numbers(rows, labels))
    return make_validator(embeddings, task.vectors[list(labels)], truth)


def conse_of(task: Task, classes: Path | None, *, top: int) -> Conse:
    """ConSE, by the encoder's own classifier or by one that is made for it.

    Args:
        task: the labels.
        classes: what the encoder's classifier tells apart, a label a line, in its order; without
            it a classifier is trained on the embeddings.
        top: labels that are mixed.

    Raises:
        ValueError: none of the labels is a class, or the encoder has no such classifier.
    """
    labels = task.parts.training
    if classes is None:
        rows = list(task.parts.training_rows)
        views = task.phase.vectors.shape[1]
        truth = torch.tensor(task.numbers(rows, labels)).repeat_interleave(views)
        images = task.phase.vectors[rows].flatten(0, 1)
        return trained_classifier(images, truth, task.words, top=min(top, len(labels)))
    names = None if task.space.wordnet is None else task.space.wordnet.lemmas()
    listed = read_label_file(classes, lemmas=names)
    if listed.notes:
        raise ValueError(f"{classes}: each line is a class of the encoder; {listed.notes[0]}")
    outputs = outputs_of([task.phase.examples.labels[number] for number in labels], listed)
    known = [number for number, output in enumerate(outputs) if output is not None]
    if not known:
        raise ValueError(f"{classes}: none of the labels trained on is in it")
    _log.info("ConSE knows %d of the %d labels trained on", len(known), len(labels))
    chosen = [output for output in outputs if output is not None]
    classifier = getattr(task.phase.embedder.encoder, "classifier", None)
    there = classifier.out_features if isinstance(classifier, nn.Linear) else len(listed.labels)
    if len(listed.labels) != there:  # a line too few, and all below it are the class before
        raise ValueError(
            f"{classes} has {len(listed.labels)} classes, the encoder's classifier {there}"
        )
    return encoders_own_classifier(task.phase.embedder.encoder, chosen, task.words[known], top=top)


def labeller_of(
    task: Task,
    projections: dict[str, Projection],
    *,
    settings: dict[str, Any],
    tuned: bool,
    seen: Sequence[Label] = (),
) -> Labeller:
    """All parts as one thing, calibrated by the photographs that were put aside.

    Args:
        task: the labels and photographs.
        projections: trained.
        settings: of the training, for people to read.
        tuned: whether the encoder is another than the one that made the task's embeddings.
        seen: labels that were trained on before.
    """
    phase, parts = task.phase, task.parts
    phase.embedder.encoder.requires_grad_(False)
    labeller = Labeller(
        phase.embedder,
        projections,
        task.space,
        seen=list(
            dict.fromkeys([*seen, *(phase.examples.labels[number] for number in parts.training)])
        ),
        aside=[phase.examples.labels[number] for number in parts.unseen],
        training={
            "settings": settings,
            "views": list(phase.embedder.views),
            "resize": phase.embedder.resize,
            "photographs": len(parts.training_rows),
            "labels": len(parts.training),
        },
    )
    aside = [*parts.seen_rows, *parts.unseen_rows]
    if not parts.unseen_rows:
        return labeller
    vectors = phase.vectors[aside]
    if tuned:
        _, vectors = encoded(phase.examples.rows(aside), labeller.embedder, quiet=True)
    labels = [*parts.training, *parts.unseen]
    labeller.calibration = calibrated(
        labeller.project(vectors.mean(1)).cpu(),
        torch.tensor(task.numbers(aside, labels)),
        task.vectors[labels],
        torch.arange(len(labels)) < len(parts.training),
    )
    return labeller


def randomised(words: WordVectors, seed: int) -> WordVectors:
    """The same words with random directions: what is left then is not the words' doing."""
    drawn = np.random.default_rng(seed).standard_normal(words.matrix.shape, dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return WordVectors(words.words, drawn)
