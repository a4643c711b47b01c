"""Training an encoder on the drawn world: what is asked of which pictures and cells."""

import math
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from data.world import (
    COLOURS,
    GROUNDS,
    SIZES,
    TEXTURES,
    Group,
    Place,
    Relation,
    Scene,
    scene,
)
from data.world_kinds import SEEN, UNSEEN
from encoders.inception import TAPS, Logits, inception_v1_bn
from vl.world_encoder import (
    OF_CELLS,
    QUESTIONS,
    CellHead,
    Pictures,
    WorldBatch,
    WorldTraining,
    accuracy,
    by_question,
    cells_of,
    loosen,
    with_mixed_colours,
)

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
# What a question counts for in the loss; and of a cell without a thing, its kind and size.
WEIGHTS = {"big kind": 2.0, "small kind": 2.0}
CELL_WEIGHTS = {"kind": 3.0, "colour": 0.9, "texture": 0.9, "size": 0.9, "ground": 0.9}
NOTHING_WEIGHT = 0.15


@pytest.fixture(scope="module")
def scenes():
    return [scene("training", number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def trained():
    """Scenes by which each kind is shown in several colours, and in none that is kept back."""
    return [scene("training", number) for number in range(200)]


@pytest.fixture(scope="module")
def strangers():
    """Scenes of a single kind that training does not know."""
    shown = [scene("held-out-kinds", number) for number in range(20)]
    return [each for each in shown if len(each.groups) == 1]


def numbered(count, side=SIDE):
    """Pictures that bear their number in their first two colours."""
    images = torch.zeros(count, 3, side, side, dtype=torch.uint8)
    numbers = torch.arange(count)
    images[:, 0] = (numbers % 256)[:, None, None]
    images[:, 1] = (numbers // 256)[:, None, None]
    return images


def numbers_of(images):
    return (images[:, 0, 0, 0].long() + 256 * images[:, 1, 0, 0].long()).tolist()


def whole(scenes, cells=4):
    """All pictures as one batch, in their order."""
    pictures = Pictures(
        numbered(len(scenes)), scenes, cells=cells, batch_size=len(scenes), seed=None
    )
    (batch,) = pictures.epoch(0)
    return batch


class Knowing(nn.Module):
    """An encoder that answers what it is given, whatever it sees."""

    def __init__(self, main, *cells):
        super().__init__()
        self.main = nn.Parameter(main)
        self.cells = nn.ParameterList(cells)
        self.inception = {name: SimpleNamespace(width=8) for name in TAPS}
        self.auxiliary = nn.ModuleDict()

    def classify(self, pixels):
        self.seen = pixels
        return Logits(self.main, tuple(self.cells))


class Reading(nn.Module):
    """An encoder that answers by the number that a picture bears."""

    def __init__(self, main):
        super().__init__()
        self.main = main

    def classify(self, pixels):
        assert not self.training
        return Logits(self.main[numbers_of((255 * pixels).round())], ())


def plain_reading(shown):
    """The true answer of each question in words, or UNASKED."""
    things = {group.size: group for group in shown.groups}
    told = {"kind": shown.main.kind, "count": shown.main.amount, "ground": shown.ground}
    for size in SIZES:
        for what in LOOKS:
            told[f"{size} {what}"] = getattr(things[size], what) if size in things else None
    told["relation"] = None
    if len(shown.groups) == 2:
        for relation in shown.relations(0, 1):
            if relation not in ("bigger than", "smaller than"):
                told["relation"] = relation
    return {name: UNASKED if word in UNSEEN else word for name, word in told.items()}


def plain_cell(shown, x, y):
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


def plain_cells(shown, cells):
    """Rows of cells, each as ``plain_cell`` has it."""
    middles = [(number + 0.5) / cells for number in range(cells)]
    return [[plain_cell(shown, x, y) for x in middles] for y in middles]


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


def test_a_cell_s_answer_depends_on_that_cell_alone():
    torch.manual_seed(0)
    head = CellHead(12)
    x = torch.randn(2, 12, 5, 5)
    answers = head(x)
    assert answers.shape == (2, sum(OF_CELLS.values()), 5, 5)
    other = x.clone()
    other[1, :, 3, 0] += 1
    changed = ((head(other) - answers).abs() > 1e-5).any(1)
    assert changed.nonzero().tolist() == [[1, 3, 0]]


def test_every_cell_is_answered_alike():
    torch.manual_seed(0)
    head = CellHead(12)
    x = torch.randn(2, 12, 3, 3)
    for row in range(3):
        for column in range(3):
            alone = head(x[:, :, row : row + 1, column : column + 1])
            torch.testing.assert_close(head(x)[:, :, row, column], alone[:, :, 0, 0])


def paired(scenes):
    """The pairs of kind and colour that the scenes show."""
    return {(group.kind, group.colour) for shown in scenes for group in shown.groups}


def allowed_answers(words, what, told, pairs, mixed):
    """The places of the answers that a question leaves to choose from.

    Args:
        words: all answers.
        what: of a thing is asked.
        told: what is true of that thing.
        pairs: of kind and colour that training shows.
        mixed: whether colours are not the true ones.
    """
    kind, colour = told["kind"], told["colour"]
    places = range(len(words))
    if what == "kind" and not mixed and colour not in (None, UNASKED):
        return [n for n in places if words[n] is None or (words[n], colour) in pairs]
    if what == "colour" and kind not in (None, UNASKED):
        return [n for n in places if words[n] is None or (kind, words[n]) in pairs]
    return list(places)


def nats(logits, place, allowed):
    """What the answer at a place costs, chosen among the allowed ones."""
    most = max(logits[n] for n in allowed)
    return most + math.log(sum(math.exp(logits[n] - most) for n in allowed)) - logits[place]


def divided(row, answers):
    """One row of logits to each question's."""
    parts, begin = {}, 0
    for name, words in answers.items():
        parts[name] = row[begin : begin + len(words)]
        begin += len(words)
    return parts


def plain_picture_loss(row, shown, pairs, mixed):
    """The loss of one picture, by its scene, without its cells."""
    total, told = 0.0, plain_reading(shown)
    for name, logits in divided(row, ANSWERS).items():
        what = name.split()[-1]
        size = name.split()[0] if " " in name else shown.main.size
        if told[name] == UNASKED or (mixed and what in ("colour", "ground")):
            continue
        look = {other: told[f"{size} {other}"] for other in ("kind", "colour")}
        words = ANSWERS[name]
        allowed = allowed_answers(words, what, look, pairs, mixed)
        total += WEIGHTS.get(name, 1.0) * nats(logits, words.index(told[name]), allowed)
    return total


def plain_cell_loss(answers, scenes, pairs, mixed):
    """The loss of a map of cells: for each question a weighted mean over the cells asked."""
    side = answers.shape[-1]
    rows = answers.permute(0, 2, 3, 1).tolist()
    sums, weights = dict.fromkeys(OF_CELLS, 0.0), dict.fromkeys(OF_CELLS, 0.0)
    for shown, row_of_pictures, without in zip(scenes, rows, mixed, strict=True):
        cells = plain_cells(shown, side)
        for row in range(side):
            for column in range(side):
                told = cells[row][column]
                for name, logits in divided(row_of_pictures[row][column], CELL_ANSWERS).items():
                    if told[name] == UNASKED or (without and name in ("colour", "ground")):
                        continue
                    words = CELL_ANSWERS[name]
                    allowed = allowed_answers(words, name, told, pairs, without)
                    weight = NOTHING_WEIGHT if told[name] is None else 1.0
                    sums[name] += weight * nats(logits, words.index(told[name]), allowed)
                    weights[name] += weight
    return sum(CELL_WEIGHTS[n] * sums[n] / weights[n] for n in OF_CELLS if weights[n])


def plain_loss(main, maps, scenes, pairs, mixed):
    """The sum over pictures."""
    of_pictures = sum(
        plain_picture_loss(*each[:2], pairs, each[2])
        for each in zip(main.tolist(), scenes, mixed, strict=True)
    )
    return of_pictures + len(scenes) * sum(
        plain_cell_loss(answers, scenes, pairs, mixed) for answers in maps
    )


def fixed(count, maps=2, side=4):
    """Logits of pictures and of maps of cells."""
    main = 2 * torch.randn(count, sum(QUESTIONS.values()))
    return main, [2 * torch.randn(count, sum(OF_CELLS.values()), side, side) for _ in range(maps)]


def speckled(batch):
    """The batch with pictures on which mixed colours show."""
    return batch._replace(images=torch.randint(256, (len(batch.images), 3, 8, 8)).byte())


def mixed_in(model, batch):
    """Which pictures' colours the model was shown mixed."""
    return (model.encoder.seen != batch.images / 255).flatten(1).any(1)


def test_the_loss_agrees_with_a_plain_one(scenes, strangers):
    torch.manual_seed(0)
    shown = [*scenes[:30], *strangers[:5]]
    main, maps = fixed(len(shown))
    batch = speckled(whole(shown))
    model = WorldTraining(Knowing(main, *maps), scenes)
    loss = model(batch, 0)
    mixed = mixed_in(model, batch)
    assert 0 < mixed.sum() < 15
    expected = plain_loss(main, maps, shown, paired(scenes), mixed.tolist())
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert loss.terms.item() == len(shown)
    assert loss.terms.dtype == torch.int64


def test_the_loss_of_a_single_picture_is_right_with_colours_mixed_or_not(scenes):
    torch.manual_seed(0)
    seen = set()
    for shown in scenes[:25]:
        main, maps = fixed(1, maps=1, side=3)
        batch = speckled(whole([shown], cells=3))
        model = WorldTraining(Knowing(main, *maps), scenes)
        loss = model(batch, 0).total.item()
        mixed = mixed_in(model, batch).tolist()
        seen.add(mixed[0])
        expected = plain_loss(main, maps, [shown], paired(scenes), mixed)
        assert loss == pytest.approx(expected, rel=1e-5)
    assert seen == {False, True}


def test_a_few_pictures_are_shown_in_mixed_colours(scenes):
    torch.manual_seed(0)
    count = 1000
    images = torch.randint(256, (count, 3, 4, 4)).byte()
    kept = images.clone()
    truth = torch.zeros(count, len(QUESTIONS), dtype=torch.int64)
    batch = WorldBatch(images, truth, torch.zeros(count, len(OF_CELLS), 1, 1, dtype=torch.int64))
    model = WorldTraining(Knowing(fixed(count)[0]), scenes)
    model(batch, 0)
    assert 100 < mixed_in(model, batch).sum() < 200
    assert torch.equal(images, kept)


def test_pairs_never_trained_on_are_learnt_against_only_where_colours_are_mixed(scenes, trained):
    torch.manual_seed(0)
    batch = speckled(whole(scenes))
    model = WorldTraining(Knowing(fixed(COUNT)[0]), trained)
    model(batch, 0).total.backward()
    pairs, mixed = paired(trained), mixed_in(model, batch).tolist()
    gradients = by_question(model.encoder.main.grad)
    met = {True: 0, False: 0}
    for number, shown in enumerate(scenes):
        for place, group in enumerate(shown.groups):
            kinds = [gradients[f"{group.size} kind"][number]]
            kinds += [gradients["kind"][number]] if place == 0 else []
            colours = gradients[f"{group.size} colour"][number]
            for kind_place, kind in enumerate(SEEN):
                learnt = mixed[number] or (kind, group.colour) in pairs
                met[learnt] += 1
                assert all((each[kind_place] != 0) == learnt for each in kinds)
            for colour_place, colour in enumerate(COLOURS):
                learnt = not mixed[number] and (group.kind, colour) in pairs
                assert (colours[colour_place] != 0) == learnt
    assert min(met.values()) > COUNT


def test_cells_learn_nothing_against_pairs_never_trained_on(scenes, trained):
    torch.manual_seed(0)
    main, maps = fixed(COUNT, maps=1)
    batch = speckled(whole(scenes))
    model = WorldTraining(Knowing(main, *maps), trained)
    model(batch, 0).total.backward()
    pairs, mixed = paired(trained), mixed_in(model, batch).tolist()
    parts = torch.split(model.encoder.cells[0].grad, list(OF_CELLS.values()), 1)
    gradients = dict(zip(OF_CELLS, parts, strict=True))
    met = set()
    for number, shown in enumerate(scenes):
        for row, cells in enumerate(plain_cells(shown, 4)):
            for column, told in enumerate(cells):
                if told["colour"] == UNASKED:
                    assert not gradients["colour"][number, :, row, column].any()
                    continue
                met.add(mixed[number])
                kinds = gradients["kind"][number, :, row, column]
                colours = gradients["colour"][number, :, row, column]
                for place, kind in enumerate(SEEN):
                    learnt = mixed[number] or (kind, told["colour"]) in pairs
                    assert (kinds[place] != 0) == learnt
                assert kinds[-1] != 0  # that there might be nothing
                for place, colour in enumerate(COLOURS):
                    learnt = not mixed[number] and (told["kind"], colour) in pairs
                    assert (colours[place] != 0) == learnt
    assert met == {True, False}


def test_colours_and_ground_are_not_asked_of_mixed_colours(scenes):
    torch.manual_seed(0)
    main, maps = fixed(COUNT, maps=1)
    batch = speckled(whole(scenes))
    model = WorldTraining(Knowing(main, *maps), scenes)
    model(batch, 0).total.backward()
    mixed = mixed_in(model, batch)
    assert mixed.any()
    for name, gradient in by_question(model.encoder.main.grad).items():
        asked = gradient.any(1)
        assert asked[~mixed].all()
        assert asked[mixed].all() == (name.split()[-1] not in ("colour", "ground"))
        assert asked[mixed].any() == asked[mixed].all()
    parts = torch.split(model.encoder.cells[0].grad, list(OF_CELLS.values()), 1)
    for name, gradient in zip(OF_CELLS, parts, strict=True):
        asked = gradient.flatten(1).any(1)
        assert asked[~mixed].any()
        assert asked[mixed].any() == (name not in ("colour", "ground"))


def test_a_real_encoder_learns_in_every_part_and_is_kept_without_the_masks(scenes):
    torch.manual_seed(0)
    encoder = inception_v1_bn(classes=sum(QUESTIONS.values()), width_factor=0.125)
    model = WorldTraining(encoder, scenes)
    assert list(encoder.auxiliary) == list(TAPS)
    assert all(key.startswith("encoder.") for key in model.state_dict())
    images = torch.randint(256, (4, 3, 64, 64)).byte()
    batch = whole(scenes[:4], cells=4)._replace(images=images)
    loss = model.train()(batch, 0)
    loss.total.backward()
    assert loss.total.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
    for head in encoder.auxiliary.values():
        assert isinstance(head, CellHead)
        assert head.classifier.weight.grad.any()


@pytest.mark.slow
def test_a_real_encoder_learns_four_pictures_by_heart(scenes):
    torch.manual_seed(0)
    encoder = inception_v1_bn(classes=sum(QUESTIONS.values()), width_factor=0.125)
    model = WorldTraining(encoder, scenes[:4])
    images = torch.randint(256, (4, 3, 64, 64)).byte()
    batch = whole(scenes[:4], cells=4)._replace(images=images)
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(60):
        adam.zero_grad()
        model(batch, 0).total.backward()
        adam.step()
    answers = by_question(encoder.classify(images / 255).main)
    right = torch.stack([each.argmax(1) for each in answers.values()], 1) == batch.truth
    assert right.float().mean() > 0.9


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
    loosen(encoder)
    encoder(pixels)
    tight, loose = torch.stack(lost).view(2, -1).mean(1).tolist()
    # Of a normal distribution half is below 0, and a fifteenth below -1.5 deviations.
    assert tight == pytest.approx(1 / 2, abs=0.1)
    assert loose == pytest.approx(1 / 15, abs=0.05)
    for name, value in encoder.named_parameters():
        is_bias = name.removesuffix(".bias") in norms
        assert torch.equal(value, before[name]) != is_bias
