"""Images in word space: against a plain search, ties in order, sums by hand."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.tiny_captioner import Tiny, embedder, encoder
from vl.data.embedding_writer import EmbeddingWriter
from vl.data.embeddings import Provenance
from vl.encoders.weights import fingerprint
from vl.search.index import Hit, Index, query_vector


def load(path: Path) -> Index:
    """In a word space of the first three dimensions."""

    def project(vectors: Tensor) -> Tensor:
        assert vectors.dtype == torch.float32
        return F.normalize(vectors[:, :3])

    return Index.load(path, embedder(views=("plain", "flip")), project)


def write(path: Path, count: int = 5, **changed: object) -> Path:
    """Embeddings in a file, by default as ``load`` expects them."""
    settings = {
        "encoder": "tiny",
        "fingerprint": fingerprint(encoder()),
        "resize": "squash",
        "precision": "float32",
        "views": ("plain", "flip"),
        "width": Tiny.width,
        **changed,
    }
    writer = EmbeddingWriter(path, Provenance(**settings))
    vectors = torch.randn(count, len(settings["views"]), Tiny.width)
    writer.add([f"{row}.png" for row in range(count)], vectors)
    writer.finish()
    return path


def units(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def indexed(vectors: Tensor) -> Index:
    return Index([str(row) for row in range(len(vectors))], vectors)


def plain_search(vectors: Tensor, query: Tensor, top_k: int) -> list[tuple[int, float]]:
    """Every cosine, one by one, sorted by it and by row."""
    scored = []
    for row, vector in enumerate(vectors.double().tolist()):
        dot = math.fsum(a * b for a, b in zip(vector, query.double().tolist(), strict=True))
        scored.append((row, dot))
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:top_k]


@pytest.mark.parametrize("count", [1, 7, 300])
@pytest.mark.parametrize("top_k", [1, 5, 1000])
def test_agrees_with_a_plain_search(count, top_k):
    vectors, queries = units(count, 16), units(25, 16)
    results = indexed(vectors).search(queries, top_k=top_k)
    assert len(results) == 25
    for hits, query in zip(results, queries, strict=True):
        expected = plain_search(vectors, query, top_k)
        assert [int(hit.name) for hit in hits] == [row for row, _ in expected]
        cosines = [cosine for _, cosine in expected]
        assert [hit.cosine for hit in hits] == pytest.approx(cosines, abs=1e-6)


def test_batch_changes_nothing():
    index, queries = indexed(units(200, 300)), units(40, 300)
    together = index.search(queries, top_k=9)
    assert together == [index.search(query[None], top_k=9)[0] for query in queries]


@pytest.mark.parametrize("queries", [1, 25])
@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 37, 60])
def test_equal_images_come_in_the_order_of_their_rows(queries, top_k):
    """Also beyond the edge of what is asked for: all but three of 61 are equal."""
    same, further = units(2, 300)
    if same @ further < 0:
        further = -further
    vectors = same.repeat(61, 1)
    vectors[[5, 20, 40]] = further
    rows = [row for row in range(61) if row not in (5, 20, 40)] + [5, 20, 40]
    for hits in indexed(vectors).search(same.repeat(queries, 1), top_k=top_k):
        assert [int(hit.name) for hit in hits] == rows[:top_k]


def test_images_that_differ_by_less_than_float32_resolves_are_ranked():
    """Angles of 1 to 40 hundred-thousandths: all cosines lie within 1e-7 of each other."""
    order = torch.randperm(40)
    angle = (order + 1).double() * 1e-5
    index = indexed(torch.stack([angle.cos(), angle.sin()], 1).float())
    nearest = [int(hit.name) for hit in index.search(torch.tensor([[1.0, 0.0]]), top_k=5)[0]]
    assert order[nearest].tolist() == [0, 1, 2, 3, 4]


def test_cosine_does_not_depend_on_rounded_lengths():
    index = Index(["a"], torch.tensor([[1.0005, 0.0]]))
    query = torch.tensor([[0.8, 0.6]])
    assert index.search(query, top_k=1)[0][0].cosine == pytest.approx(0.8)


def test_image_minus_word_plus_word_by_hand():
    """(1, 0) - (0, 1) + (-3/5, 4/5) = (2/5, -1/5), of length 1/sqrt(5)."""
    vectors = torch.tensor([[3.0, 0.0], [0.0, 0.5], [-6.0, 8.0]])
    query = query_vector(list(vectors), [1, -1, 1])
    assert query.dtype == torch.float32
    assert query.tolist() == pytest.approx([2 / math.sqrt(5), -1 / math.sqrt(5)])
    assert vectors[0].tolist() == [3.0, 0.0]  # not written into
    index = Index(["east", "south", "west"], torch.tensor([[1.0, 0], [0, -1], [-1, 0]]))
    hits = index.search(query[None], top_k=2)[0]
    assert [hit.name for hit in hits] == ["east", "south"]
    assert [hit.cosine for hit in hits] == pytest.approx([2 / 5**0.5, 1 / 5**0.5])


def test_query_vector_laws():
    vectors, weights = units(4, 20), torch.tensor([1.0, -1.0, 1.0, 0.5])
    query = query_vector(list(vectors), weights.tolist())
    assert query.norm().item() == pytest.approx(1)
    longer = vectors * torch.tensor([[0.01], [0.1], [1.0], [10.0]])
    for same, signs in (
        (vectors.flip(0), weights.flip(0)),
        (longer, weights),
        (-vectors, -weights),
    ):
        assert torch.allclose(query_vector(list(same), signs.tolist()), query, atol=1e-6)
    assert torch.allclose(query_vector([vectors[0]], [1.0]), vectors[0], atol=1e-6)
    with pytest.raises(ValueError, match="cancel out"):
        query_vector([vectors[0], 7 * vectors[0]], [1.0, -1.0])


def test_embedded_images_are_the_projected_means_of_their_views(tmp_path):
    path = write(tmp_path / "images.npy")
    index = load(path)
    means = np.load(path).astype(np.float64).mean(1)[:, :3]
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    for row, mean in enumerate(means):
        first = index.search(torch.from_numpy(mean)[None], top_k=1)[0][0]
        assert first == Hit(f"{row}.png", pytest.approx(1))
    again = pickle.loads(pickle.dumps(index))
    queries = units(3, 3)
    assert again.search(queries, top_k=5) == index.search(queries, top_k=5)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"fingerprint": "abc"}, "encoder abc"),
        ({"resize": "center-crop"}, "resize center-crop"),
        ({"views": ("plain",)}, "views plain"),
        ({"count": 0}, "no images"),
    ],
)
def test_embeddings_of_another_embedder_are_refused(tmp_path, changed, word):
    with pytest.raises(ValueError, match=rf"images\.npy.*{word}"):
        load(write(tmp_path / "images.npy", **changed))


@pytest.mark.parametrize("changed", [{"views": ("flip", "plain")}, {"precision": "bfloat16"}])
def test_order_of_views_and_precision_do_not_matter(tmp_path, changed):
    assert len(load(write(tmp_path / "images.npy", **changed))) == 5


def test_invalid_vectors_are_refused():
    for names, vectors in ((["a", "b"], units(3, 2)), ([], torch.zeros(0, 2))):
        with pytest.raises(ValueError, match=f"{len(names)} names"):
            Index(names, vectors)
    for value in (0, math.nan):
        with pytest.raises(ValueError, match="'b' has no direction"):
            Index(["a", "b"], torch.tensor([[0.6, 0.8], [value, 0.0]]))


def test_queries_of_another_width_are_refused():
    index = Index(["a"], units(1, 2))
    with pytest.raises(ValueError, match="width 3"):
        index.search(units(1, 3), top_k=1)
    assert index.search(units(0, 2), top_k=1) == []
