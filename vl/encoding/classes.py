"""What a classifier's outputs are called, and which of them the classes of photographs are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vl.data.errors import FormatError
from vl.data.files import first_few
from vl.data.words.label_lists import read_class
from vl.data.words.labels import LabelIndex
from vl.data.words.texts import text_lines


def read_classes(path: Path) -> tuple[str, ...]:
    """A classifier's classes from a file: one a line, in the order of its outputs.

    A class may begin with its WordNet id, as in ImageNet's ``n01440764 tench, Tinca tinca``.

    Raises:
        FormatError: the file is no text, has no class, or a line is empty or there already.
        OSError: the file cannot be read.
    """
    lines = [line.strip() for line in text_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise FormatError(path, "there is no class in it")
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        problem = "" if line else "empty, and the lines count the classifier's outputs"
        if first.setdefault(line, number) != number:
            problem = problem or f"the class {line!r} is on line {first[line]} already"
        if problem:
            raise FormatError(path, problem, record=f"line {number}")
    return tuple(lines)


def places(asked: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """Which of a classifier's classes those of photographs are.

    A class that is written the same comes first, then what ``LabelIndex.find_closest`` gives.

    Args:
        asked: as folders or lists call them: ``"n01440764"``, ``"n01440764_tench"``, ``"tench"``.
        classes: the classifier's.

    Raises:
        ValueError: one is none of them, or could be several.
    """
    exact = {text: number for number, text in enumerate(classes)}
    index = LabelIndex(map(read_class, classes))
    found: dict[str, int] = {}
    missing = []
    for name in asked:
        numbers = [exact[name]] if name in exact else index.find_closest(read_class(name))
        if len(numbers) > 1:
            several = " and ".join(repr(classes[number]) for number in numbers[:2])
            raise ValueError(f"class {name!r} of photographs could be {several} of the encoder's")
        if numbers:
            found[name] = numbers[0]
        else:
            missing.append(name)
    if missing:
        shown = first_few(missing)
        raise ValueError(
            f"{len(missing)} of {len(asked)} classes of photographs are none of the encoder's "
            f"{len(classes)}: {shown}"
        )
    return found


def check_same_classes(of: Mapping[str, Sequence[str]]) -> None:
    """See that several models have the same classes in the same order.

    Args:
        of: the classes of each, by what the model is called.

    Raises:
        ValueError: two differ.
    """
    (first, own), *others = of.items()
    for name, classes in others:
        if len(classes) != len(own):
            differ = f"{len(classes)} there, {len(own)} here"
        else:
            at = [(a, b) for a, b in zip(classes, own, strict=True) if a != b]
            differ = f"{at[0][0]!r} there is {at[0][1]!r} here" if at else ""
        if differ:
            raise ValueError(
                f"{name} has other classes than {first}, or in another order: {differ}; "
                "they cannot answer together"
            )
