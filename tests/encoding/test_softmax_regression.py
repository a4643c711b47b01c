"""Softmax regression against plain descent and closed conditions; folds against plain counting."""

import logging
import math
from collections import Counter

import pytest
import torch

from vl.encoding.softmax_regression import (
    choose_decay,
    cross_validate,
    folds_of,
    softmax_regression,
)


def clouds(count=24, classes=3, width=4, *, seed=0, noise=1.5, scale=7.0, shift=40.0):
    """Classes that overlap, far from 0 and in no unit, as an encoder's embeddings are."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=generator)
    labels = torch.arange(count) % classes
    images = centres[labels] + noise * torch.randn(count, width, generator=generator)
    return scale * images + shift, labels


def slopes(found, images, labels, decay):
    """The objective's gradient in double, written out by hand, for standardised embeddings."""
    exact = images.double()
    mean = exact.mean(0)
    scale = (exact - mean).square().mean().sqrt()
    given = (exact - mean) / scale
    weight = found.weight.double() * scale
    bias = found.bias.double() + found.weight.double() @ mean
    log_probs = (given @ weight.T + bias).exp()
    excess = log_probs / log_probs.sum(1, keepdim=True)
    excess[torch.arange(len(labels)), labels] -= 1
    excess = excess / len(labels)
    return excess.T @ given + decay * weight, excess.sum(0)


@pytest.mark.parametrize("decay", [0.01, 0.3])
def test_it_ends_where_plain_gradient_descent_ends(decay):
    images, labels = clouds(count=12, width=2)
    exact = images.double()
    mean = exact.mean(0)
    given = (exact - mean) / (exact - mean).square().mean().sqrt()
    weight, bias = torch.zeros(3, 2).double(), torch.zeros(3).double()
    truth = torch.eye(3).double()[labels]
    for _ in range(4000):
        excess = ((given @ weight.T + bias).softmax(1) - truth) / 12
        weight = weight - 0.7 * (excess.T @ given + decay * weight)
        bias = bias - 0.7 * excess.sum(0)
    found = softmax_regression(images, labels, classes=3, decay=decay)
    logits = exact @ found.weight.double().T + found.bias.double()
    assert torch.allclose(logits, given @ weight.T + bias, atol=2e-3)
    assert found.weight.shape == (3, 2)
    assert found.bias.shape == (3,)
    assert found.weight.dtype == found.bias.dtype == torch.float32


@pytest.mark.parametrize("decay", [1e-3, 0.1, 10.0, 1e4])
def test_the_objective_has_no_slope_at_the_answer(decay):
    images, labels = clouds()
    found = softmax_regression(images, labels, classes=3, decay=decay)
    of_weight, of_bias = slopes(found, images, labels, decay)
    assert of_weight.abs().max() < 3e-4
    assert of_bias.abs().max() < 3e-4


def test_two_photographs_give_the_sharpness_that_hand_arithmetic_gives():
    """At +1 and -1, weights of w and -w: the slope of one is 0 where 1 / (1 + e^2w) = decay w."""
    images, labels = torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1])
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if 1 / (1 + math.exp(2 * middle)) > 0.05 * middle else (low, middle)
        )
    found = softmax_regression(images, labels, classes=2, decay=0.05)
    assert found.weight.flatten().tolist() == pytest.approx([low, -low], abs=2e-3)
    assert found.bias.tolist() == pytest.approx([0, 0], abs=1e-4)


def test_with_all_decay_there_are_only_the_classes_frequencies():
    images, _ = clouds(count=20)
    labels = torch.tensor([0] * 10 + [1] * 6 + [2] * 4)
    found = softmax_regression(images, labels, classes=3, decay=1e6)
    shares = (images @ found.weight.T + found.bias).softmax(1)
    assert torch.allclose(shares, torch.tensor([0.5, 0.3, 0.2]).expand(20, 3), atol=1e-3)


def test_the_order_of_rows_plays_no_part():
    images, labels = clouds()
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))
    one = softmax_regression(images, labels, classes=3, decay=0.1)
    other = softmax_regression(images[order], labels[order], classes=3, decay=0.1)
    ours, theirs = (images @ each.weight.T + each.bias for each in (one, other))
    assert torch.allclose(ours, theirs, atol=2e-3)


def test_the_order_of_classes_plays_no_part():
    images, labels = clouds()
    one = softmax_regression(images, labels, classes=3, decay=0.1)
    other = softmax_regression(images, (labels + 1) % 3, classes=3, decay=0.1)
    assert torch.allclose(other.weight, one.weight.roll(1, 0), atol=1e-4)


@pytest.mark.parametrize(("factor", "shift"), [(1.0, 300.0), (0.02, 0.0), (50.0, -7.0)])
def test_neither_shift_nor_unit_of_the_embeddings_plays_a_part(factor, shift):
    images, labels = clouds()
    moved = images * factor + shift
    one = softmax_regression(images, labels, classes=3, decay=0.1)
    other = softmax_regression(moved, labels, classes=3, decay=0.1)
    ours, theirs = images @ one.weight.T + one.bias, moved @ other.weight.T + other.bias
    assert torch.allclose(ours, theirs, atol=3e-3)
    assert torch.allclose(one.weight, other.weight * factor, atol=1e-3 * float(one.weight.max()))


def test_each_row_twice_changes_nothing():
    images, labels = clouds()
    one = softmax_regression(images, labels, classes=3, decay=0.1)
    other = softmax_regression(images.repeat(2, 1), labels.repeat(2), classes=3, decay=0.1)
    assert torch.allclose(one.weight, other.weight, atol=1e-4)


def test_it_gives_the_same_bits_twice_and_leaves_what_it_is_given():
    images, labels = clouds()
    before = images.clone(), labels.clone()
    made = [softmax_regression(images, labels, classes=3, decay=0.1) for _ in range(2)]
    assert torch.equal(made[0].weight, made[1].weight)
    assert torch.equal(made[0].bias, made[1].bias)
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])
    assert not made[0].weight.requires_grad


def test_the_gradient_s_mode_does_not_matter():
    images, labels = clouds()
    expected = softmax_regression(images, labels, classes=3, decay=0.1)
    with torch.no_grad():
        found = softmax_regression(images, labels, classes=3, decay=0.1)
    assert torch.equal(found.weight, expected.weight)
    with torch.inference_mode():
        given, truth = images * 1, labels * 1
    assert torch.equal(
        softmax_regression(given, truth, classes=3, decay=0.1).weight, expected.weight
    )


def test_a_class_without_a_photograph_is_allowed_and_comes_last():
    images, labels = clouds()
    found = softmax_regression(images, labels, classes=4, decay=0.1)
    logits = images @ found.weight.T + found.bias
    assert (logits.argmin(1) == 3).all()
    alone = softmax_regression(images, labels, classes=3, decay=0.1)
    assert torch.allclose(logits[:, :3].softmax(1), logits.softmax(1)[:, :3], atol=0.01)
    expected = (images @ alone.weight.T + alone.bias).softmax(1)
    assert torch.allclose(logits[:, :3].softmax(1), expected, atol=0.02)


def test_embeddings_that_are_all_the_same_make_no_infinity():
    found = softmax_regression(torch.ones(4, 2), torch.tensor([0, 1, 0, 1]), classes=2, decay=0.1)
    assert found.weight.isfinite().all()
    assert found.bias.tolist() == pytest.approx([0, 0], abs=1e-5)


def test_half_precision_is_as_good_as_its_numbers():
    images, labels = clouds()
    found = softmax_regression(images.half(), labels, classes=3, decay=0.1)
    expected = softmax_regression(images.half().float(), labels, classes=3, decay=0.1)
    assert torch.equal(found.weight, expected.weight)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.ones(3), torch.zeros(3, dtype=torch.int64), r"shape \(3,\), not \(N, D\)"),
        (torch.ones(3, 2), torch.zeros(2, dtype=torch.int64), r"3 embeddings .* labels \(2,\)"),
        (torch.ones(0, 2), torch.zeros(0, dtype=torch.int64), "there is no embedding"),
        (torch.ones(2, 2), torch.tensor([0, 3]), "a label is 3"),
        (torch.ones(2, 2), torch.tensor([-1, 0]), "a label is -1"),
        (
            torch.tensor([[1.0, 2.0], [math.nan, 0.0]]),
            torch.tensor([0, 1]),
            "embedding 1 is not finite",
        ),
    ],
)
def test_what_cannot_be_learnt_from_is_named(images, labels, message):
    with pytest.raises(ValueError, match=message):
        softmax_regression(images, labels, classes=3, decay=0.1)
    with pytest.raises(ValueError, match=message):
        groups = torch.arange(len(labels))
        choose_decay(images, labels, groups, classes=3, decays=[0.1], folds=2, seed=0)


@pytest.mark.parametrize("decay", [-0.1, math.nan, math.inf])
def test_a_decay_below_0_is_refused(decay):
    images, labels = clouds()
    with pytest.raises(ValueError, match=f"decay is {decay}"):
        softmax_regression(images, labels, classes=3, decay=decay)
    with pytest.raises(ValueError, match=f"decay is {decay}"):
        choose_decay(images, labels, labels, classes=3, decays=[1.0, decay], folds=2, seed=0)


def views(photographs_a_class=(5, 4, 7), views_each=3):
    """Labels and photographs of rows in no order, where photographs have names such as 1000."""
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(photographs_a_class))
    groups = 1000 - 7 * torch.arange(len(labels))
    order = torch.randperm(len(labels) * views_each, generator=torch.Generator().manual_seed(1))
    return labels.repeat(views_each)[order], groups.repeat(views_each)[order]


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_views_of_a_photograph_stay_in_one_fold(folds):
    labels, groups = views()
    found = folds_of(labels, groups, folds=folds, seed=0)
    for photograph in groups.unique().tolist():
        assert len(found[groups == photograph].unique()) == 1
    assert found.unique().tolist() == list(range(folds))


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_each_class_and_the_whole_are_dealt_out_evenly(folds):
    labels, groups = views()
    found = folds_of(labels, groups, folds=folds, seed=0)
    once = {
        group: (label, fold)
        for label, group, fold in zip(labels.tolist(), groups.tolist(), found.tolist(), strict=True)
    }
    for label in (None, 0, 1, 2):
        counts = Counter(fold for its, fold in once.values() if label in (None, its))
        spread = [counts[fold] for fold in range(folds)]
        assert max(spread) - min(spread) <= 1


def test_folds_move_with_the_rows_and_change_with_the_seed():
    labels, groups = views()
    one = folds_of(labels, groups, folds=3, seed=0)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(2))
    assert torch.equal(folds_of(labels[order], groups[order], folds=3, seed=0), one[order])
    assert not torch.equal(folds_of(labels, groups, folds=3, seed=1), one)


def test_the_only_photograph_of_a_class_is_never_held_out():
    labels, groups = torch.tensor([0, 0, 1, 0, 1, 2, 2]), torch.tensor([5, 6, 7, 8, 7, 2, 3])
    found = folds_of(labels, groups, folds=2, seed=0)
    assert found[groups == 7].tolist() == [-1, -1]
    assert sorted(found[groups != 7].tolist()) == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("labels", "groups", "folds", "message"),
    [
        ([0, 1], [0, 1], 1, "folds are 1; there must be at least 2"),
        ([0, 0, 0, 0], [1, 1, 2, 2], 3, "2 images cannot make 3 folds$"),
        (
            [0, 0, 1, 2],
            [0, 1, 2, 3],
            3,
            "2 images cannot make 3 folds, as 2 are the only one of their class",
        ),
        ([0, 1, 0], [4, 9, 9], 2, "views of image 9 have different labels"),
        ([0, 1, 0], [4, 9], 2, "3 labels come with images of 2 views"),
    ],
)
def test_photographs_that_make_no_folds_are_named(labels, groups, folds, message):
    with pytest.raises(ValueError, match=message):
        folds_of(torch.tensor(labels), torch.tensor(groups), folds=folds, seed=0)


def several_views(count=18, views_each=2, **choices):
    images, labels = clouds(count, **choices)
    generator = torch.Generator().manual_seed(9)
    rows = [images + 2 * torch.randn(images.shape, generator=generator) for _ in range(views_each)]
    groups = torch.arange(count).repeat(views_each)
    return torch.cat(rows), labels.repeat(views_each), groups


def test_decays_are_judged_as_a_plain_loop_over_folds_judges_them():
    images, labels, groups = several_views()
    decays = [0.01, 1.0, 0.1]
    found = cross_validate(images, labels, groups, classes=3, decays=decays, folds=3, seed=4)
    assert [each.decay for each in found] == [1.0, 0.1, 0.01]
    fold_of = folds_of(labels, groups, folds=3, seed=4)
    for each in found:
        surprises, right = [], []
        for fold in range(3):
            kept, held = fold_of != fold, fold_of == fold
            made = softmax_regression(images[kept], labels[kept], classes=3, decay=each.decay)
            for image, label in zip(images[held], labels[held].tolist(), strict=True):
                shares = (made.weight @ image + made.bias).softmax(0)
                surprises.append(-math.log(shares[label]))
                right.append(int(shares.argmax()) == label)
        assert each.cross_entropy == pytest.approx(sum(surprises) / 36, abs=1e-3)
        assert each.top_1 == pytest.approx(sum(right) / 36)


def test_the_decay_of_least_cross_entropy_is_chosen():
    images, labels, groups = several_views(noise=2.5)
    decays = [1e-3, 0.01, 0.1, 1.0, 10.0, 1000.0]
    choices = {"classes": 3, "decays": decays, "folds": 3, "seed": 0}
    judged = {each.decay: each for each in cross_validate(images, labels, groups, **choices)}
    best = choose_decay(images, labels, groups, **choices)
    assert judged[best].cross_entropy == min(each.cross_entropy for each in judged.values())
    assert 1e-3 < best < 1000
    assert choose_decay(images, labels, groups, **{**choices, "decays": decays[::-1]}) == best


def test_of_equal_decays_the_greater_is_chosen():
    images, labels = torch.ones(8, 2), torch.tensor([0, 1] * 4)
    choices = {"classes": 2, "decays": [0.1, 1.0, 0.01], "folds": 2, "seed": 0}
    assert choose_decay(images, labels, torch.arange(8), **choices) == 1.0


def test_a_photograph_s_own_view_does_not_give_it_away():
    """Labels by chance: a classifier that has seen another view of a photograph knows its label."""
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(40, 60, generator=generator), torch.arange(40) % 2
    twice, both = images.repeat(2, 1), labels.repeat(2)
    choices = {"classes": 2, "decays": [1e-3], "folds": 4, "seed": 0}
    honest = cross_validate(twice, both, torch.arange(40).repeat(2), **choices)[0]
    given_away = cross_validate(twice, both, torch.arange(80), **choices)[0]
    assert honest.top_1 < 0.75
    assert given_away.top_1 > 0.85


def test_photographs_that_are_never_held_out_are_trained_on_and_not_judged():
    images, labels, groups = several_views()
    lonely = torch.cat([images, images[:1] + 500]), torch.cat([labels, torch.tensor([3])])
    given = *lonely, torch.cat([groups, torch.tensor([99])])
    judged = cross_validate(*given, classes=4, decays=[0.1], folds=3, seed=0)[0]
    assert judged.top_1 * 36 == pytest.approx(round(judged.top_1 * 36))
    assert judged.cross_entropy < math.log(4)


def test_without_a_decay_there_is_nothing_to_choose():
    images, labels, groups = several_views()
    with pytest.raises(ValueError, match="there is no decay to choose from"):
        choose_decay(images, labels, groups, classes=3, decays=[], folds=3, seed=0)


def test_what_was_judged_is_told(caplog):
    images, labels, groups = several_views()
    with caplog.at_level(logging.INFO):
        choose_decay(images, labels, groups, classes=3, decays=[0.1, 1.0], folds=3, seed=0)
    told = [line.split(":")[0] for line in caplog.messages]
    assert told == ["decay 1", "decay 0.1"]
