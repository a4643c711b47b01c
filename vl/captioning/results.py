"""Image ids of COCO's results format, from the names of image files."""

from collections.abc import Sequence
from pathlib import Path

from vl.data.captions.captions import ImageId


def image_ids(paths: Sequence[Path]) -> list[ImageId]:
    """The id of each image: COCO's number where the name has it, else the file name.

    Raises:
        ValueError: two different files have the same id, or a name is not UTF-8.
    """
    path_of: dict[ImageId, Path] = {}
    for path in paths:
        image = image_id(path)
        if path_of.setdefault(image, path) != path:
            raise ValueError(f"{path_of[image]} and {path} have the same image id {image!r}")
        try:
            str(image).encode()
        except UnicodeEncodeError as cause:
            raise ValueError(f"the name of {path!r} is not UTF-8") from cause
    return [image_id(path) for path in paths]


def image_id(path: Path) -> ImageId:
    """COCO's number if the name is its twelve digits, or ends in them after ``_``."""
    digits = path.stem.rpartition("_")[2]
    is_coco = len(digits) == 12 and digits.isascii() and digits.isdecimal()
    return int(digits) if is_coco else path.name
