"""Labelled pictures in shards, WebDataset's tars: read in any order from the tars as they are.

Ours have the picture's name and class in each sample's ``.json``, and two files beside them:
``classes.txt``, a class a line in order of number, and ``vl-shard.json``, which says how many
shards there are to be. Other people's need neither. It does not decode the pictures.
"""

import json
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from vl.data.errors import FormatError
from vl.data.files import write_text
from vl.data.labelled.tar_samples import PACKED, TAR, Sample, bytes_at, samples
from vl.data.words.texts import text_lines

CLASSES = "classes.txt"
SETTINGS = "vl-shard.json"

_MOST_CLASSES = 1_000_000  # without their names; ImageNet's largest edition has 21,841
_MOST_OPEN = 100  # shards at once; some systems allow 256 open files
_MOST_SHARDS = 10**6
_SHOWN = 3  # of many, so many are named


class ShardDataset:
    """The labelled pictures of shards; of each it keeps where it lies, until ``read``.

    Without ``classes.txt`` beside the shards the classes are the numbers as text, up to the
    greatest. A picture's name is in its ``.json`` if the shard is ours; else it is the shard's
    name, a slash and the sample's key. Threads may read at once; it may be forked and pickled.

    Args:
        path: a folder, in which every ``.tar`` is a shard, or one shard.

    Raises:
        FormatError: a shard is packed, cut short or damaged, a sample is not whole or is there
            twice, or the classes do not fit. Names shard and member.
        FileNotFoundError: shards are missing that ours are said to have.
        ValueError: there are folders beside the shards, so that they may be classes.
        OSError: a shard cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._paths = _shards(path)
        if path.is_dir():
            _check_all_there(self._paths)
        classes_file = self._paths[0].parent / CLASSES
        classes = _read_classes(classes_file) if classes_file.exists() else ()
        numbers = {name: number for number, name in enumerate(classes)}
        self._stamps: list[tuple[int, int]] = []  # of each shard
        self._shard, self._begin, self._size = array("l"), array("q"), array("q")  # of each picture
        labels, names, left_out = array("q"), _Texts(), Counter[str]()
        known: set[str] = set()
        for place, shard in enumerate(self._paths):
            with shard.open("rb") as file:
                self._stamps.append(_stamp(file.fileno()))
                for sample in samples(shard, file, left_out):
                    label, name = _class_and_name(shard, sample, numbers)
                    if name in known:
                        problem = f"there is a picture {name!r} already"
                        raise FormatError(shard, problem, record=sample.record)
                    known.add(name)
                    names.append(name)
                    labels.append(label)
                    self._shard.append(place)
                    self._begin.append(sample.begin)
                    self._size.append(sample.size)
        if not labels:
            raise FormatError(path, "there is no picture in it")
        classes = classes or tuple(map(str, range(max(labels) + 1)))
        notes = _notes(left_out, without=len(classes) - len(set(labels)), classes=len(classes))
        gaps = _gaps(self._paths) if path.is_dir() else []
        if gaps:
            notes.append(f"{path}: {len(gaps)} shards are missing: {_some(gaps)}")
        self.names: Sequence[str] = names
        self.labels: Sequence[int] = labels
        self.classes: Sequence[str] = classes
        self.notes: Sequence[str] = tuple(notes)
        self._open: dict[int, _Descriptor] = {}  # by shard

    def read(self, row: int) -> bytes:
        """A picture as it is encoded.

        Raises:
            OSError: it cannot be read, or its shard is another than it was.
        """
        place, size = self._shard[row], self._size[row]
        descriptor = self._open.get(place)
        if descriptor is None:
            descriptor = _Descriptor(self._paths[place])
            if _stamp(descriptor.number) != self._stamps[place]:
                raise OSError(f"{self._paths[place]}: changed since its pictures were counted")
            if len(self._open) >= _MOST_OPEN:
                self._open.clear()  # one step, hence safe among threads without a lock
            self._open[place] = descriptor
        content = bytes_at(descriptor.number, self._begin[row], size)
        if len(content) < size:
            raise OSError(f"{self._paths[place]}: cut short since its pictures were counted")
        return content

    def stamp(self, row: int) -> tuple[int, ...]:
        """Numbers that are others once the picture has been changed."""
        return *self._stamps[self._shard[row]], self._begin[row], self._size[row]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # each process opens the shards itself


def is_shards(path: Path) -> bool:
    """Whether a path is meant as shards: a tar, packed or not, or a folder with one in it."""
    if path.is_dir():
        return any(_is_tar(each.name) and not each.is_dir() for each in path.iterdir())
    return _is_tar(path.name)


def shard_names(count: int) -> list[str]:
    """What our shards are called."""
    return [f"shard-{number:06d}{TAR}" for number in range(count)]


def about(name: str, label: str) -> str:
    """What a sample's ``.json`` of ours says."""
    return json.dumps({"name": name, "label": label})


def write_classes(folder: Path, classes: Iterable[str]) -> None:
    """Write ``classes.txt``, without which a class would be a number only.

    Raises:
        ValueError: a class cannot be a line.
        OSError: it cannot be written.
    """
    classes = list(classes)
    for name in classes:
        # A byte order mark may be lost; names of files may be no text.
        if not name.strip() or re.search("[\r\n\0\ufeff\ud800-\udfff]", name):
            raise ValueError(f"the class {name!r} cannot be a line of {CLASSES}; rename it")
    write_text(folder / CLASSES, "".join(f"{name}\n" for name in classes))


class _Texts(Sequence[str]):
    """Many short texts in one piece of memory, which each of many processes can afford."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def append(self, text: str) -> None:
        self._bytes += text.encode("utf-8", "surrogatepass")  # a file's name may be any bytes
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        place = range(len(self))[index]
        text = self._bytes[self._ends[place] : self._ends[place + 1]]
        return text.decode("utf-8", "surrogatepass")


class _Descriptor:
    """An open file, closed when the last thread has done with it."""

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


def _shards(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    entries = sorted(each for each in path.iterdir() if not each.name.startswith("."))
    found = [each for each in entries if _is_tar(each.name) and not each.is_dir()]
    if not found:
        raise ValueError(f"{path}: there is no shard ({TAR}) in it")
    folders = [each.name for each in entries if each.is_dir()]
    if folders:
        problem = "shards and folders lie side by side; give the shards a folder of their own"
        raise ValueError(f"{path}: {problem}: {_some(folders)}")
    return found


def _is_tar(name: str) -> bool:
    return name.lower().endswith((TAR, *PACKED)) and not name.startswith(".")


def _class_and_name(path: Path, sample: Sample, numbers: Mapping[str, int]) -> tuple[int, str]:
    """A sample's class and name, seen to agree with the named classes if there are any."""
    text = sample.label.decode("utf-8", "replace").strip()
    if re.fullmatch("[0-9]{1,18}", text):  # all below 2**63
        label = int(text)
        if label >= (len(numbers) or _MOST_CLASSES):
            most = f"{CLASSES} has {len(numbers)}" if numbers else f"{_MOST_CLASSES:,} are possible"
            raise FormatError(path, f"there is no class {label}: {most}", record=sample.record)
    elif text in numbers:
        label = numbers[text]
    else:
        wanted = f"a class's number nor one of {CLASSES}" if numbers else "a class's number"
        problem = f"{text[:40]!r} is {'neither' if numbers else 'not'} {wanted}"
        raise FormatError(path, problem, record=sample.record)
    ours = _ours(sample.about)
    if ours is None:
        return label, f"{path.stem}/{sample.key}"
    name, written = ours
    if numbers and numbers.get(written) != label:
        problem = f"its .json says {written!r}, which is not class {label} of {CLASSES}"
        raise FormatError(path, problem, record=sample.record)
    return label, name


def _ours(text: bytes) -> tuple[str, str] | None:
    """Name and class as our .json has them; other people's holds what it likes."""
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(held, dict) or held.keys() != {"name", "label"}:
        return None
    name, label = held["name"], held["label"]
    return (name, label) if isinstance(name, str) and isinstance(label, str) else None


def _read_classes(path: Path) -> tuple[str, ...]:
    lines: dict[str, int] = {}
    for number, line in enumerate(text_lines(path), 1):
        name = line.rstrip("\r\n")
        if not name.strip():
            raise FormatError(path, "a class was expected", record=f"line {number}")
        if lines.setdefault(name, number) != number:
            problem = f"the class {name!r} is on line {lines[name]} already"
            raise FormatError(path, problem, record=f"line {number}")
    if not lines:
        raise FormatError(path, "there is no class in it")
    return tuple(lines)


def _notes(left_out: Mapping[str, int], *, without: int, classes: int) -> list[str]:
    notes = []
    kinds = ", ".join(f"{count} {kind}" for kind, count in left_out.items() if count)
    if kinds:
        notes.append(f"left out, as neither pictures nor classes, of the shards' members: {kinds}")
    if without:
        notes.append(f"{without} of {classes} classes have no picture")
    return notes


def _check_all_there(shards: Sequence[Path]) -> None:
    """Refuse a part of shards of ours: they say how many they are."""
    settings = shards[0].parent / SETTINGS
    if not settings.exists():
        return
    try:
        count = json.loads(settings.read_bytes())["shards"]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(settings, "this is not as `vl shard` writes it") from error
    if type(count) is not int or not 0 < count < _MOST_SHARDS:
        raise FormatError(settings, f"{count!r} shards were never written")
    there = {each.name for each in shards}
    missing = [name for name in shard_names(count) if name not in there]
    if missing:
        raise FileNotFoundError(
            f"{settings.parent}: {len(missing)} of {count} shards are missing: {_some(missing)}; "
            f"`vl shard` again completes them, and without {SETTINGS} the others are taken"
        )


def _gaps(shards: Sequence[Path]) -> list[str]:
    """Shards of other people's that are not there, by gaps in the numbers of names."""
    there = {each.name for each in shards}
    expected: set[str] = set()
    numbers: dict[tuple[str, int], list[int]] = {}  # by what stands before them, and their digits
    for name in there:
        match = re.fullmatch(r"(.*?)([0-9]{1,9})\.tar", name, re.DOTALL)
        if match:
            numbers.setdefault((match[1], len(match[2])), []).append(int(match[2]))
    for (before, digits), found in numbers.items():
        least, most = min(found), max(found)
        if most - least < 10 * len(found):  # else they are no running numbers
            expected |= {f"{before}{n:0{digits}d}{TAR}" for n in range(least, most + 1)}
    return sorted(expected - there)


def _stamp(descriptor: int) -> tuple[int, int]:
    """Bytes of a file, and when it was changed, in nanoseconds."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return f"{shown}, ..." if len(names) > _SHOWN else shown
