"""Training an encoder on the drawn world: what a picture shows, told attribute by attribute.

Big and small things are asked of one by one, so that what is learnt of one is not mixed with the
other; and every cell of two maps half way is asked as well, where the published network has its
auxiliary classifiers.

Some kinds are never shown in some colour. That is no reason to doubt what is seen: such pairs are
left out of each question's answers, in training only, so that nothing is learnt against them.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vl.data.batches import BatchPlan, LossSum
from vl.data.world.kinds import SEEN
from vl.data.world.scenes import COLOURS, GROUNDS, SIZES, TEXTURES, Group, Relation, Scene
from vl.encoders.inception import AUXILIARY_AFTER, Inception
from vl.encoding.training import pixels_of

_WHERE: tuple[Relation, ...] = ("left of", "right of", "above", "below", "inside", "around")
# What is asked of a picture, and how many answers there are; where there may be no such thing, the
# last answer says so.
QUESTIONS: dict[str, int] = {
    "kind": len(SEEN),  # of the main thing
    "big kind": len(SEEN) + 1,
    "big colour": len(COLOURS) + 1,
    "big texture": len(TEXTURES) + 1,
    "small kind": len(SEEN) + 1,
    "small colour": len(COLOURS) + 1,
    "small texture": len(TEXTURES) + 1,
    "count": 3,
    "ground": len(GROUNDS),
    "relation": len(_WHERE) + 1,
}
# What is asked of a cell: as of a picture, of the thing that covers it.
OF_CELLS: dict[str, int] = {
    "kind": len(SEEN) + 1,
    "colour": len(COLOURS),
    "texture": len(TEXTURES),
    "size": len(SIZES) + 1,
    "ground": len(GROUNDS),
}
_UNASKED = -1
_NEVER = -1e4  # a logit
_MIXED = 0.15  # of the pictures
_CONTRAST = 1.5  # of mixed colours, which are paler
_WEIGHTS = {"big kind": 2.0, "small kind": 2.0}  # of a question's loss; kinds are the hardest
_CELL_WEIGHTS = {"kind": 3.0}
_OTHER_CELL_WEIGHT = 0.9
_NOTHING_WEIGHT = 0.15  # of cells without a thing, which most are
# How far from its middle a thing fills its square, in radii, and where it surely does not.
_FULL, _HOOP_FULL, _EMPTY = 0.75, 1.05, 1.15
_NORM_BIAS = 1.5  # at first; deviations


class WorldBatch(NamedTuple):
    """Pictures and what is true of them."""

    images: Tensor  # (B, 3, S, S) uint8
    truth: Tensor  # (B, questions) int64; -1 where nothing is asked
    cells: Tensor  # (B, questions of cells, C, C) int64; -1 where nothing is asked

    def to(self, device: torch.device | str) -> "WorldBatch":
        """The same on another device."""
        return WorldBatch(*(part.to(device, non_blocking=True) for part in self))


class Pictures:
    """Pictures in batches, for ``vl.training.loop``.

    Args:
        images: ``(N, 3, S, S)`` uint8.
        scenes: what each shows.
        cells: along a side of the maps that are asked.
        batch_size: pictures in a batch.
        seed: of the order; None keeps it.
    """

    def __init__(
        self,
        images: Tensor,
        scenes: Sequence[Scene],
        *,
        cells: int,
        batch_size: int,
        seed: int | None = 0,
    ) -> None:
        self._images = images
        self._truth = torch.tensor([_truth(scene) for scene in scenes])
        self._cells = torch.stack([cells_of(scene, cells) for scene in scenes])
        self._plan = BatchPlan(
            len(scenes), batch_size=batch_size, seed=seed, unit_name="images", min_per_process=2
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._plan)

    def epoch(self, number: int, *, first: int = 0) -> Iterator[WorldBatch]:
        """The batches of an epoch from ``first`` on."""
        for share in self._plan.epoch(number, first=first):
            units = share.units
            yield WorldBatch(self._images[units], self._truth[units], self._cells[units])


class CellHead(nn.Module):
    """What each cell of a map shows, in place of an auxiliary classifier."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(inputs, sum(OF_CELLS.values()))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, C, C)`` to ``(B, answers, C, C)``."""
        return self.classifier(x.movedim(1, 3)).movedim(3, 1)


class WorldTask(nn.Module):
    """An encoder whose classifier answers all ``QUESTIONS``; its forward is the loss.

    Args:
        encoder: with ``sum(QUESTIONS.values())`` classes; it is given heads for cells.
        scenes: what is trained on, of which pairs of kind and colour are counted.
    """

    def __init__(self, encoder: Inception, scenes: Sequence[Scene]) -> None:
        super().__init__()
        self.encoder = encoder
        for name in AUXILIARY_AFTER:
            inputs = encoder.inception[name].width
            assert isinstance(inputs, int)
            encoder.auxiliary[name] = CellHead(inputs)
        # What is added to the logits, by the other half of the pair; "none" allows all.
        by_kind = torch.zeros(len(SEEN) + 1, len(COLOURS) + 1)
        by_kind[:-1, :-1] = _NEVER
        for scene in scenes:
            for group in scene.groups:
                by_kind[SEEN.index(group.kind), COLOURS.index(group.colour)] = 0.0
        self.colours_of_kinds: Tensor
        self.kinds_of_colours: Tensor
        self.register_buffer("colours_of_kinds", by_kind, persistent=False)
        self.register_buffer("kinds_of_colours", by_kind.T.contiguous(), persistent=False)

    def forward(self, batch: WorldBatch, step: int) -> LossSum:
        """The sum over pictures of the questions' weighted cross-entropies, and the pictures."""
        pixels = pixels_of(batch.images)
        mixed = (torch.rand(len(pixels)) < _MIXED).to(pixels.device)
        pixels = torch.where(mixed[:, None, None, None], with_mixed_colours(pixels), pixels)
        answers = self.encoder.classify(pixels.contiguous(memory_format=torch.channels_last))
        count = torch.tensor(len(pixels), device=pixels.device)
        loss = self._of_pictures(answers.main.float(), batch.truth, mixed)
        for cells in answers.auxiliary:
            loss = loss + self._of_cells(cells.float(), batch.cells, mixed)
        return LossSum(loss * len(pixels), count)

    def _of_pictures(self, answers: Tensor, truth: Tensor, mixed: Tensor) -> Tensor:
        truths = dict(zip(QUESTIONS, truth.unbind(1), strict=True))
        big = truths["big kind"] != len(SEEN)
        main_colour = truths["big colour"].where(big, truths["small colour"])
        total = answers.new_zeros(())
        for name, logits in by_question(answers).items():
            what, asked = name.rpartition(" ")[2], truths[name]
            if what == "kind":
                colour = truths[name.replace("kind", "colour")] if name != "kind" else main_colour
                logits = logits + self._kinds(colour, mixed)[:, : logits.shape[1]]
            elif what == "colour":
                kind = truths[name.replace("colour", "kind")]
                logits = logits + self.colours_of_kinds[kind]
            if what in ("colour", "ground"):
                asked = asked.where(~mixed, _UNASKED)
            loss = F.cross_entropy(logits, asked, ignore_index=_UNASKED, reduction="sum")
            total = total + _WEIGHTS.get(name, 1.0) * loss
        return total / len(truth)

    def _of_cells(self, answers: Tensor, truth: Tensor, mixed: Tensor) -> Tensor:
        parts = torch.split(answers, list(OF_CELLS.values()), 1)
        kind, colour = truth[:, 0], truth[:, 1]
        total = answers.new_zeros(())
        for number, (name, logits) in enumerate(zip(OF_CELLS, parts, strict=True)):
            asked = truth[:, number]
            weights = torch.ones(logits.shape[1], device=logits.device)
            if name == "kind":
                none = torch.full_like(colour, len(COLOURS))
                allowed = self._kinds(colour.where(colour != _UNASKED, none), mixed)
                logits = logits + allowed.movedim(-1, 1)
                weights[-1] = _NOTHING_WEIGHT
            elif name == "colour":
                none = torch.full_like(kind, len(SEEN))
                allowed = self.colours_of_kinds[kind.where(kind != _UNASKED, none)]
                logits = logits + allowed[..., :-1].movedim(-1, 1)
            elif name == "size":
                weights[-1] = _NOTHING_WEIGHT
            if name in ("colour", "ground"):
                asked = asked.where(~mixed[:, None, None], _UNASKED)
            if (asked != _UNASKED).any():
                loss = F.cross_entropy(logits, asked, weights, ignore_index=_UNASKED)
                total = total + _CELL_WEIGHTS.get(name, _OTHER_CELL_WEIGHT) * loss
        return total

    def _kinds(self, colour: Tensor, mixed: Tensor) -> Tensor:
        """What is added to logits of kinds, ``(..., kinds)``: mixed colours rule nothing out."""
        true = (~mixed).view(-1, *[1] * colour.dim())
        return self.kinds_of_colours[colour] * true


def by_question(answers: Tensor) -> dict[str, Tensor]:
    """``(B, sum of answers)`` to each question's ``(B, answers)``."""
    return dict(zip(QUESTIONS, torch.split(answers, list(QUESTIONS.values()), 1), strict=True))


def with_mixed_colours(pixels: Tensor) -> Tensor:
    """Each picture's colours led through a random matrix, ``(B, 3, H, W)`` in [0, 1] as before.

    Shapes stay what they were, and no colour is what it was.
    """
    matrices = torch.randn(len(pixels), 3, 3)
    matrices = (matrices / matrices.abs().sum(2, keepdim=True)).to(pixels.device)
    mixed = torch.einsum("bchw,bkc->bkhw", pixels - 0.5, matrices)
    return (_CONTRAST * mixed + 0.5).clamp(0, 1)


def init_batch_norm_bias(encoder: Inception) -> None:
    """Begin with batch norms that cut little off, so that a deep network learns from the start.

    With biases of 0 each ReLU loses half of what it is given, 22 times over, and on small data
    the network learns nothing of shapes for thousands of pictures.
    """
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, _NORM_BIAS)


@torch.inference_mode()
def accuracy(encoder: Inception, images: Tensor, scenes: Sequence[Scene]) -> dict[str, float]:
    """How often each question is answered rightly, in per cent, and the main kind and colour."""
    encoder.eval()
    device = next(encoder.parameters()).device
    parts = [encoder.classify(pixels_of(part.to(device))).main for part in torch.split(images, 250)]
    said = torch.stack([each.argmax(1) for each in by_question(torch.cat(parts)).values()], 1).cpu()
    truth = torch.tensor([_truth(scene) for scene in scenes])
    right = dict(zip(QUESTIONS, (said == truth).unbind(1), strict=True))
    big = truth[:, list(QUESTIONS).index("big kind")] != len(SEEN)
    colour = right["big colour"].where(big, right["small colour"])
    right["kind and colour"] = right["kind"] & colour
    return {name: 100 * each.float().mean().item() for name, each in right.items()}


def cells_of(scene: Scene, cells: int) -> Tensor:
    """What is asked of each cell of a picture, ``(questions of cells, cells, cells)`` int64."""
    found = torch.full((len(OF_CELLS), cells, cells), _UNASKED)
    kind, _, _, size, ground = found  # each ``(cells, cells)``
    kind[:], size[:], ground[:] = len(SEEN), len(SIZES), GROUNDS.index(scene.ground)
    middles = (torch.arange(cells) + 0.5) / cells
    for group in scene.groups:
        full = _HOOP_FULL if group.kind == "ring" else _FULL
        told = torch.tensor(
            [*_look(group), TEXTURES.index(group.texture), SIZES.index(group.size), _UNASKED]
        )
        for place in group.places:
            across, down = (middles - place.x).abs(), (middles - place.y).abs()
            far = torch.maximum(across[None, :], down[:, None]) / place.radius
            doubtful = (far < _EMPTY) & (kind == len(SEEN))
            kind[doubtful] = size[doubtful] = _UNASKED
            found[:, far < full] = told[:, None]
    return found


def _truth(scene: Scene) -> list[int]:
    """The place of the true answer of each question; -1 for kinds that training does not know."""
    told = [_look(scene.main)[0]]
    for size in reversed(SIZES):
        of_size = [group for group in scene.groups if group.size == size]
        if of_size:
            told += [*_look(of_size[0]), TEXTURES.index(of_size[0].texture)]
        else:
            told += [len(SEEN), len(COLOURS), len(TEXTURES)]
    where = scene.relations(0, 1) if len(scene.groups) > 1 else frozenset()
    places = [place for place, relation in enumerate(_WHERE) if relation in where]
    return [
        *told,
        scene.main.amount - 1,
        GROUNDS.index(scene.ground),
        places[0] if places else len(_WHERE),
    ]


def _look(group: Group) -> tuple[int, int]:
    kind = SEEN.index(group.kind) if group.kind in SEEN else _UNASKED
    return kind, COLOURS.index(group.colour)
