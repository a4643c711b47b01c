"""Softmax regression against gradient descent and conditions of optimality; cross-validation."""

import logging
import math
from collections import Counter

import pytest
import torch

from vl.encoding.softmax_regression import cross_validate, folds_of, softmax_regression


def clusters(count=24, classes=3, width=4, *, seed=0, noise=1.5, scale=7.0, shift=40.0):
    """Overlapping classes with an offset and a scale, as an encoder's embeddings have."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(classes, width, generator=generator)
    labels = torch.arange(count) % classes
    images = centers[labels] + noise * torch.randn(count, width, generator=generator)
    return scale * images + shift, labels


def standardize(images):
    exact = images.double()
    mean = exact.mean(0)
    scale = (exact - mean).square().mean().sqrt()
    return (exact - mean) / scale, mean, scale


def logits_of(regression, images):
    return images @ regression.weight.T + regression.bias


@pytest.mark.parametrize("decay", [0.01, 0.3])
def test_gradient_descent_gives_the_same_logits(decay):
    images, labels = clusters(count=12, width=2)
    inputs, *_ = standardize(images)
    weight, bias = torch.zeros(3, 2).double(), torch.zeros(3).double()
    targets = torch.eye(3).double()[labels]
    for _ in range(4000):
        excess = ((inputs @ weight.T + bias).softmax(1) - targets) / 12
        weight = weight - 0.7 * (excess.T @ inputs + decay * weight)
        bias = bias - 0.7 * excess.sum(0)
    regression = softmax_regression(images, labels, classes=3, decay=decay)
    logits = logits_of(regression, images).double()
    assert torch.allclose(logits, inputs @ weight.T + bias, atol=2e-3)
    assert (regression.weight.shape, regression.bias.shape) == ((3, 2), (3,))
    assert regression.weight.dtype == regression.bias.dtype == torch.float32


@pytest.mark.parametrize("decay", [1e-3, 0.1, 10.0, 1e4])
def test_gradient_is_zero(decay):
    images, labels = clusters()
    regression = softmax_regression(images, labels, classes=3, decay=decay)
    inputs, mean, scale = standardize(images)
    weight = regression.weight.double() * scale
    bias = regression.bias.double() + regression.weight.double() @ mean
    excess = (inputs @ weight.T + bias).softmax(1)
    excess[torch.arange(24), labels] -= 1
    assert (excess.T @ inputs / 24 + decay * weight).abs().max() < 3e-4
    assert excess.mean(0).abs().max() < 3e-4


def test_two_images_by_hand():
    """At +1 and -1 the weights are w and -w; the gradient is 0 where 1 / (1 + e^2w) = decay w."""
    images, labels = torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1])
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        if 1 / (1 + math.exp(2 * middle)) > 0.05 * middle:
            low = middle
        else:
            high = middle
    regression = softmax_regression(images, labels, classes=2, decay=0.05)
    assert regression.weight.flatten().tolist() == pytest.approx([low, -low], abs=2e-3)
    assert regression.bias.tolist() == pytest.approx([0, 0], abs=1e-4)


def test_large_decay_leaves_the_frequencies_of_classes():
    images, _ = clusters(count=20)
    labels = torch.tensor([0] * 10 + [1] * 6 + [2] * 4)
    probabilities = logits_of(softmax_regression(images, labels, classes=3, decay=1e6), images)
    expected = torch.tensor([0.5, 0.3, 0.2]).expand(20, 3)
    assert torch.allclose(probabilities.softmax(1), expected, atol=1e-3)


def test_order_of_rows_and_classes_and_repeated_rows_change_nothing():
    images, labels = clusters()
    regression = softmax_regression(images, labels, classes=3, decay=0.1)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))
    shuffled = softmax_regression(images[order], labels[order], classes=3, decay=0.1)
    logits = logits_of(regression, images)
    assert torch.allclose(logits, logits_of(shuffled, images), atol=2e-3)
    rolled = softmax_regression(images, (labels + 1) % 3, classes=3, decay=0.1)
    assert torch.allclose(rolled.weight, regression.weight.roll(1, 0), atol=1e-4)
    twice = softmax_regression(images.repeat(2, 1), labels.repeat(2), classes=3, decay=0.1)
    assert torch.allclose(twice.weight, regression.weight, atol=1e-4)


@pytest.mark.parametrize(("factor", "shift"), [(1.0, 300.0), (0.02, 0.0), (50.0, -7.0)])
def test_offset_and_scale_of_embeddings_change_nothing(factor, shift):
    images, labels = clusters()
    moved = images * factor + shift
    one = softmax_regression(images, labels, classes=3, decay=0.1)
    other = softmax_regression(moved, labels, classes=3, decay=0.1)
    assert torch.allclose(logits_of(one, images), logits_of(other, moved), atol=3e-3)
    assert torch.allclose(one.weight, other.weight * factor, atol=1e-3 * float(one.weight.max()))


def test_result_is_reproducible_in_any_gradient_mode_and_arguments_are_unchanged():
    images, labels = clusters()
    before = images.clone(), labels.clone()
    expected = softmax_regression(images, labels, classes=3, decay=0.1)
    with torch.no_grad():
        regression = softmax_regression(images, labels, classes=3, decay=0.1)
    assert torch.equal(regression.weight, expected.weight)
    assert torch.equal(regression.bias, expected.bias)
    with torch.inference_mode():
        inference = images * 1, labels * 1
    regression = softmax_regression(*inference, classes=3, decay=0.1)
    assert torch.equal(regression.weight, expected.weight)
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])
    assert not expected.weight.requires_grad


def test_class_without_images_has_the_lowest_logit():
    images, labels = clusters()
    logits = logits_of(softmax_regression(images, labels, classes=4, decay=0.1), images)
    assert (logits.argmin(1) == 3).all()
    others = logits_of(softmax_regression(images, labels, classes=3, decay=0.1), images)
    assert torch.allclose(logits.softmax(1)[:, :3], others.softmax(1), atol=0.02)


def test_equal_embeddings_have_finite_weights():
    images, labels = torch.ones(4, 2), torch.tensor([0, 1, 0, 1])
    regression = softmax_regression(images, labels, classes=2, decay=0.1)
    assert regression.weight.isfinite().all()
    assert regression.bias.tolist() == pytest.approx([0, 0], abs=1e-5)


def test_half_precision_embeddings():
    images, labels = clusters()
    regression = softmax_regression(images.half(), labels, classes=3, decay=0.1)
    expected = softmax_regression(images.half().float(), labels, classes=3, decay=0.1)
    assert torch.equal(regression.weight, expected.weight)


def test_refuses_embeddings_that_are_not_finite():
    images, labels = torch.tensor([[1.0, 2.0], [math.nan, 0.0]]), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="embedding 1 is not finite"):
        softmax_regression(images, labels, classes=2, decay=0.1)


def shuffled_views(class_sizes=(5, 4, 7), views=3):
    """Labels and groups of rows in random order, where groups are any integers."""
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(class_sizes))
    groups = 1000 - 7 * torch.arange(len(labels))
    order = torch.randperm(len(labels) * views, generator=torch.Generator().manual_seed(1))
    return labels.repeat(views)[order], groups.repeat(views)[order]


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_views_share_a_fold_and_folds_are_even(folds):
    labels, groups = shuffled_views()
    fold_of = folds_of(labels, groups, folds=folds, seed=0)
    pairs = zip(groups.tolist(), zip(labels.tolist(), fold_of.tolist()))
    assert len(set(pairs)) == len(groups.unique())  # one fold for each group
    images = dict(zip(groups.tolist(), zip(labels.tolist(), fold_of.tolist())))
    for label in (None, 0, 1, 2):
        counts = Counter(fold for other, fold in images.values() if label in (None, other))
        sizes = [counts[fold] for fold in range(folds)]
        assert max(sizes) - min(sizes) <= 1


def test_folds_depend_on_the_seed_and_not_on_the_order():
    labels, groups = shuffled_views()
    fold_of = folds_of(labels, groups, folds=3, seed=0)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(2))
    assert torch.equal(folds_of(labels[order], groups[order], folds=3, seed=0), fold_of[order])
    assert not torch.equal(folds_of(labels, groups, folds=3, seed=1), fold_of)


def test_only_image_of_a_class_is_never_held_out():
    labels, groups = torch.tensor([0, 0, 1, 0, 1, 2, 2]), torch.tensor([5, 6, 7, 8, 7, 2, 3])
    fold_of = folds_of(labels, groups, folds=2, seed=0)
    assert fold_of[groups == 7].tolist() == [-1, -1]
    assert sorted(fold_of[groups != 7].tolist()) == [0, 0, 0, 1, 1]


def test_refuses_too_few_images_for_folds():
    for labels, word in (([0, 0], "2 images cannot make 3 folds$"), ([0, 0, 1], "only one")):
        with pytest.raises(ValueError, match=word):
            folds_of(torch.tensor(labels), torch.arange(len(labels)), folds=3, seed=0)


def several_views(count=18, views=2, **settings):
    images, labels = clusters(count, **settings)
    generator = torch.Generator().manual_seed(9)
    rows = [images + 2 * torch.randn(images.shape, generator=generator) for _ in range(views)]
    return torch.cat(rows), labels.repeat(views), torch.arange(count).repeat(views)


def test_cross_validation_against_a_loop(caplog):
    images, labels, groups = several_views()
    with caplog.at_level(logging.INFO):
        results = cross_validate(
            images, labels, groups, classes=3, decays=[0.01, 1.0, 0.1], folds=3, seed=4
        )
    assert [result.decay for result in results] == [1.0, 0.1, 0.01]
    assert [message.split(":")[0] for message in caplog.messages] == [
        *("decay 1", "decay 0.1", "decay 0.01")
    ]
    fold_of = folds_of(labels, groups, folds=3, seed=4)
    for result in results:
        nll, hits = [], []
        for fold in range(3):
            training = fold_of != fold
            regression = softmax_regression(
                images[training], labels[training], classes=3, decay=result.decay
            )
            for image, label in zip(images[~training], labels[~training].tolist(), strict=True):
                probabilities = logits_of(regression, image).softmax(0)
                nll.append(-math.log(probabilities[label]))
                hits.append(int(probabilities.argmax()) == label)
        assert result.cross_entropy == pytest.approx(sum(nll) / 36, abs=1e-3)
        assert result.top_1 == pytest.approx(sum(hits) / 36)


def test_other_views_of_an_image_do_not_leak():
    """With random labels, a classifier trained on another view of an image knows its label."""
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(40, 60, generator=generator), torch.arange(40) % 2
    rows, targets = images.repeat(2, 1), labels.repeat(2)
    settings = {"classes": 2, "decays": [1e-3], "folds": 4, "seed": 0}
    assert cross_validate(rows, targets, torch.arange(40).repeat(2), **settings)[0].top_1 < 0.75
    assert cross_validate(rows, targets, torch.arange(80), **settings)[0].top_1 > 0.85


def test_images_that_are_never_held_out_are_not_counted():
    images, labels, groups = several_views()
    images = torch.cat([images, images[:1] + 500])
    labels, groups = torch.cat([labels, torch.tensor([3])]), torch.cat([groups, torch.tensor([99])])
    (result,) = cross_validate(images, labels, groups, classes=4, decays=[0.1], folds=3, seed=0)
    assert result.top_1 * 36 == pytest.approx(round(result.top_1 * 36))
    assert result.cross_entropy < math.log(4)
