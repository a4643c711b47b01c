"""A drawn world on disk: pictures, captions as COCO has them, lists of classes, and the truth.

It knows no command's flags.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vl.data.errors import FormatError
from vl.data.files import atomic_write, decode_text, parse_json, split_lines, write_text
from vl.data.world.captions import captions
from vl.data.world.drawing import draw, encoded
from vl.data.world.kinds import KINDS, SEEN, labels, synset_ids, write_taxonomy
from vl.data.world.scenes import SPLITS, Scene, Split, as_json, from_json, scene
from vl.data.world.text import paragraphs

SETTINGS = "world.json"
_VERSION = 3  # of what a seed gives; another one's pictures are another world
_PART = ".*.part"  # as vl.data.files calls what is not finished


class World(NamedTuple):
    """What a folder holds; the same numbers give the same files."""

    pictures: dict[Split, int]  # how many of each split
    side: int  # pixels
    seed: int
    words: int  # of text, at least


def begin(folder: Path, world: World) -> None:
    """See that a folder is empty or holds a part of this world, and make it ready for the rest.

    Raises:
        FormatError: its settings cannot be read.
        ValueError: it holds another world, or something else.
        OSError: the folder cannot be written to.
    """
    settings: dict[str, Any] = {"version": _VERSION, **world._asdict()}
    file = folder / SETTINGS
    if file.exists():
        held = parse_json(file, decode_text(file, file.read_bytes()))
        if held != settings:
            there = held if isinstance(held, dict) else {}
            what = [
                f"{name} {there.get(name)} there and {value} here"
                for name, value in settings.items()
                if there.get(name) != value
            ]
            problem = f"it holds another world ({'; '.join(what)}); name another folder"
            raise ValueError(f"{folder}: {problem}")
        for half in (*folder.glob(_PART), *folder.glob(f"pictures/*/{_PART}")):
            half.unlink()  # of a run that was killed
    elif folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: it is not empty, and holds no drawn world; name another one")
    # This one first: what lies beside it is known to be of this world.
    write_text(file, json.dumps(settings, indent=1) + "\n")


def picture_name(split: Split, number: int) -> str:
    """What a picture's file is called; no two splits share a name."""
    return f"{split}-{number:06d}.jpg"


def missing(folder: Path, split: Split, world: World) -> list[int]:
    """Numbers of the pictures that are not there yet."""
    place = folder / "pictures" / split
    files = place.iterdir() if place.is_dir() else ()
    there = {file.name for file in files if file.stat().st_size > 0}
    numbers = range(world.pictures[split])
    return [number for number in numbers if picture_name(split, number) not in there]


def draw_some(folder: Path, split: Split, numbers: Sequence[int], *, seed: int, side: int) -> int:
    """Draw some pictures of a split, and say how many; any process may do it.

    Raises:
        OSError: the folder cannot be written to.
    """
    for number in numbers:
        content = encoded(draw(scene(split, number, seed=seed), side=side))
        place = folder / "pictures" / split / picture_name(split, number)
        with atomic_write(place, durable=False) as beside:  # `missing` finds what is empty
            beside.write_bytes(content)
    return len(numbers)


def write_split(folder: Path, split: Split, world: World) -> None:
    """Write all of a split but its pictures: captions, truth, and lists by kind and by look.

    In ``SPLIT.txt`` the class is the main thing's kind, with its synset in front; in
    ``SPLIT-looks.txt`` its colour and kind.

    Raises:
        OSError: the folder cannot be written to.
    """
    scenes = [scene(split, number, seed=world.seed) for number in range(world.pictures[split])]
    if not scenes:
        return
    names = [picture_name(split, each.number) for each in scenes]
    ids = synset_ids()
    write_text(folder / f"captions-{split}.json", _coco(split, names, scenes, world.side))
    truth = (
        json.dumps({"picture": name, "scene": as_json(each)}) + "\n"
        for name, each in zip(names, scenes, strict=True)
    )
    write_text(folder / f"truth-{split}.jsonl", "".join(truth))
    kinds = [f"{ids[each.main.kind]} {each.main.kind}" for each in scenes]
    looks = [f"{each.main.colour} {each.main.kind}" for each in scenes]
    for ending, classes in (("", kinds), ("-looks", looks)):
        lines = (f"pictures/{split}/{one}\t{of}\n" for one, of in zip(names, classes, strict=True))
        write_text(folder / f"{split}{ending}.txt", "".join(lines))


def write_words(folder: Path, world: World) -> None:
    """Write the taxonomy, lists of kinds, and the text.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_taxonomy(folder)
    write_text(folder / "kinds-seen.txt", labels(SEEN))
    for hops in (2, 3):
        unseen = tuple(kind.name for kind in KINDS if kind.hops == hops)
        write_text(folder / f"kinds-unseen-{hops}-hops.txt", labels(unseen))
    if world.words:
        text = "\n".join(paragraphs(world.words, seed=world.seed))
        write_text(folder / "text.txt", f"{text}\n")


def read_truth(path: Path) -> dict[str, Scene]:
    """What every picture of a ``truth-SPLIT.jsonl`` shows, by the picture's name.

    Raises:
        FormatError: a line is not what ``write_split`` writes, or a picture is there twice.
        OSError: the file cannot be read.
    """
    found: dict[str, Scene] = {}
    for number, line in enumerate(split_lines(decode_text(path, path.read_bytes())), 1):
        record = f"line {number}"
        try:
            entry = json.loads(line)
            name, truth = entry["picture"], from_json(entry["scene"])
        except (ValueError, KeyError, TypeError) as error:
            problem = f"expected a picture and its scene: {error}"
            raise FormatError(path, problem, record=record) from error
        if name in found:
            raise FormatError(path, f"{name!r} is there twice", record=record)
        found[name] = truth
    if not found:
        raise FormatError(path, "there is no picture in it")
    return found


def _coco(split: Split, names: Sequence[str], scenes: Iterable[Scene], side: int) -> str:
    """COCO's captions file; ids are unique over all splits."""
    images, annotations = [], []
    for name, each in zip(names, scenes, strict=True):
        image_id = SPLITS.index(split) * 10_000_000 + each.number
        images.append({"id": image_id, "file_name": name, "width": side, "height": side})
        for place, caption in enumerate(captions(each)):
            annotation_id = 10 * image_id + place
            annotations.append({"id": annotation_id, "image_id": image_id, "caption": caption})
    info = {"description": f"A drawn world: {split}"}
    return json.dumps({"info": info, "images": images, "annotations": annotations}) + "\n"
