"""Labelled photographs for training and judging a labeller: which labels, which photographs."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from data import label_lists
from data.folders import labelled, text_of_class
from vl.labeller_bundle import SeenLabel

_IMAGES_FROM = 3  # photographs of a label from which on one is put aside to judge by


class Examples(NamedTuple):
    """Photographs, and the label of each."""

    names: tuple[str, ...]  # as `vl embed` calls them
    paths: tuple[Path, ...]
    of: tuple[int, ...]  # number of each one's label
    labels: tuple[SeenLabel, ...]
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
        sources: see ``data.folders``. The same class in two of them is one label.
        names: the words of WordNet's ids, for classes that are called by one.
        embedded: names of photographs that have embeddings; see ``data.folders.read_list``.

    Raises:
        ValueError: a source is none, two photographs have one name, or a class is an id without
            words.
        OSError: a source cannot be read.
    """
    labels: dict[str, tuple[int, SeenLabel]] = {}
    photographs: dict[str, tuple[Path, int, Path]] = {}
    notes: list[str] = []
    for source in sources:
        found = labelled(source, embedded=embedded)
        notes += [f"{source}: {note}" for note in found.notes]
        number_of = {}
        for name in found.classes:
            try:
                text, synset = label_lists.one(text_of_class(name), names=names)
            except ValueError as cause:
                raise ValueError(f"{source}: class {name!r}: {cause}") from cause
            key = synset or " ".join(text.split()).casefold()
            number_of[name] = labels.setdefault(key, (len(labels), SeenLabel(text, synset)))[0]
        for photograph in found.photographs:
            if photograph.name in photographs:
                other = photographs[photograph.name][2]
                raise ValueError(f"{source}: {photograph.name!r} is in {other} already")
            place = (photograph.path, number_of[photograph.label], source)
            photographs[photograph.name] = place
    return Examples(
        names=tuple(photographs),
        paths=tuple(path for path, _, _ in photographs.values()),
        of=tuple(number for _, number, _ in photographs.values()),
        labels=tuple(label for _, label in labels.values()),
        notes=tuple(notes),
    )


def without(examples: Examples, held_out: label_lists.LabelList) -> Examples:
    """The photographs of labels that are not held out, which are then fewer.

    A label is held out if its id is, or, where one of the two has no id, one of its names.
    """
    ids = {name for name in held_out.ids if name}
    terms = {term for label in held_out.labels for term in terms_of(label)}
    kept = [
        number
        for number, label in enumerate(examples.labels)
        if not (
            label.synset in ids
            if label.synset and ids
            else not terms.isdisjoint(terms_of(label.text))
        )
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
        usable: whether each label has a vector; the others are neither trained on nor judged by.
        share: of the labels, whose photographs are all put aside; and of the photographs of each
            other label, of which one is if there are at least three.
        seed: of the draw.

    Raises:
        ValueError: too few labels would be left, or put aside.
    """
    numbers = [number for number, has in enumerate(usable) if has]
    generator = torch.Generator().manual_seed(seed)
    order = [numbers[place] for place in torch.randperm(len(numbers), generator=generator).tolist()]
    count = round(share * len(numbers))
    if share and count < 2:
        raise ValueError(
            f"{share:g} of {len(numbers)} labels are {count}; to judge by, at least two are wanted"
        )
    if len(numbers) - count < 2:
        raise ValueError(
            f"{len(numbers) - count} labels are left to train on; at least two are wanted"
        )
    unseen, training = sorted(order[:count]), sorted(order[count:])
    rows: dict[int, list[int]] = {number: [] for number in range(len(examples.labels))}
    for row, number in enumerate(examples.of):
        rows[number].append(row)
    seen_rows: list[int] = []
    for number in training:
        own = rows[number]
        aside = max(1, round(share * len(own))) if share and len(own) >= _IMAGES_FROM else 0
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


def outputs_of(labels: Sequence[SeenLabel], classes: label_lists.LabelList) -> list[int | None]:
    """Which of a classifier's classes each label is: that of its id, or of its first name.

    Args:
        labels: to be found.
        classes: in the order of the classifier's outputs.
    """
    ids = {name: place for place, name in enumerate(classes.ids) if name}
    first: dict[str, int] = {}
    for place, text in enumerate(classes.labels):
        for term in terms_of(text):
            first.setdefault(term, place)
    found: list[int | None] = []
    for label in labels:
        if label.synset and ids:
            found.append(ids.get(label.synset))
        else:
            name = " ".join(label.text.split(",")[0].split()).casefold()
            found.append(first.get(name))
    return found


def terms_of(label: str) -> set[str]:
    """The names of a label, as they are compared."""
    return {" ".join(term.split()).casefold() for term in label.split(",") if term.strip()}
