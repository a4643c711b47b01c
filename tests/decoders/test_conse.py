"""The convex combination: against a plain loop, by hand, and labels without a vector."""

import math

import pytest
import torch
from torch import Tensor

from vl.decoders.conse import TOP_K, Conse, conse

NONE = [math.nan, math.nan]


def plain_conse(
    probabilities: list[float], vectors: list[list[float]], top_k: int
) -> tuple[list[float], float, float]:
    with_vector = [
        label for label, vector in enumerate(vectors) if not any(map(math.isnan, vector))
    ]
    likeliest = sorted(with_vector, key=lambda label: (-probabilities[label], label))[:top_k]
    top_mass = sum(probabilities[label] for label in likeliest)
    vector = [
        sum(probabilities[label] * vectors[label][axis] for label in likeliest) / top_mass
        for axis in range(len(vectors[0]))
    ]
    missing_mass = sum(p for label, p in enumerate(probabilities) if label not in with_vector)
    return vector, top_mass, missing_mass


def example(seed: int, labels: int = 15, width: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, labels, generator=generator, dtype=torch.double)
    vectors = torch.randn(labels, width, generator=generator, dtype=torch.double)
    vectors[2, 1] = vectors[7] = math.nan
    return (2 * logits).softmax(1), vectors


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("top_k", [1, 2, 10, 13, 40])
def test_agrees_with_a_plain_loop(seed: int, top_k: int) -> None:
    probabilities, vectors = example(seed)
    output = conse(probabilities, vectors, top_k=top_k)
    for row, vector, top_mass, missing_mass in zip(probabilities.tolist(), *output, strict=True):
        expected = plain_conse(row, vectors.tolist(), top_k)
        assert vector.tolist() == pytest.approx(expected[0])
        assert top_mass.item() == pytest.approx(expected[1])
        assert missing_mass.item() == pytest.approx(expected[2])


def test_labels_without_a_vector_might_as_well_be_absent() -> None:
    probabilities, vectors = example(0)
    with_vector = ~vectors.isnan().any(1)
    output = conse(probabilities, vectors)
    alone = conse(probabilities[:, with_vector], vectors[with_vector])
    assert torch.allclose(output.vectors, alone.vectors)
    assert not alone.missing_mass.any()


def test_top_1_is_the_label_vector_and_all_labels_the_expectation() -> None:
    probabilities, vectors = example(1)
    vectors = vectors.nan_to_num()
    likeliest = probabilities.argmax(1)
    assert torch.allclose(conse(probabilities, vectors, top_k=1).vectors, vectors[likeliest])
    everything = conse(probabilities, vectors, top_k=15)
    assert torch.allclose(everything.vectors, probabilities @ vectors)
    assert torch.allclose(everything.top_mass, torch.ones(6, dtype=torch.double))


def test_combination_is_convex() -> None:
    probabilities, vectors = example(2)
    vectors = vectors.nan_to_num()
    output = conse(probabilities, vectors).vectors
    assert (output <= vectors.max(0).values + 1e-12).all()
    assert (output >= vectors.min(0).values - 1e-12).all()
    shift = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.double)
    assert torch.allclose(conse(probabilities, vectors + shift).vectors, output + shift)


def test_invariant_to_scale_and_order() -> None:
    probabilities, vectors = example(3)
    output = conse(probabilities, vectors)
    assert torch.allclose(conse(probabilities / 8, vectors).vectors, output.vectors)
    order = torch.randperm(15)
    assert torch.allclose(conse(probabilities[:, order], vectors[order]).vectors, output.vectors)
    rows = torch.randperm(6)
    assert torch.allclose(conse(probabilities[rows], vectors).vectors, output.vectors[rows])
    one_by_one = torch.cat([conse(row[None], vectors).vectors for row in probabilities])
    assert torch.allclose(one_by_one, output.vectors)


def test_ties_take_the_first_labels() -> None:
    vectors = torch.eye(200)
    output = conse(torch.full((3, 200), 1 / 200), vectors, top_k=3)
    assert output.vectors.nonzero()[:, 1].tolist() == [0, 1, 2] * 3


def test_vector_is_0_without_probability_mass() -> None:
    vectors = torch.tensor([NONE, [1.0, 2.0]])
    output = conse(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), vectors)
    assert output.vectors.tolist() == [[0, 0], [1, 2]]
    assert output.top_mass.tolist() == [0, 1]
    assert output.missing_mass.tolist() == [1, 0]


def test_leaves_its_arguments_unchanged() -> None:
    probabilities, vectors = example(0)
    before = probabilities.clone(), vectors.clone()
    conse(probabilities, vectors)
    assert torch.equal(probabilities, before[0])
    assert torch.equal(vectors.nan_to_num(9), before[1].nan_to_num(9))


def test_keeps_the_dtype_of_the_vectors() -> None:
    probabilities, vectors = example(0)
    output = conse(probabilities, vectors.float())
    assert output.vectors.dtype == torch.float32
    assert torch.allclose(output.vectors.double(), conse(probabilities, vectors).vectors, atol=1e-6)


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf])
def test_refuses_what_is_no_probability(wrong: float) -> None:
    with pytest.raises(ValueError, match="logits"):
        conse(torch.tensor([[0.5, wrong]]), torch.eye(2))


def test_refuses_invalid_arguments() -> None:
    probabilities = torch.full((1, 3), 1 / 3)
    with pytest.raises(ValueError, match="2 vectors"):
        conse(probabilities, torch.eye(2))
    with pytest.raises(ValueError, match="top_k"):
        conse(probabilities, torch.eye(3), top_k=0)
    with pytest.raises(ValueError, match="no label has a vector"):
        conse(probabilities, torch.full((3, 2), math.nan))


def test_module_combines_by_its_classifier() -> None:
    model = Conse(image_width=6, width=4, num_labels=5, top_k=2)
    model.label_vectors.copy_(torch.randn(5, 4))
    images = torch.randn(7, 6)
    probabilities = (images @ model.classifier.weight.T + model.classifier.bias).softmax(1)
    assert torch.allclose(
        model(images), conse(probabilities, model.label_vectors, top_k=2).vectors, atol=1e-6
    )
    assert model(images).shape == (7, 4)


def test_module_is_rebuilt_from_configuration_and_state() -> None:
    model = Conse(image_width=6, width=4, num_labels=5, top_k=2)
    model.label_vectors.copy_(torch.randn(5, 4))
    again = Conse(**model.configuration)
    again.load_state_dict(model.state_dict())
    images = torch.randn(3, 6)
    assert torch.equal(model(images), again(images))
    assert Conse(image_width=1, width=1, num_labels=1).configuration["top_k"] == TOP_K == 10


def test_module_refuses_other_widths() -> None:
    model = Conse(image_width=6, width=4, num_labels=5)
    with pytest.raises(ValueError, match="expects 6"):
        model(torch.zeros(1, 7))
    sizes = {"image_width": 6, "width": 4, "num_labels": 5, "top_k": 2}
    for name in sizes:
        with pytest.raises(ValueError, match="at least 1"):
            Conse(**{**sizes, name: 0})
