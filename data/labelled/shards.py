"""Labelled images in shards, WebDataset's tars, read in any order from the tars as they are.

Shards of `vl shard` have an image's name and class in each sample's ``.json``, and two files beside
them: ``classes.txt``, a class a line in the order of indices, and ``vl-shard.json`` with the
settings. Shards from elsewhere need neither.
"""

import json
import os
import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from vl.data.errors import FormatError
from vl.data.files import first_few, read_json
from vl.data.labelled.folders import unique_classes
from vl.data.labelled.tar_samples import COMPRESSED, TAR, Sample, read_samples
from vl.data.text_files import read_text, split_lines

CLASSES = "classes.txt"
SETTINGS = "vl-shard.json"

_MAX_CLASSES = 1_000_000  # without their names; ImageNet's largest edition has 21,841
_MAX_SHARDS = 10**6


class ShardDataset:
    """The labelled images of shards: an index of where they lie, and `read`.

    Without ``classes.txt`` beside the shards, the classes are their indices as text, up to the
    largest. An image's name is in its ``.json`` if `vl shard` wrote it; else it is the shard's
    name, a slash and the sample's key. Threads may read at once; it may be forked and pickled.

    Args:
        path: a folder, in which every ``.tar`` is a shard, or one shard.
        max_open: shards open at once; some systems allow 256 open files.

    Raises:
        FormatError: a shard is compressed, truncated or damaged, a sample is incomplete or a
            duplicate, or its class is unknown. Names shard and member.
        FileNotFoundError: shards are missing that the settings count.
        ValueError: there are folders beside the shards, so that they may be classes.
        OSError: a shard cannot be read.
    """

    def __init__(self, path: Path, *, max_open: int = 100) -> None:
        self._paths = _shard_paths(path)
        if path.is_dir():
            _check_complete(self._paths)
        classes_file = self._paths[0].parent / CLASSES
        classes: tuple[str, ...] = ()
        if classes_file.exists():
            classes = unique_classes(classes_file, split_lines(read_text(classes_file)))
        class_index = {name: index for index, name in enumerate(classes)}
        self._stamps: list[tuple[int, int]] = []  # of each shard
        self._shard, self._begin, self._size = array("l"), array("q"), array("q")  # of each image
        labels, names, skipped = array("q"), _TextArray(), Counter[str]()
        unique: set[str] = set()
        for index, shard in enumerate(self._paths):
            with shard.open("rb") as file:
                self._stamps.append(_stamp(file.fileno()))
                for sample in read_samples(shard, file, skipped):
                    label, name = _label_and_name(shard, sample, class_index)
                    if name in unique:
                        raise FormatError(shard, f"a second image {name!r}", record=sample.record)
                    unique.add(name)
                    names.append(name)
                    labels.append(label)
                    self._shard.append(index)
                    self._begin.append(sample.begin)
                    self._size.append(sample.size)
        if not labels:
            raise FormatError(path, "there is no image in it")
        self.names: Sequence[str] = names
        self.labels: Sequence[int] = labels
        self.classes: Sequence[str] = classes or tuple(map(str, range(max(labels) + 1)))
        warnings = _warnings(skipped, empty=len(self.classes) - len(set(labels)), of=self.classes)
        gaps = _gaps(self._paths) if path.is_dir() else []
        if gaps:
            warnings.append(f"{path}: {len(gaps)} shards are missing: {first_few(gaps)}")
        self.warnings: Sequence[str] = tuple(warnings)
        self._max_open = max_open
        self._open: dict[int, _Descriptor] = {}  # by shard

    def read(self, index: int) -> bytes:
        """An encoded image; OSError if it cannot be read, or its shard has been changed."""
        shard, size = self._shard[index], self._size[index]
        descriptor = self._open.get(shard)
        if descriptor is None:
            descriptor = _Descriptor(self._paths[shard])
            if _stamp(descriptor.fd) != self._stamps[shard]:
                raise OSError(f"{self._paths[shard]}: changed since it was indexed")
            if len(self._open) >= self._max_open:
                self._open.clear()  # atomic, hence thread-safe without a lock
            self._open[shard] = descriptor
        content = os.pread(descriptor.fd, size, self._begin[index])
        if len(content) < size:
            raise OSError(f"{self._paths[shard]}: truncated since it was indexed")
        return content

    def stamp(self, index: int) -> tuple[int, ...]:
        """Values that differ once the image has been changed."""
        return *self._stamps[self._shard[index]], self._begin[index], self._size[index]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # each process opens the shards itself


def is_shards(path: Path) -> bool:
    """Whether a path is shards: a tar, compressed or not, or a folder with one in it."""
    if path.is_dir():
        return any(_is_tar(entry.name) and not entry.is_dir() for entry in path.iterdir())
    return _is_tar(path.name)


def shard_names(count: int) -> list[str]:
    """The names of `vl shard`'s shards."""
    return [f"shard-{index:06d}{TAR}" for index in range(count)]


class _TextArray(Sequence[str]):
    """Many short texts in one piece of memory, which many processes can share."""

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
        position = range(len(self))[index]
        if isinstance(position, range):
            return [self[item] for item in position]
        text = self._bytes[self._ends[position] : self._ends[position + 1]]
        return text.decode("utf-8", "surrogatepass")


class _Descriptor:
    """An open file, closed with the last reference to it."""

    def __init__(self, path: Path) -> None:
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


def _shard_paths(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    shards = [entry for entry in entries if _is_tar(entry.name) and not entry.is_dir()]
    if not shards:
        raise ValueError(f"{path}: there is no shard ({TAR}) in it")
    folders = [entry.name for entry in entries if entry.is_dir()]
    if folders:
        problem = "shards and folders side by side; move the shards to a folder of their own"
        raise ValueError(f"{path}: {problem}: {first_few(folders)}")
    return shards


def _is_tar(name: str) -> bool:
    return name.lower().endswith((TAR, *COMPRESSED)) and not name.startswith(".")


def _label_and_name(path: Path, sample: Sample, class_index: Mapping[str, int]) -> tuple[int, str]:
    """A sample's label, checked against the named classes if there are any, and its name."""
    text = sample.label.decode("utf-8", "replace").strip()
    if re.fullmatch("[0-9]{1,18}", text):  # all below 2**63
        label = int(text)
        limit = len(class_index) or _MAX_CLASSES
        if label >= limit:
            raise FormatError(path, f"unknown class {label} of {limit:,}", record=sample.record)
    elif text in class_index:
        label = class_index[text]
    else:
        expected = f"an index or a class of {CLASSES}" if class_index else "a class's index"
        raise FormatError(path, f"expected {expected}, got {text[:40]!r}", record=sample.record)
    try:
        metadata = json.loads(sample.metadata)
    except (ValueError, RecursionError):
        metadata = None
    match metadata:
        case {"name": str(name), "label": str(class_name)} if len(metadata) == 2:
            if class_index and class_index.get(class_name) != label:
                problem = f"its .json has {class_name!r}, which is not class {label} of {CLASSES}"
                raise FormatError(path, problem, record=sample.record)
            return label, name
    return label, f"{path.stem}/{sample.key}"  # not of `vl shard`


def _warnings(skipped: Mapping[str, int], *, empty: int, of: Sequence[str]) -> list[str]:
    counts = ", ".join(f"{count} {suffix}" for suffix, count in skipped.items() if count)
    warnings = [f"skipped members that are neither images nor classes: {counts}"] if counts else []
    return warnings + ([f"{empty} of {len(of)} classes have no image"] if empty else [])


def _check_complete(shards: Sequence[Path]) -> None:
    """Refuse an incomplete set of `vl shard`'s shards: their settings count them."""
    settings = shards[0].parent / SETTINGS
    if not settings.exists():
        return
    try:
        count = read_json(settings)["shards"]
    except (KeyError, TypeError) as error:
        raise FormatError(settings, "not written by `vl shard`") from error
    if type(count) is not int or not 0 < count < _MAX_SHARDS:
        raise FormatError(settings, f"not written by `vl shard`: {count!r} shards")
    names = {shard.name for shard in shards}
    missing = [name for name in shard_names(count) if name not in names]
    if missing:
        raise FileNotFoundError(
            f"{settings.parent}: {len(missing)} of {count} shards are missing: "
            f"{first_few(missing)}; run `vl shard` again to complete them, or remove {SETTINGS} to "
            "use the others"
        )


def _gaps(shards: Sequence[Path]) -> list[str]:
    """Shards that are missing, by gaps in the numbers of the names."""
    names = {shard.name for shard in shards}
    expected: set[str] = set()
    numbers: dict[tuple[str, int], list[int]] = {}  # by prefix and number of digits
    for name in names:
        match = re.fullmatch(r"(.*?)([0-9]{1,9})\.tar", name, re.DOTALL)
        if match:
            numbers.setdefault((match[1], len(match[2])), []).append(int(match[2]))
    for (prefix, digits), values in numbers.items():
        first, last = min(values), max(values)
        if last - first < 10 * len(values):  # else they are not consecutive
            expected |= {f"{prefix}{n:0{digits}d}{TAR}" for n in range(first, last + 1)}
    return sorted(expected - names)


def _stamp(descriptor: int) -> tuple[int, int]:
    """A file's size, and when it was changed, in nanoseconds."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns
