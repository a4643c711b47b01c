"""The check of flags against the bounds in their types, see ``vl.data.bounds``.

`vl.__main__` checks numbers once a command line is parsed, and files before the command runs.
"""

import dataclasses
import errno
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, Predicate

from vl.data.outputs import FileKind, FolderKind, check_folder, check_output


def check_bounds(flags: object) -> None:
    """Check the numbers of a dataclass, and of the dataclasses in it, against their types' bounds.

    Raises:
        ValueError: a number is out of its bounds or not finite.
    """
    for flag, value, bounds in _bounded(flags):
        if isinstance(value, int | float):
            _check_number(flag, value, bounds)


class Outputs(NamedTuple):
    """The outputs among the flags of a command."""

    files: list[tuple[Path, FileKind]]
    folders: list[tuple[Path, FolderKind]]


def check_files(flags: object) -> Outputs:
    """Check the paths of a dataclass, and of the dataclasses in it.

    Every path whose type is no output is an input, and so is a text that names a file.

    Raises:
        OSError: an ``InputFile`` or ``InputPath`` is missing, or a folder is where a file is
            expected; or an output cannot be written.
        ValueError: an output cannot be written here, see ``vl.data.outputs``.
    """
    inputs: list[Path] = []
    outputs: dict[Path, tuple[Path, FileKind]] = {}
    folders: list[tuple[Path, FolderKind]] = []
    for flag, value, bounds in _bounded(flags):
        kind = next((bound for bound in bounds if isinstance(bound, FileKind | FolderKind)), None)
        if isinstance(value, str):
            inputs += [Path(value)] if _is_file(value) else []
        elif isinstance(kind, FolderKind):
            folders.append((value, kind))
        elif kind:
            if value.resolve() in outputs:
                raise ValueError(f"{flag}: {value} is written already; choose another name")
            outputs[value.resolve()] = value, kind
        elif isinstance(value, Path) and str(value) != "-":
            _check_input(value, bounds)
            inputs.append(value)
    for path, file_kind in outputs.values():
        overwrite = getattr(flags, "overwrite", False)
        check_output(path, file_kind, inputs=inputs, overwrite=overwrite)
        if _is_stdout(path):
            raise ValueError(f"standard output goes to {path}; choose another file")
    for path, folder_kind in folders:
        check_folder(path, folder_kind, inputs=inputs)
    return Outputs(list(outputs.values()), folders)


def _check_input(path: Path, bounds: list[Any]) -> None:
    for bound in bounds:
        if isinstance(bound, Predicate) and not bound.func(path):
            code = errno.EISDIR if path.is_dir() else errno.ENOENT
            raise OSError(code, os.strerror(code), str(path))


def _is_file(text: str) -> bool:
    """Whether a text, labels perhaps, is the path of a file."""
    with suppress(OSError, ValueError):  # too long for a path, or with a NUL
        return Path(text).is_file()
    return False


def _is_stdout(path: Path) -> bool:
    with suppress(OSError):  # stdout is closed, or there is no such file yet
        return os.path.samestat(path.stat(), os.fstat(1))
    return False


def _bounded(flags: Any) -> Iterator[tuple[str, Any, list[Any]]]:
    """Every number, path and text, with its flag and the bounds in its type."""
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
        if isinstance(value, Path):
            yield value, bounds
            return
        if isinstance(value, int | float):
            yield value, bounds
        yield from _values(value, arguments[0])
    elif isinstance(value, tuple | list) and get_origin(hint) in (tuple, list):
        fixed = get_origin(hint) is tuple and Ellipsis not in arguments
        for item, type_of_item in zip(value, arguments if fixed else arguments[:1] * len(value)):
            yield from _values(item, type_of_item)
    elif isinstance(value, Path | str) and hint in (Path, str):
        yield value, []
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
