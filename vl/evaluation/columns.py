"""Where a record of captions has its image and its caption: names of columns and keys.

It imports neither NumPy nor PyTorch, so that a command's help needs none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

# The first that is there counts: COCO's results have an image_id beside other ids.
_IMAGE_NAMES = (
    *("image_id", "cocoid", "path", "file_name", "filename", "filepath"),
    *("image", "image_name", "image_path", "img", "img_id", "file", "id"),
)
_CAPTION_NAMES = (
    *("caption", "captions", "generated_caption", "prediction"),
    *("text", "sentence", "comment", "references"),
)
_FILE_NAMES = ("file_name", "filename")


class Keys(NamedTuple):
    """The names that a record has; None where there is none."""

    image: str | None
    caption: str | None
    file_name: str | None  # of the image, beside its id


@dataclass(frozen=True)
class Columns:
    """The names to look for, the first that is there counts; by default the usual ones."""

    image: tuple[str, ...] = ()
    caption: tuple[str, ...] = ()

    def keys(self, names: Sequence[str]) -> Keys:
        """Which of a record's names are of the image and the caption; case does not count."""
        return _keys(self, tuple(names))


@lru_cache
def _keys(columns: Columns, names: tuple[str, ...]) -> Keys:
    by_name = {_plain(name): name for name in reversed(names)}

    def first(expected: Sequence[str]) -> str | None:
        return next((by_name[_plain(n)] for n in expected if _plain(n) in by_name), None)

    image, file_name = first(columns.image or _IMAGE_NAMES), first(_FILE_NAMES)
    caption = first(columns.caption or _CAPTION_NAMES)
    return Keys(image, caption, None if file_name == image else file_name)


def _plain(name: str) -> str:
    return "_".join(name.casefold().split())
