"""Training an encoder on the drawn world: what is asked of which pictures and cells."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.tiny_world import (
    ANSWERS,
    CELL_ANSWERS,
    COUNT,
    UNASKED,
    numbered,
    numbers_of,
    plain_cells,
    plain_reading,
    strange_scenes,
    training_scenes,
    whole,
)
from vl.data.world.kinds import SEEN
from vl.data.world.scenes import COLOURS, SIZES, Group, Place, Scene, scene
from vl.demo.encoder import (
    OF_CELLS,
    QUESTIONS,
    Pictures,
    WorldBatch,
    accuracy,
    by_question,
    cells_of,
    init_batch_norm_bias,
    with_mixed_colours,
)
from vl.encoders.inception import Logits, inception_v1_bn


@pytest.fixture(scope="module")
def scenes():
    return training_scenes()


@pytest.fixture(scope="module")
def strangers():
    return strange_scenes()


class Reading(nn.Module):
    """An encoder that answers by the number that a picture bears."""

    def __init__(self, main):
        super().__init__()
        self.main = nn.Parameter(main)

    def classify(self, pixels):
        assert not self.training
        return Logits(self.main[numbers_of((255 * pixels).round())], ())


def in_words(truth, answers):
    """Numbers of answers, a number a question, to the answers themselves."""
    return {
        name: UNASKED if number == -1 else words[number]
        for (name, words), number in zip(answers.items(), truth, strict=True)
    }


def drawn(cells, marks):
    """A map of kinds as text: a letter for each kind of thing, "." for none, "?" for a doubt."""
    marks = {-1: "?", len(SEEN): ".", **{SEEN.index(kind): mark for kind, mark in marks.items()}}
    return ["".join(marks[kind] for kind in row) for row in cells[0].tolist()]


def thing(kind, *middles, radius, colour="blue", texture="striped", size="big"):
    places = tuple(Place(x, y, radius, 0.0, False) for x, y in middles)
    return Group(kind, colour, texture, size, places)


def shown_by(*groups, ground="sand"):
    return Scene("training", 0, 0, groups, ground)


def test_each_question_has_as_many_answers_as_there_are_words_for():
    assert {name: len(words) for name, words in ANSWERS.items()} == QUESTIONS
    assert list(ANSWERS) == list(QUESTIONS)
    assert {name: len(words) for name, words in CELL_ANSWERS.items()} == OF_CELLS
    assert list(CELL_ANSWERS) == list(OF_CELLS)


@pytest.mark.parametrize("split", ["training", "held-out-combinations", "held-out-kinds"])
def test_the_truth_of_a_picture_is_its_scene_s(split):
    shown = [scene(split, number) for number in range(COUNT)]
    truth = whole(shown).truth
    assert truth.shape == (COUNT, len(QUESTIONS))
    for each, row in zip(shown, truth.tolist(), strict=True):
        assert in_words(row, ANSWERS) == plain_reading(each)


def test_big_and_small_things_are_told_apart_whichever_is_the_main_one():
    ball = thing("ball", (0.3, 0.3), radius=0.2, colour="red", size="small")
    cup = thing("cup", (0.7, 0.3), radius=0.2, colour="black", texture="plain", size="big")
    for groups, where in (((ball, cup), "left of"), ((cup, ball), "right of")):
        told = in_words(whole([shown_by(*groups)]).truth[0].tolist(), ANSWERS)
        assert told == {
            "kind": groups[0].kind,
            "big kind": "cup",
            "big colour": "black",
            "big texture": "plain",
            "small kind": "ball",
            "small colour": "red",
            "small texture": "striped",
            "count": 1,
            "ground": "sand",
            "relation": where,
        }


def test_a_kind_that_training_does_not_know_is_not_asked_but_its_look_is(strangers):
    batch = whole(strangers, cells=8)
    names = list(QUESTIONS)
    for shown, row, cells in zip(strangers, batch.truth.tolist(), batch.cells, strict=True):
        told = dict(zip(names, row, strict=True))
        assert told["kind"] == told[f"{shown.main.size} kind"] == -1
        assert COLOURS[told[f"{shown.main.size} colour"]] == shown.main.colour
        covered = cells[1] != -1
        assert covered.any()
        assert (cells[0][covered] == -1).all()
        assert (cells[1][covered] == COLOURS.index(shown.main.colour)).all()


@pytest.mark.parametrize("cells", [1, 4, 7])
@pytest.mark.parametrize("split", ["training", "held-out-kinds"])
def test_cells_agree_with_a_plain_loop_over_them(split, cells):
    for number in range(30):
        shown = scene(split, number)
        found = cells_of(shown, cells)
        assert found.shape == (len(OF_CELLS), cells, cells)
        assert found.dtype == torch.int64
        said = [
            [in_words(found[:, row, column].tolist(), CELL_ANSWERS) for column in range(cells)]
            for row in range(cells)
        ]
        assert said == plain_cells(shown, cells)


def test_cells_near_a_thing_s_edge_are_in_doubt():
    cells = cells_of(shown_by(thing("ball", (0.25, 0.625), radius=0.22)), 8)
    # Middles of cells are 1/16, 3/16 ... from an edge: 1/16 or 3/16 from the ball's middle, that
    # is 0.28 or 0.85 of its radius, or 5/16, which is 1.42.
    assert drawn(cells, {"ball": "b"}) == [
        "........",
        "........",
        "........",
        "????....",
        "?bb?....",
        "?bb?....",
        "????....",
        "........",
    ]
    place = {".": (0, 0), "?": (3, 0), "b": (4, 1)}
    told = {
        mark: in_words(cells[:, row, column].tolist(), CELL_ANSWERS)
        for mark, (row, column) in place.items()
    }
    nothing = {"colour": UNASKED, "texture": UNASKED, "ground": "sand"}
    assert told["."] == {"kind": None, "size": None, **nothing}
    assert told["?"] == {"kind": UNASKED, "size": UNASKED, **nothing}
    assert told["b"] == {
        "kind": "ball",
        "colour": "blue",
        "texture": "striped",
        "size": "big",
        "ground": UNASKED,
    }


def test_a_ring_fills_its_square_but_for_the_thing_inside_it():
    ring = thing("ring", (0.5, 0.5), radius=0.4)
    star = thing("star", (0.5, 0.5), radius=0.16, size="small", colour="red")
    cells = cells_of(shown_by(ring, star), 8)
    # The outermost cells are 7/16 from the middle, 1.09 of the ring's radius; the innermost 1/16,
    # 0.39 of the star's, and those about them 3/16, which is 1.17.
    assert drawn(cells, {"ring": "r", "star": "s"}) == [
        "????????",
        "?rrrrrr?",
        "?rrrrrr?",
        "?rrssrr?",
        "?rrssrr?",
        "?rrrrrr?",
        "?rrrrrr?",
        "????????",
    ]
    assert COLOURS[cells[1, 3, 3]] == "red"
    assert SIZES[cells[3, 3, 3]] == "small"
    assert COLOURS[cells[1, 2, 2]] == "blue"
    assert SIZES[cells[3, 2, 2]] == "big"


def test_a_cell_that_a_thing_covers_is_not_in_doubt_for_being_near_another():
    crosses = thing("cross", (0.3125, 0.3125), (0.6875, 0.3125), radius=0.2, size="small")
    cells = cells_of(shown_by(crosses), 8)
    # 2/16 is 0.63 of the radius, 4/16 is 1.25: each covers three by three cells and no more.
    assert drawn(cells, {"cross": "x"})[1:4] == [".xxxxxx."] * 3
    wider = crosses._replace(places=tuple(p._replace(radius=0.24) for p in crosses.places))
    # 4/16 is 1.04: in doubt, but for the cells of the other cross.
    assert drawn(cells_of(shown_by(wider), 8), {"cross": "x"})[1:4] == ["?xxxxxx?"] * 3
    turned = wider._replace(places=wider.places[::-1])
    assert torch.equal(cells_of(shown_by(wider), 8), cells_of(shown_by(turned), 8))


@pytest.mark.parametrize("seed", [None, 3])
def test_images_truth_and_cells_belong_together_in_every_batch(scenes, seed):
    pictures = Pictures(numbered(COUNT), scenes, cells=4, batch_size=16, seed=seed)
    batches = list(pictures.epoch(2))
    assert len(batches) == len(pictures) == 4
    met = []
    for batch in batches:
        numbers = numbers_of(batch.images)
        met += numbers
        for number, truth, cells in zip(numbers, batch.truth, batch.cells, strict=True):
            assert in_words(truth.tolist(), ANSWERS) == plain_reading(scenes[number])
            assert torch.equal(cells, cells_of(scenes[number], 4))
    assert (met == list(range(COUNT))) == (seed is None)
    assert sorted(met) == list(range(COUNT))


def test_a_seed_and_an_epoch_set_the_order(scenes):
    def order(seed, epoch):
        pictures = Pictures(numbered(COUNT), scenes, cells=1, batch_size=16, seed=seed)
        return [number for batch in pictures.epoch(epoch) for number in numbers_of(batch.images)]

    assert order(3, 1) == order(3, 1)
    orders = [order(3, 1), order(3, 0), order(4, 1), order(0, 0)]
    assert len({tuple(each) for each in orders}) == 4


def test_an_epoch_can_be_entered_anywhere(scenes):
    pictures = Pictures(numbered(COUNT), scenes, cells=4, batch_size=16, seed=3)
    batches = list(pictures.epoch(1))
    for first in range(len(batches) + 1):
        rest = list(pictures.epoch(1, first=first))
        assert len(rest) == len(batches) - first
        for one, other in zip(batches[first:], rest, strict=True):
            for part, same in zip(one, other, strict=True):
                assert torch.equal(part, same)


def test_no_batch_is_a_single_picture(scenes):
    pictures = Pictures(numbered(33), scenes[:33], cells=1, batch_size=16)
    assert [len(batch.images) for batch in pictures.epoch(0)] == [16, 17]


def test_a_batch_on_another_device_is_the_same_three_parts(scenes):
    batch = whole(scenes[:2])
    moved = batch.to("meta")
    assert isinstance(moved, WorldBatch)
    for part, other in zip(batch, moved, strict=True):
        assert other.device.type == "meta"
        assert other.shape == part.shape
        assert other.dtype == part.dtype


def test_questions_are_divided_in_their_order():
    answers = torch.arange(2 * sum(QUESTIONS.values())).view(2, -1)
    parts = by_question(answers)
    assert list(parts) == list(QUESTIONS)
    assert {name: part.shape for name, part in parts.items()} == {
        name: (2, count) for name, count in QUESTIONS.items()
    }
    assert torch.equal(torch.cat(list(parts.values()), 1), answers)


def test_mixed_colours_keep_shapes():
    torch.manual_seed(1)
    pixels = torch.zeros(20, 3, 6, 6)
    pixels[:, :, :, 3:] = torch.tensor([0.9, 0.2, 0.4])[:, None, None]
    before = pixels.clone()
    mixed = with_mixed_colours(pixels)
    assert torch.equal(pixels, before)
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    assert torch.equal(mixed[:, :, :, :3], mixed[:, :, :1, :1].expand(-1, -1, 6, 3))
    assert torch.equal(mixed[:, :, :, 3:], mixed[:, :, :1, 3:4].expand(-1, -1, 6, 3))
    assert ((mixed[..., 0] - mixed[..., 5]).abs().amax((1, 2)) > 0.05).float().mean() > 0.8
    assert len(mixed[:, :, 0, 5].unique(dim=0)) == 20
    assert ((mixed - pixels).abs().amax((1, 2, 3)) > 0.05).all()


def test_mixed_colours_are_mixed_about_grey():
    pixels = torch.rand(10, 3, 4, 4)
    mixed = []
    for each in (pixels, 1 - pixels):
        torch.manual_seed(2)
        mixed.append(with_mixed_colours(each))
    torch.testing.assert_close(mixed[0], 1 - mixed[1])
    grey = torch.full((10, 3, 2, 2), 0.5)
    torch.testing.assert_close(with_mixed_colours(grey), grey)


def test_every_mixed_colour_takes_one_and_a_half_shares_of_the_true_ones():
    torch.manual_seed(3)
    signs = torch.cartesian_prod(*3 * [torch.tensor([-1.0, 1.0])]).T  # (3, 8)
    pixels = (0.5 + 0.25 * signs).expand(10, 3, 8)[:, :, None]  # (10, 3, 1, 8)
    most = (with_mixed_colours(pixels) - 0.5).abs().amax((2, 3))
    # Shares add up to one; with the signs that suit them they meet in one of the eight pixels.
    torch.testing.assert_close(most, torch.full((10, 3), 1.5 * 0.25))


def answering(truth):
    """Logits by which each question is answered so; unasked ones at random."""
    counts = QUESTIONS.values()
    columns = zip(truth.clamp(min=0).unbind(1), counts, strict=True)
    return torch.cat([F.one_hot(each, count).float() for each, count in columns], 1)


def test_accuracy_is_counted_by_question_and_for_the_main_thing_s_kind_and_colour():
    torch.manual_seed(4)
    count = 260  # more than are looked at together
    shown = [scene("test", number) for number in range(count)]
    truth = whole(shown).truth
    right = torch.rand(truth.shape) < torch.linspace(0.2, 0.9, len(QUESTIONS))
    said = (truth + (~right).long()) % torch.tensor(list(QUESTIONS.values()))
    found = accuracy(Reading(answering(said)), numbered(count), shown)
    names = list(QUESTIONS)
    expected = dict.fromkeys((*names, "kind and colour"), 0)
    for each, row in zip(shown, right.tolist(), strict=True):
        told = dict(zip(names, row, strict=True))
        told["kind and colour"] = told["kind"] and told[f"{each.main.size} colour"]
        for name, good in told.items():
            expected[name] += good
    assert found == pytest.approx({name: 100 * n / count for name, n in expected.items()})
    assert list(found) == list(expected)


def test_a_kind_that_training_does_not_know_is_never_said_rightly(strangers):
    model = Reading(answering(whole(strangers).truth))
    found = accuracy(model, numbered(len(strangers)), strangers)
    assert found["kind"] == found["kind and colour"] == 0
    assert found["big colour"] == found["small colour"] == found["count"] == 100


def test_a_loosened_network_loses_less_of_what_it_is_given():
    torch.manual_seed(2)
    encoder = inception_v1_bn(classes=5, width_factor=0.125).train()
    pixels = torch.rand(8, 3, 64, 64)
    norms = {
        name: module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    lost = []
    for module in norms.values():
        module.register_forward_hook(lambda *seen: lost.append((seen[-1] < 0).float().mean()))
    before = {name: value.clone() for name, value in encoder.named_parameters()}
    encoder(pixels)
    init_batch_norm_bias(encoder)
    encoder(pixels)
    tight, loose = torch.stack(lost).view(2, -1).mean(1).tolist()
    # Of a normal distribution half is below 0, and a fifteenth below -1.5 deviations.
    assert tight == pytest.approx(1 / 2, abs=0.1)
    assert loose == pytest.approx(1 / 15, abs=0.05)
    for name, value in encoder.named_parameters():
        is_bias = name.removesuffix(".bias") in norms
        assert torch.equal(value, before[name]) != is_bias
