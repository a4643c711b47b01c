"""Classification by crops and by several encoders; accuracy and its confidence intervals."""

import math

import pytest
import torch
from torch import nn
from torchvision.transforms.v2.functional import to_pil_image

from tests.encoding.test_openvino import needs_openvino
from tests.helpers.tiny_captioner import drawings
from vl.data.errors import FormatError
from vl.data.images.crops import crops_without_flips
from vl.data.images.decode import decode, square
from vl.encoders.inception import Inception, Logits
from vl.encoding.accuracy import ConfusedPair, HitCounts, rank_classes, wilson_interval
from vl.encoding.evaluation import Classifier, ClassifierSettings


class Striped(nn.Module):
    """A linear classifier of pixels, which depends on their positions."""

    def __init__(self, seed=0, *, image_size=16, classes=6):
        super().__init__()
        self.image_size = image_size
        generator = torch.Generator().manual_seed(seed)
        shape = (classes, 3, image_size, image_size)
        self.weight = nn.Parameter(torch.randn(shape, generator=generator) / image_size)

    def classify(self, pixels):
        return Logits(torch.einsum("bchw,kchw->bk", pixels - 0.5, self.weight), ())


def classify_with(encoders, **settings):
    return Classifier(encoders, ClassifierSettings(**settings))


def reference(encoder, path, count, resize="center-crop"):
    """Probabilities of one image, crop by crop, in double precision."""
    pixels = decode(path)
    cut = crops_without_flips(pixels, size=encoder.image_size, num_crops=count)
    if count > 1:
        cut = torch.cat([cut, cut.flip(-1)])
    if resize == "squash":
        cut = square(pixels, encoder.image_size, "squash")[None]
    total = 0
    for crop in cut:
        total = total + encoder.classify(crop[None]).main.detach().double().softmax(1)
    return total[0] / count


@pytest.fixture
def paths(tmp_path):
    found = drawings(tmp_path / "some", 5, side=40)
    wide = tmp_path / "wide.png"
    to_pil_image(torch.rand(3, 20, 50)).save(wide)
    return [*found, wide]


def classify_all(classifier, paths):
    batches = list(classifier.stream(paths))
    assert [index for each in batches for index in each.indices] == list(range(len(paths)))
    return {
        count: torch.cat([each.probabilities[count] for each in batches])
        for count in batches[0].probabilities
    }


def test_probabilities_are_means_over_crops_and_encoders(paths):
    first, second = Striped(1), Striped(2, image_size=24)
    found = classify_all(classify_with([first, second], crops=(1, 10, 144)), paths)
    assert list(found) == [1, 10, 144]
    for count, probabilities in found.items():
        expected = torch.stack(
            [(reference(first, path, count) + reference(second, path, count)) / 2 for path in paths]
        )
        torch.testing.assert_close(probabilities.double(), expected, atol=1e-6, rtol=0)
        assert torch.allclose(probabilities.sum(1), torch.ones(len(paths)))
    assert (found[1] - found[10]).abs().max() > 0.001
    assert (found[10] - found[144]).abs().max() > 0.001


@needs_openvino
def test_probabilities_on_openvino(paths):
    torch.manual_seed(7)
    encoders = [Inception(classes=9, width_factor=0.125, mean=(0.4, 0.5, 0.6)) for _ in range(2)]
    with torch.no_grad():
        for encoder in encoders:
            encoder.classifier.weight.mul_(1e4)  # or all classes are equally likely
    expected = classify_all(classify_with(encoders, crops=(1, 10)), paths)
    classifier = classify_with(encoders, crops=(1, 10))
    assert classifier.use_openvino()
    for encoder in encoders:  # OpenVINO has a copy
        encoder.stem[0].convolution.weight.data.fill_(0)
    for count, found in classify_all(classifier, paths).items():
        assert found.std(1).min() > 1e-3
        torch.testing.assert_close(found, expected[count], atol=1e-4, rtol=0)


def test_without_openvino_it_runs_on_pytorch(paths, caplog):
    classifier = classify_with([Striped(1)])
    expected = classify_all(classifier, paths)[1]
    assert not classifier.use_openvino()
    assert "PyTorch" in caplog.text
    assert torch.equal(classify_all(classifier, paths)[1], expected)


def test_squash_uses_the_whole_image(paths):
    encoder = Striped()
    found = classify_all(classify_with([encoder], resize="squash"), paths)[1]
    expected = torch.stack([reference(encoder, path, 1, "squash") for path in paths])
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)
    assert (found - classify_all(classify_with([encoder]), paths)[1])[-1].abs().max() > 0.001


@pytest.mark.parametrize("count", [1, 10, 144])
def test_batch_size_changes_no_probability(paths, count):
    models = [Striped(1), Striped(2)]
    several = [
        classify_all(classify_with(models, crops=(count,), batch_size=size), paths)[count]
        for size in (1, 3, 32, 1000)
    ]
    for each in several[1:]:
        torch.testing.assert_close(each, several[0], atol=1e-5, rtol=0)


def test_batch_size_is_a_maximum(paths):
    encoder, sizes = Striped(), []
    encoder.classify = lambda pixels: sizes.append(len(pixels)) or Striped.classify(encoder, pixels)
    list(classify_with([encoder], crops=(10, 144), batch_size=7).stream(paths))
    assert max(sizes) <= 7
    assert sum(sizes) == (10 + 144) * len(paths)


def test_reports_images_that_cannot_be_read(paths, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 cut short")
    given = [*paths[:2], broken, paths[2], tmp_path / "none.png"]
    batches = list(classify_with([Striped()], batch_size=2).stream(given))
    assert [index for each in batches for index in each.indices] == [0, 1, 3]
    failures = dict(failure for each in batches for failure in each.failures)
    assert list(failures) == [2, 4]
    assert isinstance(failures[2], FormatError)
    assert isinstance(failures[4], FileNotFoundError)
    whole = classify_all(classify_with([Striped()]), paths[:3])[1]
    found = torch.cat([each.probabilities[1] for each in batches if each.indices])
    torch.testing.assert_close(found, whole)
    (only,) = classify_with([Striped()]).stream([broken])
    assert (only.indices, only.probabilities) == ([], {})


def test_refuses_probabilities_that_are_not_finite(paths):
    encoder = Striped()
    with torch.no_grad():
        encoder.weight.fill_(math.inf)
    with pytest.raises(ValueError, match=r"0\.png: .*not finite"):
        list(classify_with([encoder]).stream(paths))


def test_evaluation_mode_and_bfloat16(paths):
    encoder = Striped().train()
    exact = classify_all(classify_with([encoder]), paths)[1]
    assert not encoder.training
    coarse = classify_all(classify_with([encoder], precision="bfloat16"), paths)[1]
    assert coarse.dtype == torch.float32
    assert 0 < (coarse - exact).abs().max() < 0.02


def test_refuses_repeated_crops():
    for counts in ((), (10, 10)):
        with pytest.raises(ValueError, match="crops"):
            ClassifierSettings(crops=counts)


def test_equal_probabilities_are_ranked_by_index():
    assert rank_classes(torch.tensor([[0.2, 0.5, 0.2, 0.1]])).tolist() == [[1, 0, 2, 3]]
    assert rank_classes(torch.full((1, 40), 0.025)).tolist() == [list(range(40))]


def test_hit_counts():
    counts = HitCounts(7)
    assert counts.top == 5
    order = torch.tensor([[3, 0, 1, 2, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0]])
    counts.add(order, torch.tensor([3, 3, 3]))
    counts.add(order, torch.tensor([0, 5, 1]))
    assert counts.images.tolist() == [1, 1, 0, 3, 0, 1, 0]
    assert counts.top_1.tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert counts.top_5.tolist() == [1, 0, 0, 3, 0, 0, 0]
    counts.add(order[:1], torch.tensor([0]))
    assert counts.confused_pairs(2) == [ConfusedPair(0, 3, 2), ConfusedPair(1, 6, 1)]
    assert counts.confused_pairs(9) == [(0, 3, 2), (1, 6, 1), (3, 0, 1), (3, 6, 1), (5, 0, 1)]
    assert counts.confused_pairs(0) == []
    expected = torch.zeros(7, 7, dtype=torch.int64)
    for truth, answer in ((0, 3), (0, 3), (1, 6), (3, 0), (3, 6), (5, 0), (3, 3)):
        expected[truth, answer] += 1
    assert torch.equal(counts.confusion_matrix(), expected)


def test_top_5_of_three_classes():
    counts = HitCounts(3)
    counts.add(torch.tensor([[2, 1, 0], [1, 0, 2]]), torch.tensor([0, 1]))
    assert counts.top == 3
    assert (int(counts.top_1.sum()), int(counts.top_5.sum())) == (1, 2)


def test_wilson_interval_by_its_definition():
    # Wilson's bounds are the p at which |hits / n - p| is 1.959964 deviations sqrt(p (1 - p) / n).
    for hits, count in ((7, 10), (689, 1000), (1, 3), (50, 100)):
        for bound in wilson_interval(hits, count):
            deviation = math.sqrt(bound * (1 - bound) / count)
            assert abs(hits / count - bound) == pytest.approx(1.959964 * deviation)
    low, high = wilson_interval(7, 10)
    assert low < 0.7 < high


def test_wilson_interval_is_within_0_and_1():
    # At no hits the other bound is z^2 / (n + z^2), by setting the share to 0.
    assert wilson_interval(0, 10) == pytest.approx((0, 1.959964**2 / (10 + 1.959964**2)))
    assert wilson_interval(10, 10) == pytest.approx((10 / (10 + 1.959964**2), 1))
