"""Loss, judge, ConSE's classifiers and calibration against plain counting and hand arithmetic."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.tiny_captioner import Tiny, encoder
from tests.helpers.tiny_labeller import units
from vl.data.batches import LabelledBatch
from vl.decoders.conse import conse
from vl.decoders.devise import Devise
from vl.labelling.training import (
    LabellerTask,
    calibrated,
    encoders_own_classifier,
    make_validator,
    trained_classifier,
)
from vl.metrics.zero_shot import KS


def batch(seed=0, count=6, labels=5, width=Tiny.width):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, width, generator=generator)
    return LabelledBatch(images, torch.randint(labels, (count,), generator=generator))


def training(loss="full", *, words=None, margin=0.1, **choices):
    words = units(5, 4, seed=1) if words is None else words
    devise = Devise(image_width=Tiny.width, width=words.shape[1])
    return LabellerTask(devise, words, loss=loss, margin=margin, **choices)


def plain_violations(model, images, labels, margin):
    """Of each image how far each wrong label comes within the margin."""
    projected = model.devise(images).tolist()
    found = []
    for image, label in zip(projected, labels.tolist(), strict=True):
        dots = [sum(a * b for a, b in zip(image, word)) for word in model.words.tolist()]
        found.append(
            [margin - dots[label] + dot for number, dot in enumerate(dots) if number != label]
        )
    return found


@pytest.mark.parametrize("margin", [0.0, 0.1, 1.0])
def test_the_full_loss_is_a_plain_sum_over_wrong_labels(margin):
    model, given = training(margin=margin), batch()
    total, count = model(given, 0)
    each = plain_violations(model, given.images, given.labels, margin)
    assert total.item() == pytest.approx(sum(max(0, v) for some in each for v in some), rel=1e-5)
    assert count.item() == 6


def test_the_first_violation_is_one_of_them_for_each_image():
    model, given = training("first", margin=0.3), batch()
    for row in range(6):
        one = LabelledBatch(given.images[row : row + 1], given.labels[row : row + 1])
        violations = [v for v in plain_violations(model, *one, 0.3)[0] if v > 0] or [0.0]
        for _ in range(5):
            found = model(one, 0).total.item()
            assert min(abs(found - violation) for violation in violations) < 1e-5


def test_the_loss_of_two_parts_adds_up_to_that_of_the_whole():
    model, whole = training(), batch()
    parts = [LabelledBatch(whole.images[rank::2], whole.labels[rank::2]) for rank in range(2)]
    found = [model(part, 0) for part in parts]
    assert sum(part.total.item() for part in found) == pytest.approx(model(whole, 0).total.item())
    assert sum(part.terms.item() for part in found) == 6


def test_with_an_encoder_it_is_given_pixels():
    model = training(encoder=encoder())
    pixels = torch.rand(3, 3, 16, 16)
    labels = torch.tensor([0, 1, 4])
    alone = training()
    alone.devise = model.devise
    expected = alone(LabelledBatch(encoder()(pixels), labels), 0).total
    found = model(LabelledBatch(pixels, labels), 0).total
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    assert model.encoder.body[0].weight.grad.abs().sum() > 0


def test_the_judge_counts_hits_among_the_labels_put_aside():
    words = units(7, 4, seed=3)
    model = training(words=units(5, 4, seed=1))
    images, truth = batch(count=30, labels=7)
    with torch.no_grad():  # as the training loop judges
        judgement = make_validator(lambda model: images, words, truth)(model)
    projected = model.devise(images).detach()
    places = []
    for vector, label in zip(projected, truth.tolist(), strict=True):
        cosines = [float(F.cosine_similarity(vector, word, dim=0)) for word in words]
        places.append(sum(cosine >= cosines[label] for cosine in cosines))
    expected = {f"hit@{k}": 100 * sum(place <= k for place in places) / 30 for k in KS}
    assert judgement.metrics == pytest.approx(expected)
    assert judgement.score == pytest.approx(sum(expected.values()) / len(expected))
    assert 0 < expected["hit@1"] < 100


def test_the_encoder_s_own_classifier_is_cut_to_rows():
    given, words = encoder(), units(3, 4, seed=2)
    made = encoders_own_classifier(given, [4, 0, 2], words, top=2)
    images = batch().images
    probabilities = given.classifier(images)[:, [4, 0, 2]].softmax(1)
    assert torch.allclose(made(images), conse(probabilities, words, top_k=2).vectors, atol=1e-6)
    before = given.classifier.weight.clone()
    made.classifier.weight.data.zero_()
    assert torch.equal(given.classifier.weight, before)
    assert encoders_own_classifier(given, [1], words[:1], top=10).top_k == 1


def test_an_encoder_without_such_a_classifier_is_refused():
    words = units(2, 4, seed=2)
    with pytest.raises(ValueError, match="class 6 is named, the encoder's classifier has 5"):
        encoders_own_classifier(encoder(), [0, 5], words, top=1)
    bare = encoder()
    bare.classifier = nn.Identity()
    with pytest.raises(ValueError, match="a Tiny comes without a classifier"):
        encoders_own_classifier(bare, [0, 1], words, top=1)


def separable(count=40, labels=4, width=6, *, scale=30.0, shift=500.0):
    """Embeddings in clusters, far from 0 and in no unit, as an encoder's are."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(labels, width, generator=generator)
    truth = torch.arange(count) % labels
    noise = 0.05 * torch.randn(count, width, generator=generator)
    return scale * (centres[truth] + noise) + shift, truth


def test_a_trained_classifier_tells_clusters_apart():
    images, truth = separable()
    words = units(4, 3, seed=6)
    made = trained_classifier(images, truth, words, top=1)
    assert made.classifier(images).argmax(1).tolist() == truth.tolist()
    assert torch.allclose(F.normalize(made(images), dim=1), words[truth], atol=1e-5)
    assert torch.equal(made.label_vectors, words)


@pytest.mark.parametrize("decay", [1e-3, 0.1])
def test_a_trained_classifier_is_where_its_loss_has_no_slope(decay):
    """The loss written out again, in double, for the classifier as it is used."""
    generator = torch.Generator().manual_seed(1)
    images = 20 * torch.randn(60, 5, generator=generator) + 100
    truth = torch.randint(4, (60,), generator=generator)
    made = trained_classifier(images, truth, units(4, 3, seed=6), top=2, decay=decay)
    scale = (images - images.mean(0)).double().square().mean().sqrt()
    weight = (made.classifier.weight.detach().double() * scale).requires_grad_()
    bias = made.classifier.bias.detach().double().requires_grad_()
    logits = images.double() / scale @ weight.T + bias
    own = logits[torch.arange(60), truth]
    loss = (logits.exp().sum(1).log() - own).mean() + decay / 2 * weight.square().sum()
    of_weight, of_bias = torch.autograd.grad(loss, (weight, bias))
    # That of the weights as they see embeddings less their mean.
    of_weight = of_weight - of_bias[:, None] * (images.mean(0).double() / scale)
    assert of_weight.abs().max() < 1e-3
    assert of_bias.abs().max() < 1e-3
    assert loss < math.log(4)


def test_more_decay_is_smaller_weights():
    images, truth = separable()
    words = units(4, 3, seed=6)
    made = [trained_classifier(images, truth, words, top=1, decay=d) for d in (1e-3, 0.1, 10.0)]
    norms = [each.classifier.weight.detach().norm().item() for each in made]
    assert norms == sorted(norms, reverse=True)


def test_embeddings_that_are_all_the_same_make_no_infinity():
    made = trained_classifier(torch.ones(4, 3), torch.tensor([0, 1, 0, 1]), torch.eye(2), top=2)
    assert made(torch.ones(1, 3)).isfinite().all()


def space(seed=0, count=24):
    """Photographs near the vectors of their labels, of which the first four were trained on."""
    words = units(7, 5, seed=8)
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(count) % 7
    noise = 0.3 * torch.randn(count, 5, generator=generator)
    return F.normalize(words[truth] + noise, dim=1), truth, words, torch.arange(7) < 4


def test_the_references_are_the_photographs_of_labels_put_aside():
    projected, truth, words, seen = space()
    made = calibrated(projected, truth, words, seen)
    aside = truth >= 4
    assert torch.equal(made.references, projected[aside])
    assert torch.equal(made.truths, words[truth[aside]])


def test_the_temperature_is_of_labels_put_aside_among_one_another():
    projected, truth, words, seen = space()
    made = calibrated(projected, truth, words, seen)
    aside = truth >= 4

    def nll(temperature):
        scores = projected[aside] @ words[4:].T / temperature
        return F.cross_entropy(scores.double(), truth[aside] - 4).item()

    for other in (0.9, 1.1):
        assert nll(made.temperature) <= nll(made.temperature * other)


def test_the_handicap_is_the_best_of_many():
    projected, truth, words, seen = space()
    made = calibrated(projected, truth, words, seen)

    def harmonic(seen_penalty):
        best = (projected @ words.T - seen_penalty * seen).argmax(1) == truth
        one, other = (float(best[seen[truth] == group].float().mean()) for group in (True, False))
        return 2 * one * other / (one + other)

    every = [harmonic(seen_penalty / 100) for seen_penalty in range(100)]
    assert harmonic(made.seen_penalty) >= max(every) - 1e-6
    assert made.seen_penalty >= 0


def test_without_photographs_there_is_nothing_to_calibrate_by(caplog):
    projected, truth, words, seen = space()
    trained_on = truth < 4
    assert calibrated(projected[trained_on], truth[trained_on], words, seen) is None
    made = calibrated(projected[~trained_on], truth[~trained_on], words, seen)
    assert made.seen_penalty == 0
    assert "no photograph of a label trained on was put aside: stacking" in caplog.text
