"""`vl download`: published weights, captions, images and word vectors."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from vl.data.bounds import PositiveFloat

if TYPE_CHECKING:
    from vl.terminal import ProgressBar

_log = logging.getLogger(__name__)
_ASK_FROM = 10**9  # bytes
_MEGABYTE = 10**6


@dataclass(frozen=True)
class DownloadFlags:
    """Download published weights, captions, images or word vectors.

    They go into $VL_HOME (by default ~/.cache/vl), a folder each, whose path is printed. What is
    there already is not downloaded again; an interrupted download continues where it broke off.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Data sets by name, see --list."""
    list: bool = False
    """List the data sets: size, terms, what each is, and the folder of those that are there."""
    yes: bool = False
    """Download a gigabyte or more without asking."""
    mirror: str | None = None
    """Another place that has the files under their names: http://host/folder."""
    timeout: PositiveFloat = 60.0
    """Seconds without a byte after which a connection counts as broken."""


def run(flags: DownloadFlags) -> int:
    """Print the list, or download what is missing and print the folders; 1 if it was declined."""
    from vl.data.download.datasets import human_size
    from vl.data.download.download import describe, download, find, home, missing
    from vl.terminal import ProgressBar, print_line

    if flags.list == bool(flags.names):
        raise ValueError("give the names of data sets, or --list")
    if flags.list:
        _print_list()
        return 0
    datasets = {name: find(name) for name in flags.names}
    for name, dataset in datasets.items():
        if not dataset.files:
            raise ValueError(f"{name} is given on request only; ask at {dataset.page}")
    missing_files = {name: missing(dataset, home() / name) for name, dataset in datasets.items()}
    for name, files in missing_files.items():
        for line in describe(name, files).splitlines() if files else ():
            _log.info("%s", line)
    size = sum(file.size for files in missing_files.values() for file in files)
    if size >= _ASK_FROM and not flags.yes and not _confirm(human_size(size)):
        return 1
    for name, dataset in datasets.items():
        folder = home() / name
        if missing_files[name]:
            total = sum(file.size for file in missing_files[name]) // _MEGABYTE
            with ProgressBar(f"download {name}", total, unit="MB") as bar:
                on_bytes = _megabytes(bar)
                download(
                    dataset, folder, mirror=flags.mirror, timeout=flags.timeout, on_bytes=on_bytes
                )
        print_line(str(folder))
        _log.info("use: %s", dataset.usage.format(folder=folder))
    return 0


def _print_list() -> None:
    from vl.data.download.datasets import DATASETS, human_size
    from vl.data.download.download import home, missing
    from vl.terminal import print_line

    for name, dataset in DATASETS.items():
        size = human_size(sum(file.size for file in dataset.files)) if dataset.files else "-"
        folder = home() / name
        there = dataset.files and not missing(dataset, folder)
        print_line(
            f"{name:<24} {size:>8}  {dataset.summary}; terms: {dataset.terms}; "
            f"{folder if there else dataset.page}"
        )


def _confirm(size: str) -> bool:
    """Ask on the terminal whether to download so much.

    Raises:
        ValueError: there is no terminal to ask at.
    """
    if not sys.stdin.isatty():
        raise ValueError(f"these are {size}; add --yes to download them")
    print(f"Download {size}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _megabytes(bar: "ProgressBar") -> Callable[[int], None]:
    """A counter of bytes that advances a bar by megabytes."""
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        bar.advance(done // _MEGABYTE - (done - count) // _MEGABYTE)

    return on_bytes
