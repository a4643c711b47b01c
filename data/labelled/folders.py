"""Labelled image files: a folder a class, or a list of images and their classes."""

import errno
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from vl.data.errors import FormatError
from vl.data.files import first_few
from vl.data.identity import NameIndex, distinct_names
from vl.data.images.files import LeftOut, folder_images
from vl.data.text_files import text_lines
from vl.data.words.labels import text_of_class


class LabelledImage(NamedTuple):
    """An image and its class."""

    path: Path
    name: str  # as `vl embed` calls it: its path below the folder, with slashes
    label: str  # the class as written: its folder's name, or the list's second column


class LabelledImages(NamedTuple):
    """Labelled images, at least one, without duplicates."""

    images: tuple[LabelledImage, ...]
    classes: tuple[str, ...]  # without duplicates
    warnings: tuple[str, ...]  # what was skipped, a sentence a reason


def read_labelled_images(path: Path, *, embedded: Iterable[str] | None = None) -> LabelledImages:
    """The images of a folder of classes, or of a list if the path is a file.

    Raises:
        ValueError, OSError: see `read_class_folders` and `read_image_list`.
    """
    if not path.exists():
        problem = "no such folder of classes or list of images"
        raise FileNotFoundError(errno.ENOENT, problem, str(path))
    return read_class_folders(path) if path.is_dir() else read_image_list(path, embedded=embedded)


def read_class_folders(path: Path) -> LabelledImages:
    """The images below a folder that has a folder for each class, as torchvision's ImageFolder.

    See `vl.data.images.files.folder_images` for what is an image; they may lie in folders below
    that of their class. Links to folders inside a class are not followed, but a class itself may
    be a link. The images are sorted by class and path.

    Raises:
        ValueError: there is no class, a class has no image, or an image has no class.
        OSError: a folder cannot be read.
    """
    left_out = LeftOut()
    stray = sorted(file.name for file in folder_images(path, left_out, below=False))
    if stray:
        count = len(stray)
        raise ValueError(f"{path}: {count} images lie in no folder of a class: {first_few(stray)}")
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        raise ValueError(f"{path}: expected a folder for each class, there is none")
    images: list[LabelledImage] = []
    empty = []
    for folder in folders:
        files = sorted(folder_images(folder, left_out))
        for file in files:
            images.append(LabelledImage(file, file.relative_to(path).as_posix(), folder.name))
        if not files:
            empty.append(folder.name)
    note = f"left out: {left_out}" if left_out else ""
    if empty:
        problem = f"{len(empty)} of {len(folders)} classes have no image: {first_few(empty)}"
        raise ValueError(f"{path}: {problem}{note and '; '}{note}")
    return _labelled_images(images, [note] if note else [])


def read_image_list(path: Path, *, embedded: Iterable[str] | None = None) -> LabelledImages:
    """The images of a list: on each line an image, a tab and its class.

    Args:
        path: UTF-8. Paths of images are relative to the list's folder and are not quoted. Blank
            lines are skipped.
        embedded: names of images that have embeddings; the list then names images as these do, or
            without folders where that is unique, and the files need not exist.

    Returns:
        Images in the list's order, and classes by their first appearance. An image that is not
        below the list's folder is named by its file name, with folders where another has it too.

    Raises:
        FormatError: the list is not text or has no image, a line has another form, an image is
            listed twice, or a name is that of several embedded images.
        FileNotFoundError: images do not exist; all are counted.
        OSError: the list cannot be read.
    """
    folder = path.parent
    images: list[LabelledImage] = []
    lines: dict[str, int] = {}  # line of each image's path
    known = None if embedded is None else NameIndex(embedded)
    missing = []
    blank = 0
    for line_number, line in enumerate(text_lines(path), 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            blank += 1
            continue
        record = f"line {line_number}"
        file, tab, label = line.partition("\t")
        label = label.strip(" ")
        if not tab or "\t" in label or not file.strip() or not label:
            problem = f"expected an image, a tab and its class, got {line!r}"
            raise FormatError(path, problem, record=record)
        if known is not None:
            name = _embedded_name(path, file, known, record)
            key = name
        else:  # Path.is_file fails at a long name
            exists = os.path.isfile(folder / file)  # noqa: PTH113
            key, name = _path_and_name(folder, file) if exists else ("", "")
        if not name:
            missing.append(file)
            continue
        if lines.setdefault(key, line_number) != line_number:
            problem = f"image {name!r} is on line {lines[key]} already"
            raise FormatError(path, problem, record=record)
        images.append(LabelledImage(folder / file, name, label))
    if missing:
        lack = "do not exist" if known is None else "have no embedding"
        problem = f"{len(missing)} images {lack}: {first_few(missing)}"
        raise FileNotFoundError(errno.ENOENT, problem, str(path))
    if not images:
        raise FormatError(path, "the list has no image")
    warnings = [f"skipped {blank} blank lines"] if blank else []
    return _labelled_images(_with_distinct_names(images), warnings)


def unique_classes(path: Path, lines: Sequence[str]) -> tuple[str, ...]:
    """The classes that the lines of a file name.

    Raises:
        FormatError: there is none, or a line is blank or repeated.
    """
    first: dict[str, int] = {}
    for line_number, line in enumerate(lines, 1):
        problem = "" if line.strip() else "expected a class, the line is empty"
        if first.setdefault(line, line_number) != line_number:
            problem = problem or f"the class {line!r} is on line {first[line]} already"
        if problem:
            raise FormatError(path, problem, record=f"line {line_number}")
    if not first:
        raise FormatError(path, "there are no classes in it")
    return tuple(first)


def _labelled_images(images: list[LabelledImage], warnings: list[str]) -> LabelledImages:
    classes = tuple(dict.fromkeys(image.label for image in images))
    texts: dict[str, str] = {}
    for name in classes:
        first = texts.setdefault(text_of_class(name).casefold(), name)
        if first != name:
            problem = "differ in capitals, blanks and underscores only"
            warnings = [*warnings, f"classes {first!r} and {name!r} {problem}"]
    return LabelledImages(tuple(images), classes, tuple(warnings))


def _path_and_name(folder: Path, file: str) -> tuple[str, str]:
    """Computed from the text alone: a link is named by itself, not by its target."""
    root, path = (Path(os.path.normpath(item.absolute())) for item in (folder, folder / file))
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    return str(path), name


def _embedded_name(path: Path, file: str, known: NameIndex, record: str) -> str:
    """The name of an embedded image; empty without one."""
    try:
        row = known.row(file)
    except ValueError as error:
        raise FormatError(path, str(error), record=record) from error
    return "" if row is None else known.names[row]


def _with_distinct_names(images: list[LabelledImage]) -> list[LabelledImage]:
    """The images, with folders in the names that several have."""
    counts = Counter(image.name for image in images)
    if len(counts) == len(images):
        return images
    longer = distinct_names([image.path for image in images])
    return [
        image._replace(name=name) if counts[image.name] > 1 else image
        for image, name in zip(images, longer, strict=True)
    ]
