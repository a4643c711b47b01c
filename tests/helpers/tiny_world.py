"""Scenes of the drawn world and their true answers by plain loops: what two tests share."""

from typing import get_args

import torch
from torch import Tensor

from vl.data.world.kinds import SEEN, UNSEEN
from vl.data.world.scenes import COLOURS, GROUNDS, SIZES, TEXTURES, Relation, Scene, scene
from vl.demo.encoder import Pictures, WorldBatch

SIDE = 8
COUNT = 60
LOOKS = {"kind": (*SEEN, None), "colour": (*COLOURS, None), "texture": (*TEXTURES, None)}
ANSWERS = {
    "kind": SEEN,
    **{f"{size} {what}": words for size in ("big", "small") for what, words in LOOKS.items()},
    "count": (1, 2, 3),
    "ground": GROUNDS,
    "relation": (*get_args(Relation)[:6], None),  # the two after them compare sizes
}
CELL_ANSWERS = {
    "kind": (*SEEN, None),
    "colour": COLOURS,
    "texture": TEXTURES,
    "size": (*SIZES, None),
    "ground": GROUNDS,
}
UNASKED = "unasked"

Told = dict[str, str | int | None]  # the answer of each question


def training_scenes(count: int = COUNT) -> list[Scene]:
    return [scene("training", number) for number in range(count)]


def strange_scenes() -> list[Scene]:
    """Those of a single kind that training does not know."""
    shown = [scene("held-out-kinds", number) for number in range(20)]
    return [each for each in shown if len(each.groups) == 1]


def numbered(count: int, side: int = SIDE) -> Tensor:
    """Pictures that bear their number in their first two colours."""
    images = torch.zeros(count, 3, side, side, dtype=torch.uint8)
    numbers = torch.arange(count)
    images[:, 0] = (numbers % 256)[:, None, None]
    images[:, 1] = (numbers // 256)[:, None, None]
    return images


def numbers_of(images: Tensor) -> list[int]:
    return (images[:, 0, 0, 0].long() + 256 * images[:, 1, 0, 0].long()).tolist()


def whole(scenes: list[Scene], cells: int = 4) -> WorldBatch:
    """All pictures as one batch, in their order."""
    pictures = Pictures(
        numbered(len(scenes)), scenes, cells=cells, batch_size=len(scenes), seed=None
    )
    (batch,) = pictures.epoch(0)
    return batch


def plain_reading(shown: Scene) -> Told:
    """The true answer of each question in words, or UNASKED."""
    things = {group.size: group for group in shown.groups}
    told: Told = {"kind": shown.main.kind, "count": shown.main.amount, "ground": shown.ground}
    for size in SIZES:
        for what in LOOKS:
            told[f"{size} {what}"] = getattr(things[size], what) if size in things else None
    told["relation"] = None
    if len(shown.groups) == 2:
        for relation in shown.relations(0, 1):
            if relation not in ("bigger than", "smaller than"):
                told["relation"] = relation
    return {name: UNASKED if word in UNSEEN else word for name, word in told.items()}


def plain_cell(shown: Scene, x: float, y: float) -> Told:
    """The true answer of each question of the cell around a point."""
    covering, near = None, False
    for group in shown.groups:
        for place in group.places:
            far = max(abs(x - place.x), abs(y - place.y)) / place.radius
            if far < (1.05 if group.kind == "ring" else 0.75):
                covering = group
            elif far < 1.15:
                near = True
    if covering is not None:
        told = {what: getattr(covering, what) for what in ("kind", "colour", "texture", "size")}
        if covering.kind in UNSEEN:
            told["kind"] = UNASKED
        return {**told, "ground": UNASKED}
    thing = UNASKED if near else None
    return {
        "kind": thing,
        "colour": UNASKED,
        "texture": UNASKED,
        "size": thing,
        "ground": shown.ground,
    }


def plain_cells(shown: Scene, cells: int) -> list[list[Told]]:
    """Rows of cells, each as ``plain_cell`` has it."""
    middles = [(number + 0.5) / cells for number in range(cells)]
    return [[plain_cell(shown, x, y) for x in middles] for y in middles]
