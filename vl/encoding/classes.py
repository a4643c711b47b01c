"""The classes of a classifier's outputs, and which of them the classes of images are."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from vl.data.files import first_few
from vl.data.labelled.folders import unique_classes
from vl.data.words.label_lists import read_class
from vl.data.words.label_tables import DEFAULT_COLUMNS, LabelColumns, read_label_records
from vl.data.words.labels import LabelIndex


def read_classes(path: Path, columns: LabelColumns = DEFAULT_COLUMNS) -> tuple[str, ...]:
    """A classifier's classes from a file of labels, in the order of the outputs.

    A class may begin with its WordNet id, as in ImageNet's ``n01440764 tench, Tinca tinca``.

    Raises:
        FormatError: see ``read_label_records``; the file has no classes, or a line is empty or
            repeated.
        OSError: the file cannot be read.
    """
    lines = [record.text.strip() for record in read_label_records(path, columns).records]
    while lines and not lines[-1]:
        lines.pop()
    return unique_classes(path, lines)


def class_indices(names: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """The index of a classifier's class for each class of images.

    A class with the same spelling comes first, then what ``LabelIndex.find_closest`` finds.

    Args:
        names: in folders or lists: ``"n01440764"``, ``"n01440764_tench"``, ``"tench"``.
        classes: of the classifier.

    Raises:
        ValueError: a name is none of the classes, or ambiguous.
    """
    exact = {text: index for index, text in enumerate(classes)}
    label_index = LabelIndex(map(read_class, classes))
    index_of: dict[str, int] = {}
    missing = []
    for name in names:
        matches = [exact[name]] if name in exact else label_index.find_closest(read_class(name))
        if len(matches) > 1:
            candidates = " and ".join(repr(classes[index]) for index in matches[:2])
            raise ValueError(f"class {name!r} of images is ambiguous: the encoder has {candidates}")
        if matches:
            index_of[name] = matches[0]
        else:
            missing.append(name)
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} classes of images are not among the encoder's "
            f"{len(classes)}: {first_few(missing)}"
        )
    return index_of


def check_same_classes(classes_of: Mapping[str, Sequence[str]]) -> None:
    """Check that several classifiers have the same classes in the same order.

    Args:
        classes_of: the classes of each classifier, by its name.

    Raises:
        ValueError: two differ.
    """
    (first, expected), *others = classes_of.items()
    for name, classes in others:
        pairs = zip_longest(classes, expected)
        if pair := next((pair for pair in pairs if pair[0] != pair[1]), None):
            difference = f"{pair[0]!r} and {pair[1]!r}"
            raise ValueError(
                f"{name} and {first} cannot be averaged: their classes differ ({difference})"
            )
