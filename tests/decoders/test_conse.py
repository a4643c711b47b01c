"""The convex combination: against a plain loop, by hand, and its laws."""

import pytest
import torch
from torch import Tensor

from vl.decoders.conse import TOP_K, Conse, conse


def plain_conse(probabilities: list[float], vectors: list[list[float]], top_k: int) -> list[float]:
    likeliest = sorted(range(len(vectors)), key=lambda label: (-probabilities[label], label))
    likeliest = likeliest[:top_k]
    mass = sum(probabilities[label] for label in likeliest)
    return [
        sum(probabilities[label] * vectors[label][axis] for label in likeliest) / mass
        for axis in range(len(vectors[0]))
    ]


def example(seed: int, labels: int = 15, width: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, labels, generator=generator, dtype=torch.double)
    vectors = torch.randn(labels, width, generator=generator, dtype=torch.double)
    return (2 * logits).softmax(1), vectors


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("top_k", [1, 2, 10, 40])
def test_agrees_with_a_plain_loop(seed: int, top_k: int) -> None:
    probabilities, vectors = example(seed)
    output = conse(probabilities, vectors, top_k=top_k)
    for row, vector in zip(probabilities.tolist(), output.tolist(), strict=True):
        assert vector == pytest.approx(plain_conse(row, vectors.tolist(), top_k))


def test_top_1_is_the_label_vector_and_all_labels_the_expectation() -> None:
    probabilities, vectors = example(1)
    likeliest = probabilities.argmax(1)
    assert torch.allclose(conse(probabilities, vectors, top_k=1), vectors[likeliest])
    assert torch.allclose(conse(probabilities, vectors, top_k=15), probabilities @ vectors)


def test_combination_is_convex() -> None:
    probabilities, vectors = example(2)
    output = conse(probabilities, vectors)
    assert (output <= vectors.max(0).values + 1e-12).all()
    assert (output >= vectors.min(0).values - 1e-12).all()
    shift = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.double)
    assert torch.allclose(conse(probabilities, vectors + shift), output + shift)


def test_invariant_to_scale_and_order() -> None:
    probabilities, vectors = example(3)
    output = conse(probabilities, vectors)
    assert torch.allclose(conse(probabilities / 8, vectors), output)
    order = torch.randperm(15)
    assert torch.allclose(conse(probabilities[:, order], vectors[order]), output)
    one_by_one = torch.cat([conse(row[None], vectors) for row in probabilities])
    assert torch.allclose(one_by_one, output)


def test_ties_take_the_first_labels() -> None:
    output = conse(torch.full((3, 200), 1 / 200), torch.eye(200), top_k=3)
    assert output.nonzero()[:, 1].tolist() == [0, 1, 2] * 3


def test_vector_is_0_without_probability_mass() -> None:
    vectors = torch.tensor([[3.0, 4.0], [1.0, 2.0]])
    assert conse(torch.tensor([[0.0, 0.0], [0.0, 1.0]]), vectors).tolist() == [[0, 0], [1, 2]]


def test_keeps_the_dtype_of_the_vectors() -> None:
    probabilities, vectors = example(0)
    output = conse(probabilities, vectors.float())
    assert output.dtype == torch.float32
    assert torch.allclose(output.double(), conse(probabilities, vectors), atol=1e-6)


def test_module_combines_by_its_classifier() -> None:
    model = Conse(image_width=6, width=4, num_labels=5, top_k=2)
    model.label_vectors.copy_(torch.randn(5, 4))
    images = torch.randn(7, 6)
    probabilities = (images @ model.classifier.weight.T + model.classifier.bias).softmax(1)
    expected = conse(probabilities, model.label_vectors, top_k=2)
    assert torch.allclose(model(images), expected, atol=1e-6)
    again = Conse(**model.configuration)
    again.load_state_dict(model.state_dict())
    assert torch.equal(model(images), again(images))
    assert Conse(image_width=1, width=1, num_labels=1).configuration["top_k"] == TOP_K == 10
