"""Data sets into the folder that ``$VL_HOME`` names: once, one process at a time, complete or not.

A file that has its name is complete: it was checked and unpacked beside, then renamed.
"""

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from vl.data.download.datasets import DATASETS, DataFile, Dataset, human_size
from vl.data.download.transfer import fetch
from vl.data.download.unpack import unzip
from vl.data.outputs import lock_output

_log = logging.getLogger(__name__)


def home() -> Path:
    """The folder of downloads: ``$VL_HOME``, else ``vl`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if folder := os.environ.get("VL_HOME"):
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "vl"


def find(name: str) -> Dataset:
    """A data set by its name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in DATASETS:
        raise ValueError(f"no data set {name!r}; choose from {', '.join(DATASETS)}")
    return DATASETS[name]


def missing(dataset: Dataset, folder: Path) -> list[DataFile]:
    """The files of a data set that its folder lacks."""
    return [file for file in dataset.files if not (folder / file.output).exists()]


def describe(name: str, files: Sequence[DataFile]) -> str:
    """What would be downloaded, from where, how large, under which terms; a line for each."""
    dataset = find(name)
    lines = [f"{name}: {dataset.summary}; terms: {dataset.terms} ({dataset.page})"]
    lines += [f"  {file.url}, {human_size(file.size)}, checked by {check(file)}" for file in files]
    return "\n".join(lines)


def check(file: DataFile) -> str:
    """By what a file is checked."""
    return file.digest.partition(":")[0] or "its size and structure, as no hash is published"


def download(
    dataset: Dataset,
    folder: Path,
    *,
    mirror: str | None = None,
    timeout: float = 60.0,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> None:
    """Download the files of a data set that its folder lacks.

    Args:
        dataset: what to download.
        folder: of the data set.
        mirror: an http or https folder that has the files under their names.
        timeout: see ``fetch``.
        on_bytes: see ``fetch``.

    Raises:
        BlockingIOError: another process is downloading it.
        FormatError: a file is not the expected one, or see ``unzip``.
        OSError: see ``fetch``; or there is too little space, which is checked first.
        ValueError: the mirror is neither http nor https.
    """
    if mirror is not None and urlsplit(mirror).scheme not in ("http", "https"):
        raise ValueError(f"a mirror's address begins with http:// or https://, not {mirror!r}")
    folder.mkdir(parents=True, exist_ok=True)  # where nothing can be locked, too
    with lock_output(folder, folder=True):
        files = missing(dataset, folder)
        _check_space(files, folder)
        for file in files:
            url = file.url
            if mirror is not None:
                url = f"{mirror.rstrip('/')}/{PurePosixPath(urlsplit(url).path).name}"
            target = folder / file.output
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.download")
            fetch(url, part, size=file.size, digest=file.digest, timeout=timeout, on_bytes=on_bytes)
            if file.unpacked_size:
                _log.info("unpacking %s", target)
                try:
                    unzip(part, target, max_bytes=file.unpacked_size, members=file.members)
                finally:
                    part.unlink()
            else:
                part.replace(target)


def _check_space(files: Sequence[DataFile], folder: Path) -> None:
    needed = sum(file.size + file.unpacked_size for file in files)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{folder}: {human_size(needed)} are needed, {human_size(free)} are free; "
            "VL_HOME chooses another folder"
        )
