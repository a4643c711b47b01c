"""The map and its losses: against plain loops, drawn orders and gradients; what it learns."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from vl.decoders.devise import Devise, first_violation_loss, rank_loss, ridge_map

LOSSES = (rank_loss, first_violation_loss)


def units(count: int, width: int, seed: int = 0, dtype: torch.dtype = torch.double) -> Tensor:
    """Random vectors of length 1."""
    found = torch.randn(count, width, generator=seeded_by(seed), dtype=dtype)
    return found / found.norm(dim=1, keepdim=True)


def seeded_by(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def example(
    seed: int, batch: int = 6, labels: int = 9, width: int = 4
) -> tuple[Tensor, Tensor, Tensor]:
    """Images near enough to the right label that some of the wrong ones are no violations."""
    words = units(labels, width, seed)
    right = torch.randint(labels, (batch,), generator=seeded_by(seed + 1))
    noise = torch.randn(batch, width, generator=seeded_by(seed + 2), dtype=torch.double)
    return words[right] * 0.5 + 0.3 * noise, words, right


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def plain_terms(projected: Tensor, words: Tensor, right: int, margin: float) -> list[float]:
    """Equation 1, term by term; of one image ``(D,)``. The right label's is 0."""
    image, vectors = projected.tolist(), words.tolist()
    return [
        0.0
        if label == right
        else max(0.0, margin - dot(vectors[right], image) + dot(vectors[label], image))
        for label in range(len(vectors))
    ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("margin", [0.0, 0.1, 1.0])
def test_the_rank_loss_agrees_with_a_plain_loop(seed: int, margin: float) -> None:
    projected, words, labels = example(seed)
    terms = [
        plain_terms(image, words, label, margin)
        for image, label in zip(projected, labels.tolist(), strict=True)
    ]
    assert any(0.0 in row[:label] + row[label + 1 :] for row, label in zip(terms, labels.tolist()))
    expected = sum(map(sum, terms)) / len(terms)
    assert rank_loss(projected, words, labels, margin=margin).item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("margin", [0.0, 0.1, 1.0])
def test_the_first_violation_is_the_one_met_in_a_drawn_order(seed: int, margin: float) -> None:
    projected, words, labels = example(seed)
    drawn = torch.rand(len(projected), len(words), generator=seeded_by(seed))
    total = 0.0
    for image, label, numbers in zip(projected, labels.tolist(), drawn.tolist(), strict=True):
        terms = plain_terms(image, words, label, margin)
        order = sorted(range(len(words)), key=lambda wrong, by=numbers: -by[wrong])
        for wrong in order:
            if terms[wrong] > 0:
                total += terms[wrong]
                break
    found = first_violation_loss(projected, words, labels, margin=margin, generator=seeded_by(seed))
    assert found.item() == pytest.approx(total / len(projected))


def test_the_first_in_any_order_is_any_violation_equally_often() -> None:
    """All 120 orders of five labels, then what is drawn."""
    words = torch.eye(5, dtype=torch.double)
    # Of label 0; labels 1, 2 and 4 come too near, each by an amount of its own; 3 does not.
    image = torch.tensor([0.3, 0.25, 0.4, 0.1, 0.9], dtype=torch.double)
    terms = plain_terms(image, words, 0, 0.1)
    assert terms == pytest.approx([0, 0.05, 0.2, 0, 0.7])
    met = [
        next(label for label in order if terms[label] > 0)
        for order in itertools.permutations(range(5))
    ]
    assert [met.count(label) for label in range(5)] == [0, 40, 40, 0, 40]
    # Each of 30,000 images draws an order of its own; its gradient says what it met.
    many = 30_000
    images = image.repeat(many, 1).requires_grad_()
    labels = torch.zeros(many, dtype=torch.long)
    loss = first_violation_loss(images, words, labels, generator=seeded_by(0))
    assert loss.item() == pytest.approx(sum(terms) / 3, abs=4 * 0.3 / math.sqrt(many))
    (gradient,) = torch.autograd.grad(loss, images)
    wrong = gradient[:, 1:].argmax(1) + 1
    counts = torch.bincount(wrong, minlength=5).tolist()
    assert counts[0] == counts[3] == 0
    for label in (1, 2, 4):
        assert counts[label] / many == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / many))


def test_on_average_the_first_violation_is_the_mean_violation() -> None:
    projected, words, labels = example(3)
    terms = [
        plain_terms(image, words, label, 0.1)
        for image, label in zip(projected, labels.tolist(), strict=True)
    ]
    expected = sum(sum(row) / max(1, sum(term > 0 for term in row)) for row in terms) / len(terms)
    many = projected.repeat(5000, 1), words, labels.repeat(5000)
    found = first_violation_loss(*many, generator=seeded_by(0)).item()
    assert found == pytest.approx(expected, rel=0.02)
    assert rank_loss(projected, words, labels).item() > 1.2 * expected  # which weighs by how many


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_right(loss, seed: int) -> None:
    projected, words, labels = example(seed)

    def figure(projected: Tensor, words: Tensor) -> Tensor:
        drawn = {"generator": seeded_by(seed)} if loss is first_violation_loss else {}
        return loss(projected, words, labels, **drawn)

    assert torch.autograd.gradcheck(figure, (projected.requires_grad_(), words.requires_grad_()))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_reach_the_images_and_the_map(loss) -> None:
    devise = Devise(image_width=3, width=4)
    images = torch.randn(6, 3, requires_grad=True)
    loss(devise(images), units(9, 4, dtype=torch.float32), torch.arange(6)).backward()
    assert images.grad is not None and images.grad.abs().sum(1).min() > 0
    assert devise.projection.weight.grad is not None


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lead_of_the_margin_costs_nothing(loss) -> None:
    words = torch.eye(3, dtype=torch.double)
    images = torch.tensor([[0.25, 0.125, 0.0], [0.0, 0.5, -3.0]], dtype=torch.double)
    images.requires_grad_()
    labels = torch.tensor([0, 1])
    found = loss(images, words, labels, margin=0.125)
    assert found.item() == 0
    (gradient,) = torch.autograd.grad(found, images)
    assert not gradient.any()
    assert loss(images, words, labels, margin=0.126).item() == pytest.approx(0.001 / 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_at_margin_zero_only_the_order_matters(loss) -> None:
    words = torch.eye(4, dtype=torch.double)
    best = torch.tensor([[0.9, 0.8, 0.7, 0.8]], dtype=torch.double)
    labels = torch.tensor([0])
    assert loss(best, words, labels, margin=0.0).item() == 0
    assert loss(best, words, labels, margin=0.15).item() > 0


def test_by_hand() -> None:
    words = torch.eye(3, dtype=torch.double)
    images = torch.tensor([[0.5, 0.45, 0.7], [0.0, 0.0, 0.0]], dtype=torch.double)
    # 0.1 - 0.5 + 0.45 and 0.1 - 0.5 + 0.7; then the margin, twice.
    expected = (0.05 + 0.3 + 0.1 + 0.1) / 2
    assert rank_loss(images, words, torch.tensor([0, 2])).item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_scale_and_order_of_labels_and_images(seed: int) -> None:
    projected, words, labels = example(seed)
    whole = rank_loss(projected, words, labels)
    larger = rank_loss(7 * projected, words, labels, margin=0.7)
    assert larger.item() == pytest.approx(7 * whole.item())
    order = torch.randperm(len(words), generator=seeded_by(seed))
    moved = rank_loss(projected, words[order], order.argsort()[labels])
    assert moved.item() == pytest.approx(whole.item())
    rows = torch.randperm(len(projected), generator=seeded_by(seed))
    assert rank_loss(projected[rows], words, labels[rows]).item() == pytest.approx(whole.item())
    one_by_one = [rank_loss(projected[i, None], words, labels[i, None]) for i in range(6)]
    assert torch.stack(one_by_one).mean().item() == pytest.approx(whole.item())
    # What all labels' vectors have in common does not tell them apart.
    common = torch.randn(4, generator=seeded_by(seed), dtype=torch.double)
    assert rank_loss(projected, words + common, labels).item() == pytest.approx(whole.item())


@pytest.mark.parametrize("loss", LOSSES)
def test_labels_of_one_vector_cost_the_margin_and_pull_at_nothing(loss) -> None:
    words = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.double)
    image = torch.tensor([[0.3, 0.4]], dtype=torch.double, requires_grad=True)
    found = loss(image, words, torch.tensor([1]))
    assert found.item() == pytest.approx(0.1)
    (gradient,) = torch.autograd.grad(found, image)
    assert gradient.abs().max() == pytest.approx(0)


def test_a_generator_gives_its_own_figure_again() -> None:
    given = example(0, batch=50)
    figures = [first_violation_loss(*given, generator=seeded_by(s)).item() for s in (1, 1, 2)]
    assert figures[0] == figures[1] != figures[2]


@pytest.mark.parametrize("loss", LOSSES)
def test_mixed_precision_is_not_coarser_than_the_margin(loss) -> None:
    # The wrong label is ahead by 0.001, of which bfloat16 knows nothing near 1.
    words = torch.eye(2)
    image, label = torch.tensor([[1.0, 1.001]]), torch.tensor([0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(image, words, label, margin=0.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(0.001, rel=1e-3)
    assert loss(image.bfloat16(), words.bfloat16(), label).dtype == torch.float32


@pytest.mark.parametrize("loss", LOSSES)
def test_what_was_given_is_not_changed(loss) -> None:
    given = example(0)
    before = [part.clone() for part in given]
    loss(*given)
    assert all(torch.equal(part, old) for part, old in zip(given, before, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_wrong_use_is_refused(loss) -> None:
    words, labels = torch.zeros(5, 4), torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="images have width 3, words 4"):
        loss(torch.zeros(2, 3), words, labels)
    with pytest.raises(ValueError, match=r"3 images, labels of shape \(2,\)"):
        loss(torch.zeros(3, 4), words, labels)
    with pytest.raises(ValueError, match=r"margin is -0\.1; it must be at least 0"):
        loss(torch.zeros(2, 4), words, labels, margin=-0.1)


def test_the_map_is_linear_as_published() -> None:
    devise = Devise(image_width=5, width=3)
    assert [name for name, _ in devise.named_parameters()] == ["projection.weight"]
    one, other = torch.randn(2, 4, 5)
    assert devise(one).shape == (4, 3)
    assert torch.allclose(devise(one), one @ devise.projection.weight.T)
    assert torch.allclose(devise(2 * one - other), 2 * devise(one) - devise(other), atol=1e-6)
    assert Devise(image_width=5, width=3, bias=True).projection.bias.shape == (3,)


def test_standardised_embeddings_have_mean_0_and_deviation_1() -> None:
    images = 5 * torch.randn(200, 6) + torch.arange(6)
    devise = Devise(image_width=6, width=3)
    assert torch.equal(devise.standardised(images), images)
    devise.standardise(images)
    shown = devise.standardised(images)
    assert torch.allclose(shown.mean(0), torch.zeros(6), atol=1e-5)
    assert shown.square().mean().item() == pytest.approx(1, rel=1e-5)
    assert torch.allclose(devise(images), shown @ devise.projection.weight.T, atol=1e-6)
    devise.standardise(torch.ones(4, 6))  # nothing to divide by
    assert devise(torch.ones(1, 6)).isfinite().all()


def test_the_same_is_built_again_from_its_configuration_and_state() -> None:
    devise = Devise(image_width=5, width=3, bias=True)
    devise.standardise(torch.randn(10, 5))
    again = Devise(**devise.configuration)
    again.load_state_dict(devise.state_dict())
    images = torch.randn(4, 5)
    assert torch.equal(again(images), devise(images))


def test_a_map_of_no_width_and_embeddings_of_another_are_refused() -> None:
    with pytest.raises(ValueError, match="every width must be at least 1"):
        Devise(image_width=0, width=3)
    with pytest.raises(ValueError, match="images have width 4, the map expects 5"):
        Devise(image_width=5, width=3)(torch.zeros(1, 4))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_few_examples_are_learnt(loss) -> None:
    devise = Devise(image_width=8, width=4)
    images, words = torch.randn(4, 8), units(4, 4, dtype=torch.float32)
    labels = torch.arange(4)
    optimizer = torch.optim.Adagrad(devise.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        found = loss(devise(images), words, labels)
        found.backward()
        optimizer.step()
    assert found.item() == 0
    assert torch.equal((devise(images) @ words.T).argmax(1), labels)


def test_the_ridge_map_is_where_its_cost_is_least() -> None:
    images, targets = torch.randn(20, 5, dtype=torch.double), units(20, 3)
    penalty = 0.3

    def cost(weight: Tensor) -> Tensor:
        return (images @ weight.T - targets).square().sum(
            1
        ).mean() + penalty * weight.square().sum()

    found = ridge_map(images, targets, penalty=penalty).requires_grad_()
    assert found.shape == (3, 5)
    (slope,) = torch.autograd.grad(cost(found), found)
    assert slope.abs().max() < 1e-12  # and it is convex


def test_the_ridge_map_finds_a_map_that_is_there() -> None:
    weight = torch.randn(3, 5)
    images = torch.randn(50, 5)
    found = ridge_map(images, images @ weight.T, penalty=1e-9)
    assert found.dtype == torch.float32
    assert torch.allclose(found, weight, atol=1e-4)
    twice = ridge_map(images.repeat(2, 1), (images @ weight.T).repeat(2, 1), penalty=0.5)
    once = ridge_map(images, images @ weight.T, penalty=0.5)
    assert torch.allclose(twice, once, atol=1e-6)
    assert ridge_map(images[:2], images[:2] @ weight.T, penalty=0.1).isfinite().all()


def test_a_ridge_map_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="3 images, 2 targets"):
        ridge_map(torch.zeros(3, 5), torch.zeros(2, 4), penalty=1.0)
    for penalty in (0.0, math.nan):
        with pytest.raises(ValueError, match="it must be above 0"):
            ridge_map(torch.zeros(3, 5), torch.zeros(3, 4), penalty=penalty)
