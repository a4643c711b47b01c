"""The convex mix: against a plain loop, by hand, and labels that have no vector."""

import math

import pytest
import torch
from torch import Tensor

from vl.decoders.conse import TOP, Conse, conse

NONE = [math.nan, math.nan]


def plain_mix(
    probabilities: list[float], words: list[list[float]], top: int
) -> tuple[list[float], float, float]:
    known = [label for label, word in enumerate(words) if not any(map(math.isnan, word))]
    likeliest = sorted(known, key=lambda label: (-probabilities[label], label))[:top]
    mixed = sum(probabilities[label] for label in likeliest)
    vector = [
        sum(probabilities[label] * words[label][axis] for label in likeliest) / mixed
        for axis in range(len(words[0]))
    ]
    lost = sum(p for label, p in enumerate(probabilities) if label not in known)
    return vector, mixed, lost


def example(seed: int, labels: int = 15, width: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, labels, generator=generator, dtype=torch.double)
    words = torch.randn(labels, width, generator=generator, dtype=torch.double)
    words[2, 1] = words[7] = math.nan
    return (2 * logits).softmax(1), words


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("top", [1, 2, 10, 13, 40])
def test_the_mix_agrees_with_a_plain_loop(seed: int, top: int) -> None:
    probabilities, words = example(seed)
    found = conse(probabilities, words, top=top)
    for row, vector, mixed, lost in zip(probabilities.tolist(), *found, strict=True):
        expected = plain_mix(row, words.tolist(), top)
        assert vector.tolist() == pytest.approx(expected[0])
        assert mixed.item() == pytest.approx(expected[1])
        assert lost.item() == pytest.approx(expected[2])


def test_by_hand() -> None:
    words = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    found = conse(torch.tensor([[0.6, 0.3, 0.1]]), words, top=2)
    assert found.vectors.tolist() == [pytest.approx([2 / 3, 1 / 3])]
    assert found.mixed.item() == pytest.approx(0.9)
    assert found.lost.item() == 0


def test_a_label_without_a_vector_is_passed_over_and_counted() -> None:
    words = torch.tensor([[1.0, 0.0], NONE, [0.0, 1.0], [3.0, 3.0]])
    found = conse(torch.tensor([[0.2, 0.5, 0.2, 0.1]]), words, top=2)
    assert found.vectors.tolist() == [pytest.approx([0.5, 0.5])]  # the second place is not lost
    assert found.mixed.item() == pytest.approx(0.4)
    assert found.lost.item() == pytest.approx(0.5)


def test_it_is_as_if_labels_without_a_vector_were_none() -> None:
    probabilities, words = example(0)
    known = ~words.isnan().any(1)
    found = conse(probabilities, words)
    alone = conse(probabilities[:, known], words[known])
    assert torch.allclose(found.vectors, alone.vectors)
    assert not alone.lost.any()


def test_one_label_alone_is_its_own_vector_and_all_are_the_expectation() -> None:
    probabilities, words = example(1)
    words = words.nan_to_num()
    likeliest = probabilities.argmax(1)
    assert torch.allclose(conse(probabilities, words, top=1).vectors, words[likeliest])
    everything = conse(probabilities, words, top=15)
    assert torch.allclose(everything.vectors, probabilities @ words)
    assert torch.allclose(everything.mixed, torch.ones(6, dtype=torch.double))


def test_the_mix_lies_between_its_labels() -> None:
    probabilities, words = example(2)
    words = words.nan_to_num()
    found = conse(probabilities, words).vectors
    assert (found <= words.max(0).values + 1e-12).all()
    assert (found >= words.min(0).values - 1e-12).all()
    shift = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.double)
    assert torch.allclose(conse(probabilities, words + shift).vectors, found + shift)


def test_scale_and_order_change_nothing() -> None:
    probabilities, words = example(3)
    found = conse(probabilities, words)
    assert torch.allclose(conse(probabilities / 8, words).vectors, found.vectors)
    order = torch.randperm(15)
    assert torch.allclose(conse(probabilities[:, order], words[order]).vectors, found.vectors)
    rows = torch.randperm(6)
    assert torch.allclose(conse(probabilities[rows], words).vectors, found.vectors[rows])
    one_by_one = torch.cat([conse(row[None], words).vectors for row in probabilities])
    assert torch.allclose(one_by_one, found.vectors)


def test_of_equally_likely_labels_the_first_are_mixed() -> None:
    words = torch.eye(200)
    found = conse(torch.full((3, 200), 1 / 200), words, top=3)
    assert found.vectors.nonzero()[:, 1].tolist() == [0, 1, 2] * 3


def test_where_no_probability_is_left_the_vector_is_0() -> None:
    words = torch.tensor([NONE, [1.0, 2.0]])
    found = conse(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), words)
    assert found.vectors.tolist() == [[0, 0], [1, 2]]
    assert found.mixed.tolist() == [0, 1]
    assert found.lost.tolist() == [1, 0]


def test_what_was_given_is_not_changed() -> None:
    probabilities, words = example(0)
    before = probabilities.clone(), words.clone()
    conse(probabilities, words)
    assert torch.equal(probabilities, before[0])
    assert torch.equal(words.nan_to_num(9), before[1].nan_to_num(9))


def test_vectors_of_another_precision_are_no_trouble() -> None:
    probabilities, words = example(0)
    found = conse(probabilities, words.float())
    assert found.vectors.dtype == torch.float32
    assert torch.allclose(found.vectors.double(), conse(probabilities, words).vectors, atol=1e-6)


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="negative or no number; are these logits"):
        conse(torch.tensor([[0.5, wrong]]), torch.eye(2))


def test_wrong_use_is_refused() -> None:
    probabilities = torch.full((1, 3), 1 / 3)
    with pytest.raises(ValueError, match="probabilities of 3 labels, 2 vectors"):
        conse(probabilities, torch.eye(2))
    with pytest.raises(ValueError, match="top is 0; it must be at least 1"):
        conse(probabilities, torch.eye(3), top=0)
    with pytest.raises(ValueError, match="no label has a vector"):
        conse(probabilities, torch.full((3, 2), math.nan))


def test_the_map_mixes_by_its_classifier() -> None:
    made = Conse(image_width=6, width=4, labels=5, top=2)
    made.words.copy_(torch.randn(5, 4))
    images = torch.randn(7, 6)
    probabilities = (images @ made.classifier.weight.T + made.classifier.bias).softmax(1)
    assert torch.allclose(made(images), conse(probabilities, made.words, top=2).vectors, atol=1e-6)
    assert made(images).shape == (7, 4)


def test_the_map_is_built_again_from_its_configuration_and_state() -> None:
    made = Conse(image_width=6, width=4, labels=5, top=2)
    made.words.copy_(torch.randn(5, 4))
    again = Conse(**made.configuration)
    again.load_state_dict(made.state_dict())
    images = torch.randn(3, 6)
    assert torch.equal(made(images), again(images))
    assert Conse(image_width=1, width=1, labels=1).configuration["top"] == TOP == 10


def test_the_map_refuses_other_widths() -> None:
    made = Conse(image_width=6, width=4, labels=5)
    with pytest.raises(ValueError, match="images have width 7, the classifier expects 6"):
        made(torch.zeros(1, 7))
    sizes = {"image_width": 6, "width": 4, "labels": 5, "top": 2}
    for name in sizes:
        with pytest.raises(ValueError, match="every width, the labels and top must be at least 1"):
            Conse(**{**sizes, name: 0})
