"""Which files are photographs: one rule for every command and reader, and a count of the others."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from vl.data.errors import FormatError

HAS_AVIF = find_spec("PIL._avif") is not None  # Pillow from 11.3 on
HAS_HEIF = find_spec("pillow_heif") is not None
AVIF_CURE, HEIC_CURE = "pip install 'pillow>=11.3'", "pip install 'vl[heif]'"

_AVIF = frozenset({".avif", ".avifs"})
_HEIC = frozenset({".heic", ".heif", ".hif", ".heics"})
# Of the formats in `vl.data.images.decode.FORMATS`.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib"}
    | {".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c"}
    | (_AVIF if HAS_AVIF else set())
    | (_HEIC if HAS_HEIF else set())
)

_RAW = ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf"
_RAW += " .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f"
_VIDEO = ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv"
_PICTURE = ".ai .cur .dds .eps .exr .hdr .ico .jxl .jxr .pcx .pdf .psd .qoi .svg .tga .wdp .xcf"


class _Kind(NamedTuple):
    """Files that are left out: what one and several are called, and what helps."""

    one: str
    several: str
    cure: str = ""
    with_suffixes: bool = False  # named in the line


_OTHER = _Kind("other file", "other files", with_suffixes=True)
_LINK = _Kind("link to a folder", "links to folders")
_KINDS = (
    (_HEIC, _Kind("HEIC", "HEIC", HEIC_CURE)),
    (_AVIF, _Kind("AVIF", "AVIF", AVIF_CURE)),
    (_RAW.split(), _Kind("raw photograph", "raw photographs", "convert to JPEG or TIFF", True)),
    (_VIDEO.split(), _Kind("video", "videos", "save frames as JPEG", True)),
    (_PICTURE.split(), _Kind("picture of another format", "pictures of other formats", "", True)),
)
_KIND_OF = {suffix: kind for suffixes, kind in _KINDS for suffix in suffixes}

# First bytes of the formats.
_MAGIC = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"GIF8": ".gif", b"BM": ".bmp"}
_MAGIC |= {b"II*\0": ".tif", b"MM\0*": ".tif", b"II+\0": ".tif", b"MM\0+": ".tif"}  # + is BigTIFF
_MAGIC |= {b"\0\0\0\x0cjP": ".jp2", b"\xffO\xffQ": ".j2k"}
_MAGIC |= {b"P%d" % digit + blank: ".ppm" for digit in range(1, 7) for blank in (b"\n", b" ")}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_HEAD = 16  # bytes that decide

_SPECIAL = {
    stat.S_IFIFO: _Kind("named pipe", "named pipes"),
    stat.S_IFSOCK: _Kind("socket", "sockets"),
    stat.S_IFCHR: _Kind("device", "devices"),
    stat.S_IFBLK: _Kind("device", "devices"),
}


class LeftOut:
    """Counts, by kind, of the files in folders that are not taken for photographs."""

    def __init__(self) -> None:
        self._suffixes: dict[_Kind, Counter[str]] = {}

    def add(self, kind: _Kind, suffix: str = "") -> None:
        """Count one file."""
        self._suffixes.setdefault(kind, Counter())[suffix] += 1

    def __str__(self) -> str:
        """``3 HEIC (pip install 'vl[heif]'), 2 videos (MOV, MP4; save frames as JPEG)``."""
        parts = []
        for kind, suffixes in sorted(self._suffixes.items(), key=lambda item: _RANK[item[0]]):
            count = suffixes.total()
            common = sorted(suffixes, key=lambda suffix: (-suffixes[suffix], suffix))
            names = [suffix[1:].upper() or "no suffix" for suffix in common]
            names = [*names[:3], "..."] if len(names) > 3 else names
            notes = [", ".join(names)] if kind.with_suffixes else []
            notes += [kind.cure] if kind.cure else []
            note = f" ({'; '.join(notes)})" if notes else ""
            parts.append(f"{count} {kind.one if count == 1 else kind.several}{note}")
        return ", ".join(parts)

    def __bool__(self) -> bool:
        return bool(self._suffixes)


_RANK = {
    kind: rank for rank, kind in enumerate((*_KIND_OF.values(), *_SPECIAL.values(), _LINK, _OTHER))
}


def find_images(paths: Sequence[Path], left_out: LeftOut | None = None) -> list[Path]:
    """The photographs at ``paths``, sorted within each.

    A file is taken whatever its name; a folder stands for the photographs below it.

    Args:
        paths: files and folders.
        left_out: counts what is in the folders beside photographs.

    Raises:
        ValueError: a folder has no photograph, or a path is neither a file nor a folder.
        OSError: a path does not exist, or a folder cannot be read.
    """
    images = []
    for path in paths:
        if path.is_dir():
            others = LeftOut() if left_out is None else left_out
            below = sorted(folder_images(path, others))
            if not below:
                note = f"; left out: {others}" if others else f" ({' '.join(sorted(SUFFIXES))})"
                raise ValueError(f"{path}: the folder has no image{note}")
            images += below
        elif path.exists():
            check_regular(path)
            images.append(path)
        else:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return images


def folder_images(
    folder: Path, left_out: LeftOut, *, links: list[Path] | None = None, below: bool = True
) -> Iterator[Path]:
    """The photographs in a folder, in any order.

    A photograph is a regular file, or a link to one, with one of ``SUFFIXES``, in capitals or not;
    a file without a suffix is one if it begins as a file of such a format does. Hidden files and
    folders are passed over. Nothing but files without a suffix is opened, and those only if they
    are regular. A link that leads nowhere counts as its target would, so that reading it fails.

    Args:
        folder: where.
        left_out: counts everything else.
        links: links to folders, which are not followed, are appended here too.
        below: also in folders below it.

    Raises:
        OSError: a folder cannot be read.
    """
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in visible:
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            if below:
                yield from folder_images(path, left_out, links=links)
        elif entry.is_dir():
            if below:
                left_out.add(_LINK)
                if links is not None:
                    links.append(path)
        elif (special := None if entry.is_file() else _special(path)) is not None:
            left_out.add(special)
        else:
            suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - Path.suffix is slow
            kind = suffix or _suffix_of_file(path)
            if kind in SUFFIXES:
                yield path
            else:
                left_out.add(_KIND_OF.get(kind, _OTHER), suffix)


def suffix_of_content(head: bytes) -> str:
    """The suffix of a picture's format by its first 16 bytes; empty for no such format."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return ".heic" if brand in _HEIC_BRANDS else ".avif" if brand in (b"avif", b"avis") else ""
    return next((suffix for magic, suffix in _MAGIC.items() if head.startswith(magic)), "")


def check_regular(path: Path | str) -> None:
    """Refuse what would be read for ever, or only once, without opening it.

    Raises:
        FormatError: the path is a named pipe, a socket or a device.
    """
    if (kind := _special(path)) is not None:
        raise FormatError(path, f"a {kind.one}; expected a file")


def _special(path: Path | str) -> _Kind | None:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a Path each is slow
    except OSError:  # reading it says why
        return None
    return _SPECIAL.get(stat.S_IFMT(mode))


def _suffix_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return suffix_of_content(file.read(_HEAD))
    except OSError:  # it may be a photograph; reading it says what is wrong
        return ".jpg"
