"""What may be written where: never an input, never a file of another kind, one process at a time.

A kind of file is known by its suffix and by how its content begins. It imports no PyTorch, so that
a command can refuse an output at once.
"""

import os
import re
import socket
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOLCK, ENOSYS, ENOTSUP
from pathlib import Path
from typing import NamedTuple

from vl.data.errors import WriteError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_GZIP = b"\x1f\x8b"  # RFC 1952
_HEAD = 4096  # bytes by which a kind is known
_LOCK = ".lock"  # in a folder that is written, and the end of the name beside a file
_lock_descriptors: set[int] = set()  # descriptors of this process's locks


class FileKind(NamedTuple):
    """A kind of output file."""

    name: str  # for messages: "a contact sheet"
    suffixes: tuple[str, ...]
    start: bytes  # regular expression of how a file begins, after decompression
    resumed: bool = False  # written over time by a function that locks it itself
    companion: "tuple[str, FileKind] | None" = None  # suffix and kind of a second file beside it


class FolderKind(NamedTuple):
    """A kind of output folder."""

    files: tuple[tuple[str, FileKind], ...] = ()  # that are replaced in it
    resumed: bool = False  # written by a function that locks it itself


def model_kind(name: str) -> FileKind:
    """A model file of vl; ``name`` is its kind in the metadata: ``"captioner"``."""
    key = rb'.{8}\{"__metadata__":\{"vl":"\{\\"format\\": \d+, \\"kind\\": \\"%b\\"'
    return FileKind(f"a model of kind {name}", (".safetensors",), key % name.encode())


# A mark separates what vl alone writes from a photograph, or from somebody's web page.
PNG = FileKind("a picture drawn by vl", (".png",), rb"\x89PNG\r\n.*tEXtSoftware\0vl")
HTML = FileKind("an evaluation page", (".html", ".htm"), rb'.*<meta name="generator" content="vl')
CAPTIONS = FileKind(
    "captions in COCO's results format",
    (".json",),
    rb'\s*\[\s*(\{\s*"image_id".*"caption"|\]\s*\Z)',  # detections have no captions
    resumed=True,
)
CAPTION_SCORES = FileKind("scores of each image", (".jsonl",), rb'\{"image_id": .*"tokens": \[')
PREDICTIONS = FileKind("predictions of each image", (".jsonl",), rb'\{"image": .*"top": ')
COVERAGE = FileKind("a table of labels and their vectors", (".tsv", ".txt"), rb"label\tid\trule\t")
CLASS_TABLE = FileKind("a table of classes", (".tsv", ".txt"), rb"class\timages\ttop-1")
LABEL_TABLE = FileKind("a table of labels", (".tsv", ".txt"), rb"group\tlabel\tid\timages")
FREQUENCIES = FileKind(
    "document frequencies", (".json", ".json.gz"), rb'\{"format": "vl document frequencies'
)
WORD_VECTORS = FileKind(
    "word vectors in word2vec's format",
    (".bin", ".txt", ".vec", ".w2v"),
    rb"\d+ \d+\n",
    resumed=True,
)
EMBEDDINGS_INDEX = FileKind("an index of embeddings", (".json",), rb'\{\s*"format": \d+,\s*"enc')
EMBEDDINGS = FileKind(
    "embeddings",
    (".npy",),
    rb"\x93NUMPY.{4,6}\{'descr': '<f2',.*'shape': \(\d+, \d+, \d+\)",
    resumed=True,
    companion=(".json", EMBEDDINGS_INDEX),
)
LOG = FileKind("the log of a training", (".jsonl",), rb'\{"step": ')
FOLDER = FolderKind()
RESUMED_FOLDER = FolderKind(resumed=True)


def training_folder(file_name: str, kind: str) -> FolderKind:
    """The folder of a training that ends in a model file of this name and kind."""
    files = (("log.jsonl", LOG), (file_name, model_kind(kind)))
    return FolderKind(files, resumed=True)


def check_output(
    path: Path | str,
    kind: FileKind,
    *,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
) -> None:
    """Check, before the work, that a file may be written; no folder is created.

    Args:
        path: the file.
        kind: what will be written.
        inputs: files and folders that are read; those that do not exist do not count.
        overwrite: whether a file of another kind may be replaced, but never an input.

    Raises:
        ValueError: it is an input, through links as well; its suffix is not one of the kind's; or
            it holds something of another kind.
        OSError: it cannot be written.
    """
    path = Path(path)
    parts = [(path, kind)]
    if kind.companion:
        parts.append((path.with_suffix(kind.companion[0]), kind.companion[1]))
    check_no_inputs((file for file, _ in parts), inputs)
    if not path.name.lower().endswith(kind.suffixes):
        raise ValueError(f"{path}: for {kind.name} the name must end in {_list(kind.suffixes)}")
    for file, file_kind in parts:
        _check_writable(file)
        if not overwrite:
            check_kind(file, file_kind, cure="choose another file, or replace it with --overwrite")


def check_folder(
    path: Path | str, kind: FolderKind = FOLDER, *, inputs: Iterable[Path] = ()
) -> None:
    """Check, before the work, that a folder may be written to.

    Raises:
        ValueError: it is an input, or a file in it that would be replaced is an input or of
            another kind.
        OSError: a file is in the way.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path}: a file, not a folder")
    check_no_inputs((path, *(path / name for name, _ in kind.files)), inputs)
    for name, file_kind in kind.files:
        check_kind(path / name, file_kind, cure="choose another folder")


def check_no_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Check that no output is an input, by device and inode, so that links are seen through.

    Raises:
        ValueError: one is.
    """
    existing = [path for path in outputs if path.exists()]
    if not existing:
        return
    files = {_identity(file): file for file in inputs if file.exists()}
    for path in existing:
        if file := files.get(_identity(path)):
            name = "" if file == path else f", by the name {file}"
            raise ValueError(f"{path} is read by this command{name}; write to another place")


def check_outside(folder: Path, sources: Iterable[Path]) -> None:
    """Check that an output folder lies in no folder that is read, as the next run would read it.

    Raises:
        ValueError: it does, or is one.
    """
    for source in sources:
        if folder.resolve().is_relative_to(source.resolve()):
            raise ValueError(f"{folder}: it lies in the source {source}; choose another folder")


def check_kind(path: Path | str, kind: FileKind, *, cure: str) -> None:
    """Check that a file that will be replaced is missing, empty, or of the same kind.

    Raises:
        ValueError: it is of another kind.
        OSError: it cannot be read.
    """
    if not is_replaceable(Path(path), kind):
        raise ValueError(f"{path} exists and is not {kind.name}; {cure}")


def is_replaceable(path: Path, kind: FileKind) -> bool:
    """Whether a file is missing, empty or of a kind."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(_GZIP):
        with suppress(zlib.error):
            head = zlib.decompressobj(31).decompress(head, _HEAD)  # 31: gzip
    return not head or re.match(kind.start, head, re.DOTALL) is not None


@contextmanager
def lock_output(path: Path | str, *, folder: bool = False) -> Iterator[None]:
    """Let one process at a time write an output; the lock ends with its process, even if killed.

    The lock is flock's on a hidden file beside the output, or in the folder. On systems without
    it (Windows), and on file systems that cannot lock, nothing is locked.

    Args:
        path: the output; missing parent folders are created.
        folder: whether it is a folder.

    Raises:
        BlockingIOError: another process, or another part of this one, is writing it.
        OSError: the lock cannot be made.
    """
    path = Path(path)
    target = path.resolve()
    lock = target / _LOCK if folder else target.with_name(f".{target.name}{_LOCK}")
    if fcntl is None:
        yield
        return
    created = not lock.parent.exists()
    descriptor = _acquire(lock, path)
    try:
        if not folder:
            remove_partial_files(target)
        yield
    finally:
        lock.unlink(missing_ok=True)  # before it is released, or another's would be removed
        _lock_descriptors.discard(descriptor)
        os.close(descriptor)
        if created:
            with suppress(OSError):  # there is something in it
                lock.parent.rmdir()


def is_lock(path: Path) -> bool:
    """Whether a file in a folder is only the lock of its writer."""
    return path.name == _LOCK


def remove_partial_files(path: Path) -> None:
    """Remove what killed writers of a file have left beside it, see ``atomic_write``."""
    # Between the dots is mkstemp's text, which has none: a.json is not a.json.gz.
    temporary = re.compile(rf"\.{re.escape(path.name)}\.[^.]+\.part")
    for entry in path.parent.iterdir():
        if temporary.fullmatch(entry.name):
            entry.unlink(missing_ok=True)


def _acquire(lock: Path, path: Path) -> int:
    """A descriptor of the locked file."""
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise WriteError(
                error.errno, f"cannot be written: {error.strerror}", str(path)
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                current = os.path.samestat(lock.stat(), os.fstat(descriptor))
            except FileNotFoundError:  # the process before has removed it since it was opened
                current = False
        except BlockingIOError as error:
            holder = os.read(descriptor, 100).decode(errors="replace") or "another process"
            os.close(descriptor)
            problem = f"{holder} is writing it; wait for its end, or choose another output"
            raise BlockingIOError(f"{path}: {problem}") from error
        except OSError as error:
            if error.errno not in (ENOLCK, ENOSYS, ENOTSUP):
                os.close(descriptor)
                raise
            current = True
        if current:
            break
        os.close(descriptor)
    with suppress(OSError):  # a full disk; it only names the process
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    _lock_descriptors.add(descriptor)
    return descriptor


def _close_in_child() -> None:
    """Close a forked worker's copies, which would hold a lock longer than the process."""
    while _lock_descriptors:
        os.close(_lock_descriptors.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _check_writable(path: Path) -> None:
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise OSError(f"{path}: not a file that can be replaced")
    folder = next(folder for folder in target.parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WriteError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _list(suffixes: tuple[str, ...]) -> str:
    *first, last = suffixes
    return f"{', '.join(first)} or {last}" if first else last
