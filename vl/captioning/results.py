"""Image ids of COCO's results format, from the names of image files."""

import re
from collections.abc import Sequence
from pathlib import Path

from vl.data.captions.captions import ImageId

_COCO = re.compile(r"(?:.*_)?([0-9]{12})", re.DOTALL)  # COCO_val2014_000000000042


def image_ids(paths: Sequence[Path]) -> list[ImageId]:
    """The id of each image: COCO's number where the name has it, else the file name.

    Raises:
        ValueError: two different files have the same id, or a name is not UTF-8.
    """
    path_of: dict[ImageId, Path] = {}
    ids: list[ImageId] = []
    for path in paths:
        match = _COCO.fullmatch(path.stem)
        ids.append(int(match[1]) if match else path.name)
        if path_of.setdefault(ids[-1], path) != path:
            raise ValueError(f"{path_of[ids[-1]]} and {path} have the same image id {ids[-1]!r}")
        try:
            str(ids[-1]).encode()
        except UnicodeEncodeError as cause:
            raise ValueError(f"the name of {path!r} is not UTF-8") from cause
    return ids
