"""Photographs in word space: as a plain search finds them, ties in order, sums by hand."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.tiny_captioner import Tiny, embedder, encoder
from vl.data.embeddings import Embeddings, Provenance
from vl.encoders.weights import fingerprint
from vl.encoding.embedder import Embedder
from vl.search.index import FaissError, Hit, Index, Part, query


@dataclass
class Turned:
    """A labeller as far as the index looks: what is projected is cut short and made unit."""

    embedder: Embedder

    def project(self, vectors: Tensor) -> Tensor:
        assert vectors.dtype == torch.float32
        return F.normalize(vectors[:, :3])


def two_views(seed: int = 0) -> Embedder:
    return embedder(seed, views=("plain", "flip"))


def cache(count: int = 5, **other: object) -> Embeddings:
    choices = {
        "encoder": "tiny",
        "fingerprint": fingerprint(encoder()),
        "resize": "squash",
        "precision": "float32",
        "views": ("plain", "flip"),
        "width": Tiny.width,
        **other,
    }
    provenance = Provenance(**choices)
    vectors = torch.randn(count, len(provenance.views), provenance.width).half()
    return Embeddings(provenance, tuple(f"{row}.png" for row in range(count)), vectors)


def units(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def plain_search(vectors: Tensor, asked: Tensor, top: int) -> list[tuple[int, float]]:
    """Every cosine, one by one, sorted by it and by row."""
    scored = []
    for row, vector in enumerate(vectors.double().tolist()):
        dot = math.fsum(a * b for a, b in zip(vector, asked.double().tolist(), strict=True))
        scored.append((row, dot))
    return sorted(scored, key=lambda each: (-each[1], each[0]))[:top]


@pytest.mark.parametrize("count", [1, 7, 300])
@pytest.mark.parametrize("queries", [1, 3, 25])  # from 20 on faiss multiplies matrices
@pytest.mark.parametrize("top", [1, 5, 1000])
def test_a_search_agrees_with_a_plain_one(count, queries, top):
    vectors, asked = units(count, 16), units(queries, 16)
    found = Index([str(row) for row in range(count)], vectors).search(asked, top=top)
    assert len(found) == queries
    for hits, one in zip(found, asked, strict=True):
        expected = plain_search(vectors, one, top)
        assert [int(hit.name) for hit in hits] == [row for row, _ in expected]
        cosines = [cosine for _, cosine in expected]
        assert [hit.cosine for hit in hits] == pytest.approx(cosines, abs=1e-6)


def test_no_batch_changes_what_is_found():
    vectors, asked = units(200, 300), units(40, 300)
    index = Index([str(row) for row in range(200)], vectors)
    together = index.search(asked, top=9)
    assert together == [index.search(one[None], top=9)[0] for one in asked]


@pytest.mark.parametrize("queries", [1, 25])
@pytest.mark.parametrize("top", [1, 2, 3, 4, 37, 60])
def test_equal_photographs_come_in_the_order_of_their_rows(queries, top):
    """Over the edge of what is asked for as well: all but three of 61 are one and the same."""
    same, further = units(2, 300)
    if same @ further < 0:
        further = -further
    vectors = same.repeat(61, 1)
    vectors[[5, 20, 40]] = further
    index = Index([str(row) for row in range(61)], vectors)
    rows = [row for row in range(61) if row not in (5, 20, 40)] + [5, 20, 40]
    for hits in index.search(same.repeat(queries, 1), top=top):
        assert [int(hit.name) for hit in hits] == rows[:top]


def test_photographs_that_differ_by_less_than_float32_can_tell_are_still_ranked():
    """Angles of 1 to 40 hundred-thousandths: all cosines lie within 1e-7 of each other."""
    order = torch.randperm(40)
    angle = (order + 1).double() * 1e-5
    vectors = torch.stack([angle.cos(), angle.sin()], 1).float()
    index = Index([str(row) for row in range(40)], vectors)
    nearest = [int(hit.name) for hit in index.search(torch.tensor([[1.0, 0.0]]), top=5)[0]]
    assert order[nearest].tolist() == [0, 1, 2, 3, 4]


def test_a_cosine_is_that_of_the_angle_whatever_rounding_left_of_the_lengths():
    index = Index(["a"], torch.tensor([[1.0005, 0.0]]))
    assert index.search(torch.tensor([[0.8, 0.6]]), top=1)[0][0].cosine == pytest.approx(0.8)


def test_a_photograph_less_a_word_plus_another_by_hand():
    """(1, 0) - (0, 1) + (-3/5, 4/5) = (2/5, -1/5), of length 1/sqrt(5)."""
    parts = [
        Part(torch.tensor([3.0, 0.0]), 1.0),
        Part(torch.tensor([0.0, 0.5]), -1.0),
        Part(torch.tensor([-6.0, 8.0]), 1.0),
    ]
    asked = query(parts)
    assert asked.dtype == torch.float32
    assert asked.tolist() == pytest.approx([2 / math.sqrt(5), -1 / math.sqrt(5)])
    index = Index(["east", "south", "west"], torch.tensor([[1.0, 0], [0, -1], [-1, 0]]))
    found = index.search(asked[None], top=2)[0]
    assert [hit.name for hit in found] == ["east", "south"]
    assert [hit.cosine for hit in found] == pytest.approx([2 / 5**0.5, 1 / 5**0.5])


def test_a_query_has_laws():
    parts = [Part(vector, weight) for vector, weight in zip(units(4, 20), (1.0, -1.0, 1.0, 0.5))]
    asked = query(parts)
    assert asked.norm().item() == pytest.approx(1)
    longer = [Part(vector * 10 ** (n - 2), weight) for n, (vector, weight) in enumerate(parts)]
    for same in (parts[::-1], longer, [Part(-vector, -weight) for vector, weight in parts]):
        assert torch.allclose(query(same), asked, atol=1e-6)
    assert torch.allclose(query(parts[:1]), parts[0].vector, atol=1e-6)


def test_what_makes_no_query_is_refused():
    one, other = torch.tensor([0.6, 0.8]), torch.tensor([1.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="at least one vector"):
        query([])
    with pytest.raises(ValueError, match="cancel out"):
        query([Part(one, 1.0), Part(7 * one, -1.0)])
    with pytest.raises(ValueError, match=r"shape \(3,\); expected \(2,\)"):
        query([Part(one, 1.0), Part(other, 1.0)])
    for length, vector in (("0", 0 * one), ("nan", one / 0 * 0), ("inf", one / 0)):
        with pytest.raises(ValueError, match=f"has length {length}: no direction"):
            query([Part(one, 1.0), Part(vector, 1.0)])


def test_a_query_is_not_written_into():
    vector = torch.tensor([3.0, 4.0])
    query([Part(vector, -1.0)])
    assert vector.tolist() == [3.0, 4.0]


def test_cached_photographs_are_the_projected_means_of_their_views():
    held = cache(5)
    index = Index.of(held, Turned(two_views()))
    assert (len(index), index.width, index.names) == (5, 3, held.names)
    means = held.vectors.double().numpy().mean(1)[:, :3]
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    for row, mean in enumerate(means):
        first = index.search(torch.from_numpy(mean)[None], top=1)[0][0]
        assert first == Hit(f"{row}.png", pytest.approx(1))


def test_a_large_cache_is_projected_in_parts(monkeypatch):
    held, sizes = cache(10), []
    whole = Index.of(held, Turned(two_views()))

    class Counting(Turned):
        def project(self, vectors):
            sizes.append(len(vectors))
            return super().project(vectors)

    monkeypatch.setattr("vl.search.index._AT_ONCE", 4)
    index = Index.of(held, Counting(two_views()))
    assert sizes == [4, 4, 2]
    asked = units(3, 3)
    assert index.search(asked, top=10) == whole.search(asked, top=10)


def test_a_cache_that_is_not_the_labellers_is_refused():
    path = Path("photos.npy")
    with pytest.raises(ValueError, match=r"photos\.npy was made by an encoder \w{16}, these"):
        Index.of(cache(), Turned(two_views(1)), made=path)
    with pytest.raises(ValueError, match="the index was made by an encoder"):
        Index.of(cache(), Turned(two_views(1)))
    with pytest.raises(
        ValueError, match=r"photos\.npy: made with resize center-crop, the labeller has squ"
    ):
        Index.of(cache(resize="center-crop"), Turned(two_views()), made=path)
    expected = r"photos\.npy: made with views plain; the labeller has plain, flip"
    with pytest.raises(ValueError, match=expected):
        Index.of(cache(views=("plain",)), Turned(two_views()), made=path)
    with pytest.raises(ValueError, match=r"photos\.npy: there are no photographs in it"):
        Index.of(cache(0), Turned(two_views()), made=path)
    # The order of views does not matter to a mean, nor the precision to a vector of float16.
    assert len(Index.of(cache(views=("flip", "plain")), Turned(two_views()))) == 5
    assert len(Index.of(cache(precision="bfloat16"), Turned(two_views()))) == 5


def test_vectors_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 2\), not a row for each of 2 names"):
        Index(["a", "b"], units(3, 2))
    with pytest.raises(ValueError, match=r"shape \(2,\), not a row"):
        Index(["a", "b"], units(2))
    with pytest.raises(ValueError, match="no photographs"):
        Index([], torch.zeros(0, 2))
    for length, row in (("2", [2.0, 0]), ("0", [0.0, 0]), ("nan", [math.nan, 0])):
        with pytest.raises(ValueError, match=f"the vector of 'b' has length {length}, not 1"):
            Index(["a", "b"], torch.tensor([[0.6, 0.8], row]))


def test_queries_that_do_not_fit_are_refused():
    index = Index(["a"], units(1, 2))
    with pytest.raises(ValueError, match=r"shape \(1, 3\); expected \(Q, 2\)"):
        index.search(units(1, 3), top=1)
    with pytest.raises(ValueError, match=r"shape \(2,\); expected \(Q, 2\)"):
        index.search(units(2), top=1)
    with pytest.raises(ValueError, match="top is 0; it must be at least 1"):
        index.search(units(1, 2), top=0)
    for wrong in (2.0, 0.0, math.nan):
        with pytest.raises(ValueError, match="not of unit length"):
            index.search(wrong * units(1, 2), top=1)
    assert index.search(units(0, 2), top=1) == []


def test_without_faiss_the_cure_is_named_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(FaissError, match=r"needs faiss: pip install -e '\.\[search\]'"):
        Index(["a"], units(1, 2))

    class Idle(Turned):
        def project(self, vectors):
            raise AssertionError

    with pytest.raises(OSError, match="searching needs faiss"):
        Index.of(cache(), Idle(two_views()))
