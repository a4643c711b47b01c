"""`vl shard`: labelled photographs into tar shards."""

import hashlib
import io
import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import tyro
from PIL import Image

from vl.commands.bounds import PositiveInt
from vl.data.errors import FormatError
from vl.data.files import write_text
from vl.data.images.decode import SUFFIXES, decode_bytes
from vl.data.labelled.dataset import FileDataset, open_dataset
from vl.data.labelled.shards import (
    CLASSES,
    SETTINGS,
    ShardDataset,
    about,
    shard_names,
    write_classes,
)
from vl.data.labelled.tar_samples import TAR, Entry, write
from vl.inputs import error_message
from vl.terminal import ProgressBar

_log = logging.getLogger(__name__)
_THREADS = 4  # decoding and reading are done outside the interpreter's lock
_AHEAD = 16  # pictures in memory
_QUALITY = 95  # of a JPEG; Pillow's manual advises against more
_LONGEST_JPEG = 65500  # pixels; libjpeg's JPEG_MAX_DIMENSION
# How pictures begin whose names do not say what they are; any other is called a JPEG.
_BEGIN = {b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}
_BEGIN |= {b"II*\0": ".tif", b"MM\0*": ".tif", b"\0\0\0\x0cjP": ".jp2"}


@dataclass(frozen=True)
class ShardRun:
    """Labelled photographs into tar shards, WebDataset's format, which training reads as they are.

    A run that was stopped goes on when the same command is given again.
    """

    source: tyro.conf.Positional[Path]
    """A folder of classes, a list of photographs and classes, or a folder of shards."""
    out: Path
    """The folder of the shards; it is made, or holds a part of the same shards."""
    pictures: PositiveInt = 1000
    """Pictures in a shard; about 100 MB of ImageNet's."""
    order: Literal["shuffled", "given"] = "shuffled"
    """Shuffled over all shards, so that each is like the whole, or as the source has them."""
    seed: int = 0
    """Of the shuffling."""
    side: PositiveInt | None = None
    """Pixels: shrink to a shorter side of this, as JPEG of quality 95; smaller ones stay as they
    are. By default each picture's bytes are copied."""
    check: bool = False
    """Decode each picture, and leave out what is damaged; shrinking does so anyway."""


def run(flags: ShardRun) -> int:
    """Write the shards that are not there yet; 1 if a picture was left out."""
    if flags.out.resolve().is_relative_to(flags.source.resolve()):
        raise ValueError(f"{flags.out}: it lies in the source; name a folder elsewhere")
    source = open_dataset(flags.source)
    for note in source.notes:
        _log.warning("%s: %s", flags.source, note)
    seed = flags.seed if flags.order == "shuffled" else None
    order = _order(source.names, seed)
    parts = [
        order[begin : begin + flags.pictures] for begin in range(0, len(order), flags.pictures)
    ]
    settings = {
        "shards": len(parts),
        "pictures": flags.pictures,
        "seed": seed,
        "side": flags.side,
        "check": flags.check or flags.side is not None,
        "source": _fingerprint(source, order),
    }
    _begin(flags.out, settings, source.classes)
    read = _reader(source, side=flags.side, check=flags.check)
    digits = max(6, len(str(len(order) - 1)))
    failures, kept, place = 0, 0, 0
    with (
        ProgressBar("shard", len(order), unit="pictures") as bar,
        ThreadPoolExecutor(max_workers=_THREADS) as pool,
    ):

        def entries(rows: Sequence[int], first: int) -> Iterator[Entry]:
            nonlocal failures
            for number, (row, content) in enumerate(_read_ahead(pool, read, rows), first):
                name, label = source.names[row], source.labels[row]
                if isinstance(content, Exception):
                    bar.print(error_message(content))
                    failures += 1
                else:
                    written = about(name, source.classes[label])
                    suffix = _suffix(name, content)
                    yield Entry(f"{number:0{digits}d}", suffix, content, str(label), written)
                bar.advance()

        for rows, shard in zip(parts, shard_names(len(parts)), strict=True):
            path = flags.out / shard
            if _is_whole(path, [source.names[row] for row in rows]):
                kept += 1
                bar.skip(len(rows))
            else:
                write(path, entries(rows, place))
            place += len(rows)
    _log.info(
        "%d pictures of %d classes in %d shards in %s, %d of them from before; %d pictures failed",
        len(order) - failures,
        len(source.classes),
        len(parts),
        flags.out,
        kept,
        failures,
    )
    return 1 if failures else 0


def _order(names: Sequence[str], seed: int | None) -> list[int]:
    """Rows as they are, or by a hash of seed and name: the same on any machine, for ever."""
    if seed is None:
        return list(range(len(names)))
    hashes = [hashlib.sha256(_encoded(f"{seed}/{name}")).digest() for name in names]
    return sorted(range(len(names)), key=hashes.__getitem__)


def _fingerprint(source: FileDataset | ShardDataset, order: Sequence[int]) -> str:
    """Of what is written: names, classes, order, and each picture's size and time of change."""
    whole = hashlib.sha256()
    for row in order:
        try:
            stamp = source.stamp(row)
        except OSError:  # said when it is read
            stamp = ()
        picture = (source.names[row], source.classes[source.labels[row]], stamp)
        whole.update(_encoded(f"{picture!r}\n"))
    whole.update(_encoded(repr(tuple(source.classes))))
    return whole.hexdigest()


def _begin(folder: Path, settings: dict[str, Any], classes: Sequence[str]) -> None:
    """See that the folder holds nothing but a part of these shards, and make it ready for them."""
    file = folder / SETTINGS
    names = {each.name for each in folder.iterdir()} if folder.exists() else set()
    if SETTINGS in names:
        try:
            held = json.loads(file.read_bytes())
        except ValueError as error:
            raise FormatError(file, f"this is not JSON: {error}") from error
        _compare(folder, held, settings)
    expected = set(shard_names(settings["shards"])) if SETTINGS in names else set()
    others = {name for name in names - expected if name.lower().endswith(TAR)}
    if SETTINGS not in names:
        others |= names & {CLASSES}
    others |= {name for name in names if (folder / name).is_dir()}
    if others:
        problem = f"{min(others)!r} is none of these shards; name another folder"
        raise ValueError(f"{folder}: {problem}")
    for pattern in (f".shard-*{TAR}.*.part", f".{CLASSES}.*.part", f".{SETTINGS}.*.part"):
        for half in folder.glob(pattern):  # of a run that was killed
            half.unlink()
    # This one first: what lies beside it is known to be ours.
    write_text(file, json.dumps(settings, indent=1) + "\n")
    write_classes(folder, classes)


def _compare(folder: Path, held: object, settings: dict[str, Any]) -> None:
    if held == settings:
        return
    there = held if isinstance(held, dict) else {}
    flags = [
        f"--{name} {there.get(name)} there and {settings[name]} here"
        for name in ("pictures", "seed", "side", "check")
        if there.get(name) != settings[name]
    ]
    what = ", ".join(flags) or "other pictures, or some have changed since"
    problem = f"it holds shards made otherwise ({what}); name another folder, or remove this one"
    raise ValueError(f"{folder}: {problem}")


def _is_whole(path: Path, names: list[str]) -> bool:
    """Whether a shard is there with all its pictures; one that lacks some is tried again."""
    if not path.exists():
        return False
    try:
        return list(ShardDataset(path).names) == names
    except FormatError as error:
        _log.warning("%s; it is written again", error)
        return False


def _reader(
    source: FileDataset | ShardDataset, *, side: int | None, check: bool
) -> Callable[[int], bytes | Exception]:
    """What reads a picture as it is to be written, or says why there is none."""

    def read(row: int) -> bytes | Exception:
        try:
            content = source.read(row)
            if side is not None:
                return _shrunk(content, source.names[row], side)
            if check:
                decode_bytes(content, source.names[row])
            return content
        except (FormatError, OSError) as error:
            return error

    return read


def _read_ahead(
    pool: ThreadPoolExecutor, read: Callable[[int], bytes | Exception], rows: Sequence[int]
) -> Iterator[tuple[int, bytes | Exception]]:
    waiting: deque[tuple[int, Future[bytes | Exception]]] = deque()
    for row in rows:
        waiting.append((row, pool.submit(read, row)))
        if len(waiting) > _AHEAD:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


def _shrunk(content: bytes, name: str, side: int) -> bytes:
    """A picture whose shorter side is no longer than ``side``; as it is if that is so already."""
    pixels = decode_bytes(content, name)  # (3, H, W)
    height, width = pixels.shape[1:]
    short = min(height, width)
    if short <= side:
        return content
    size = (round(width * side / short), round(height * side / short))
    if max(size) > _LONGEST_JPEG:
        raise FormatError(name, f"shrunk it has {size[0]} x {size[1]} pixels, too many for a JPEG")
    values = (pixels * 255).round().byte().permute(1, 2, 0).numpy()  # (H, W, 3)
    file = io.BytesIO()
    image = Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _suffix(name: str, content: bytes) -> str:
    """What a picture's member ends in: as its name does, unless it is a JPEG or has none."""
    if content.startswith(b"\xff\xd8"):  # JPEG's first marker
        return ".jpg"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in SUFFIXES:
        return suffix
    return next((end for begin, end in _BEGIN.items() if content.startswith(begin)), ".jpg")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # names of files may be any bytes
