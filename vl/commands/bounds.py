"""The check of flags against the bounds in their types, see ``vl.data.bounds``.

`vl.__main__` checks numbers once a command line is parsed, and files before the command runs.
"""

import dataclasses
import errno
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, Predicate

from vl.data.bounds import is_png


def check_bounds(flags: object) -> None:
    """Check the values of a dataclass, and of the dataclasses in it, against their types' bounds.

    Raises:
        ValueError: a number is out of its bounds or not finite, or an ``OutputPng`` no .png.
    """
    for flag, value, bounds in _bounded(flags):
        if isinstance(value, int | float):
            _check_number(flag, value, bounds)
        elif Predicate(is_png) in bounds and not is_png(value):
            raise ValueError(f"{flag} writes a .png file, not {value.name!r}")


def check_inputs(flags: object) -> None:
    """Check the paths of a dataclass, and of the dataclasses in it.

    Raises:
        OSError: an ``InputFile`` or ``InputPath`` is missing, or a folder is where a file is
            expected.
    """
    for _, path, bounds in _bounded(flags):
        for bound in bounds:
            if isinstance(bound, Predicate) and str(path) != "-" and not bound.func(path):
                code = errno.EISDIR if path.is_dir() else errno.ENOENT
                raise OSError(code, os.strerror(code), str(path))


def _bounded(flags: Any) -> Iterator[tuple[str, Any, list[Any]]]:
    """Every value whose type has bounds: its flag, the value, the bounds."""
    hints = get_type_hints(type(flags), include_extras=True)
    for field in dataclasses.fields(flags):
        value = getattr(flags, field.name)
        if dataclasses.is_dataclass(value):
            yield from _bounded(value)
        else:
            flag = f"--{field.name.replace('_', '-')}"
            for item, bounds in _values(value, hints[field.name]):
                yield flag, item, bounds


def _values(value: Any, hint: Any) -> Iterator[tuple[Any, list[Any]]]:
    """A value of this type, or the items of a tuple or list, with their bounds."""
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        bounds = [
            bound
            for entry in arguments[1:]  # an Interval is a group of a Ge and a Le
            for bound in (entry if isinstance(entry, GroupedMetadata) else [entry])
        ]
        if isinstance(value, int | float | Path):
            yield value, bounds
        yield from _values(value, arguments[0])
    elif isinstance(value, tuple | list) and get_origin(hint) in (tuple, list):
        fixed = get_origin(hint) is tuple and Ellipsis not in arguments
        for item, type_of_item in zip(value, arguments if fixed else arguments[:1] * len(value)):
            yield from _values(item, type_of_item)
    elif value is not None:
        for alternative in arguments:  # of a union; a Literal's values have no bounds
            yield from _values(value, alternative)


def _check_number(flag: str, value: float, bounds: list[Any]) -> None:
    tests: dict[type, tuple[str, str, Callable[[Any], bool]]] = {
        Ge: ("ge", "at least", lambda limit: value >= limit),
        Gt: ("gt", "more than", lambda limit: value > limit),
        Le: ("le", "at most", lambda limit: value <= limit),
        Lt: ("lt", "less than", lambda limit: value < limit),
    }
    expected, holds = [], math.isfinite(value)
    for bound in bounds:
        if type(bound) in tests:
            attribute, words, test = tests[type(bound)]
            limit = getattr(bound, attribute)
            expected.append(f"{words} {limit:.15g}")
            holds = holds and test(limit)
    if expected and not holds:
        raise ValueError(f"{flag} is {value}; it must be {' and '.join(expected)}")
