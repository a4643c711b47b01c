"""Train an encoder on the drawn world: a multi-attribute classifier of images and of feature maps.

Large and small objects have classifiers of their own, so that the features of one do not mix with
the other's. Cells of two intermediate feature maps are classified as well, where the published
network has its auxiliary classifiers.

Some pairs of kind and color never occur in training. They are masked in the loss, so that the
network does not learn that a color rules out a kind.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vl.data.batches import BatchPlan, LossSum
from vl.data.world.kinds import SEEN
from vl.data.world.scenes import COLORS, GROUNDS, SIZES, TEXTURES, Group, Relation, Scene
from vl.encoders.inception import AUXILIARY_AFTER, Inception
from vl.encoding.task import pixels_of

_POSITIONS: tuple[Relation, ...] = ("left of", "right of", "above", "below", "inside", "around")
# The classifiers of an image, and their numbers of classes; where the object may be missing, the
# last class says so.
IMAGE_HEADS: dict[str, int] = {
    "kind": len(SEEN),  # of the main object
    "big kind": len(SEEN) + 1,
    "big color": len(COLORS) + 1,
    "big texture": len(TEXTURES) + 1,
    "small kind": len(SEEN) + 1,
    "small color": len(COLORS) + 1,
    "small texture": len(TEXTURES) + 1,
    "count": 3,
    "ground": len(GROUNDS),
    "relation": len(_POSITIONS) + 1,
}
# The classifiers of a cell, for the object that covers it.
CELL_HEADS: dict[str, int] = {
    "kind": len(SEEN) + 1,
    "color": len(COLORS),
    "texture": len(TEXTURES),
    "size": len(SIZES) + 1,
    "ground": len(GROUNDS),
}
IGNORE_INDEX = -1  # of a label that does not count in the loss
_MASKED = -1e4  # logit of a pair of kind and color that never occurs
_COLOR_MIX_PROBABILITY = 0.15
_COLOR_MIX_CONTRAST = 1.5  # mixed colors are paler
_HEAD_WEIGHTS = {"big kind": 2.0, "small kind": 2.0}  # in the loss; kinds are the hardest
_CELL_HEAD_WEIGHTS = {"kind": 3.0}
_DEFAULT_CELL_HEAD_WEIGHT = 0.9
_EMPTY_CELL_WEIGHT = 0.15  # most cells are empty
# Distance from an object's center, in radii, up to which a cell is covered, and from which it is
# not; labels in between are ignored.
_COVERED, _COVERED_BY_RING, _UNCOVERED = 0.75, 1.05, 1.15
_BATCH_NORM_BIAS = 1.5  # standard deviations
_EVALUATION_BATCH = 250


class WorldBatch(NamedTuple):
    """Images with their labels."""

    images: Tensor  # (B, 3, S, S) uint8
    labels: Tensor  # (B, image heads) int64
    cell_labels: Tensor  # (B, cell heads, H, W) int64

    def to(self, device: torch.device | str) -> "WorldBatch":
        """The batch on another device."""
        return WorldBatch(*(part.to(device, non_blocking=True) for part in self))


class WorldBatches:
    """Batches of the drawn world for ``vl.training.loop``.

    Args:
        images: ``(N, 3, S, S)`` uint8.
        cells: cells along a side of the feature maps.
        seed: of the shuffling; None does not shuffle.
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
        self._labels = torch.tensor([_image_labels(scene) for scene in scenes])
        self._cell_labels = torch.stack([cell_labels(scene, cells) for scene in scenes])
        self._plan = BatchPlan(
            len(scenes), batch_size=batch_size, seed=seed, unit_name="images", min_per_process=2
        )

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._plan)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[WorldBatch]:
        """The batches of an epoch from ``first`` on."""
        for share in self._plan.epoch(epoch, first=first):
            rows = share.units
            yield WorldBatch(self._images[rows], self._labels[rows], self._cell_labels[rows])


class CellHead(nn.Module):
    """Classifies every cell of a feature map, in place of an auxiliary classifier."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(in_channels, sum(CELL_HEADS.values()))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to logits of all cell heads, ``(B, classes, H, W)``."""
        return self.classifier(x.movedim(1, 3)).movedim(3, 1)


class WorldTask(nn.Module):
    """A multi-attribute classifier on an encoder; its forward pass is the loss.

    Args:
        encoder: with ``sum(IMAGE_HEADS.values())`` classes; its auxiliary classifiers are replaced
            by cell heads.
        scenes: of the training set; pairs of kind and color that it lacks are masked.
    """

    unit = "images"

    def __init__(self, encoder: Inception, scenes: Sequence[Scene]) -> None:
        super().__init__()
        self.encoder = encoder
        for name in AUXILIARY_AFTER:
            in_channels = encoder.inception[name].width
            assert isinstance(in_channels, int)
            encoder.auxiliary[name] = CellHead(in_channels)
        # Added to the logits of colors by kind, and transposed, of kinds by color; "none" masks
        # nothing.
        color_mask = torch.zeros(len(SEEN) + 1, len(COLORS) + 1)
        color_mask[:-1, :-1] = _MASKED
        for scene in scenes:
            for group in scene.groups:
                color_mask[SEEN.index(group.kind), COLORS.index(group.color)] = 0.0
        self.color_mask: Tensor
        self.register_buffer("color_mask", color_mask, persistent=False)

    def forward(self, batch: WorldBatch, step: int) -> LossSum:
        """Weighted cross-entropy of all heads, as a sum over the images."""
        pixels = pixels_of(batch.images)
        mixed = (torch.rand(len(pixels)) < _COLOR_MIX_PROBABILITY).to(pixels.device)
        pixels = torch.where(mixed[:, None, None, None], mix_colors(pixels), pixels)
        logits = self.encoder.classify(pixels.contiguous(memory_format=torch.channels_last))
        count = torch.tensor(len(pixels), device=pixels.device)
        loss = self._image_loss(logits.main.float(), batch.labels, mixed)
        for cell_logits in logits.auxiliary:
            loss = loss + self._cell_loss(cell_logits.float(), batch.cell_labels, mixed)
        return LossSum(loss * len(pixels), count)

    def _image_loss(self, logits: Tensor, labels: Tensor, mixed: Tensor) -> Tensor:
        by_head = dict(zip(IMAGE_HEADS, labels.unbind(1), strict=True))
        has_big = by_head["big kind"] != len(SEEN)
        main_color = by_head["big color"].where(has_big, by_head["small color"])
        total = logits.new_zeros(())
        for name, head_logits in split_heads(logits).items():
            size, _, attribute = name.rpartition(" ")
            kind = by_head[f"{size} kind".strip()]
            color = by_head[f"{size} color"] if size else main_color
            head_logits = self._masked(attribute, head_logits, kind, color, mixed)
            targets = _without_mixed(attribute, by_head[name], mixed)
            loss = F.cross_entropy(head_logits, targets, ignore_index=IGNORE_INDEX, reduction="sum")
            total = total + _HEAD_WEIGHTS.get(name, 1.0) * loss
        return total / len(labels)

    def _cell_loss(self, logits: Tensor, labels: Tensor, mixed: Tensor) -> Tensor:
        parts = torch.split(logits, list(CELL_HEADS.values()), 1)
        by_head = dict(zip(CELL_HEADS, labels.unbind(1), strict=True))
        total = logits.new_zeros(())
        for (name, targets), head_logits in zip(by_head.items(), parts, strict=True):
            head_logits = self._masked(name, head_logits, by_head["kind"], by_head["color"], mixed)
            targets = _without_mixed(name, targets, mixed)
            weights = torch.ones(head_logits.shape[1], device=head_logits.device)
            if name in ("kind", "size"):
                weights[-1] = _EMPTY_CELL_WEIGHT
            if (targets != IGNORE_INDEX).any():
                loss = F.cross_entropy(head_logits, targets, weights, ignore_index=IGNORE_INDEX)
                total = total + _CELL_HEAD_WEIGHTS.get(name, _DEFAULT_CELL_HEAD_WEIGHT) * loss
        return total

    def _masked(
        self, attribute: str, logits: Tensor, kind: Tensor, color: Tensor, mixed: Tensor
    ) -> Tensor:
        """Logits ``(B, classes, ...)`` of an attribute, masked where a pair never occurs.

        The mask of IGNORE_INDEX, the last, is that of "none". Kinds of images with mixed colors are
        not masked.
        """
        if attribute == "kind":
            mask = self.color_mask.T[color] * (~mixed).view(-1, *[1] * color.dim())
        elif attribute == "color":
            mask = self.color_mask[kind]
        else:
            return logits
        return logits + mask[..., : logits.shape[1]].movedim(-1, 1)


def _without_mixed(attribute: str, targets: Tensor, mixed: Tensor) -> Tensor:
    """Targets ``(B, ...)``, colors ignored in images with mixed colors."""
    if attribute not in ("color", "ground"):
        return targets
    return targets.where((~mixed).view(-1, *[1] * (targets.dim() - 1)), IGNORE_INDEX)


def split_heads(logits: Tensor) -> dict[str, Tensor]:
    """Logits ``(B, sum of classes)`` by image head, ``(B, classes)`` each."""
    parts = torch.split(logits, list(IMAGE_HEADS.values()), 1)
    return dict(zip(IMAGE_HEADS, parts, strict=True))


def mix_colors(pixels: Tensor) -> Tensor:
    """Augment ``(B, 3, H, W)`` in [0, 1] by random linear maps of the color channels about grey."""
    matrices = torch.randn(len(pixels), 3, 3)
    matrices = (matrices / matrices.abs().sum(2, keepdim=True)).to(pixels.device)
    mixed = torch.einsum("bchw,bkc->bkhw", pixels - 0.5, matrices)
    return (_COLOR_MIX_CONTRAST * mixed + 0.5).clamp(0, 1)


def init_batch_norm_bias(encoder: Inception) -> None:
    """Initialize batch norm biases so that ReLUs pass most of their input.

    With biases of 0 each ReLU zeroes half of its input, 22 times in a row, and on small data the
    network learns nothing of shapes for thousands of images.
    """
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, _BATCH_NORM_BIAS)


@torch.inference_mode()
def head_accuracy(encoder: Inception, images: Tensor, scenes: Sequence[Scene]) -> dict[str, float]:
    """Accuracy in percent of each image head, and of the main object's kind and color together."""
    encoder.eval()
    device = next(encoder.parameters()).device
    logits = torch.cat(
        [
            encoder.classify(pixels_of(part.to(device))).main
            for part in torch.split(images, _EVALUATION_BATCH)
        ]
    )
    predictions = torch.stack([head.argmax(1) for head in split_heads(logits).values()], 1).cpu()
    labels = torch.tensor([_image_labels(scene) for scene in scenes])
    correct = dict(zip(IMAGE_HEADS, (predictions == labels).unbind(1), strict=True))
    has_big = labels[:, list(IMAGE_HEADS).index("big kind")] != len(SEEN)
    main_color = correct["big color"].where(has_big, correct["small color"])
    correct["kind and color"] = correct["kind"] & main_color
    return {name: 100 * column.float().mean().item() for name, column in correct.items()}


def cell_labels(scene: Scene, cells: int) -> Tensor:
    """Labels of every cell of an image, ``(cell heads, cells, cells)`` int64."""
    labels = torch.full((len(CELL_HEADS), cells, cells), IGNORE_INDEX)
    kind, _, _, size, ground = labels  # each (cells, cells)
    kind[:], size[:], ground[:] = len(SEEN), len(SIZES), GROUNDS.index(scene.ground)
    centers = (torch.arange(cells) + 0.5) / cells
    for group in scene.groups:
        covered = _COVERED_BY_RING if group.kind == "ring" else _COVERED
        traits = (TEXTURES.index(group.texture), SIZES.index(group.size))
        group_labels = torch.tensor([*_kind_and_color(group), *traits, IGNORE_INDEX])
        for placement in group.placements:
            x_distance, y_distance = (centers - placement.x).abs(), (centers - placement.y).abs()
            distance = torch.maximum(x_distance[None, :], y_distance[:, None]) / placement.radius
            uncertain = (distance < _UNCOVERED) & (kind == len(SEEN))
            kind[uncertain] = size[uncertain] = IGNORE_INDEX
            labels[:, distance < covered] = group_labels[:, None]
    return labels


def _image_labels(scene: Scene) -> list[int]:
    """The label of each image head; IGNORE_INDEX for kinds that are not in training."""
    labels = [_kind_and_color(scene.main)[0]]
    for size in reversed(SIZES):
        groups = [group for group in scene.groups if group.size == size]
        if groups:
            labels += [*_kind_and_color(groups[0]), TEXTURES.index(groups[0].texture)]
        else:
            labels += [len(SEEN), len(COLORS), len(TEXTURES)]
    relations = scene.relations(0, 1) if len(scene.groups) > 1 else frozenset()
    positions = [index for index, relation in enumerate(_POSITIONS) if relation in relations]
    return [
        *labels,
        scene.main.count - 1,
        GROUNDS.index(scene.ground),
        positions[0] if positions else len(_POSITIONS),
    ]


def _kind_and_color(group: Group) -> tuple[int, int]:
    kind = SEEN.index(group.kind) if group.kind in SEEN else IGNORE_INDEX
    return kind, COLORS.index(group.color)
