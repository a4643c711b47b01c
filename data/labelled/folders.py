"""Labelled photographs: one folder a class, or a list of photographs and their classes.

It does not know what a class is called elsewhere.
"""

import errno
import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vl.data.errors import FormatError
from vl.data.images.decode import SUFFIXES
from vl.data.words.labels import Label
from vl.data.words.texts import text_lines

_SHOWN = 3  # of many, so many are named


class LabelledImage(NamedTuple):
    """A photograph and its class."""

    path: Path
    name: str  # as `vl embed` calls it: its path below the folder, with slashes
    label: str  # the class as written: its folder's name, or the list's second column


class LabelledImages(NamedTuple):
    """Labelled photographs; at least one, and each once."""

    photographs: tuple[LabelledImage, ...]
    classes: tuple[str, ...]  # each once
    notes: tuple[str, ...]  # a sentence for each kind of thing that was left out


def read_labelled_images(path: Path, *, embedded: Container[str] | None = None) -> LabelledImages:
    """The photographs of a folder of classes, or of a list, by which of the two the path is.

    Args:
        path: the folder or the list.
        embedded: see ``read_list``.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: see ``read_folders`` and ``read_list``.
        OSError: it cannot be read.
    """
    if not path.exists():
        problem = "no such folder of classes or list of photographs"
        raise FileNotFoundError(errno.ENOENT, problem, str(path))
    return read_class_folders(path) if path.is_dir() else read_image_list(path, embedded=embedded)


def read_class_folders(path: Path) -> LabelledImages:
    """The photographs below a folder with a folder for each class, as torchvision's ImageFolder.

    Images are known by ``vl.data.images.decode.SUFFIXES`` and may lie in folders below that of their class.
    What is hidden is left out; so is what lies in a folder that is linked to from inside a class,
    as ``vl.data.images.decode.find`` does not go there either. A link may stand for a whole class.

    Args:
        path: the folder of classes.

    Returns:
        By class, and by path within one, both as text sorts.

    Raises:
        ValueError: there is no class, a class has no image, or an image lies outside of them.
        OSError: a folder cannot be read.
    """
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    stray = [entry for entry in entries if _is_image(entry.name) and not entry.is_dir()]
    if stray:
        raise ValueError(
            f"{path}: {len(stray)} images have no class, for they lie in no folder of one: "
            f"{_some([entry.name for entry in stray])}"
        )
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        raise ValueError(f"{path}: a folder for each class was expected, and there is none")
    found: list[LabelledImage] = []
    others: list[str] = []
    links: list[str] = []
    empty = []
    for folder in folders:
        before = len(found)
        for file in sorted(_inside(folder, links)):
            name = file.relative_to(path).as_posix()
            if _is_image(name):
                found.append(LabelledImage(file, name, folder.name))
            else:
                others.append(name)
        if len(found) == before:
            empty.append(folder.name)
    if empty:
        raise ValueError(
            f"{path}: {len(empty)} of {len(folders)} classes have no image: {_some(empty)}"
        )
    notes = []
    if others:
        notes.append(f"left out, as no images by their names: {len(others)} files: {_some(others)}")
    if links:
        notes.append(f"left out, as links to folders: {len(links)}: {_some(links)}")
    return _photographs(found, notes)


def read_image_list(path: Path, *, embedded: Container[str] | None = None) -> LabelledImages:
    """The photographs of a list: on each line a photograph, a tab, and its class.

    Args:
        path: UTF-8. The photographs' paths are taken from the list's own folder; nothing in them
            is quoted. Blank lines are left out.
        embedded: names of photographs that have embeddings; the list then names photographs as
            these do, and nothing is looked for on the disk.

    Returns:
        In the list's order, and the classes as they come first. A photograph that is not below
        the list's folder is called by its own name alone.

    Raises:
        FormatError: the list is no text or has no photograph, a line is not of that form, a
            photograph is there twice, or two have one name.
        FileNotFoundError: photographs are not there; all are counted.
        OSError: the list cannot be read.
    """
    folder = path.parent
    found: list[LabelledImage] = []
    lines: dict[str, int] = {}  # of each photograph's name
    missing = []
    blank = 0
    for number, line in enumerate(text_lines(path), 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            blank += 1
            continue
        record = f"line {number}"
        given, tab, label = line.partition("\t")
        label = label.strip(" ")
        if not tab or "\t" in label or not given.strip() or not label:
            problem = f"expected a photograph, a tab and its class, not {line!r}"
            raise FormatError(path, problem, record=record)
        if embedded is not None:
            if given not in embedded:
                missing.append(given)
                continue
        elif not os.path.isfile(folder / given):  # noqa: PTH113 - Path's own fails at a long name
            missing.append(given)
            continue
        name = given if embedded is not None else _name(folder, given)
        if lines.setdefault(name, number) != number:
            problem = f"there is a photograph {name!r} on line {lines[name]} already"
            raise FormatError(path, problem, record=record)
        found.append(LabelledImage(folder / given, name, label))
    if missing:
        lack = "are not there" if embedded is None else "have no embedding"
        problem = f"{len(missing)} photographs {lack}: {_some(missing)}"
        raise FileNotFoundError(errno.ENOENT, problem, str(path))
    if not found:
        raise FormatError(path, "there is no photograph in it")
    return _photographs(found, [f"left out, as empty: {blank} lines"] if blank else [])


def _photographs(found: list[LabelledImage], notes: list[str]) -> LabelledImages:
    classes = tuple(dict.fromkeys(each.label for each in found))
    texts: dict[tuple[str, ...], str] = {}
    for name in classes:
        other = texts.setdefault(Label(name).names, name)
        if other != name:
            problem = "differ in capitals, blanks and underscores only"
            notes = [*notes, f"classes {other!r} and {name!r} {problem}"]
    return LabelledImages(tuple(found), classes, tuple(notes))


def _name(folder: Path, given: str) -> str:
    """Made by text alone: of a link, the name is the link's."""
    here, file = (Path(os.path.normpath(each.absolute())) for each in (folder, folder / given))
    return file.relative_to(here).as_posix() if file.is_relative_to(here) else file.name


def _inside(folder: Path, links: list[str]) -> Iterator[Path]:
    """The files below a folder that are not hidden; links to folders are told to ``links``."""

    def complain(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = [Path(place) / name for name in folders]
        links += [str(each) for each in below if each.is_symlink()]
        yield from (Path(place) / name for name in names if not name.startswith("."))


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - a Path each is slow


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return f"{shown}, ..." if len(names) > _SHOWN else shown
