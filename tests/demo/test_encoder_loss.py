"""Loss and gradients of the drawn world's multi-attribute classifier, against plain loops."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.helpers.tiny_world import (
    CELL_CLASSES,
    IGNORED,
    IMAGE_CLASSES,
    cell_classes,
    image_classes,
    single_batch,
    training_scenes,
    unseen_scenes,
)
from vl.demo.encoder import CELL_HEADS, IMAGE_HEADS, CellHead, WorldBatch, WorldTask, split_heads
from vl.encoders.inception import AUXILIARY_AFTER, Logits, inception_v1_bn

HEAD_WEIGHTS = {"big kind": 2.0, "small kind": 2.0}
CELL_HEAD_WEIGHTS = {"kind": 3.0, "color": 0.9, "texture": 0.9, "size": 0.9, "ground": 0.9}
EMPTY_CELL_WEIGHT = 0.15


@pytest.fixture(scope="module")
def scenes():
    return training_scenes()


class Constant(nn.Module):
    """An encoder with fixed logits."""

    def __init__(self, logits, *cell_logits):
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.cell_logits = nn.ParameterList(cell_logits)
        self.inception = {name: SimpleNamespace(width=8) for name in AUXILIARY_AFTER}
        self.auxiliary = nn.ModuleDict()

    def classify(self, pixels):
        self.pixels = pixels
        return Logits(self.logits, tuple(self.cell_logits))


def test_cell_head_classifies_every_cell_by_itself():
    torch.manual_seed(0)
    head = CellHead(12)
    x = torch.randn(2, 12, 5, 5)
    logits = head(x)
    assert logits.shape == (2, sum(CELL_HEADS.values()), 5, 5)
    other = x.clone()
    other[1, :, 3, 0] += 1
    changed = ((head(other) - logits).abs() > 1e-5).any(1)
    assert changed.nonzero().tolist() == [[1, 3, 0]]
    for row in range(5):
        for column in range(5):
            cell = head(x[:, :, row : row + 1, column : column + 1])
            torch.testing.assert_close(logits[:, :, row, column], cell[:, :, 0, 0])


def pairs_of(scenes):
    """Pairs of kind and color in the scenes."""
    return {(group.kind, group.color) for scene in scenes for group in scene.groups}


def unmasked(classes, attribute, kind, color, pairs, mixed):
    """Indices of a head's classes that are not masked.

    Args:
        classes: of the head.
        attribute: of the object that the head classifies.
        kind: of the object.
        color: of the object.
        pairs: of kind and color in training.
        mixed: whether the image's colors are mixed.
    """
    indices = range(len(classes))
    if attribute == "kind" and not mixed and color not in (None, IGNORED):
        return [k for k in indices if classes[k] is None or (classes[k], color) in pairs]
    if attribute == "color" and kind not in (None, IGNORED):
        return [k for k in indices if classes[k] is None or (kind, classes[k]) in pairs]
    return list(indices)


def cross_entropy(logits, label, indices):
    """Cross-entropy over some of the classes."""
    largest = max(logits[k] for k in indices)
    return largest + math.log(sum(math.exp(logits[k] - largest) for k in indices)) - logits[label]


def by_head(row, classes):
    """A row of logits by head."""
    parts, start = {}, 0
    for name, values in classes.items():
        parts[name] = row[start : start + len(values)]
        start += len(values)
    return parts


def plain_image_loss(row, scene, pairs, mixed):
    """Loss of an image without its cells."""
    total, labels = 0.0, image_classes(scene)
    for name, logits in by_head(row, IMAGE_CLASSES).items():
        attribute = name.split()[-1]
        size = name.split()[0] if " " in name else scene.main.size
        if labels[name] == IGNORED or (mixed and attribute in ("color", "ground")):
            continue
        kind, color = labels[f"{size} kind"], labels[f"{size} color"]
        classes = IMAGE_CLASSES[name]
        indices = unmasked(classes, attribute, kind, color, pairs, mixed)
        nats = cross_entropy(logits, classes.index(labels[name]), indices)
        total += HEAD_WEIGHTS.get(name, 1.0) * nats
    return total


def plain_cell_loss(logits, scenes, pairs, mixed):
    """Loss of a map of cells: of each head the weighted mean over the labelled cells."""
    side = logits.shape[-1]
    maps = logits.permute(0, 2, 3, 1).tolist()
    sums, weights = dict.fromkeys(CELL_HEADS, 0.0), dict.fromkeys(CELL_HEADS, 0.0)
    for scene, rows, is_mixed in zip(scenes, maps, mixed, strict=True):
        cells = cell_classes(scene, side)
        for row in range(side):
            for column in range(side):
                labels = cells[row][column]
                for name, cell_logits in by_head(rows[row][column], CELL_CLASSES).items():
                    if labels[name] == IGNORED or (is_mixed and name in ("color", "ground")):
                        continue
                    classes = CELL_CLASSES[name]
                    kind, color = labels["kind"], labels["color"]
                    indices = unmasked(classes, name, kind, color, pairs, is_mixed)
                    weight = EMPTY_CELL_WEIGHT if labels[name] is None else 1.0
                    label = classes.index(labels[name])
                    sums[name] += weight * cross_entropy(cell_logits, label, indices)
                    weights[name] += weight
    return sum(CELL_HEAD_WEIGHTS[n] * sums[n] / weights[n] for n in CELL_HEADS if weights[n])


def plain_loss(logits, cell_logits, scenes, pairs, mixed):
    """The sum of the loss over images."""
    images = sum(
        plain_image_loss(row, scene, pairs, is_mixed)
        for row, scene, is_mixed in zip(logits.tolist(), scenes, mixed, strict=True)
    )
    return images + len(scenes) * sum(
        plain_cell_loss(logits_of_map, scenes, pairs, mixed) for logits_of_map in cell_logits
    )


def random_logits(count, maps=2, side=4):
    """Logits of images, and of maps of cells."""
    logits = 2 * torch.randn(count, sum(IMAGE_HEADS.values()))
    return logits, [
        2 * torch.randn(count, sum(CELL_HEADS.values()), side, side) for _ in range(maps)
    ]


def with_noise(batch):
    """The batch with images that show whether colors are mixed."""
    return batch._replace(images=torch.randint(256, (len(batch.images), 3, 8, 8)).byte())


def mixed_images(model, batch):
    """Which images the encoder received with mixed colors."""
    return (model.encoder.pixels != batch.images / 255).flatten(1).any(1)


@pytest.mark.parametrize("count", [1, 35])
def test_loss_agrees_with_plain_loops(scenes, count):
    """With masked pairs, mixed colors, and kinds that are not in training."""
    torch.manual_seed(0)
    pairs = pairs_of(scenes)
    mixed_cases = set()
    shown = [*scenes[:28], *unseen_scenes()[:7]]
    for start in range(0, len(shown), count):
        part = shown[start : start + count]
        logits, cell_logits = random_logits(count)
        batch = with_noise(single_batch(part))
        model = WorldTask(Constant(logits, *cell_logits), scenes)
        loss = model(batch, 0)
        mixed = mixed_images(model, batch).tolist()
        mixed_cases.update(mixed)
        expected = plain_loss(logits, cell_logits, part, pairs, mixed)
        assert loss.total.item() == pytest.approx(expected, rel=1e-5)
        assert loss.terms.item() == count
        assert loss.terms.dtype == torch.int64
    assert mixed_cases == {False, True}


def test_some_images_have_mixed_colors(scenes):
    torch.manual_seed(0)
    count = 1000
    images = torch.randint(256, (count, 3, 4, 4)).byte()
    before = images.clone()
    labels = torch.zeros(count, len(IMAGE_HEADS), dtype=torch.int64)
    cells = torch.zeros(count, len(CELL_HEADS), 1, 1, dtype=torch.int64)
    batch = WorldBatch(images, labels, cells)
    model = WorldTask(Constant(random_logits(count)[0]), scenes)
    model(batch, 0)
    assert 100 < mixed_images(model, batch).sum() < 200
    assert torch.equal(images, before)


def inception_batch(scenes):
    images = torch.randint(256, (4, 3, 64, 64)).byte()
    return single_batch(scenes[:4], cells=4)._replace(images=images)


def test_inception_has_gradients_everywhere_and_masks_are_not_saved(scenes):
    torch.manual_seed(0)
    encoder = inception_v1_bn(classes=sum(IMAGE_HEADS.values()), width_factor=0.125)
    model = WorldTask(encoder, scenes)
    assert list(encoder.auxiliary) == list(AUXILIARY_AFTER)
    assert all(key.startswith("encoder.") for key in model.state_dict())
    loss = model.train()(inception_batch(scenes), 0)
    loss.total.backward()
    assert loss.total.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
    for head in encoder.auxiliary.values():
        assert isinstance(head, CellHead)
        assert head.classifier.weight.grad.any()


@pytest.mark.slow
def test_inception_overfits_four_images(scenes):
    torch.manual_seed(0)
    encoder = inception_v1_bn(classes=sum(IMAGE_HEADS.values()), width_factor=0.125)
    model = WorldTask(encoder, scenes[:4])
    batch = inception_batch(scenes)
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(60):
        adam.zero_grad()
        model(batch, 0).total.backward()
        adam.step()
    heads = split_heads(encoder.classify(batch.images / 255).main)
    correct = torch.stack([head.argmax(1) for head in heads.values()], 1) == batch.labels
    assert correct.float().mean() > 0.9
