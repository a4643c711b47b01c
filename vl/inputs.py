"""Images that a command line names, and the errors of those that cannot be read."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vl.data.images.files import LeftOut, find_images
from vl.data.labelled.folders import LabelledImage, read_labelled_images

_log = logging.getLogger(__name__)


class Inputs(NamedTuple):
    """Image files, and the errors of paths that gave none."""

    files: list[Path]  # in the order of the paths, those of a folder sorted
    failures: list[Exception]


def find_inputs(paths: Iterable[Path]) -> Inputs:
    """The image files of paths; logs what is left out of folders.

    Args:
        paths: images, folders of images, or ``-`` for a list of paths on stdin: one a line, or
            with a null character after each, as `find -print0` writes them.

    Raises:
        ValueError: there is no path, or there are only folders without images.
    """
    inputs, left_out = Inputs([], []), LeftOut()
    for path in _expand_stdin(paths):
        try:
            inputs.files.extend(find_images([path], left_out))
        except (OSError, ValueError) as error:
            inputs.failures.append(error)
    if left_out:
        _log.warning("left out: %s", left_out)
    if not inputs.files and not any(isinstance(error, OSError) for error in inputs.failures):
        raise ValueError("; ".join(map(str, inputs.failures)) or "no images to read")
    return inputs


def find_labelled_images(sources: Sequence[Path]) -> list[LabelledImage]:
    """The images of folders of classes and of lists, in order; logs what is left out.

    Raises:
        ValueError: there is none, one is in two sources, or as ``read_labelled_images``.
        OSError: a source does not exist, or cannot be read.
    """
    images: dict[str, LabelledImage] = {}  # by path
    for source in sources:
        content = read_labelled_images(source)
        for warning in content.warnings:
            _log.info("%s: %s", source, warning)
        for image in content.images:
            if images.setdefault(os.path.abspath(image.path), image) is not image:  # noqa: PTH100
                raise ValueError(f"{source}: {image.path} is also in an earlier source")
    if not images:
        raise ValueError("no images to read")
    return list(images.values())


def error_message(error: Exception) -> str:
    """The error line of an input that failed."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    return f"vl: error: {text}"


def _expand_stdin(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if str(path) == "-":
            text = os.fsdecode(sys.stdin.buffer.read())  # file names are bytes, whatever the locale
            if "\0" in text:  # a path may have line ends
                yield from map(Path, filter(None, text.split("\0")))
            else:
                yield from (Path(line.rstrip("\r")) for line in text.split("\n") if line.strip())
        else:
            yield path
