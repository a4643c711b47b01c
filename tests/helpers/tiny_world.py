"""Scenes of the drawn world and their labels by plain loops."""

from typing import get_args

import torch
from torch import Tensor

from vl.data.world.kinds import SEEN, UNSEEN
from vl.data.world.scenes import COLORS, GROUNDS, SIZES, TEXTURES, Relation, Scene, sample_scene
from vl.demo.encoder import WorldBatch, WorldBatches

SIDE = 8
COUNT = 60
TRAITS = {"kind": (*SEEN, None), "color": (*COLORS, None), "texture": (*TEXTURES, None)}
IMAGE_CLASSES = {
    "kind": SEEN,
    **{f"{size} {trait}": values for size in ("big", "small") for trait, values in TRAITS.items()},
    "count": (1, 2, 3),
    "ground": GROUNDS,
    "relation": (*get_args(Relation)[:6], None),  # the two after them compare sizes
}
CELL_CLASSES = {
    "kind": (*SEEN, None),
    "color": COLORS,
    "texture": TEXTURES,
    "size": (*SIZES, None),
    "ground": GROUNDS,
}
IGNORED = "ignored"

Classes = dict[str, str | int | None]  # by head


def training_scenes(count: int = COUNT) -> list[Scene]:
    return [sample_scene("training", index) for index in range(count)]


def unseen_scenes() -> list[Scene]:
    """Scenes of a single kind that is not in training."""
    scenes = [sample_scene("held-out-kinds", index) for index in range(20)]
    return [scene for scene in scenes if len(scene.groups) == 1]


def numbered(count: int, side: int = SIDE) -> Tensor:
    """Images that encode their index in their first two channels."""
    images = torch.zeros(count, 3, side, side, dtype=torch.uint8)
    indices = torch.arange(count)
    images[:, 0] = (indices % 256)[:, None, None]
    images[:, 1] = (indices // 256)[:, None, None]
    return images


def indices_of(images: Tensor) -> list[int]:
    return (images[:, 0, 0, 0].long() + 256 * images[:, 1, 0, 0].long()).tolist()


def single_batch(scenes: list[Scene], cells: int = 4) -> WorldBatch:
    """All scenes as one batch, in order."""
    batches = WorldBatches(
        numbered(len(scenes)), scenes, cells=cells, batch_size=len(scenes), seed=None
    )
    (batch,) = batches.epoch(0)
    return batch


def image_classes(of: Scene) -> Classes:
    """The class of each image head, or IGNORED."""
    by_size = {group.size: group for group in of.groups}
    classes: Classes = {"kind": of.main.kind, "count": of.main.count, "ground": of.ground}
    for size in SIZES:
        for trait in TRAITS:
            group = by_size.get(size)
            classes[f"{size} {trait}"] = getattr(group, trait) if group else None
    classes["relation"] = None
    if len(of.groups) == 2:
        for relation in of.relations(0, 1):
            if relation not in ("bigger than", "smaller than"):
                classes["relation"] = relation
    return {name: IGNORED if label in UNSEEN else label for name, label in classes.items()}


def point_classes(of: Scene, x: float, y: float) -> Classes:
    """The class of each cell head for the cell around a point, or IGNORED."""
    covering, near = None, False
    for group in of.groups:
        for place in group.placements:
            distance = max(abs(x - place.x), abs(y - place.y)) / place.radius
            if distance < (1.05 if group.kind == "ring" else 0.75):
                covering = group
            elif distance < 1.15:
                near = True
    if covering is not None:
        classes = {name: getattr(covering, name) for name in ("kind", "color", "texture", "size")}
        if covering.kind in UNSEEN:
            classes["kind"] = IGNORED
        return {**classes, "ground": IGNORED}
    empty = IGNORED if near else None
    return {
        "kind": empty,
        "color": IGNORED,
        "texture": IGNORED,
        "size": empty,
        "ground": of.ground,
    }


def cell_classes(of: Scene, cells: int) -> list[list[Classes]]:
    """``point_classes`` of the center of every cell, by row."""
    centers = [(index + 0.5) / cells for index in range(cells)]
    return [[point_classes(of, x, y) for x in centers] for y in centers]
