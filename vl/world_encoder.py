"""Training an encoder on the drawn world: what a picture shows, told attribute by attribute.

Kinds are asked of pictures whose colours were mixed at random, colours of pictures as they are. A
kind and a colour that were never seen together are so no stranger to the encoder than others: else
it learns first that a colour rules a kind out, as some pairs are kept back.
"""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from data.batches import Plan
from data.world import COLOURS, GROUNDS, SIZES, TEXTURES, Group, Place, Relation, Scene
from data.world_kinds import SEEN
from decoders.show_and_tell import Loss
from encoders.inception import Inception
from vl.encoder_training import pixels_of

_WHERE: tuple[Relation, ...] = ("left of", "right of", "above", "below", "inside", "around")
# What is asked of a picture, and how many answers there are.
QUESTIONS: dict[str, int] = {
    "kind": len(SEEN),
    "colour": len(COLOURS),
    "other kind": len(SEEN) + 1,  # the last answer: there is no other thing
    "other colour": len(COLOURS) + 1,
    "count": 3,
    "size": len(SIZES),
    "texture": len(TEXTURES),
    "ground": len(GROUNDS),
    "relation": len(_WHERE) + 1,
}
_OF_SHAPE = ("kind", "other kind")  # asked of mixed colours alone
_OF_COLOUR = ("colour", "other colour", "ground")  # asked of true colours alone
_UNASKED = -1
_MIXED = 0.6  # of the pictures
_CONTRAST = 1.5  # of mixed colours, which are paler
_WEIGHTS = {"kind": 3.0, "other kind": 3.0}  # of the questions' losses; kinds are the hardest
# Of a square that is cut out: its half side in radii of the thing, and how far, of that, the thing
# may be off the middle.
_AROUND = (1.05, 1.4)
_OFF = 0.15
_NORM_BIAS = 1.5  # at first; deviations


class WorldBatch(NamedTuple):
    """Pictures and what is true of them."""

    images: Tensor  # (B, 3, S, S) uint8
    truth: Tensor  # (B, questions) int64; -1 where nothing is asked

    def to(self, device: torch.device | str) -> "WorldBatch":
        """The same on another device."""
        return WorldBatch(*(part.to(device, non_blocking=True) for part in self))


class Pictures:
    """Whole pictures in batches, for ``vl.training``.

    Args:
        images: ``(N, 3, S, S)`` uint8.
        scenes: what each shows.
        batch_size: pictures in a batch.
        seed: of the order; None keeps it.
    """

    def __init__(
        self, images: Tensor, scenes: Sequence[Scene], *, batch_size: int, seed: int | None = 0
    ) -> None:
        self._images = images
        self._truth = torch.tensor([_truth(scene) for scene in scenes])
        self._plan = Plan(len(scenes), batch_size=batch_size, seed=seed, what="pictures", least=2)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._plan)

    def epoch(self, number: int, *, first: int = 0) -> Iterator[WorldBatch]:
        """The batches of an epoch from ``first`` on."""
        for share in self._plan.epoch(number, first=first):
            yield WorldBatch(self._images[share.units], self._truth[share.units])


class Things:
    """Single things, cut out of pictures and made equally large, in batches; kind and colour asked.

    Args:
        images: ``(N, 3, S, S)`` uint8.
        scenes: what each shows.
        side: of what is cut out, in pixels, once it is resized.
        batch_size: things in a batch.
        seed: of order and squares.
    """

    def __init__(
        self,
        images: Tensor,
        scenes: Sequence[Scene],
        *,
        side: int,
        batch_size: int,
        seed: int = 0,
    ) -> None:
        self._images, self._side = images, side
        self._things = [
            (row, place)
            for row, scene in enumerate(scenes)
            for group in scene.groups
            for place in group.places
        ]
        looks = [_look(group) for scene in scenes for group in scene.groups for _ in group.places]
        self._truth = torch.full((len(looks), len(QUESTIONS)), _UNASKED)
        self._truth[:, :2] = torch.tensor(looks)
        self._plan = Plan(len(looks), batch_size=batch_size, seed=seed, what="things", least=2)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._plan)

    def epoch(self, number: int, *, first: int = 0) -> Iterator[WorldBatch]:
        """The batches of an epoch from ``first`` on."""
        for share in self._plan.epoch(number, first=first):
            cut = [
                self._cut(*self._things[thing], draw)
                for thing, draw in zip(share.units, share.draws.tolist(), strict=True)
            ]
            yield WorldBatch(torch.stack(cut), self._truth[share.units])

    def _cut(self, row: int, place: Place, draw: int) -> Tensor:
        """A thing with a little around it, ``(3, side, side)`` uint8."""
        chance, size = random.Random(draw), self._images.shape[-1]
        half = min(place.radius * chance.uniform(*_AROUND), 0.5)
        left, top = (
            (middle + half * chance.uniform(-_OFF, _OFF) - half) * size
            for middle in (place.x, place.y)
        )
        long = round(2 * half * size)
        left, top = (min(max(round(begin), 0), size - long) for begin in (left, top))
        square = self._images[row, :, top : top + long, left : left + long]
        return resize(square, [self._side, self._side], antialias=True)


class WorldTraining(nn.Module):
    """An encoder whose classifier answers all ``QUESTIONS``; its forward is the loss.

    Args:
        encoder: with ``sum(QUESTIONS.values())`` classes.
    """

    def __init__(self, encoder: Inception) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, batch: WorldBatch, step: int) -> Loss:
        """The sum over pictures of the questions' weighted cross-entropies, and the pictures."""
        pixels = pixels_of(batch.images)
        mixed = torch.rand(len(pixels)).to(pixels.device) < _MIXED
        pixels = torch.where(mixed[:, None, None, None], with_mixed_colours(pixels), pixels)
        answers = self.encoder.classify(pixels.contiguous(memory_format=torch.channels_last)).main
        total = answers.new_zeros(())
        for number, (name, logits) in enumerate(by_question(answers).items()):
            truth = batch.truth[:, number]
            if name in _OF_SHAPE:
                truth = truth.where(mixed, _UNASKED)
            elif name in _OF_COLOUR:
                truth = truth.where(~mixed, _UNASKED)
            loss = F.cross_entropy(logits, truth, ignore_index=_UNASKED, reduction="sum")
            total = total + _WEIGHTS.get(name, 1.0) * loss
        return Loss(total, torch.tensor(len(pixels), device=pixels.device))


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


def loosen(encoder: Inception) -> None:
    """Begin with batch norms that cut little off, so that a deep network learns from the start.

    With biases of 0 each ReLU loses half of what it is given, 22 times over, and on small data
    the network learns nothing of shapes for thousands of pictures.
    """
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, _NORM_BIAS)


@torch.inference_mode()
def accuracy(encoder: Inception, images: Tensor, scenes: Sequence[Scene]) -> dict[str, float]:
    """How often each question is answered rightly, in per cent, and kind and colour together."""
    encoder.eval()
    parts = [encoder.classify(pixels_of(part)).main for part in torch.split(images, 250)]
    said = torch.stack([each.argmax(1) for each in by_question(torch.cat(parts)).values()], 1)
    right = said == torch.tensor([_truth(scene) for scene in scenes])
    shares = (100 * right.float().mean(0)).tolist()
    both = 100 * (right[:, 0] & right[:, 1]).float().mean().item()
    return {**dict(zip(QUESTIONS, shares, strict=True)), "kind and colour": both}


def _truth(scene: Scene) -> list[int]:
    """The place of the true answer of each question; -1 for kinds that training does not know."""
    main = scene.main
    other = scene.groups[1] if len(scene.groups) > 1 else None
    where = scene.relations(0, 1) if other else frozenset()
    places = [place for place, relation in enumerate(_WHERE) if relation in where]
    return [
        *_look(main),
        *(_look(other) if other else (len(SEEN), len(COLOURS))),
        main.amount - 1,
        SIZES.index(main.size),
        TEXTURES.index(main.texture),
        GROUNDS.index(scene.ground),
        places[0] if places else len(_WHERE),
    ]


def _look(group: Group) -> tuple[int, int]:
    kind = SEEN.index(group.kind) if group.kind in SEEN else _UNASKED
    return kind, COLOURS.index(group.colour)
