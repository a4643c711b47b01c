"""Nearest neighbors: a plain loop, ties of every kind, laws, invalid vectors, penalties."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vl.search.nearest import NearestNeighbors, Neighbors, hub_penalty

NAN = math.nan


def nearest(
    queries: Tensor, vectors: Tensor, *, top_k: int, penalty: Tensor | None = None
) -> Neighbors:
    return NearestNeighbors(vectors, penalty=penalty).nearest(queries, top_k=top_k)


def grid(seed: int, *, queries: int = 40, count: int = 300) -> tuple[Tensor, Tensor]:
    """Vectors of length 2, all of whose cosines are quarters: sums are exact and ties abound."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.tensor([-1.0, 1.0])
    both = signs[torch.randint(2, (queries + count, 4), generator=generator)]
    return both[:queries], both[queries:]


def spread(seed: int, *, queries: int = 40, count: int = 300) -> tuple[Tensor, Tensor]:
    """Vectors of any direction, of which some are equal and some have no direction."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, 7, generator=generator)
    vectors[17] = vectors[200] = vectors[3]
    vectors[4] = vectors[290]
    vectors[8, 2], vectors[9], vectors[10, 0] = NAN, 0, math.inf
    return 3 * torch.randn(queries, 7, generator=generator), vectors


def plain(
    queries: Tensor, vectors: Tensor, top_k: int, penalty: Tensor | None = None
) -> tuple[list[list[float]], list[list[int]]]:
    """Every cosine by itself, in double; scores to six digits, so that equal ones are."""
    all_scores, all_indices = [], []
    penalties = [0.0] * len(vectors) if penalty is None else penalty.tolist()
    for query in queries.tolist():
        ranked = []
        for index, vector in enumerate(vectors.tolist()):
            length = math.hypot(*vector)
            if 0 < length < math.inf and math.isfinite(penalties[index]):
                dot = sum(a * b for a, b in zip(query, vector, strict=True))
                cosine = dot / length / (math.hypot(*query) or 1)
                ranked.append((-round(cosine - penalties[index], 6), index))
        ranked.sort()
        missing = top_k - len(ranked)
        all_scores.append([-score for score, _ in ranked[:top_k]] + [-math.inf] * missing)
        all_indices.append([index for _, index in ranked[:top_k]] + [-1] * missing)
    return all_scores, all_indices


def check(queries: Tensor, vectors: Tensor, top_k: int, penalty: Tensor | None = None) -> None:
    scores, indices = plain(queries, vectors, top_k, penalty)
    result = nearest(queries, vectors, top_k=top_k, penalty=penalty)
    assert result.scores.dtype == torch.float32
    assert result.indices.dtype == torch.int64
    assert result.scores.shape == result.indices.shape == (len(queries), top_k)
    assert result.indices.tolist() == indices
    assert torch.allclose(result.scores, torch.tensor(scores), atol=2e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("top_k", [1, 5, 20])
def test_agrees_with_a_plain_loop(seed: int, top_k: int) -> None:
    queries, vectors = spread(seed)
    check(queries, vectors, top_k)
    check(queries, vectors[:60], 50 + top_k)  # the last is more than there are


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 64, 65])
def test_any_count_of_vectors(count: int) -> None:
    queries, vectors = spread(0)
    check(queries, vectors[-count:], 3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("top_k", [1, 3, 10, 33])
def test_of_equal_scores_the_lower_index_comes_first(seed: int, top_k: int) -> None:
    check(*grid(seed), top_k)  # some twenty copies of each vector
    check(*grid(seed), top_k, torch.arange(300) % 3 * 0.25)  # and ties made by penalties


@pytest.mark.parametrize("top_k", [1, 2, 3, 7, 40])
def test_ties_of_different_vectors_across_blocks(top_k: int) -> None:
    # Each vector differs from the first axis by an axis of its own, so the cosines are equal.
    vectors = torch.eye(200)[torch.randperm(200, generator=torch.Generator().manual_seed(1))]
    vectors[:, 0] = 1
    vectors[50] = vectors[120]
    queries = torch.eye(200)[:1].repeat(3, 1)
    queries[1] = 0
    queries[2, 0] = -1
    check(queries, vectors, top_k)


@pytest.mark.parametrize("distinct_penalties", [1, 2, 300])
def test_penalties_agree_with_a_plain_loop(distinct_penalties: int) -> None:
    queries, vectors = spread(1)
    generator = torch.Generator().manual_seed(2)
    penalty = torch.rand(distinct_penalties, generator=generator)
    penalty = penalty[torch.randint(distinct_penalties, (300,), generator=generator)]
    penalty[3], penalty[17], penalty[200] = 0.2, 0.2, -0.3
    penalty[30], penalty[31], penalty[32] = NAN, math.inf, -math.inf
    check(queries, vectors, 12, penalty)


@pytest.mark.parametrize("queries", [1, 2, 13, 64, 150])
def test_equal_vectors_score_exactly_the_same(queries: int) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(501, 50, generator=generator)
    vectors[500] = vectors[137] = vectors[2]
    near = vectors[[2]] + 0.1 * torch.randn(queries, 50, generator=generator)
    result = nearest(near, vectors, top_k=4)
    assert result.indices[:, :3].tolist() == [[2, 137, 500]] * queries
    assert bool((result.scores[:, :1] == result.scores[:, :3]).all())


def test_queries_are_alike_alone_and_in_chunks() -> None:
    """Of 320 padded vectors 39,000 queries are scored at once."""
    queries, vectors = spread(3, queries=40_000)
    neighbors = NearestNeighbors(vectors)
    whole = neighbors.rank(queries, torch.arange(40_000) % 300, top_k=6)
    totals = neighbors.logsumexp(queries, temperature=0.1)
    for row in (*range(40), *range(38_990, 39_010), 39_999):
        one = neighbors.rank(queries[[row]], torch.tensor([row % 300]), top_k=6)
        assert one.ranks[0] == whole.ranks[row]
        assert one.neighbors.indices[0].tolist() == whole.neighbors.indices[row].tolist()
        assert torch.allclose(one.neighbors.scores[0], whole.neighbors.scores[row], atol=1e-6)
        total = neighbors.logsumexp(queries[[row]], temperature=0.1)
        assert torch.allclose(total[0], totals[row], atol=1e-5)


def test_lengths_change_nothing() -> None:
    queries, vectors = spread(4)
    expected = nearest(queries, vectors, top_k=8)
    factors = 2.0 ** torch.linspace(-60, 60, 300).round()
    longer = nearest(queries * 1e30, vectors * factors[:, None], top_k=8)
    shorter = nearest(queries * 1e-30, vectors * 1e-30, top_k=8)
    for result in (longer, shorter):
        assert result.indices.tolist() == expected.indices.tolist()
        assert torch.allclose(result.scores, expected.scores, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_changes_nothing(dtype: torch.dtype) -> None:
    queries, vectors = (part.to(torch.bfloat16).to(dtype) for part in spread(5))
    result = nearest(queries, vectors, top_k=5)
    exact = nearest(queries.float(), vectors.float(), top_k=5)
    assert result.indices.tolist() == exact.indices.tolist()
    assert result.scores.dtype == torch.float32


def test_query_of_length_0_is_equally_near_to_all() -> None:
    _, vectors = spread(0)
    result = nearest(torch.zeros(2, 7), vectors, top_k=10)
    assert result.indices.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 11, 12]] * 2
    assert result.scores.tolist() == [[0.0] * 10] * 2


def test_empty_inputs() -> None:
    queries, vectors = spread(0)
    neighbors = NearestNeighbors(vectors * NAN)
    result = neighbors.rank(queries, torch.zeros(40, dtype=torch.int64), top_k=2)
    assert result.neighbors.indices.unique().tolist() == [-1]
    assert result.neighbors.scores.max() == -math.inf
    assert result.ranks.tolist() == [0] * 40
    assert nearest(queries[:0], vectors, top_k=3).indices.shape == (0, 3)
    assert nearest(queries, vectors[:0], top_k=3).indices.tolist() == [[-1] * 3] * 40
    assert NearestNeighbors(vectors).logsumexp(queries[:0], temperature=0.1).shape == (0,)
    assert len(neighbors) == 300
    assert not neighbors.valid.any()


@pytest.mark.parametrize("make", [grid, spread])
@pytest.mark.parametrize("with_penalty", [False, True])
def test_ranks_count_all_that_score_no_less(make, with_penalty: bool) -> None:
    queries, vectors = make(1)
    penalty = torch.arange(300) % 3 * 0.25 if with_penalty else None
    targets = torch.arange(40) + 2
    result = NearestNeighbors(vectors, penalty=penalty).rank(queries, targets, top_k=4)
    scores, indices = plain(queries, vectors, 300, penalty)
    for row, target in enumerate(targets.tolist()):
        expected = 0
        if target in indices[row]:
            target_score = scores[row][indices[row].index(target)]
            expected = sum(score >= target_score for score in scores[row])
        assert result.ranks[row] == expected
    assert result.neighbors.indices.tolist() == [row[:4] for row in indices]


def test_valid_are_vectors_with_a_direction_and_a_finite_penalty() -> None:
    _, vectors = spread(0)
    penalty = torch.zeros(300)
    penalty[40] = NAN
    expected = [index not in (8, 9, 10, 40) for index in range(300)]
    assert NearestNeighbors(vectors, penalty=penalty).valid.tolist() == expected


def test_hub_penalty_agrees_with_a_plain_loop() -> None:
    references, vectors = spread(6)
    penalty = hub_penalty(vectors, references, num_neighbors=3)
    assert penalty.shape == (300,)
    for index, vector in enumerate(vectors):
        if index in (8, 9, 10):
            assert penalty[index] == 0
            continue
        cosines = sorted(torch.cosine_similarity(vector[None], references).tolist(), reverse=True)
        assert penalty[index].item() == pytest.approx(sum(cosines[:3]) / 6, abs=1e-6)


def test_hub_loses_by_its_penalty() -> None:
    vectors = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    references = torch.tensor([[4.0, 3.0], [3.0, 4.0], [2.0, 2.0], [-1.0, 0.0]])
    penalty = hub_penalty(vectors, references, num_neighbors=2)
    middle = 7 / 5 / math.sqrt(2)
    diagonal = 1 / math.sqrt(2)
    by_hand = [(1 + middle) / 4, (0.8 + diagonal) / 4, (0.8 + diagonal) / 4]
    assert penalty.tolist() == pytest.approx(by_hand)
    query = torch.tensor([[0.9, 0.4]])
    assert nearest(query, vectors, top_k=1).indices.tolist() == [[0]]
    assert nearest(query, vectors, top_k=1, penalty=penalty).indices.tolist() == [[1]]


def test_equal_references_all_count() -> None:
    vectors = torch.tensor([[1.0, 0.0]])
    references = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    penalties = [hub_penalty(vectors, references, num_neighbors=n).item() for n in (1, 2, 3)]
    assert penalties == pytest.approx([1 / 2, 1 / 2, 1 / 3])


@pytest.mark.parametrize("make", [grid, spread])
@pytest.mark.parametrize("temperature", [0.01, 0.5, 10.0])
@pytest.mark.parametrize("with_penalty", [False, True])
def test_logsumexp_agrees_with_a_plain_sum(make, temperature: float, with_penalty: bool) -> None:
    queries, vectors = make(0)
    penalty = torch.rand(300) if with_penalty else torch.zeros(300)
    penalty[5] = NAN  # cannot be chosen, and is not in the sum
    result = NearestNeighbors(vectors, penalty=penalty).logsumexp(queries, temperature=temperature)
    scores, _ = plain(queries, vectors, 300, penalty)
    for row, total in zip(scores, result.tolist(), strict=True):
        expected = math.log(math.fsum(math.exp((s - row[0]) / temperature) for s in row))
        assert total == pytest.approx(expected + row[0] / temperature, rel=1e-4, abs=1e-4)


def test_inputs_are_not_modified() -> None:
    queries, vectors = spread(0)
    penalty = torch.rand(300)
    before = [part.clone() for part in (queries, vectors, penalty)]
    queries.requires_grad_()
    NearestNeighbors(vectors, penalty=penalty).rank(queries, torch.arange(40), top_k=3)
    hub_penalty(vectors, queries, num_neighbors=2)
    for part, old in zip((queries, vectors, penalty), before, strict=True):
        assert np.array_equal(part.detach().numpy(), old.numpy(), equal_nan=True)


def test_invalid_arguments_are_refused() -> None:
    queries, vectors = torch.ones(4, 300), torch.ones(6, 300)
    neighbors = NearestNeighbors(vectors)
    with pytest.raises(ValueError, match=r"width 300, vectors 500"):
        nearest(queries, torch.ones(6, 500), top_k=1)
    with pytest.raises(ValueError, match=r"shape \(6,\)"):
        NearestNeighbors(vectors[:, 0])
    with pytest.raises(ValueError, match=r"penalty has shape \(4,\)"):
        NearestNeighbors(vectors, penalty=torch.zeros(4))
    with pytest.raises(ValueError, match="top_k is 0"):
        neighbors.nearest(queries, top_k=0)
    with pytest.raises(ValueError, match="not finite"):
        neighbors.nearest(queries * torch.tensor([[1.0], [1.0], [NAN], [1.0]]), top_k=1)
    for target in (-1, 6):
        with pytest.raises(ValueError, match="targets go from"):
            neighbors.rank(queries, torch.tensor([0, 1, 2, target]), top_k=1)
    with pytest.raises(ValueError, match="num_neighbors is 10, there are 6"):
        hub_penalty(vectors, vectors)
    with pytest.raises(ValueError, match="reference 0"):
        hub_penalty(vectors, 0 * vectors, num_neighbors=2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("make", [grid, spread])
def test_gpu_agrees_with_cpu(make) -> None:
    queries, vectors = make(0)
    targets = torch.arange(40)
    expected = NearestNeighbors(vectors).rank(queries, targets, top_k=7)
    result = NearestNeighbors(vectors.cuda()).rank(queries.cuda(), targets.cuda(), top_k=7)
    assert result.ranks.tolist() == expected.ranks.tolist()
    assert result.neighbors.indices.tolist() == expected.neighbors.indices.tolist()
    assert torch.allclose(result.neighbors.scores.cpu(), expected.neighbors.scores, atol=1e-6)
