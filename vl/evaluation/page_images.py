"""Images of an HTML page: relative paths to files, or thumbnails embedded in the page."""

import base64
import contextlib
import io
import logging
import os
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from PIL import Image

THUMBNAIL_SIZE = 320  # pixels of the longer side
_JPEG_QUALITY = 80  # a thumbnail takes about 15 kB

_log = logging.getLogger(__name__)


class PageImages:
    """URLs of the images in a folder, for a page.

    Args:
        folder: of the images.
        page: the page; paths are relative to its folder.
        embed: thumbnails as data URLs instead of paths.
    """

    def __init__(self, folder: Path, *, page: Path, embed: bool = False) -> None:
        self._folder = folder
        self._page_folder = page.resolve().parent
        self._embed = embed
        self.missing: list[str] = []  # names without a file
        self.broken: list[str] = []  # names of files that do not decode

    def __call__(self, name: str, *, unique: bool = True) -> str | None:
        """The URL of the image with this file name, ``None`` if there is none.

        ``unique`` is whether the last part of the name is that of no other image; only then the
        image may lie in another folder than its name says.
        """
        path = self._find(name, unique=unique)
        if path is None:
            self.missing.append(name)
            return None
        if not self._embed:
            relative = Path(os.path.relpath(path.resolve(), self._page_folder)).as_posix()
            return quote(os.fsencode(relative))  # a name need not be UTF-8
        jpeg = _thumbnail(path)
        if jpeg is None:
            self.broken.append(name)
            return None
        return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"

    def log_problems(self) -> None:
        """Warn of the images without a URL."""
        for names, problem in ((self.missing, "are missing"), (self.broken, "do not decode")):
            if names:
                message = "%s: %d images %s, such as %s"
                _log.warning(message, self._folder, len(names), problem, names[0])

    def _find(self, name: str, *, unique: bool) -> Path | None:
        """With the folder that the references have, or without; never outside the folder."""
        relative = PurePosixPath(name)
        last_parts = unique or self._folder.resolve().name == relative.parent.name
        is_inside = not relative.is_absolute() and ".." not in relative.parts
        for path in (self._folder / relative, self._folder / relative.name)[: 1 + last_parts]:
            with contextlib.suppress(OSError):  # the name may be too long for a file
                if (is_inside or path.parent == self._folder) and path.is_file():
                    return path
        return None


def _thumbnail(path: Path) -> bytes | None:
    from vl.data.images.decode import thumbnail  # it needs PyTorch, which no other page does

    try:
        pixels = thumbnail(path, THUMBNAIL_SIZE)  # (H, W, 3)
    except (OSError, ValueError):
        return None
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
