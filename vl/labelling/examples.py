"""Labelled photographs for training and judging a labeller: which labels, which photographs."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from vl.data.labelled.folders import read_labelled_images
from vl.data.words.label_lists import LabelList, read_label
from vl.data.words.labels import Label, LabelIndex, UniqueLabels, text_of_class

_LABELS_LEAST = 2  # that are trained on, and that are put aside where some are
_IMAGES_FROM = 3  # photographs of a label from which on one is put aside to judge by


class Examples(NamedTuple):
    """Photographs, and the label of each."""

    names: tuple[str, ...]  # as `vl embed` calls them
    paths: tuple[Path, ...]
    of: tuple[int, ...]  # number of each one's label
    labels: tuple[Label, ...]
    notes: tuple[str, ...]  # a sentence for each kind of thing that was left out

    def only(self, numbers: Collection[int]) -> "Examples":
        """The photographs of these labels; all labels keep their numbers."""
        rows = [row for row, number in enumerate(self.of) if number in numbers]
        return self.rows(rows)

    def rows(self, rows: Sequence[int]) -> "Examples":
        """Some of the photographs."""
        return self._replace(
            names=tuple(self.names[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows),
            of=tuple(self.of[row] for row in rows),
        )


class Split(NamedTuple):
    """Numbers of labels and rows of photographs, by what they are for."""

    training: tuple[int, ...]  # labels that are trained on
    unseen: tuple[int, ...]  # labels put aside
    training_rows: tuple[int, ...]  # photographs that are trained on
    seen_rows: tuple[int, ...]  # photographs of training labels, put aside
    unseen_rows: tuple[int, ...]  # all photographs of labels put aside


def read_examples(
    sources: Sequence[Path],
    *,
    names: Mapping[str, Sequence[str]] | None = None,
    embedded: Collection[str] | None = None,
) -> Examples:
    """The photographs of folders of classes and of lists.

    Args:
        sources: see ``vl.data.labelled.folders``. The same class in two of them is one label; see
            ``UniqueLabels``.
        names: the words of WordNet's ids, for classes that are called by one.
        embedded: names of photographs that have embeddings; see ``vl.data.labelled.folders.read_list``.

    Raises:
        ValueError: a source is not what ``vl.data.labelled.folders`` reads, two photographs have one name, or a
            class is an id without words.
        OSError: a source cannot be read.
    """
    unique = UniqueLabels()
    photographs: dict[str, tuple[Path, int, Path]] = {}
    notes: list[str] = []
    for source in sources:
        found = read_labelled_images(source, embedded=embedded)
        notes += [f"{source}: {note}" for note in found.warnings]
        number_of = {}
        for name in found.classes:
            try:
                label = read_label(text_of_class(name), lemmas=names)
            except ValueError as cause:
                raise ValueError(f"{source}: class {name!r}: {cause}") from cause
            number_of[name] = unique.add(label)
        for photograph in found.images:
            if photograph.name in photographs:
                other = photographs[photograph.name][2]
                raise ValueError(f"{source}: {photograph.name!r} is in {other} already")
            place = (photograph.path, number_of[photograph.label], source)
            photographs[photograph.name] = place
    return Examples(
        names=tuple(photographs),
        paths=tuple(path for path, _, _ in photographs.values()),
        of=tuple(number for _, number, _ in photographs.values()),
        labels=tuple(unique.labels),
        notes=tuple(notes),
    )


def without(examples: Examples, held_out: LabelList) -> Examples:
    """The photographs of labels that are not held out, which are then fewer.

    A label is held out if its id is, or, where one of the two has no id, one of its names.
    """
    excluded = LabelIndex(held_out.labels)
    kept = [
        number for number, label in enumerate(examples.labels) if not excluded.shares_name(label)
    ]
    place = {number: new for new, number in enumerate(kept)}
    rest = examples.only(place.keys())
    return rest._replace(
        of=tuple(place[number] for number in rest.of),
        labels=tuple(examples.labels[number] for number in kept),
    )


def split(examples: Examples, usable: Sequence[bool], *, share: float, seed: int) -> Split:
    """Put labels and photographs aside to judge by, drawn by a seed.

    Args:
        examples: all photographs.
        usable: whether each label has a vector; the others are neither trained on nor judged by,
            nor are labels without a photograph.
        share: of the labels, two at least, whose photographs are all put aside; and of the
            photographs of each other label, of which one is if there are at least three, and one at
            least is not.
        seed: of the draw.

    Raises:
        ValueError: too few labels would be left, or put aside.
    """
    rows: dict[int, list[int]] = {number: [] for number in range(len(examples.labels))}
    for row, number in enumerate(examples.of):
        rows[number].append(row)
    numbers = [number for number, has in enumerate(usable) if has and rows[number]]
    generator = torch.Generator().manual_seed(seed)
    order = [numbers[place] for place in torch.randperm(len(numbers), generator=generator).tolist()]
    # One label alone would always be found.
    count = max(_LABELS_LEAST, round(share * len(numbers))) if share else 0
    if len(numbers) - count < _LABELS_LEAST:
        rest = f" and {count} put aside (--development 0 puts none aside)" if count else ""
        raise ValueError(
            f"{len(numbers)} labels with photographs and vectors are too few: at least "
            f"{_LABELS_LEAST} are trained on{rest}"
        )
    unseen, training = sorted(order[:count]), sorted(order[count:])
    seen_rows: list[int] = []
    for number in training:
        own = rows[number]
        aside = 0
        if share and len(own) >= _IMAGES_FROM:
            aside = min(max(1, round(share * len(own))), len(own) - 1)
        drawn = torch.randperm(len(own), generator=generator)[:aside].tolist()
        seen_rows += [own[place] for place in drawn]
    kept_aside = set(seen_rows)
    return Split(
        training=tuple(training),
        unseen=tuple(unseen),
        training_rows=tuple(
            row for number in training for row in rows[number] if row not in kept_aside
        ),
        seen_rows=tuple(sorted(seen_rows)),
        unseen_rows=tuple(sorted(row for number in unseen for row in rows[number])),
    )


def outputs_of(labels: Sequence[Label], classes: LabelList) -> list[int | None]:
    """Which of a classifier's classes each label is: that of its id, or of its first name.

    Args:
        labels: to be found.
        classes: in the order of the classifier's outputs.
    """
    index = LabelIndex(classes.labels)
    outputs: list[int | None] = []
    for label in labels:
        positions = index.find(label)
        if label.synset and index.has_ids:  # a class without an id among others with is no match
            positions = [i for i in positions if index.labels[i].synset]
        outputs.append(positions[0] if positions else None)
    return outputs
