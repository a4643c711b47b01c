"""What training an encoder on the drawn world costs, and what is learnt against what."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.helpers.tiny_world import (
    ANSWERS,
    CELL_ANSWERS,
    COUNT,
    UNASKED,
    plain_cells,
    plain_reading,
    strange_scenes,
    training_scenes,
    whole,
)
from vl.data.world.kinds import SEEN
from vl.data.world.scenes import COLOURS
from vl.demo.encoder import OF_CELLS, QUESTIONS, CellHead, WorldBatch, WorldTask, by_question
from vl.encoders.inception import AUXILIARY_AFTER, Logits, inception_v1_bn

# What a question counts for in the loss; and of a cell without a thing, its kind and size.
WEIGHTS = {"big kind": 2.0, "small kind": 2.0}
CELL_WEIGHTS = {"kind": 3.0, "colour": 0.9, "texture": 0.9, "size": 0.9, "ground": 0.9}
NOTHING_WEIGHT = 0.15


@pytest.fixture(scope="module")
def scenes():
    return training_scenes()


@pytest.fixture(scope="module")
def trained():
    """Scenes by which each kind is shown in several colours, and in none that is kept back."""
    return training_scenes(200)


@pytest.fixture(scope="module")
def strangers():
    return strange_scenes()


class Knowing(nn.Module):
    """An encoder that answers what it is given, whatever it sees."""

    def __init__(self, main, *cells):
        super().__init__()
        self.main = nn.Parameter(main)
        self.cells = nn.ParameterList(cells)
        self.inception = {name: SimpleNamespace(width=8) for name in AUXILIARY_AFTER}
        self.auxiliary = nn.ModuleDict()

    def classify(self, pixels):
        self.seen = pixels
        return Logits(self.main, tuple(self.cells))


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
    model = WorldTask(Knowing(main, *maps), scenes)
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
        model = WorldTask(Knowing(main, *maps), scenes)
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
    model = WorldTask(Knowing(fixed(count)[0]), scenes)
    model(batch, 0)
    assert 100 < mixed_in(model, batch).sum() < 200
    assert torch.equal(images, kept)


def test_pairs_never_trained_on_are_learnt_against_only_where_colours_are_mixed(scenes, trained):
    torch.manual_seed(0)
    batch = speckled(whole(scenes))
    model = WorldTask(Knowing(fixed(COUNT)[0]), trained)
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
    model = WorldTask(Knowing(main, *maps), trained)
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
    model = WorldTask(Knowing(main, *maps), scenes)
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
    model = WorldTask(encoder, scenes)
    assert list(encoder.auxiliary) == list(AUXILIARY_AFTER)
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
    model = WorldTask(encoder, scenes[:4])
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
