"""A drawn world on disk: images, captions in COCO's format, class lists, and the ground truth."""

import json
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import NamedTuple

from vl.data.errors import FormatError, changed_settings
from vl.data.files import atomic_write, keeping, read_json, write_text
from vl.data.images.read_ahead import batched, num_cores
from vl.data.outputs import is_lock, lock_output
from vl.data.text_files import read_text, split_lines
from vl.data.world.captions import scene_captions
from vl.data.world.drawing import encode_jpeg, render
from vl.data.world.kinds import KINDS, SEEN, label_list, synset_ids, write_taxonomy
from vl.data.world.scenes import (
    SPLITS,
    Scene,
    Split,
    sample_scene,
    scene_from_json,
    scene_to_json,
)
from vl.data.world.text import paragraphs

_SETTINGS = "world.json"
_VERSION = 4  # of what a seed gives; 4 has other names in world.json and truth-*.jsonl than 3
_PARTIAL = ".*.part"  # what `vl.data.files.atomic_write` names an unfinished file
_CHUNK = 25  # images that a process draws at a time
_MIN_FOR_PROCESSES = 200  # images; starting processes takes as long as drawing so many


class World(NamedTuple):
    """The settings of a world, which determine its files."""

    num_images: dict[Split, int]
    side: int  # pixels
    seed: int
    num_words: int  # least words of text


def draw_world(
    folder: Path,
    world: World,
    *,
    num_workers: int | None = None,
    skip: Callable[[int], object] = lambda count: None,
    advance: Callable[[int], object] = lambda count: None,
) -> int:
    """Draw what the folder lacks of a world: an interrupted run can be resumed.

    Args:
        folder: empty, not yet there, or holding a part of the same world.
        world: what to draw.
        num_workers: processes; by default one a core.
        skip: called once, with the number of images that are there.
        advance: called with the number of images drawn since its last call.

    Returns:
        The number of images that were there.

    Raises:
        FormatError: the folder's settings cannot be read.
        ValueError: the folder holds another world, or something else.
        OSError: the folder cannot be written to, or another process is writing it.
    """
    message = "what is drawn is kept, and the same command goes on"
    with lock_output(folder, folder=True), keeping(lambda: message):
        _prepare_folder(folder, world)
        _write_texts(folder, world)
        missing = {split: _missing_images(folder, split, world) for split in world.num_images}
        num_missing = sum(map(len, missing.values()))
        num_present = sum(world.num_images.values()) - num_missing
        skip(num_present)
        draw = partial(_draw_images, folder, seed=world.seed, side=world.side)
        _draw_missing(missing, draw, num_workers or num_cores(), advance)
        for split in world.num_images:  # after the images: a list is there once all of them are
            _write_split(folder, split, world)
    return num_present


def _draw_missing(
    missing: dict[Split, list[int]],
    draw: Callable[[Split, Sequence[int]], int],
    num_workers: int,
    advance: Callable[[int], object],
) -> None:
    """Draw images in this process, or in several if they are many."""
    chunks = [(split, chunk) for split in missing for chunk in batched(missing[split], _CHUNK)]
    if sum(map(len, missing.values())) < _MIN_FOR_PROCESSES or num_workers == 1:
        for split, indices in chunks:
            advance(draw(split, indices))
    else:
        # Spawned, not forked: other threads of this process may hold locks.
        context = multiprocessing.get_context("spawn")
        # Ctrl-C reaches all processes of a terminal; the first ends the others.
        ignore = (signal.SIGINT, signal.SIG_IGN)
        with ProcessPoolExecutor(num_workers, context, signal.signal, ignore) as pool:
            futures = [pool.submit(draw, split, indices) for split, indices in chunks]
            try:
                for future in as_completed(futures):
                    advance(future.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def image_name(split: Split, index: int) -> str:
    """The file name of an image, unique over all splits."""
    return f"{split}-{index:06d}.jpg"


def read_ground_truth(path: Path) -> dict[str, Scene]:
    """The scenes of a ``truth-SPLIT.jsonl``, by image name.

    Raises:
        FormatError: a line has another format, or an image is there twice.
        OSError: the file cannot be read.
    """
    scenes: dict[str, Scene] = {}
    for number, line in enumerate(split_lines(read_text(path)), 1):
        record = f"line {number}"
        try:
            entry = json.loads(line)
            name, scene = entry["image"], scene_from_json(entry["scene"])
        except (ValueError, KeyError, TypeError) as error:
            problem = f"expected an image and its scene: {error}"
            raise FormatError(path, problem, record=record) from error
        if name in scenes:
            raise FormatError(path, f"{name!r} is there twice", record=record)
        scenes[name] = scene
    if not scenes:
        raise FormatError(path, "there is no image in it")
    return scenes


def _prepare_folder(folder: Path, world: World) -> None:
    """Check that a folder is empty or holds a part of this world; write the settings."""
    settings = {"version": _VERSION, **world._asdict()}
    file = folder / _SETTINGS
    if file.exists():
        stored = read_json(file)
        if stored != settings:
            changes = changed_settings(stored, settings)
            problem = f"it holds another world ({changes}); name another folder"
            raise ValueError(f"{folder}: {problem}")
        for part in (*folder.glob(_PARTIAL), *folder.glob(f"pictures/*/{_PARTIAL}")):
            part.unlink()  # of a run that was killed
    elif folder.exists() and not all(map(is_lock, folder.iterdir())):
        raise ValueError(f"{folder}: it is not empty, and holds no drawn world; name another one")
    # Written first: whatever else is in the folder is known to be of this world.
    write_text(file, json.dumps(settings, indent=1) + "\n")


def _missing_images(folder: Path, split: Split, world: World) -> list[int]:
    """Indices of the images that are not there; an empty file, left by a power failure, is not."""
    images = folder / "pictures" / split
    files = images.iterdir() if images.is_dir() else ()
    present = {file.name for file in files if file.stat().st_size > 0}
    indices = range(world.num_images[split])
    return [index for index in indices if image_name(split, index) not in present]


def _draw_images(
    folder: Path, split: Split, indices: Sequence[int], *, seed: int, side: int
) -> int:
    """Draw some images of a split, in any process; returns how many."""
    for index in indices:
        content = encode_jpeg(render(sample_scene(split, index, seed=seed), side=side))
        path = folder / "pictures" / split / image_name(split, index)
        with atomic_write(path, durable=False) as partial_path:  # `_missing_images` tests for size
            partial_path.write_bytes(content)
    return len(indices)


def _write_split(folder: Path, split: Split, world: World) -> None:
    """Write all of a split but its images: captions, ground truth, and two class lists.

    The class in ``SPLIT.txt`` is the main object's kind after its synset; in ``SPLIT-looks.txt`` it
    is its color and kind.
    """
    scenes = [
        sample_scene(split, index, seed=world.seed) for index in range(world.num_images[split])
    ]
    if not scenes:
        return
    names = [image_name(split, scene.index) for scene in scenes]
    ids = synset_ids()
    write_text(folder / f"captions-{split}.json", _coco_captions(split, names, scenes, world.side))
    truth = (
        json.dumps({"image": name, "scene": scene_to_json(scene)}) + "\n"
        for name, scene in zip(names, scenes, strict=True)
    )
    write_text(folder / f"truth-{split}.jsonl", "".join(truth))
    kinds = [f"{ids[scene.main.kind]} {scene.main.kind}" for scene in scenes]
    looks = [f"{scene.main.color} {scene.main.kind}" for scene in scenes]
    for suffix, classes in (("", kinds), ("-looks", looks)):
        lines = (f"pictures/{split}/{n}\t{c}\n" for n, c in zip(names, classes, strict=True))
        write_text(folder / f"{split}{suffix}.txt", "".join(lines))


def _write_texts(folder: Path, world: World) -> None:
    """Write the taxonomy, lists of kinds, and the text."""
    write_taxonomy(folder)
    write_text(folder / "kinds-seen.txt", label_list(SEEN))
    for hops in (2, 3):
        unseen = tuple(kind.name for kind in KINDS if kind.hops == hops)
        write_text(folder / f"kinds-unseen-{hops}-hops.txt", label_list(unseen))
    if world.num_words:
        text = "\n".join(paragraphs(world.num_words, seed=world.seed))
        write_text(folder / "text.txt", f"{text}\n")


def _coco_captions(split: Split, names: Sequence[str], scenes: Sequence[Scene], side: int) -> str:
    """A captions file in COCO's format; ids are unique over all splits."""
    images, annotations = [], []
    for name, scene in zip(names, scenes, strict=True):
        image_id = SPLITS.index(split) * 10_000_000 + scene.index
        images.append({"id": image_id, "file_name": name, "width": side, "height": side})
        for position, caption in enumerate(scene_captions(scene)):
            annotation_id = 10 * image_id + position
            annotations.append({"id": annotation_id, "image_id": image_id, "caption": caption})
    info = {"description": f"A drawn world: {split}"}
    return json.dumps({"info": info, "images": images, "annotations": annotations}) + "\n"
