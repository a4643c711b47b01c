"""The loss of an encoder in training by plain arithmetic, and its validation."""

import io
import logging
import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from vl.data.batches import LabelledBatch
from vl.data.images.augmentation import CenterCrop
from vl.data.labelled.loader import ImageBatches, LoaderConfig
from vl.encoders.inception import Logits
from vl.encoding.task import AUXILIARY_WEIGHT, EncoderTask, pixels_of
from vl.encoding.training import make_validator

SIDE = 6


class Heads(nn.Module):
    """A classifier of mean colors with two auxiliary heads, and a batch norm."""

    width = 3
    image_size = SIDE

    def __init__(self, classes=3, *, heads=2, norm=False):
        super().__init__()
        self.norm = nn.BatchNorm2d(3) if norm else nn.Identity()
        self.classifier = nn.Linear(3, classes)
        self.auxiliary = nn.ModuleList([nn.Linear(3, classes) for _ in range(heads)])

    def forward(self, pixels):
        return self.norm(pixels).mean((2, 3))

    def classify(self, pixels):
        embedding = self(pixels)
        heads = tuple(head(embedding) for head in self.auxiliary) if self.training else ()
        return Logits(self.classifier(embedding), heads)


def batch(count=5, classes=3, *, as_bytes=False):
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, classes, (count,), generator=generator)
    return LabelledBatch(images if as_bytes else images / 255, labels)


def cross_entropy(logits, target):
    """Cross-entropy summed over a batch; targets are probabilities."""
    return -(target * logits.log_softmax(1)).sum()


def one_hot(labels, smoothing=0.0, classes=3):
    return (1 - smoothing) * F.one_hot(labels, classes) + smoothing / classes


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_auxiliary_losses_have_weight_0_3(smoothing):
    encoder = Heads()
    model, examples = EncoderTask(encoder, label_smoothing=smoothing), batch()
    total, count = model(examples, 0)
    target = one_hot(examples.labels, smoothing)
    embedding = examples.images.mean((2, 3))
    expected = cross_entropy(encoder.classifier(embedding), target)
    for head in encoder.auxiliary:
        expected = expected + 0.3 * cross_entropy(head(embedding), target)
    assert AUXILIARY_WEIGHT == 0.3  # Szegedy et al. 2015, section 5
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert count.item() == 5


def test_auxiliary_losses_in_training_only():
    encoder, examples = Heads(), batch()
    model = EncoderTask(encoder).eval()
    expected = cross_entropy(
        encoder.classifier(examples.images.mean((2, 3))), one_hot(examples.labels)
    )
    assert model(examples, 0).total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_uint8_and_float_pixels():
    model = EncoderTask(Heads())
    one, other = model(batch(), 0), model(batch(as_bytes=True), 0)
    assert torch.equal(one.total, other.total)
    pixels = pixels_of(batch(as_bytes=True).images)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert (pixels.min() >= 0, pixels.max() <= 1) == (True, True)


def test_mixup_mixes_images_and_targets_with_those_before_them():
    """Zhang et al. 2018; the mixing weight is drawn from a beta distribution."""
    encoder, examples = Heads(heads=0), batch()
    inputs = []
    encoder.register_forward_hook(lambda module, pixels, out: inputs.append(pixels[0]))
    model = EncoderTask(encoder, mixup=0.4)
    torch.manual_seed(5)
    total = model(examples, 0).total
    (mixed,) = inputs
    before = examples.images.roll(1, 0)
    weight = ((mixed - before) / (examples.images - before).clamp(min=1e-9))[
        examples.images - before > 0.5
    ].median()
    assert 0 < weight < 1
    assert torch.allclose(mixed, weight * examples.images + (1 - weight) * before, atol=1e-5)
    target = weight * one_hot(examples.labels) + (1 - weight) * one_hot(examples.labels.roll(1, 0))
    expected = cross_entropy(encoder.classifier(mixed.mean((2, 3))), target)
    assert total.item() == pytest.approx(expected.item(), rel=1e-4)


def test_mixup_depends_on_the_seed_and_not_in_evaluation():
    model, examples = EncoderTask(Heads(), mixup=0.4), batch()
    totals = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        totals.append(model(examples, 0).total.item())
    assert totals[0] == totals[1] != totals[2]
    plain = EncoderTask(model.encoder).eval()
    assert torch.equal(model.eval()(examples, 0).total, plain(examples, 0).total)


def test_adversarial_loss_is_a_weighted_mean():
    """Goodfellow et al. 2015, section 6, by hand: one step along the sign of the gradient."""
    encoder, examples = Heads(), batch()
    model = EncoderTask(encoder, adversarial_epsilon=0.1, clean_weight=0.3)
    plain = EncoderTask(encoder)
    pixels = examples.images.clone().requires_grad_()
    clean = plain(examples._replace(images=pixels), 0).total
    (gradient,) = torch.autograd.grad(clean, pixels)
    adversarial = (examples.images + 0.1 * gradient.sign()).clamp(0, 1)
    changed_loss = plain(examples._replace(images=adversarial), 0).total
    expected = 0.3 * clean + 0.7 * changed_loss
    assert model(examples, 0).total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert changed_loss > clean
    model.eval()
    assert model(examples, 0).total.item() == pytest.approx(plain.eval()(examples, 0).total.item())


@pytest.mark.parametrize(
    "settings", [{}, {"mixup": 0.2}, {"adversarial_epsilon": 0.1}, {"freeze_norms": True}]
)
def test_empty_batch_has_zero_gradients_and_changes_nothing(settings):
    encoder = Heads(norm=True)
    model = EncoderTask(encoder, **settings)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    images = torch.empty(0, 3, SIDE, SIDE, dtype=torch.uint8)
    total, count = model(LabelledBatch(images, torch.empty(0, dtype=torch.int64)), 0)
    total.backward()
    assert (total.item(), count.item()) == (0, 0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name  # other processes wait for it
        assert not parameter.grad.any(), name
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert encoder.norm.training == (not settings.get("freeze_norms"))


def test_frozen_norms_keep_their_statistics():
    for frozen in (True, False):
        encoder = Heads(norm=True)
        model = EncoderTask(encoder, freeze_norms=frozen).eval().train()
        model(batch(), 0)
        assert (encoder.norm.running_mean == 0).all() == frozen
        assert (encoder.norm.num_batches_tracked == 0) == frozen
        assert encoder.auxiliary.training


def test_without_a_compiler_it_runs_uncompiled(monkeypatch, caplog):
    def broken(function):
        def run(*examples):
            raise RuntimeError("no C++ compiler\nmore of it")

        return run

    encoder, examples = Heads(), batch()
    expected = EncoderTask(encoder)(examples, 0).total
    model = EncoderTask(encoder)
    monkeypatch.setattr(torch, "compile", broken)
    model.compile_classifier()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert torch.equal(model(examples, 0).total, expected)
    assert [record.getMessage() for record in caplog.records] == [
        "torch.compile failed, going on without it: no C++ compiler"
    ]


def test_raises_errors_of_the_encoder():
    model = EncoderTask(Heads())
    wrong = batch()._replace(images=torch.rand(5, 3, SIDE))
    with pytest.raises((RuntimeError, IndexError)):
        model(wrong, 0)


def test_refuses_encoders_without_classifier_and_mixup_of_one_class():
    encoder = Heads()
    encoder.classifier = None
    with pytest.raises(ValueError, match="a Heads without a classifier cannot be trained"):
        EncoderTask(encoder)
    with pytest.raises(ValueError, match="two classes"):
        EncoderTask(Heads(classes=1), mixup=0.2)


class Images:
    """Images of one gray value each, the index of the image."""

    def __init__(self, labels, classes, *, corrupt=False):
        self.labels, self.classes, self._corrupt = labels, classes, corrupt
        self.names = tuple(map(str, labels))

    def read(self, row):
        if self._corrupt:
            return b"not an image"
        content = io.BytesIO()
        Image.new("RGB", (SIDE, SIDE), (row, row, row)).save(content, "PNG")
        return content.getvalue()


class StoredLogits(nn.Module):
    """Logits by the gray value of an image."""

    image_size = SIDE

    def __init__(self, logits):
        super().__init__()
        self.classifier = nn.Linear(1, len(logits[0]))
        self.logits = torch.tensor(logits)

    def classify(self, pixels):
        return Logits(self.logits[(pixels[:, 0, 0, 0] * 255).round().long()], ())


def validate(labels, logits, **settings):
    images = Images(labels, tuple("abcdefgh")[: len(logits[0])], **settings)
    loader = LoaderConfig(max_corrupt=1.0)
    batches = ImageBatches(images, CenterCrop(SIDE, "squash"), batch_size=2, config=loader)
    return make_validator(batches, device="cpu")(EncoderTask(StoredLogits(logits)).eval())


def test_validation_by_top_1_and_top_5():
    logits = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]  # class 5 is first, 0 is sixth
    validation = validate([5, 4, 1, 0, 5], [logits] * 5)
    assert validation.metrics == pytest.approx({"top-1": 40.0, "top-5": 80.0})
    assert validation.score == pytest.approx(40.0)
    log_sum = math.log(sum(math.exp(logit) for logit in logits))
    assert validation.loss == pytest.approx(log_sum - (5 + 4 + 1 + 0 + 5) / 5)


@pytest.mark.parametrize(("label", "counts"), [(0, False), (1, True)])
def test_an_accuracy_of_zero_says_nothing(label, counts):
    """So that training does not stop early before the first hit."""
    assert validate([label, 0], [[0.0, 1.0]] * 2).score_counts == counts


@pytest.mark.parametrize("classes", [2, 5])
def test_top_5_of_five_classes_is_not_measured(classes):
    """It would be 100 by construction."""
    validation = validate([0, 1, 1], [[1.0, *[0.0] * (classes - 1)]] * 3)
    assert validation.metrics == pytest.approx({"top-1": 100 / 3})


def test_validation_refuses_no_readable_image():
    with pytest.raises(ValueError, match="no image"):
        validate([0, 1], [[1.0, 0.0]] * 2, corrupt=True)
