"""Nearest labels: a plain loop, ties of every kind, laws, labels without a vector, penalties."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import vl.search.nearest
from vl.search.nearest import Labels, hub_penalty, nearest

NAN = math.nan


def grid(seed: int, *, images: int = 40, labels: int = 300) -> tuple[Tensor, Tensor]:
    """Vectors of length 2, all of whose cosines are quarters: sums are exact and ties abound."""
    draw = torch.Generator().manual_seed(seed)
    signs = torch.tensor([-1.0, 1.0])
    both = signs[torch.randint(2, (images + labels, 4), generator=draw)]
    return both[:images], both[images:]


def spread(seed: int, *, images: int = 40, labels: int = 300) -> tuple[Tensor, Tensor]:
    """Vectors of any direction, of which some labels share one and some have none."""
    draw = torch.Generator().manual_seed(seed)
    words = torch.randn(labels, 7, generator=draw)
    words[17] = words[200] = words[3]
    words[4] = words[290]
    words[8, 2], words[9], words[10, 0] = NAN, 0, math.inf
    return 3 * torch.randn(images, 7, generator=draw), words


def plain(
    images: Tensor, words: Tensor, top: int, less: Tensor | None = None
) -> tuple[list[list[float]], list[list[int]]]:
    """Every cosine by itself, in double; scores to six digits, so that equal ones are."""
    all_scores, all_numbers = [], []
    off = [0.0] * len(words) if less is None else less.tolist()
    for image in images.tolist():
        found = []
        for number, word in enumerate(words.tolist()):
            length = math.hypot(*word)
            if 0 < length < math.inf and math.isfinite(off[number]):
                dot = sum(a * b for a, b in zip(image, word, strict=True))
                cosine = dot / length / (math.hypot(*image) or 1)
                found.append((-round(cosine - off[number], 6), number))
        found.sort()
        missing = top - len(found)
        all_scores.append([-score for score, _ in found[:top]] + [-math.inf] * missing)
        all_numbers.append([number for _, number in found[:top]] + [-1] * missing)
    return all_scores, all_numbers


def check(images: Tensor, words: Tensor, top: int, less: Tensor | None = None) -> None:
    scores, numbers = plain(images, words, top, less)
    found = nearest(images, words, top=top, less=less)
    assert found.scores.dtype == torch.float32
    assert found.numbers.dtype == torch.int64
    assert found.scores.shape == found.numbers.shape == (len(images), top)
    assert found.numbers.tolist() == numbers
    assert torch.allclose(found.scores, torch.tensor(scores), atol=2e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("top", [1, 5, 20])
def test_labels_agree_with_a_plain_loop(seed: int, top: int) -> None:
    check(*spread(seed), top)


@pytest.mark.parametrize("seed", range(3))
def test_more_than_there_are_is_filled_up(seed: int) -> None:
    images, words = spread(seed)
    check(images, words[:60], 70)


@pytest.mark.parametrize("labels", [1, 2, 31, 32, 33, 64, 65])
def test_any_number_of_labels_will_do(labels: int) -> None:
    images, words = spread(0)
    check(images, words[-labels:], 3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("top", [1, 3, 10, 33])
def test_of_equal_scores_the_lower_number_comes_first(seed: int, top: int) -> None:
    check(*grid(seed), top)  # some twenty labels a vector


@pytest.mark.parametrize("top", [1, 2, 3, 7, 40])
def test_equal_scores_of_different_vectors_are_ordered_across_blocks(top: int) -> None:
    # Each label differs from the first axis by an axis of its own, so the cosines are equal.
    words = torch.eye(200)[torch.randperm(200, generator=torch.Generator().manual_seed(1))]
    words[:, 0] = 1
    words[50] = words[120]
    images = torch.eye(200)[:1].repeat(3, 1)
    images[1] = 0
    images[2, 0] = -1
    check(images, words, top)


@pytest.mark.parametrize("less_of", ["few", "many", "two"])
def test_what_is_taken_off_agrees_with_a_plain_loop(less_of: str) -> None:
    images, words = spread(1)
    draw = torch.Generator().manual_seed(2)
    less = {
        "few": torch.zeros(300),
        "many": torch.rand(300, generator=draw),
        "two": torch.randint(2, (300,), generator=draw) / 4,
    }[less_of]
    less[3], less[17], less[200] = 0.2, 0.2, -0.3
    less[30], less[31], less[32] = NAN, math.inf, -math.inf
    check(images, words, 12, less)


def test_ties_made_by_what_is_taken_off_go_to_the_lower_number() -> None:
    images, words = grid(0)
    less = torch.arange(300) % 3 * 0.25
    check(images, words, 15, less)


@pytest.mark.parametrize("images", [1, 2, 13, 64, 150])
def test_labels_of_one_vector_score_exactly_the_same(images: int) -> None:
    draw = torch.Generator().manual_seed(0)
    words = torch.randn(501, 50, generator=draw)
    words[500] = words[137] = words[2]
    near = words[[2]] + 0.1 * torch.randn(images, 50, generator=draw)
    found = nearest(near, words, top=4)
    assert found.numbers[:, :3].tolist() == [[2, 137, 500]] * images
    assert bool((found.scores[:, :1] == found.scores[:, :3]).all())


@pytest.mark.parametrize("bytes_at_once", [1, 4 * 320 * 64, 4 * 320 * 128])
def test_how_many_are_done_at_once_changes_nothing(
    bytes_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, words = spread(2, images=200)
    whole = nearest(images, words, top=9)
    truth = torch.arange(200)
    placed = Labels(words).placed(images, truth, top=9)
    monkeypatch.setattr(vl.search.nearest, "_BYTES", bytes_at_once)
    for part in (nearest(images, words, top=9), Labels(words).placed(images, truth, top=9).nearest):
        assert part.numbers.tolist() == whole.numbers.tolist()
        assert torch.allclose(part.scores, whole.scores, atol=1e-6)
    again = Labels(words).placed(images, truth, top=9)
    assert again.places.tolist() == placed.places.tolist()


def test_one_image_at_a_time_finds_the_same() -> None:
    images, words = spread(3)
    labels = Labels(words)
    whole = labels.nearest(images, top=6)
    for row, image in enumerate(images):
        one = labels.nearest(image[None], top=6)
        assert one.numbers[0].tolist() == whole.numbers[row].tolist()
        assert torch.allclose(one.scores[0], whole.scores[row], atol=1e-6)


def test_lengths_change_nothing() -> None:
    images, words = spread(4)
    expected = nearest(images, words, top=8)
    factors = 2.0 ** torch.linspace(-60, 60, 300).round()
    longer = nearest(images * 1e30, words * factors[:, None], top=8)
    shorter = nearest(images * 1e-30, words * 1e-30, top=8)
    for found in (longer, shorter):
        assert found.numbers.tolist() == expected.numbers.tolist()
        assert torch.allclose(found.scores, expected.scores, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_is_only_the_storage(dtype: torch.dtype) -> None:
    images, words = (part.to(torch.bfloat16).to(dtype) for part in spread(5))
    found = nearest(images, words, top=5)
    exact = nearest(images.float(), words.float(), top=5)
    assert found.numbers.tolist() == exact.numbers.tolist()
    assert found.scores.dtype == torch.float32


def test_an_image_of_length_0_is_as_near_to_all() -> None:
    _, words = spread(0)
    found = nearest(torch.zeros(2, 7), words, top=10)
    assert found.numbers.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 11, 12]] * 2
    assert found.scores.tolist() == [[0.0] * 10] * 2


def test_nothing_to_choose_is_no_error() -> None:
    images, words = spread(0)
    labels = Labels(words * NAN)
    found = labels.placed(images, torch.zeros(40, dtype=torch.int64), top=2)
    assert found.nearest.numbers.unique().tolist() == [-1]
    assert found.nearest.scores.max() == -math.inf
    assert found.places.tolist() == [0] * 40
    assert nearest(images[:0], words, top=3).numbers.shape == (0, 3)
    assert nearest(images, words[:0], top=3).numbers.tolist() == [[-1] * 3] * 40
    assert len(labels) == 300
    assert not labels.known.any()


@pytest.mark.parametrize("make", [grid, spread])
@pytest.mark.parametrize("taken_off", [False, True])
def test_places_count_all_labels_that_score_no_less(make, taken_off: bool) -> None:
    images, words = make(1)
    less = torch.arange(300) % 3 * 0.25 if taken_off else None
    truth = torch.arange(40) + 2
    found = Labels(words, less=less).placed(images, truth, top=4)
    scores, numbers = plain(images, words, 300, less)
    for row, label in enumerate(truth.tolist()):
        if label in numbers[row]:
            own = scores[row][numbers[row].index(label)]
            assert found.places[row] == sum(score >= own for score in scores[row])
        else:
            assert found.places[row] == 0
    assert found.nearest.numbers.tolist() == [row[:4] for row in numbers]


def test_labels_with_a_vector_are_known() -> None:
    _, words = spread(0)
    less = torch.zeros(300)
    less[40] = NAN
    expected = [number not in (8, 9, 10, 40) for number in range(300)]
    assert Labels(words, less=less).known.tolist() == expected


def test_penalties_agree_with_a_plain_loop() -> None:
    references, words = spread(6)
    found = hub_penalty(words, references, neighbours=3)
    assert found.shape == (300,)
    for label, word in enumerate(words):
        if label in (8, 9, 10):
            assert found[label] == 0
            continue
        cosines = sorted(torch.cosine_similarity(word[None], references).tolist(), reverse=True)
        assert found[label].item() == pytest.approx(sum(cosines[:3]) / 6, abs=1e-6)


def test_a_penalty_by_hand_and_a_hub_that_loses() -> None:
    words = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    references = torch.tensor([[4.0, 3.0], [3.0, 4.0], [2.0, 2.0], [-1.0, 0.0]])
    found = hub_penalty(words, references, neighbours=2)
    middle = 7 / 5 / math.sqrt(2)
    diagonal = 1 / math.sqrt(2)
    by_hand = [(1 + middle) / 4, (0.8 + diagonal) / 4, (0.8 + diagonal) / 4]
    assert found.tolist() == pytest.approx(by_hand)
    image = torch.tensor([[0.9, 0.4]])
    assert nearest(image, words, top=1).numbers.tolist() == [[0]]
    assert nearest(image, words, top=1, less=found).numbers.tolist() == [[1]]


def test_equal_references_all_count() -> None:
    words = torch.tensor([[1.0, 0.0]])
    references = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    found = [hub_penalty(words, references, neighbours=n).item() for n in (1, 2, 3)]
    assert found == pytest.approx([1 / 2, 1 / 2, 1 / 3])


def test_what_was_given_is_not_changed() -> None:
    images, words = spread(0)
    less = torch.rand(300)
    before = [part.clone() for part in (images, words, less)]
    images.requires_grad_()
    Labels(words, less=less).placed(images, torch.arange(40), top=3)
    hub_penalty(words, images, neighbours=2)
    for part, old in zip((images, words, less), before, strict=True):
        assert np.array_equal(part.detach().numpy(), old.numpy(), equal_nan=True)


def test_wrong_use_is_refused() -> None:
    images, words = torch.ones(4, 300), torch.ones(6, 500)
    with pytest.raises(ValueError, match=r"^images have width 300, words 500$"):
        nearest(images, words, top=1)
    with pytest.raises(ValueError, match=r"words have shape \(6,\); expected labels by width"):
        Labels(words[:, 0])
    with pytest.raises(ValueError, match=r"less has shape \(4,\), there are 6 labels"):
        Labels(words, less=torch.zeros(4))
    with pytest.raises(ValueError, match="top is 0; it must be at least 1"):
        nearest(images, words[:, :300], top=0)
    for wrong in (NAN, math.inf):
        broken = images.clone()
        broken[2, 7] = wrong
        with pytest.raises(ValueError, match="an image's vector has a number that is not finite"):
            nearest(broken, words[:, :300], top=1)
    with pytest.raises(ValueError, match="images are on meta, words on cpu"):
        nearest(images.to("meta"), words[:, :300], top=1)
    labels = Labels(words[:, :300])
    with pytest.raises(ValueError, match=r"4 images, true labels of shape \(1,\)"):
        labels.placed(images, torch.tensor([0]), top=1)
    for number in (-1, 6):
        with pytest.raises(ValueError, match=r"true labels go from -?\d to \d, labels to 5"):
            labels.placed(images, torch.tensor([0, 1, 2, number]), top=1)
    with pytest.raises(ValueError, match="references have width 300, words 500"):
        hub_penalty(words, images)
    with pytest.raises(ValueError, match="neighbours is 0; it must be at least 1"):
        hub_penalty(words, words, neighbours=0)
    with pytest.raises(ValueError, match="neighbours is 10, there are 6 references"):
        hub_penalty(words, words)
    for wrong in (0, NAN):
        broken = words.clone()
        broken[4] *= wrong
        with pytest.raises(ValueError, match="reference 4 has length 0 or a number that is not"):
            hub_penalty(words, broken, neighbours=2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("make", [grid, spread])
def test_a_gpu_finds_the_same(make) -> None:
    images, words = make(0)
    expected = nearest(images, words, top=7)
    found = nearest(images.cuda(), words.cuda(), top=7)
    assert found.numbers.tolist() == expected.numbers.tolist()
    assert torch.allclose(found.scores.cpu(), expected.scores, atol=1e-6)
    truth = torch.arange(40)
    on_cpu = Labels(words).placed(images, truth, top=7).places
    assert Labels(words.cuda()).placed(images.cuda(), truth.cuda(), top=7).places.tolist() == (
        on_cpu.tolist()
    )


@pytest.mark.parametrize("make", [grid, spread])
@pytest.mark.parametrize("temperature", [0.01, 0.5, 10.0])
@pytest.mark.parametrize("off", [False, True])
def test_totals_agree_with_a_plain_sum(make, temperature: float, off: bool) -> None:
    images, words = make(0)
    less = torch.rand(300) if off else None
    if less is not None:
        less[5] = NAN  # cannot be chosen, and is not in the sum
    labels = Labels(words, less=less)
    found = labels.log_totals(images, temperature=temperature)
    for image, total in zip(images.tolist(), found.tolist(), strict=True):
        scores = []
        for number, word in enumerate(words.tolist()):
            length = math.hypot(*image) * math.hypot(*word)
            if labels.known[number]:
                cosine = sum(a * b for a, b in zip(image, word, strict=True)) / length
                scores.append(cosine - (0.0 if less is None else float(less[number])))
        most = max(scores)
        expected = math.log(math.fsum(math.exp((s - most) / temperature) for s in scores))
        assert total == pytest.approx(expected + most / temperature, rel=1e-4, abs=1e-4)


def test_totals_of_many_images_are_those_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    images, words = spread(1, images=150)
    labels = Labels(words)
    whole = labels.log_totals(images, temperature=0.1)
    monkeypatch.setattr(vl.search.nearest, "_BYTES", 1)
    assert torch.allclose(labels.log_totals(images, temperature=0.1), whole, atol=1e-5)
    assert labels.log_totals(images[:0], temperature=0.1).shape == (0,)


@pytest.mark.parametrize("wrong", [0.0, -1.0, NAN])
def test_a_temperature_must_be_above_0(wrong: float) -> None:
    with pytest.raises(ValueError, match=f"temperature is {wrong}; it must be above 0"):
        Labels(torch.eye(2)).log_totals(torch.eye(2), temperature=wrong)
