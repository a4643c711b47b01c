"""The loss of an encoder in training, by hand, and what it is worth."""

import io
import logging

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
    """A classifier of mean colours with two auxiliary heads, and a batch norm."""

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


def batch(count=5, classes=3, *, whole=False):
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, classes, (count,), generator=generator)
    return LabelledBatch(images if whole else images / 255, labels)


def by_hand(logits, truth):
    """Cross-entropy summed over a batch, truths as shares."""
    return -(truth * logits.log_softmax(1)).sum()


def one_hot(labels, smoothing=0.0, classes=3):
    return (1 - smoothing) * F.one_hot(labels, classes) + smoothing / classes


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_auxiliary_heads_weigh_three_tenths_each(smoothing):
    encoder = Heads()
    model, given = EncoderTask(encoder, label_smoothing=smoothing), batch()
    total, count = model(given, 0)
    truth = one_hot(given.labels, smoothing)
    embedding = given.images.mean((2, 3))
    expected = by_hand(encoder.classifier(embedding), truth)
    for head in encoder.auxiliary:
        expected = expected + 0.3 * by_hand(head(embedding), truth)
    assert AUXILIARY_WEIGHT == 0.3  # Szegedy et al. 2015, section 5
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert count.item() == 5


def test_heads_play_no_part_where_nothing_is_trained():
    encoder, given = Heads(), batch()
    model = EncoderTask(encoder).eval()
    expected = by_hand(encoder.classifier(given.images.mean((2, 3))), one_hot(given.labels))
    assert model(given, 0).total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_whole_numbers_and_floats_are_the_same_pixels():
    model = EncoderTask(Heads())
    one, other = model(batch(), 0), model(batch(whole=True), 0)
    assert torch.equal(one.total, other.total)
    pixels = pixels_of(batch(whole=True).images)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert (pixels.min() >= 0, pixels.max() <= 1) == (True, True)


def test_mixup_mixes_each_picture_with_the_one_before_it_and_their_truths_alike():
    """Zhang et al. 2018; the share is drawn from a beta distribution."""
    encoder, given = Heads(heads=0), batch()
    seen = []
    encoder.register_forward_hook(lambda module, pixels, out: seen.append(pixels[0]))
    model = EncoderTask(encoder, mixup=0.4)
    torch.manual_seed(5)
    total = model(given, 0).total
    (mixed,) = seen
    before = given.images.roll(1, 0)
    share = ((mixed - before) / (given.images - before).clamp(min=1e-9))[
        given.images - before > 0.5
    ].median()
    assert 0 < share < 1
    assert torch.allclose(mixed, share * given.images + (1 - share) * before, atol=1e-5)
    truth = share * one_hot(given.labels) + (1 - share) * one_hot(given.labels.roll(1, 0))
    expected = by_hand(encoder.classifier(mixed.mean((2, 3))), truth)
    assert total.item() == pytest.approx(expected.item(), rel=1e-4)


def test_mixup_goes_by_the_seed_and_leaves_what_is_judged_alone():
    model, given = EncoderTask(Heads(), mixup=0.4), batch()
    totals = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        totals.append(model(given, 0).total.item())
    assert totals[0] == totals[1] != totals[2]
    plain = EncoderTask(model.encoder).eval()
    assert torch.equal(model.eval()(given, 0).total, plain(given, 0).total)


def test_adversarial_training_weighs_clean_pictures_and_changed_ones():
    """Goodfellow et al. 2015, section 6, by hand: one step along the sign of the gradient."""
    encoder, given = Heads(), batch()
    model = EncoderTask(encoder, adversarial_epsilon=0.1, clean_weight=0.3)
    plain = EncoderTask(encoder)
    pixels = given.images.clone().requires_grad_()
    clean = plain(given._replace(images=pixels), 0).total
    (slope,) = torch.autograd.grad(clean, pixels)
    moved = (given.images + 0.1 * slope.sign()).clamp(0, 1)
    changed = plain(given._replace(images=moved), 0).total
    expected = 0.3 * clean + 0.7 * changed
    assert model(given, 0).total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert changed > clean
    model.eval()
    assert model(given, 0).total.item() == pytest.approx(plain.eval()(given, 0).total.item())


@pytest.mark.parametrize(
    "choices", [{}, {"mixup": 0.2}, {"adversarial_epsilon": 0.1}, {"freeze_norms": True}]
)
def test_an_empty_batch_counts_nothing_and_changes_nothing(choices):
    encoder = Heads(norm=True)
    model = EncoderTask(encoder, **choices)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    images = torch.empty(0, 3, SIDE, SIDE, dtype=torch.uint8)
    total, count = model(LabelledBatch(images, torch.empty(0, dtype=torch.int64)), 0)
    total.backward()
    assert (total.item(), count.item()) == (0, 0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name  # the other processes wait for it
        assert not parameter.grad.any(), name
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert encoder.norm.training == (not choices.get("freeze_norms"))


def test_frozen_norms_stay_as_they_were():
    for frozen in (True, False):
        encoder = Heads(norm=True)
        model = EncoderTask(encoder, freeze_norms=frozen).eval().train()
        model(batch(), 0)
        assert (encoder.norm.running_mean == 0).all() == frozen
        assert (encoder.norm.num_batches_tracked == 0) == frozen
        assert encoder.auxiliary.training


def test_what_cannot_be_compiled_is_run_as_it_is(monkeypatch, caplog):
    def broken(function):
        def run(*given):
            raise RuntimeError("no C++ compiler\nmore of it")

        return run

    encoder, given = Heads(), batch()
    expected = EncoderTask(encoder)(given, 0).total
    model = EncoderTask(encoder)
    monkeypatch.setattr(torch, "compile", broken)
    model.compile_classifier()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert torch.equal(model(given, 0).total, expected)
    assert [record.getMessage() for record in caplog.records] == [
        "torch.compile failed, going on without it: no C++ compiler"
    ]


def test_an_encoder_that_is_not_compiled_fails_as_it_does():
    model = EncoderTask(Heads())
    wrong = batch()._replace(images=torch.rand(5, 3, SIDE))
    with pytest.raises((RuntimeError, IndexError)):
        model(wrong, 0)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"label_smoothing": 1.5}, r"smoothing is 1\.5; it must be from 0 to 1"),
        ({"adversarial_epsilon": -0.1}, r"adversarial_epsilon is -0\.1"),
        ({"clean_weight": 2.0}, r"clean_weight is 2\.0"),
        ({"mixup": -1.0}, r"mixup is -1\.0; it must be at least 0"),
    ],
)
def test_numbers_out_of_range_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        EncoderTask(Heads(), **choices)


def test_what_cannot_be_trained_is_refused():
    encoder = Heads()
    encoder.classifier = None
    with pytest.raises(ValueError, match="a Heads without a classifier cannot be trained"):
        EncoderTask(encoder)
    with pytest.raises(ValueError, match="two classes"):
        EncoderTask(Heads(classes=1), mixup=0.2)


class Written:
    """Labelled pictures, but for the pictures."""

    def __init__(self, labels, classes):
        self.labels = labels
        self.names = tuple(map(str, range(len(labels))))
        self.classes = classes
        self.notes = ()


def judged(labels, logits):
    """The judgement of answers that are written down, of pictures that tell their own number."""

    class Answers(nn.Module):
        image_size = SIDE

        def __init__(self):
            super().__init__()
            self.classifier = nn.Linear(1, len(logits[0]))

        def classify(self, pixels):
            rows = (pixels[:, 0, 0, 0] * 255).round().long()
            return Logits(torch.tensor(logits)[rows], ())

    class Numbered(Written):
        def read(self, row):
            out = io.BytesIO()
            Image.new("RGB", (SIDE, SIDE), (row, row, row)).save(out, "PNG")
            return out.getvalue()

    pictures = Numbered(labels, tuple("abcdefgh")[: len(logits[0])])
    batches = ImageBatches(pictures, CenterCrop(SIDE, "squash"), batch_size=2)
    return make_validator(batches, device="cpu")(EncoderTask(Answers()).eval())


def test_pictures_are_judged_by_the_first_answer_and_the_first_five():
    up = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]  # class 5 is first, 0 is sixth
    judgement = judged([5, 4, 1, 0, 5], [up] * 5)
    assert judgement.metrics == pytest.approx({"top-1": 40.0, "top-5": 80.0})
    assert judgement.score == pytest.approx(40.0)


def test_of_fewer_than_five_classes_all_are_among_the_first_five():
    judgement = judged([0, 1, 1], [[1.0, 0.0]] * 3)
    assert judgement.metrics == pytest.approx({"top-1": 100 / 3, "top-5": 100.0})


def test_without_a_readable_picture_nothing_is_judged():
    class Broken(Written):
        def read(self, row):
            return b"no picture"

    batches = ImageBatches(
        Broken([0, 1], ("a", "b")),
        CenterCrop(SIDE),
        batch_size=2,
        config=LoaderConfig(max_corrupt=1.0),
    )
    model = EncoderTask(Heads()).eval()
    with pytest.raises(ValueError, match="no image"):
        make_validator(batches, device="cpu")(model)
