"""Writes labelled images into tar shards, WebDataset's format; interrupted runs can be resumed."""

import hashlib
import io
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from webdataset import TarWriter

from vl.data.errors import FormatError, changed_settings
from vl.data.files import atomic_write, keeping, read_json, write_text
from vl.data.images.decode import decode_uint8
from vl.data.images.files import SUFFIXES, suffix_of_content
from vl.data.images.read_ahead import batched, read_ahead
from vl.data.labelled.dataset import FileDataset
from vl.data.labelled.shards import CLASSES, SETTINGS, ShardDataset, shard_names
from vl.data.labelled.tar_samples import TAR
from vl.data.outputs import lock_output

_log = logging.getLogger(__name__)
_BATCH_SIZE = 8  # images that are read ahead
_QUALITY = 95  # of a JPEG; Pillow's manual advises against more
_MAX_JPEG = 65500  # pixels; libjpeg's JPEG_MAX_DIMENSION


@dataclass(frozen=True)
class ShardSettings:
    """What the shards of a data set depend on."""

    images_per_shard: int = 1000
    seed: int | None = 0
    """Of the order over all shards, so that each is like the whole; None keeps the order."""
    shorter_side: int | None = None
    """Shrink images to this, in pixels, as JPEG of quality 95; None copies their bytes."""
    check: bool = False
    """Decode every image, and leave out damaged ones; shrinking does so anyway."""


Source = FileDataset | ShardDataset


class ShardedImage(NamedTuple):
    """One image of `write_shards`."""

    error: Exception | None  # why it was left out
    reused: bool  # its shard was complete before


def write_shards(source: Source, folder: Path, settings: ShardSettings) -> Iterator[ShardedImage]:
    """Write the shards that ``folder`` lacks; the same input gives the same bytes.

    Yields:
        A result an image, in order.

    Raises:
        ValueError: the folder has other files, or shards of other images or settings; or a class
            cannot be a line of ``classes.txt``.
        OSError: a shard cannot be written, the disk is full, or another process is writing them.
    """
    message = "finished shards are kept, and the same command goes on"
    with lock_output(folder, folder=True), keeping(lambda: message):
        yield from _write_shards(source, folder, settings)


def _write_shards(source: Source, folder: Path, settings: ShardSettings) -> Iterator[ShardedImage]:
    order = _order(source.names, settings.seed)
    step = settings.images_per_shard
    parts = [order[begin : begin + step] for begin in range(0, len(order), step)]
    stored = {
        "shards": len(parts),
        **asdict(settings),
        "check": settings.check or settings.shorter_side is not None,
        "source": _fingerprint(source, order),
    }
    _prepare_folder(folder, stored, source.classes)
    digits = max(6, len(str(len(order) - 1)))
    for number, (indices, name) in enumerate(zip(parts, shard_names(len(parts)), strict=True)):
        path = folder / name
        if _is_complete(path, [source.names[index] for index in indices]):
            yield from (ShardedImage(None, True) for _ in indices)
            continue
        batches = read_ahead(batched(indices, _BATCH_SIZE), partial(_read, source, settings))
        contents = zip(indices, chain.from_iterable(batches), strict=True)
        with _tar_writer(path) as tar:
            for position, (index, content) in enumerate(contents, number * step):
                if isinstance(content, bytes):
                    tar.write(_sample(f"{position:0{digits}d}", source, index, content))
                yield ShardedImage(None if isinstance(content, bytes) else content, False)


@contextmanager
def _tar_writer(path: Path) -> Iterator[TarWriter]:
    """WebDataset's writer of a tar without owners and times, written completely or not at all."""
    with (
        atomic_write(path) as temporary,
        temporary.open("wb") as file,
        TarWriter(file, encoder=False, mtime=0, user="", group="", mode=0o644) as tar,
    ):
        yield tar


def _sample(key: str, source: Source, index: int, content: bytes) -> dict[str, Any]:
    name, label = source.names[index], source.labels[index]
    metadata = json.dumps({"name": name, "label": source.classes[label]})
    return {
        "__key__": key,
        _suffix(name, content)[1:]: content,
        "cls": str(label).encode(),
        "json": metadata.encode(),
    }


def _order(names: Sequence[str], seed: int | None) -> list[int]:
    """Indices in order, or by a hash of seed and name: the same on any machine, for ever."""
    if seed is None:
        return list(range(len(names)))
    hashes = [hashlib.sha256(_to_bytes(f"{seed}/{name}")).digest() for name in names]
    return sorted(range(len(names)), key=hashes.__getitem__)


def _fingerprint(source: Source, order: Sequence[int]) -> str:
    """Hash of names, classes, order, and each image's size and time of change."""
    digest = hashlib.sha256()
    for index in order:
        try:
            stamp = source.stamp(index)
        except OSError:  # reported when it is read
            stamp = ()
        image = (source.names[index], source.classes[source.labels[index]], stamp)
        digest.update(_to_bytes(f"{image!r}\n"))
    digest.update(_to_bytes(repr(tuple(source.classes))))
    return digest.hexdigest()


def _prepare_folder(folder: Path, settings: dict[str, Any], classes: Sequence[str]) -> None:
    """Refuse a folder of anything but a part of these shards, and write settings and classes."""
    for name in classes:
        # A byte order mark may be lost; names of files may not be text.
        if not name.strip() or re.search("[\r\n\0\ufeff\ud800-\udfff]", name):
            raise ValueError(f"the class {name!r} cannot be a line of {CLASSES}; rename it")
    file = folder / SETTINGS
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    ours: set[str] = set()
    if SETTINGS in names:
        _compare(folder, read_json(file), settings)
        ours = {CLASSES, *shard_names(settings["shards"])}
    for name in sorted(names):
        foreign = name not in ours and (name == CLASSES or name.lower().endswith(TAR))
        if foreign or (folder / name).is_dir():
            problem = f"{name!r} is not one of these shards; choose another folder"
            raise ValueError(f"{folder}: {problem}")
    for pattern in (f".shard-*{TAR}.*.part", f".{CLASSES}.*.part", f".{SETTINGS}.*.part"):
        for leftover in folder.glob(pattern):  # of a run that was killed
            leftover.unlink()
    # First, so that a resumed run knows the other files as its own.
    write_text(file, json.dumps(settings, indent=1) + "\n")
    write_text(folder / CLASSES, "".join(f"{name}\n" for name in classes))


def _compare(folder: Path, stored: object, settings: dict[str, Any]) -> None:
    if stored == settings:
        return
    before = stored if isinstance(stored, dict) else {}
    names = ("images_per_shard", "seed", "shorter_side", "check")
    old, new = ({name: each.get(name) for name in names} for each in (before, settings))
    difference = changed_settings(old, new) or "other images, or some have changed since"
    problem = f"it has other shards ({difference}); choose another folder, or remove this one"
    raise ValueError(f"{folder}: {problem}")


def _is_complete(path: Path, names: list[str]) -> bool:
    """Whether a shard exists with all its images; one that lacks some is written again."""
    if not path.exists():
        return False
    try:
        return list(ShardDataset(path).names) == names
    except FormatError as error:
        _log.warning("%s; it is written again", error)
        return False


def _read(source: Source, settings: ShardSettings, index: int) -> bytes | Exception:
    """An image as it is to be written, or why it is left out."""
    try:
        content = source.read(index)
        if settings.shorter_side is not None:
            return _shrink(content, source.names[index], settings.shorter_side)
        if settings.check:
            decode_uint8(content, source.names[index])
        return content
    except (FormatError, OSError) as error:
        return error


def _shrink(content: bytes, name: str, shorter_side: int) -> bytes:
    """An image with a shorter side of at most ``shorter_side``; unchanged if it has that."""
    pixels = decode_uint8(content, name)  # (3, H, W)
    height, width = pixels.shape[1:]
    short = min(height, width)
    if short <= shorter_side:
        return content
    size = (round(width * shorter_side / short), round(height * shorter_side / short))
    if max(size) > _MAX_JPEG:
        raise FormatError(name, f"{size[0]} x {size[1]} pixels after shrinking, too large for JPEG")
    values = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())  # (H, W, 3)
    file = io.BytesIO()
    image = Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _suffix(name: str, content: bytes) -> str:
    """An image's suffix: that of its name, unless it is a JPEG or the name lacks one."""
    if content.startswith(b"\xff\xd8"):  # JPEG's first marker
        return ".jpg"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in SUFFIXES:
        return suffix
    return suffix_of_content(content[:16]) or ".jpg"


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # names of files may be any bytes
