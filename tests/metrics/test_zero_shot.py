"""Zero-shot metrics against plain loops and by hand; ties, and labels without a vector."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest

from vl.data.words.wordnet import WordNet
from vl.metrics.ngrams import Ints
from vl.metrics.zero_shot import (
    KS,
    UNRANKED,
    FloatArray,
    Ranking,
    generalized_accuracy,
    hierarchical_precision,
    hit_at_k,
    rank_labels,
)

NAN = math.nan


def random_scores(seed: int, num_images: int = 30, num_labels: int = 25) -> tuple[FloatArray, Ints]:
    """Scores of a few values, so that many are tied; some labels have none."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, (num_images, num_labels)).astype(np.float64)
    scores[:, rng.choice(num_labels, 4, replace=False)] = [NAN, NAN, -np.inf, NAN]
    return scores, rng.integers(0, num_labels, num_images)


def plain_rank(scores: list[float], target: int) -> int:
    """From 1, after all ties."""
    if not scores[target] > -math.inf:
        return UNRANKED
    return 1 + sum(i != target and score >= scores[target] for i, score in enumerate(scores))


def plain_top(scores: list[float], depth: int) -> list[int]:
    finite = [label for label, score in enumerate(scores) if score > -math.inf]
    return sorted(finite, key=lambda label: (-scores[label], label))[:depth]


def plain_ranking(scores: FloatArray, targets: Ints, depth: int = KS[-1]) -> Ranking:
    """The ranking by scores ``(N, K)``."""
    rows = scores.tolist()
    ranks = [plain_rank(row, target) for row, target in zip(rows, targets.tolist(), strict=True)]
    tops = [plain_top(row, depth) for row in rows]
    padded = [top + [-1] * (depth - len(top)) for top in tops]
    return Ranking(targets, np.array(ranks), np.array(padded))


def random_vectors(
    seed: int, num_images: int = 30, num_labels: int = 25
) -> tuple[FloatArray, FloatArray, Ints]:
    """Embeddings near their labels; three labels have the same vector, three have none."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(num_labels, 6))
    vectors[3] = vectors[11] = vectors[20]
    targets = rng.integers(0, num_labels, num_images)
    embeddings = vectors[targets] + rng.normal(size=(num_images, 6))
    vectors[5, 2] = NAN
    vectors[8] = 0
    vectors[9, 0] = np.inf
    return embeddings, vectors, targets


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("depth", [1, 3, 40])
def test_ranking_equals_plain_cosines(seed: int, depth: int) -> None:
    embeddings, vectors, targets = random_vectors(seed)
    penalty = np.random.default_rng(seed).normal(size=len(vectors)) / 9
    penalty[[3, 11, 20]] = 0.05
    scores = np.full((len(embeddings), len(vectors)), NAN)
    for image, embedding in enumerate(embeddings):
        for label, vector in enumerate(vectors):
            if label not in (5, 8, 9):
                dot = sum(a * b for a, b in zip(embedding, vector, strict=True))
                scores[image, label] = dot / math.hypot(*embedding) / math.hypot(*vector)
    for expected, subtracted in ((scores, None), (scores - penalty, penalty)):
        ranking = rank_labels(embeddings, vectors, targets, penalty=subtracted, depth=depth)
        plain = plain_ranking(expected.round(6), targets, depth)  # rounded, so that ties are ties
        assert ranking.ranks.tolist() == plain.ranks.tolist()
        assert ranking.top.tolist() == plain.top.tolist()
        assert ranking.num_unranked == sum(target in (5, 8, 9) for target in targets.tolist())


def test_labels_with_the_same_vector_are_tied() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(101, 50)).astype(np.float32)
    vectors[100] = vectors[37] = vectors[0]
    embeddings = vectors[[0, 37, 100]] + 0.1 * rng.normal(size=(3, 50)).astype(np.float32)
    ranking = rank_labels(embeddings, vectors, np.array([0, 37, 100]))
    assert ranking.ranks.tolist() == [3, 3, 3]
    assert ranking.top[:, :3].tolist() == [[0, 37, 100]] * 3


def test_lengths_of_vectors_do_not_matter() -> None:
    embeddings, vectors, targets = random_vectors(1)
    ranking = rank_labels(embeddings, vectors, targets)
    scaled = rank_labels(embeddings * 8, vectors * 2.0 ** np.arange(25)[:, None], targets)
    assert scaled.ranks.tolist() == ranking.ranks.tolist()
    assert scaled.top.tolist() == ranking.top.tolist()
    embeddings[4] = 0  # all labels that have a vector are tied
    assert rank_labels(embeddings, vectors, targets).ranks[4] in (22, UNRANKED)


def test_dtype_and_memory_layout_do_not_matter() -> None:
    embeddings, vectors, targets = random_vectors(2)
    expected = rank_labels(embeddings, vectors, targets)
    views = [np.ascontiguousarray(array[::-1])[::-1] for array in (embeddings, vectors, targets)]
    for view in views:
        view.flags.writeable = False
    ranking = rank_labels(*views)
    assert ranking.ranks.tolist() == expected.ranks.tolist()
    assert ranking.top.tolist() == expected.top.tolist()
    half = embeddings.astype(np.float16), 1000 * vectors.astype(np.float16)
    single = [array.astype(np.float32) for array in half]
    tops = [rank_labels(*arrays, targets).top.tolist() for arrays in (half, single)]
    assert tops[0] == tops[1]


def test_a_penalty_of_seen_labels_promotes_the_others() -> None:
    vectors = np.eye(2)
    image, target = np.array([[0.8, 0.6]]), np.array([1])
    for penalty, rank in ((None, 2), (np.array([0.19, 0]), 2), (np.array([0.21, 0]), 1)):
        assert rank_labels(image, vectors, target, penalty=penalty).ranks.tolist() == [rank]


@pytest.mark.parametrize("seed", range(5))
def test_hits_equal_a_plain_loop(seed: int) -> None:
    scores, targets = random_scores(seed)
    hits = hit_at_k(plain_ranking(scores, targets))
    assert hits.ks == KS == (1, 2, 5, 10, 20)
    rows = list(zip(scores.tolist(), targets.tolist(), strict=True))
    for column, k in enumerate(KS):
        expected = [float(plain_rank(row, target) <= k) for row, target in rows]
        assert hits.per_image[:, column].tolist() == expected
        assert hits.image_mean[column] == pytest.approx(sum(expected) / len(expected))
        by_label = {
            label: [hit for hit, target in zip(expected, targets) if target == label]
            for label in sorted(set(targets.tolist()))
        }
        assert hits.labels.tolist() == list(by_label)
        means = [sum(values) / len(values) for values in by_label.values()]
        assert hits.per_label[:, column].tolist() == pytest.approx(means)
        assert hits.label_mean[column] == pytest.approx(sum(means) / len(means))
    assert (np.diff(hits.per_image, axis=1) >= 0).all()


def test_hits_by_hand() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.9, 0.1, 0.5], [0.2, 0.8, 0.4], [0.9, 0.1, 0.5]])
    hits = hit_at_k(plain_ranking(scores, np.array([0, 1, 2, 0])), ks=(1, 2, 3))
    assert hits.per_image.tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1], [1, 1, 1]]
    assert hits.image_mean.tolist() == [0.5, 0.75, 1]
    assert hits.per_label.tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert hits.label_mean.tolist() == pytest.approx([1 / 3, 2 / 3, 1])


def test_a_label_without_a_vector_is_a_miss_at_every_k() -> None:
    vectors = np.array([[NAN, 1], [1, 1], [0, 0]])
    ranking = rank_labels(np.ones((3, 2)), vectors, np.array([0, 1, 2]))
    assert hit_at_k(ranking, ks=(1, 20, 10**6)).per_image.tolist() == [[0] * 3, [1] * 3, [0] * 3]
    assert ranking.num_unranked == 2
    assert ranking.top[:, 0].tolist() == [1, 1, 1]
    assert ranking.top[:, 1:].max() == -1


def random_wordnet(seed: int, size: int = 60) -> tuple[WordNet, list[str], list[tuple[str, str]]]:
    """Synsets with up to two parents, in several components; candidates; edges."""
    rng = random.Random(seed)
    ids = [f"n{index:08d}" for index in range(size)]
    edges = [
        (ids[rng.randrange(child)], ids[child])
        for child in range(1, size)
        for _ in range(rng.choice([0, 1, 1, 1, 2]))
    ]
    distinct = list(dict.fromkeys(edges))
    return WordNet({synset: [synset] for synset in ids}, distinct), rng.sample(ids, 25), distinct


def plain_correct_set(
    target: str, k: int, candidates: list[str], edges: list[tuple[str, str]]
) -> set[str]:
    reached, correct = {target}, {target}
    while len(correct) < k:
        around = {b for a, b in edges if a in reached} | {a for a, b in edges if b in reached}
        if around <= reached:
            break
        reached |= around
        correct = reached & set(candidates)
    return correct


@pytest.mark.parametrize("seed", range(5))
def test_hierarchical_precision_equals_a_plain_loop(seed: int) -> None:
    wordnet, candidates, edges = random_wordnet(seed)
    scores, targets = random_scores(seed)
    precision = hierarchical_precision(plain_ranking(scores, targets), wordnet, candidates)
    for image, (row, target) in enumerate(zip(scores.tolist(), targets.tolist(), strict=True)):
        for column, k in enumerate(KS):
            correct = plain_correct_set(candidates[target], k, candidates, edges)
            first = {candidates[label] for label in plain_top(row, k)}
            assert precision.per_image[image, column] == pytest.approx(len(first & correct) / k)
    assert precision.labels.tolist() == sorted(set(targets.tolist()))


def chain() -> WordNet:
    """Five synsets in a row, and one by itself."""
    ids = [f"n{index:08d}" for index in range(6)]
    return WordNet({synset: [synset] for synset in ids}, list(pairwise(ids[:5])))


def test_hierarchical_precision_by_hand() -> None:
    wordnet = chain()
    candidates = [wordnet.ids[index] for index in (0, 1, 3, 4, 5)]
    top = np.array([[3, 1, 0, 2], [2, 3, 1, 0], [4, 2, 1, 0]])
    ranking = Ranking(np.array([2, 2, 4]), np.array([4, 1, 1]), top)
    precision = hierarchical_precision(ranking, wordnet, candidates, ks=(1, 2, 3, 4)).per_image
    # From synset 3: itself; 4 at one hop; 1 at two hops, through a non-candidate; 0 at three.
    assert precision[0].tolist() == pytest.approx([0, 1 / 2, 2 / 3, 1])
    assert precision[1].tolist() == pytest.approx([1, 1, 1, 1])
    assert precision[2].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])  # nothing is near it
    padded = Ranking(np.array([3]), np.array([UNRANKED]), np.array([[0, -1]]))
    precision = hierarchical_precision(padded, wordnet, wordnet.ids[:4], ks=(1, 2)).per_image
    assert precision.tolist() == [[0, 0]]


def test_the_last_hop_is_taken_whole() -> None:
    ids = [f"n{index:08d}" for index in range(5)]
    star = WordNet({synset: [synset] for synset in ids}, [(ids[0], leaf) for leaf in ids[1:]])
    ranking = Ranking(np.array([0]), np.array([1]), np.array([[3, 4, 0]]))
    precision = hierarchical_precision(ranking, star, ids, ks=(1, 2)).per_image
    assert precision.tolist() == [[0, 1]]  # any two of the five


@pytest.mark.parametrize("seed", range(3))
def test_hierarchical_precision_at_1_is_the_hit_at_1(seed: int) -> None:
    wordnet, candidates, _ = random_wordnet(seed)
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(200, 25))
    scores[:, 7] = NAN
    ranking = plain_ranking(scores, rng.integers(0, 25, 200))
    precision = hierarchical_precision(ranking, wordnet, candidates)
    assert precision.per_image[:, 0].tolist() == hit_at_k(ranking).per_image[:, 0].tolist()


def test_generalized_accuracy_by_hand() -> None:
    # Labels 0 and 1 are seen; ranks of six images.
    targets = np.array([0, 0, 0, 1, 2, 3])
    ranks = np.array([1, 1, 2, 1, 1, UNRANKED])
    ranking = Ranking(targets, ranks, np.zeros((6, 1), np.int64))
    seen = np.array([True, True, False, False])
    expected = ((2 / 3 + 1) / 2, 1 / 2, 2 * 5 / 6 / 2 / (5 / 6 + 1 / 2))
    assert generalized_accuracy(ranking, seen) == pytest.approx(expected)
    assert generalized_accuracy(ranking._replace(ranks=np.full(6, 2)), seen) == (0, 0, 0)
    only_seen = ranking._replace(ranks=np.array([1, 1, 1, 1, 2, 2]))
    assert generalized_accuracy(only_seen, seen) == (1, 0, 0)


def test_invalid_arguments_are_refused() -> None:
    embeddings, vectors, targets = np.ones((2, 3)), np.eye(3), np.array([0, 1])
    for arguments, message in (
        ((embeddings, vectors, targets[:1]), r"shape \(1,\)"),
        ((embeddings, vectors, np.array([0, -1])), "-1"),
        ((embeddings, vectors, np.array([0, 3])), "3"),
        ((embeddings, np.eye(4), targets), "width"),
        ((embeddings * NAN, vectors, targets), "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            rank_labels(*arguments)
    with pytest.raises(ValueError, match="at least 1"):
        rank_labels(embeddings, vectors, targets, depth=0)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        rank_labels(embeddings, vectors, targets, penalty=np.zeros(2))
    ranking = rank_labels(embeddings, vectors, targets, depth=2)
    with pytest.raises(ValueError, match="no image"):
        hit_at_k(rank_labels(embeddings[:0], vectors, targets[:0]))
    wordnet = chain()
    for candidates, message in (([wordnet.ids[0]] * 3, "duplicated"), (["dog"] * 3, "'dog'")):
        with pytest.raises(ValueError, match=message):
            hierarchical_precision(ranking, wordnet, candidates, ks=(1,))
    for group, seen in (("seen", False), ("unseen", True)):
        with pytest.raises(ValueError, match=f"no image has a label that is {group}$"):
            generalized_accuracy(ranking, np.full(3, seen))
