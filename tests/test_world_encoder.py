"""Training an encoder on the drawn world: what is asked of which pictures."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from data.world import COLOURS, SIZES, scene
from data.world_kinds import SEEN
from encoders.inception import Logits, inception_v1_bn
from vl.world_encoder import (
    QUESTIONS,
    Pictures,
    Things,
    WorldBatch,
    WorldTraining,
    accuracy,
    by_question,
    loosen,
    with_mixed_colours,
)

SIDE = 64
WIDTH = sum(QUESTIONS.values())


@pytest.fixture(scope="module")
def scenes():
    return [scene("training", number) for number in range(40)]


@pytest.fixture
def coordinates():
    """Pictures whose first two colours are the pixel's place, the third the picture's number."""
    ticks = torch.arange(SIDE, dtype=torch.uint8)
    images = torch.empty(40, 3, SIDE, SIDE, dtype=torch.uint8)
    images[:, 0] = ticks[None, :]
    images[:, 1] = ticks[:, None]
    images[:, 2] = torch.arange(40)[:, None, None]
    return images


class Knowing(nn.Module):
    """Answers what it is told, whatever it sees."""

    def __init__(self, answers):
        super().__init__()
        self.answers = nn.Parameter(answers)

    def classify(self, pixels):
        self.seen = pixels
        return Logits(self.answers[: len(pixels)], ())


def test_the_truth_of_a_picture_is_its_scene_s(coordinates, scenes):
    (batch,) = Pictures(coordinates, scenes, batch_size=40).epoch(0)
    names = list(QUESTIONS)
    for image, truth in zip(batch.images, batch.truth.tolist()):
        told = dict(zip(names, truth))
        shown = scenes[int(image[2, 0, 0])]
        assert SEEN[told["kind"]] == shown.main.kind
        assert COLOURS[told["colour"]] == shown.main.colour
        assert told["count"] == shown.main.amount - 1
        assert SIZES[told["size"]] == shown.main.size
        if len(shown.groups) == 1:
            assert told["other kind"] == len(SEEN)
            assert told["relation"] == QUESTIONS["relation"] - 1
        else:
            assert SEEN[told["other kind"]] == shown.groups[1].kind
            assert told["relation"] < QUESTIONS["relation"] - 1
    assert (batch.truth >= 0).all()
    assert (batch.truth < torch.tensor(list(QUESTIONS.values()))).all()


def test_a_kind_that_training_does_not_know_is_not_asked():
    images = torch.zeros(3, 3, SIDE, SIDE, dtype=torch.uint8)
    unseen = [scene("held-out-kinds", number) for number in range(3)]
    (batch,) = Pictures(images, unseen, batch_size=3).epoch(0)
    assert (batch.truth[:, 0] == -1).all()
    assert (batch.truth[:, 1] >= 0).all()


def test_a_thing_is_cut_out_around_its_middle_and_made_as_large_as_others(coordinates, scenes):
    things = Things(coordinates, scenes, side=24, batch_size=16)
    batches = list(things.epoch(0))
    assert sum(len(batch.images) for batch in batches) == sum(
        group.amount for shown in scenes for group in shown.groups
    )
    for batch in batches:
        assert batch.images.shape[1:] == (3, 24, 24)
        for image, (kind, colour, *others) in zip(batch.images, batch.truth.tolist()):
            assert set(others) == {-1}
            shown = scenes[int(image[2, 0, 0])]
            left, right = (int(image[0, 0, column]) / SIDE for column in (0, -1))
            top, bottom = (int(image[1, row, 0]) / SIDE for row in (0, -1))
            assert abs((right - left) - (bottom - top)) < 3 / SIDE
            whole = [
                (group.kind, group.colour)
                for group in shown.groups
                for place in group.places
                if left - 2 / SIDE < max(place.x - 0.85 * place.radius, 0)
                and right + 2 / SIDE > min(place.x + 0.85 * place.radius, 1)
                and top - 2 / SIDE < max(place.y - 0.85 * place.radius, 0)
                and bottom + 2 / SIDE > min(place.y + 0.85 * place.radius, 1)
                and right - left < 2.9 * place.radius + 3 / SIDE
            ]
            assert (SEEN[kind], COLOURS[colour]) in whole


def test_an_epoch_can_be_entered_anywhere(coordinates, scenes):
    for batches in (
        Pictures(coordinates, scenes, batch_size=16, seed=3),
        Things(coordinates, scenes, side=24, batch_size=16, seed=3),
    ):
        whole = list(batches.epoch(1))
        assert len(whole) == len(batches)
        rest = list(batches.epoch(1, first=1))
        assert len(rest) == len(whole) - 1
        for one, other in zip(whole[1:], rest):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.truth, other.truth)
        assert not torch.equal(whole[0].images, next(batches.epoch(0)).images)


def test_kinds_are_asked_of_mixed_colours_alone_and_colours_of_true_ones():
    torch.manual_seed(0)
    count = 64
    answers, truth = torch.randn(count, WIDTH), torch.zeros(count, len(QUESTIONS), dtype=torch.long)
    truth[:3] = -1
    images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8)
    model = Knowing(answers)
    loss = WorldTraining(model)(WorldBatch(images, truth), 0)
    true = (model.seen == images / 255).flatten(1).all(1)
    assert 10 < true.sum() < 50
    expected = torch.zeros(())
    for name, logits in by_question(answers).items():
        each = F.cross_entropy(logits, torch.zeros(count, dtype=torch.long), reduction="none")
        asked = torch.arange(count) >= 3
        if name in ("kind", "other kind"):
            expected = expected + 3 * each[asked & ~true].sum()
        elif name in ("colour", "other colour", "ground"):
            expected = expected + each[asked & true].sum()
        else:
            expected = expected + each[asked].sum()
    torch.testing.assert_close(loss.total, expected)
    assert loss.terms == count


def test_mixed_colours_keep_shapes():
    torch.manual_seed(1)
    pixels = torch.zeros(20, 3, 6, 6)
    pixels[:, :, :, 3:] = torch.tensor([0.9, 0.2, 0.4])[:, None, None]
    mixed = with_mixed_colours(pixels)
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    assert torch.equal(mixed[:, :, :, :3], mixed[:, :, :1, :1].expand(-1, -1, 6, 3))
    assert torch.equal(mixed[:, :, :, 3:], mixed[:, :, :1, 3:4].expand(-1, -1, 6, 3))
    assert ((mixed[..., 0] - mixed[..., 5]).abs().amax((1, 2)) > 0.05).float().mean() > 0.8
    assert len(mixed[:, :, 0, 5].unique(dim=0)) == 20


def test_accuracy_is_counted_by_question(scenes):
    images = torch.zeros(40, 3, 8, 8, dtype=torch.uint8)
    truth = next(Pictures(images, scenes, batch_size=40, seed=None).epoch(0)).truth
    answers = torch.cat(
        [F.one_hot(truth[:, n], c).float() for n, c in enumerate(QUESTIONS.values())], 1
    )
    assert set(accuracy(Knowing(answers), images, scenes).values()) == {100.0}
    answers[:10, : len(SEEN)] *= -1  # every kind but the true one
    answers[5:15, len(SEEN) : len(SEEN) + len(COLOURS)] *= -1
    found = accuracy(Knowing(answers), images, scenes)
    assert found["kind"] == 75
    assert found["colour"] == 75
    assert found["kind and colour"] == 62.5
    assert found["count"] == 100


def test_a_loosened_network_loses_less_of_what_it_is_given():
    torch.manual_seed(2)
    encoder = inception_v1_bn(classes=5, width_factor=0.125).train()
    pixels = torch.rand(8, 3, 64, 64)

    def zeros():
        return float((encoder(pixels) == 0).float().mean())

    before = zeros()
    loosen(encoder)
    assert zeros() < before / 2
