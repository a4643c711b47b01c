"""The photographs that a command line asks for, and the paths of it that give none."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vl.data.images.decode import find_images
from vl.data.labelled.folders import LabelledImage, read_labelled_images

_log = logging.getLogger(__name__)


class Inputs(NamedTuple):
    """What paths stand for."""

    files: list[Path]  # in the order of the paths, those of a folder sorted
    failures: list[Exception]  # why a path gives none


def photographs(paths: Iterable[Path]) -> Inputs:
    """The files of all paths, those that cannot be used apart.

    Args:
        paths: photographs, and folders of them; see ``vl.data.images.decode.find``.

    Raises:
        ValueError: no path, or only folders that hold no image: there is nothing to do.
    """
    files: list[Path] = []
    failures: list[Exception] = []
    for path in paths:
        try:
            files += find_images([path])
        except (OSError, ValueError) as error:
            failures.append(error)
    if not files and not any(isinstance(error, OSError) for error in failures):
        raise ValueError("; ".join(map(str, failures)) or "no photographs are given")
    return Inputs(files, failures)


def labelled_photographs(sources: Sequence[Path]) -> list[LabelledImage]:
    """The photographs of folders of classes and of lists, in order; what is left out is logged.

    Raises:
        ValueError: there is none, one is in two sources, or see
            ``vl.data.labelled.folders.read_labelled_images``.
        OSError: a source is not there, or cannot be read.
    """
    found: dict[Path, LabelledImage] = {}
    for source in sources:
        read = read_labelled_images(source)
        for note in read.warnings:
            _log.info("%s: %s", source, note)
        for each in read.images:
            if found.setdefault(each.path, each) is not each:
                raise ValueError(f"{source}: {each.path} is in an earlier source already")
    if not found:
        raise ValueError("no photographs are given")
    return list(found.values())


def listed(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths, and in the place of ``-`` those that stdin lists, one a line."""
    for path in paths:
        if str(path) == "-":
            text = os.fsdecode(sys.stdin.buffer.read())  # names are bytes, whatever the locale
            yield from (Path(line.rstrip("\r")) for line in text.split("\n") if line.strip())
        else:
            yield path


def error_message(error: Exception) -> str:
    """One line for stderr about an input that failed."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    return f"vl: error: {text}"
