"""The labeller's task: its loss against plain sums."""

import pytest
import torch

from tests.helpers.tiny_captioner import Tiny, encoder
from tests.helpers.tiny_labeller import units
from vl.data.batches import LabelledBatch
from vl.decoders.devise import Devise
from vl.labelling.task import LabellerTask


def batch(seed=0, count=6, labels=5, width=Tiny.width):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, width, generator=generator)
    return LabelledBatch(images, torch.randint(labels, (count,), generator=generator))


def make_task(loss="full", *, margin=0.1, **options):
    label_vectors = units(5, 4, seed=1)
    devise = Devise(image_width=Tiny.width, width=4)
    return LabellerTask(devise, label_vectors, loss=loss, margin=margin, **options)


def plain_violations(task, images, labels, margin):
    """Of each image how far each wrong label comes within the margin."""
    violations = []
    for image, label in zip(task.devise(images).tolist(), labels.tolist(), strict=True):
        dots = [sum(map(lambda a, b: a * b, image, word)) for word in task.label_vectors.tolist()]
        wrong = [dot for index, dot in enumerate(dots) if index != label]
        violations.append([margin - dots[label] + dot for dot in wrong])
    return violations


@pytest.mark.parametrize("margin", [0.0, 0.1, 1.0])
def test_full_loss_sums_over_wrong_labels(margin):
    task, examples = make_task(margin=margin), batch()
    total, count = task(examples, 0)
    violations = plain_violations(task, *examples, margin)
    expected = sum(max(0, violation) for row in violations for violation in row)
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert count.item() == 6
    parts = [LabelledBatch(examples.images[r::2], examples.labels[r::2]) for r in range(2)]
    assert sum(task(part, 0).total.item() for part in parts) == pytest.approx(total.item())


def test_first_violation_is_one_of_them():
    task, examples = make_task("first", margin=0.3), batch()
    for row in range(6):
        one = LabelledBatch(examples.images[row : row + 1], examples.labels[row : row + 1])
        violations = [v for v in plain_violations(task, *one, 0.3)[0] if v > 0] or [0.0]
        for _ in range(5):
            total = task(one, 0).total.item()
            assert min(abs(total - violation) for violation in violations) < 1e-5


def test_with_encoder_batches_are_pixels():
    task, alone = make_task(encoder=encoder()), make_task()
    alone.devise = task.devise
    pixels, labels = torch.rand(3, 3, 16, 16), torch.tensor([0, 1, 4])
    expected = alone(LabelledBatch(encoder()(pixels), labels), 0).total
    total = task(LabelledBatch(pixels, labels), 0).total
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    total.backward()
    assert task.encoder.body[0].weight.grad.abs().sum() > 0
