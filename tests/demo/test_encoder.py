"""Labels, batches and accuracy of the drawn world's multi-attribute classifier."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.tiny_world import (
    CELL_CLASSES,
    COUNT,
    IGNORED,
    IMAGE_CLASSES,
    cell_classes,
    image_classes,
    indices_of,
    numbered,
    single_batch,
    training_scenes,
    unseen_scenes,
)
from vl.data.world.scenes import COLORS, sample_scene
from vl.demo.encoder import (
    CELL_HEADS,
    IMAGE_HEADS,
    WorldBatches,
    cell_labels,
    head_accuracy,
    init_batch_norm_bias,
    mix_colors,
)
from vl.encoders.inception import Logits, inception_v1_bn


@pytest.fixture(scope="module")
def scenes():
    return training_scenes()


@pytest.fixture(scope="module")
def unseen():
    return unseen_scenes()


class Lookup(nn.Module):
    """An encoder that looks its logits up by the index in an image."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def classify(self, pixels):
        assert not self.training
        return Logits(self.logits[indices_of((255 * pixels).round())], ())


def decode(labels, classes):
    """Labels, one a head, to classes."""
    return {
        name: IGNORED if label == -1 else values[label]
        for (name, values), label in zip(classes.items(), labels, strict=True)
    }


def test_heads_have_a_class_for_each_value():
    for heads, classes in ((IMAGE_HEADS, IMAGE_CLASSES), (CELL_HEADS, CELL_CLASSES)):
        assert {name: len(values) for name, values in classes.items()} == heads
        assert list(classes) == list(heads)


@pytest.mark.parametrize("split", ["training", "held-out-combinations", "held-out-kinds"])
def test_image_labels_are_the_scenes(split):
    scenes = [sample_scene(split, index) for index in range(COUNT)]
    labels = single_batch(scenes).labels
    assert labels.shape == (COUNT, len(IMAGE_HEADS))
    for scene, row in zip(scenes, labels.tolist(), strict=True):
        assert decode(row, IMAGE_CLASSES) == image_classes(scene)


def test_unseen_kinds_are_ignored_but_not_their_colors(unseen):
    batch = single_batch(unseen, cells=8)
    for scene, row, cells in zip(unseen, batch.labels.tolist(), batch.cell_labels, strict=True):
        labels = dict(zip(IMAGE_HEADS, row, strict=True))
        assert labels["kind"] == labels[f"{scene.main.size} kind"] == -1
        assert COLORS[labels[f"{scene.main.size} color"]] == scene.main.color
        covered = cells[1] != -1
        assert covered.any()
        assert (cells[0][covered] == -1).all()
        assert (cells[1][covered] == COLORS.index(scene.main.color)).all()


@pytest.mark.parametrize("cells", [1, 4, 7])
@pytest.mark.parametrize("split", ["training", "held-out-kinds"])
def test_cell_labels_agree_with_a_plain_loop(split, cells):
    for index in range(30):
        scene = sample_scene(split, index)
        labels = cell_labels(scene, cells)
        assert labels.shape == (len(CELL_HEADS), cells, cells)
        assert labels.dtype == torch.int64
        assert [
            [decode(labels[:, row, column].tolist(), CELL_CLASSES) for column in range(cells)]
            for row in range(cells)
        ] == cell_classes(scene, cells)


@pytest.mark.parametrize("seed", [None, 3])
def test_batches_keep_images_and_labels_together(scenes, seed):
    data = WorldBatches(numbered(COUNT), scenes, cells=4, batch_size=16, seed=seed)
    batches = list(data.epoch(2))
    assert len(batches) == len(data) == 4
    order = []
    for batch in batches:
        indices = indices_of(batch.images)
        order += indices
        for index, labels, cells in zip(indices, batch.labels, batch.cell_labels, strict=True):
            assert decode(labels.tolist(), IMAGE_CLASSES) == image_classes(scenes[index])
            assert torch.equal(cells, cell_labels(scenes[index], 4))
    assert (order == list(range(COUNT))) == (seed is None)
    assert sorted(order) == list(range(COUNT))


def test_no_batch_has_a_single_image(scenes):
    batches = WorldBatches(numbered(33), scenes[:33], cells=1, batch_size=16)
    assert [len(batch.images) for batch in batches.epoch(0)] == [16, 17]


def test_mixed_colors_keep_shapes():
    torch.manual_seed(1)
    pixels = torch.zeros(20, 3, 6, 6)
    pixels[:, :, :, 3:] = torch.tensor([0.9, 0.2, 0.4])[:, None, None]
    before = pixels.clone()
    mixed = mix_colors(pixels)
    assert torch.equal(pixels, before)
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    assert torch.equal(mixed[:, :, :, :3], mixed[:, :, :1, :1].expand(-1, -1, 6, 3))
    assert torch.equal(mixed[:, :, :, 3:], mixed[:, :, :1, 3:4].expand(-1, -1, 6, 3))
    assert ((mixed[..., 0] - mixed[..., 5]).abs().amax((1, 2)) > 0.05).float().mean() > 0.8
    assert len(mixed[:, :, 0, 5].unique(dim=0)) == 20
    assert ((mixed - pixels).abs().amax((1, 2, 3)) > 0.05).all()


def test_mixing_weights_add_up_to_the_contrast():
    torch.manual_seed(3)
    signs = torch.cartesian_prod(*3 * [torch.tensor([-1.0, 1.0])]).T  # (3, 8)
    pixels = (0.5 + 0.25 * signs).expand(10, 3, 8)[:, :, None]  # (10, 3, 1, 8)
    largest = (mix_colors(pixels) - 0.5).abs().amax((2, 3))
    # In one of the eight pixels all signs agree with the weights'.
    torch.testing.assert_close(largest, torch.full((10, 3), 1.5 * 0.25))


def one_hot_logits(labels):
    """Logits whose predictions are the labels; ignored ones are class 0."""
    columns = zip(labels.clamp(min=0).unbind(1), IMAGE_HEADS.values(), strict=True)
    return torch.cat([F.one_hot(column, count).float() for column, count in columns], 1)


def test_accuracy_by_head_and_of_the_main_kind_and_color():
    torch.manual_seed(4)
    count = 260  # more than an evaluation batch
    scenes = [sample_scene("test", index) for index in range(count)]
    labels = single_batch(scenes).labels
    correct = torch.rand(labels.shape) < torch.linspace(0.2, 0.9, len(IMAGE_HEADS))
    predictions = (labels + (~correct).long()) % torch.tensor(list(IMAGE_HEADS.values()))
    accuracy = head_accuracy(Lookup(one_hot_logits(predictions)), numbered(count), scenes)
    expected = dict.fromkeys((*IMAGE_HEADS, "kind and color"), 0)
    for scene, row in zip(scenes, correct.tolist(), strict=True):
        by_head = dict(zip(IMAGE_HEADS, row, strict=True))
        by_head["kind and color"] = by_head["kind"] and by_head[f"{scene.main.size} color"]
        for name, right in by_head.items():
            expected[name] += right
    assert accuracy == pytest.approx({name: 100 * n / count for name, n in expected.items()})
    assert list(accuracy) == list(expected)


def test_unseen_kinds_are_never_correct(unseen):
    model = Lookup(one_hot_logits(single_batch(unseen).labels))
    accuracy = head_accuracy(model, numbered(len(unseen)), unseen)
    assert accuracy["kind"] == accuracy["kind and color"] == 0
    assert accuracy["big color"] == accuracy["small color"] == accuracy["count"] == 100


def test_batch_norm_bias_keeps_relus_open():
    torch.manual_seed(2)
    encoder = inception_v1_bn(classes=5, width_factor=0.125).train()
    pixels = torch.rand(8, 3, 64, 64)
    norms = {
        name: module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    negative = []
    for module in norms.values():
        module.register_forward_hook(lambda *args: negative.append((args[-1] < 0).float().mean()))
    before = {name: value.clone() for name, value in encoder.named_parameters()}
    encoder(pixels)
    init_batch_norm_bias(encoder)
    encoder(pixels)
    default, initialized = torch.stack(negative).view(2, -1).mean(1).tolist()
    # Of a normal distribution half is below 0, and a fifteenth below -1.5 standard deviations.
    assert default == pytest.approx(1 / 2, abs=0.1)
    assert initialized == pytest.approx(1 / 15, abs=0.05)
    for name, value in encoder.named_parameters():
        is_bias = name.removesuffix(".bias") in norms
        assert torch.equal(value, before[name]) != is_bias
