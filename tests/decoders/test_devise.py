"""DeViSE and its losses: against plain loops, random orders and gradients; what it learns."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from vl.decoders.devise import Devise, first_violation_loss, hinge_rank_loss

LOSSES = (hinge_rank_loss, first_violation_loss)


def units(count: int, width: int, seed: int = 0, dtype: torch.dtype = torch.double) -> Tensor:
    """Random vectors of length 1."""
    vectors = torch.randn(count, width, generator=seeded(seed), dtype=dtype)
    return vectors / vectors.norm(dim=1, keepdim=True)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def example(
    seed: int, batch: int = 6, labels: int = 9, width: int = 4
) -> tuple[Tensor, Tensor, Tensor]:
    """Images close enough to the right label that some wrong ones are no violations."""
    label_vectors = units(labels, width, seed)
    right = torch.randint(labels, (batch,), generator=seeded(seed + 1))
    noise = torch.randn(batch, width, generator=seeded(seed + 2), dtype=torch.double)
    return label_vectors[right] * 0.5 + 0.3 * noise, label_vectors, right


def dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def plain_terms(projected: Tensor, label_vectors: Tensor, right: int, margin: float) -> list[float]:
    """Equation 1, term by term; of one image ``(D,)``. The right label's is 0."""
    image, vectors = projected.tolist(), label_vectors.tolist()
    return [
        0.0
        if label == right
        else max(0.0, margin - dot(vectors[right], image) + dot(vectors[label], image))
        for label in range(len(vectors))
    ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("margin", [0.0, 0.1, 1.0])
def test_hinge_rank_loss_agrees_with_a_plain_loop(seed: int, margin: float) -> None:
    projected, label_vectors, labels = example(seed)
    terms = [
        plain_terms(image, label_vectors, label, margin)
        for image, label in zip(projected, labels.tolist(), strict=True)
    ]
    assert any(0.0 in row[:label] + row[label + 1 :] for row, label in zip(terms, labels.tolist()))
    expected = sum(map(sum, terms)) / len(terms)
    assert hinge_rank_loss(projected, label_vectors, labels, margin=margin).item() == pytest.approx(
        expected
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("margin", [0.0, 0.1, 1.0])
def test_first_violation_loss_agrees_with_a_plain_loop(seed: int, margin: float) -> None:
    projected, label_vectors, labels = example(seed)
    keys = torch.rand(len(projected), len(label_vectors), generator=seeded(seed))
    total = 0.0
    for image, label, image_keys in zip(projected, labels.tolist(), keys.tolist(), strict=True):
        terms = plain_terms(image, label_vectors, label, margin)
        order = sorted(range(len(label_vectors)), key=lambda wrong, by=image_keys: -by[wrong])
        for wrong in order:
            if terms[wrong] > 0:
                total += terms[wrong]
                break
    value = first_violation_loss(
        projected, label_vectors, labels, margin=margin, generator=seeded(seed)
    )
    assert value.item() == pytest.approx(total / len(projected))


def test_each_violation_is_equally_likely_to_be_the_first() -> None:
    """All 120 orders of five labels, then random ones."""
    label_vectors = torch.eye(5, dtype=torch.double)
    # Of label 0; labels 1, 2 and 4 violate the margin by different amounts; 3 does not.
    image = torch.tensor([0.3, 0.25, 0.4, 0.1, 0.9], dtype=torch.double)
    terms = plain_terms(image, label_vectors, 0, 0.1)
    assert terms == pytest.approx([0, 0.05, 0.2, 0, 0.7])
    first = [
        next(label for label in order if terms[label] > 0)
        for order in itertools.permutations(range(5))
    ]
    assert [first.count(label) for label in range(5)] == [0, 40, 40, 0, 40]
    # Each of 30,000 images has a random order; its gradient shows its first violation.
    many = 30_000
    images = image.repeat(many, 1).requires_grad_()
    labels = torch.zeros(many, dtype=torch.long)
    loss = first_violation_loss(images, label_vectors, labels, generator=seeded(0))
    assert loss.item() == pytest.approx(sum(terms) / 3, abs=4 * 0.3 / math.sqrt(many))
    (gradient,) = torch.autograd.grad(loss, images)
    wrong = gradient[:, 1:].argmax(1) + 1
    counts = torch.bincount(wrong, minlength=5).tolist()
    assert counts[0] == counts[3] == 0
    for label in (1, 2, 4):
        assert counts[label] / many == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / many))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_gradcheck(loss, seed: int) -> None:
    projected, label_vectors, labels = example(seed)

    def loss_of(projected: Tensor, label_vectors: Tensor) -> Tensor:
        options = {"generator": seeded(seed)} if loss is first_violation_loss else {}
        return loss(projected, label_vectors, labels, **options)

    assert torch.autograd.gradcheck(
        loss_of, (projected.requires_grad_(), label_vectors.requires_grad_())
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_at_a_lead_of_the_margin(loss) -> None:
    label_vectors = torch.eye(3, dtype=torch.double)
    images = torch.tensor([[0.25, 0.125, 0.0], [0.0, 0.5, -3.0]], dtype=torch.double)
    images.requires_grad_()
    labels = torch.tensor([0, 1])
    value = loss(images, label_vectors, labels, margin=0.125)
    assert value.item() == 0
    (gradient,) = torch.autograd.grad(value, images)
    assert not gradient.any()
    assert loss(images, label_vectors, labels, margin=0.126).item() == pytest.approx(0.001 / 2)


@pytest.mark.parametrize("seed", range(3))
def test_scale_and_order(seed: int) -> None:
    projected, label_vectors, labels = example(seed)
    whole = hinge_rank_loss(projected, label_vectors, labels)
    larger = hinge_rank_loss(7 * projected, label_vectors, labels, margin=0.7)
    assert larger.item() == pytest.approx(7 * whole.item())
    order = torch.randperm(len(label_vectors), generator=seeded(seed))
    moved = hinge_rank_loss(projected, label_vectors[order], order.argsort()[labels])
    assert moved.item() == pytest.approx(whole.item())
    rows = torch.randperm(len(projected), generator=seeded(seed))
    assert hinge_rank_loss(projected[rows], label_vectors, labels[rows]).item() == pytest.approx(
        whole.item()
    )
    one_by_one = [
        hinge_rank_loss(projected[i, None], label_vectors, labels[i, None]) for i in range(6)
    ]
    assert torch.stack(one_by_one).mean().item() == pytest.approx(whole.item())
    # What all labels' vectors have in common does not tell them apart.
    common = torch.randn(4, generator=seeded(seed), dtype=torch.double)
    assert hinge_rank_loss(projected, label_vectors + common, labels).item() == pytest.approx(
        whole.item()
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_label_vectors_cost_the_margin_without_gradient(loss) -> None:
    label_vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.double)
    image = torch.tensor([[0.3, 0.4]], dtype=torch.double, requires_grad=True)
    value = loss(image, label_vectors, torch.tensor([1]))
    assert value.item() == pytest.approx(0.1)
    (gradient,) = torch.autograd.grad(value, image)
    assert gradient.abs().max() == pytest.approx(0)


def test_first_violation_loss_is_seeded() -> None:
    batch = example(0, batch=50)
    losses = [first_violation_loss(*batch, generator=seeded(s)).item() for s in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("loss", LOSSES)
def test_mixed_precision_keeps_float32_scores(loss) -> None:
    # The wrong label leads by 0.001, which bfloat16 cannot represent near 1.
    label_vectors = torch.eye(2)
    image, label = torch.tensor([[1.0, 1.001]]), torch.tensor([0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(image, label_vectors, label, margin=0.0)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(0.001, rel=1e-3)
    assert loss(image.bfloat16(), label_vectors.bfloat16(), label).dtype == torch.float32


def test_map_is_linear_as_published() -> None:
    devise = Devise(image_width=5, width=3)
    assert [name for name, _ in devise.named_parameters()] == ["projection.weight"]
    x, y = torch.randn(2, 4, 5)
    assert devise(x).shape == (4, 3)
    assert torch.allclose(devise(x), x @ devise.projection.weight.T)
    assert torch.allclose(devise(2 * x - y), 2 * devise(x) - devise(y), atol=1e-6)


def test_rebuilt_from_configuration_and_state() -> None:
    devise = Devise(image_width=5, width=3)
    devise.standardize(torch.randn(10, 5))
    again = Devise(**devise.configuration)
    again.load_state_dict(devise.state_dict())
    images = torch.randn(4, 5)
    assert torch.equal(again(images), devise(images))


@pytest.mark.parametrize("loss", LOSSES)
def test_overfits_four_examples(loss) -> None:
    devise = Devise(image_width=8, width=4)
    images, label_vectors = torch.randn(4, 8), units(4, 4, dtype=torch.float32)
    labels = torch.arange(4)
    optimizer = torch.optim.Adagrad(devise.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        value = loss(devise(images), label_vectors, labels)
        value.backward()
        optimizer.step()
    assert value.item() == 0
    assert torch.equal((devise(images) @ label_vectors.T).argmax(1), labels)
