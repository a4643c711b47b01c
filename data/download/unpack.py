"""Zip archives of others: nothing outside the folder, no links, no more than was announced."""

import shutil
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from vl.data.errors import FormatError


def unzip(archive: Path, folder: Path, *, max_bytes: int, members: Sequence[str] = ()) -> None:
    """Unpack a zip into a folder that appears when it is complete.

    Args:
        archive: the zip.
        folder: does not exist yet. If everything lies in one folder of the archive, its content
            lies here without that folder.
        max_bytes: of the content in all.
        members: files to unpack; empty for all.

    Raises:
        FormatError: it is damaged, lacks a member, or has a path outside of the folder, a link, a
            file twice, or more than ``max_bytes``.
        OSError: the folder cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with ZipFile(archive) as zipped:
            files = _checked(archive, zipped, members)
            if sum(file.file_size for file in files) > max_bytes:
                raise FormatError(archive, f"unpacks to more than {max_bytes:,} bytes")
            tops = {PurePosixPath(file.filename).parts[0] for file in files}
            flat = len(tops) == 1 and all("/" in file.filename for file in files)
            for file in files:
                target = partial.joinpath(*PurePosixPath(file.filename).parts[flat:])
                target.parent.mkdir(parents=True, exist_ok=True)
                # A member's reader ends at the announced size, and checks its CRC there.
                with zipped.open(file) as source, target.open("xb") as output:
                    shutil.copyfileobj(source, output)
        partial.rename(folder)
    # The last three: an encrypted file, a compression that Python lacks, a file that ends early.
    except (BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        raise FormatError(archive, f"not a whole zip: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _checked(archive: Path, zipped: ZipFile, members: Sequence[str]) -> list[ZipInfo]:
    """The files of a zip that are wanted."""
    files = [file for file in zipped.infolist() if not file.is_dir()]
    names = set()
    for file in files:
        name = file.filename
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts or "\\" in name or ":" in name:
            raise FormatError(archive, "a path outside of the folder", record=repr(name))
        if stat.S_ISLNK(file.external_attr >> 16):  # Unix's mode is in the upper half
            raise FormatError(archive, "a link", record=repr(name))
        if name.casefold() in names:
            raise FormatError(archive, "a file of this name is there twice", record=repr(name))
        names.add(name.casefold())
    for member in members:
        if member.casefold() not in names:
            raise FormatError(archive, "missing", record=repr(member))
    return [file for file in files if not members or file.filename in members]
