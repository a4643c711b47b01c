"""Where a page finds photographs: by their paths, or as small copies inside it."""

import base64
import contextlib
import io
import os
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from PIL import Image, ImageOps

THUMBNAIL = 320  # pixels of the longer side of a copy
_QUALITY = 80  # of its JPEG, which takes about 15 kB


class Photographs:
    """A folder of photographs, as a page shows them.

    Args:
        folder: where they are.
        page: the page that will point at them; by its folder are the paths.
        embed: copies inside the page instead.

    Raises:
        NotADirectoryError: the folder is none.
    """

    def __init__(self, folder: Path, *, page: Path, embed: bool = False) -> None:
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder}: a folder of photographs was expected")
        self._folder = folder
        self._start = page.resolve().parent
        self._embed = embed
        self.missing: list[str] = []  # names for which no photograph was there
        self.broken: list[str] = []  # files that do not decode

    def __call__(self, name: str) -> str | None:
        """The address of the photograph that the references call so, ``None`` if there is none."""
        found = self._find(name)
        if found is None:
            self.missing.append(name)
            return None
        if not self._embed:
            return quote(Path(os.path.relpath(found.resolve(), self._start)).as_posix())
        jpeg = _thumbnail(found)
        if jpeg is None:
            self.broken.append(name)
            return None
        return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"

    def _find(self, name: str) -> Path | None:
        """With the folder as the references have it, or without; never outside the folder."""
        given = PurePosixPath(name)
        inside = not given.is_absolute() and ".." not in given.parts
        for path in (self._folder / given, self._folder / given.name):
            with contextlib.suppress(OSError):  # a name may be too long for a file's
                if (inside or path.parent == self._folder) and path.is_file():
                    return path
        return None


def _thumbnail(path: Path) -> bytes | None:
    try:
        with Image.open(path) as image:
            image.draft("RGB", (THUMBNAIL, THUMBNAIL))  # decodes a JPEG at a fraction of its size
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((THUMBNAIL, THUMBNAIL))
            content = io.BytesIO()
            upright.convert("RGB").save(content, "JPEG", quality=_QUALITY)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # as Pillow has them
        return None
    return content.getvalue()
