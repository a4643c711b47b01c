"""The check of flags against the bounds in their types, see ``vl.data.bounds``.

`vl.__main__` calls it once a command line is parsed, before the command runs.
"""

import dataclasses
import errno
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, Predicate


def check_bounds(flags: object) -> None:
    """Check every field of a dataclass, and of the dataclasses in it, against its type's bounds.

    Raises:
        ValueError: a number is out of its bounds or not finite.
        OSError: an ``InputFile`` or ``InputPath`` is missing, or is a folder where a file is
            expected.
    """
    hints = get_type_hints(type(flags), include_extras=True)
    for field in dataclasses.fields(flags):  # type: ignore[arg-type]  # any dataclass
        value = getattr(flags, field.name)
        if dataclasses.is_dataclass(value):
            check_bounds(value)
        else:
            _check(f"--{field.name.replace('_', '-')}", value, hints[field.name])


def _check(flag: str, value: Any, hint: Any) -> None:
    """Check a value against a type, and the items of a tuple or list against theirs."""
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        bounds = list(_bounds(arguments[1:]))
        if isinstance(value, Path):
            _check_path(value, bounds)
        elif bounds and isinstance(value, int | float):
            _check_number(flag, value, bounds)
        _check(flag, value, arguments[0])
    elif isinstance(value, tuple | list) and get_origin(hint) in (tuple, list):
        fixed = get_origin(hint) is tuple and Ellipsis not in arguments
        for item, type_of_item in zip(value, arguments if fixed else arguments[:1] * len(value)):
            _check(flag, item, type_of_item)
    else:  # the alternatives of a union; a Literal's values have no bounds
        for alternative in arguments:
            if value is not None and alternative is not NoneType:
                _check(flag, value, alternative)


def _bounds(metadata: tuple[Any, ...]) -> Iterator[Any]:
    for entry in metadata:
        if isinstance(entry, GroupedMetadata):  # an Interval is a Ge and a Le
            yield from entry
        else:
            yield entry


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


def _check_path(path: Path, bounds: list[Any]) -> None:
    for bound in bounds:
        if isinstance(bound, Predicate) and str(path) != "-" and not bound.func(path):
            code = errno.EISDIR if path.is_dir() else errno.ENOENT
            raise OSError(code, os.strerror(code), str(path))
