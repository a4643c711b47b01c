"""Hits and hierarchical precision: plain loops, arithmetic, ties, and labels without a score."""

import math
import random

import numpy as np
import pytest

import vl.metrics.zero_shot
import vl.search.nearest
from vl.data.words.wordnet import WordNet
from vl.metrics.zero_shot import (
    KS,
    NEVER,
    Floats,
    Ints,
    Ranking,
    generalised,
    hierarchical_precision,
    hits,
    rank_scores,
    rank_vectors,
)

NAN = math.nan


def example(seed: int, images: int = 30, labels: int = 25) -> tuple[Floats, Ints]:
    """Scores of a few values, so that many are equal, some labels without any."""
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 12, (images, labels)).astype(np.float64)
    scores[:, draw.choice(labels, 4, replace=False)] = [NAN, NAN, -np.inf, NAN]
    return scores, draw.integers(0, labels, images)


def plain_place(scores: list[float], truth: int) -> float:
    """From 1, after all that are as good; infinity where there is no score."""
    if not scores[truth] > -math.inf:
        return math.inf
    return 1 + sum(label != truth and score >= scores[truth] for label, score in enumerate(scores))


def plain_best(scores: list[float], depth: int) -> list[int]:
    usable = [label for label, score in enumerate(scores) if score > -math.inf]
    return sorted(usable, key=lambda label: (-scores[label], label))[:depth]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("depth", [1, 3, 20, 40])
def test_places_and_best_labels_agree_with_a_plain_loop(seed: int, depth: int) -> None:
    scores, truth = example(seed)
    found = rank_scores(scores, truth, depth=depth)
    for row, label, place, best in zip(scores.tolist(), truth.tolist(), found.place, found.best):
        expected = plain_place(row, label)
        assert place == (NEVER if expected == math.inf else expected)
        assert [number for number in best.tolist() if number >= 0] == plain_best(row, depth)
        assert best.shape == (depth,)
    assert found.lost == sum(
        plain_place(row, i) == math.inf for row, i in zip(scores.tolist(), truth)
    )


@pytest.mark.parametrize("seed", range(5))
def test_hits_agree_with_a_plain_loop(seed: int) -> None:
    scores, truth = example(seed)
    found = hits(rank_scores(scores, truth))
    assert found.ks == KS == (1, 2, 5, 10, 20)
    rows = list(zip(scores.tolist(), truth.tolist(), strict=True))
    for column, k in enumerate(KS):
        hit = [float(plain_place(row, label) <= k) for row, label in rows]
        assert found.images[:, column].tolist() == hit
        assert found.over_images[column] == pytest.approx(sum(hit) / len(hit))
        by_class = {
            label: [one for one, own in zip(hit, truth, strict=True) if own == label]
            for label in sorted(set(truth.tolist()))
        }
        assert found.truths.tolist() == list(by_class)
        means = [sum(one) / len(one) for one in by_class.values()]
        assert found.classes[:, column].tolist() == pytest.approx(means)
        assert found.over_classes[column] == pytest.approx(sum(means) / len(means))


def test_by_hand() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.9, 0.1, 0.5], [0.2, 0.8, 0.4], [0.9, 0.1, 0.5]])
    found = hits(rank_scores(scores, np.array([0, 1, 2, 0])), ks=(1, 2, 3))
    assert found.images.tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1], [1, 1, 1]]
    assert found.over_images.tolist() == [0.5, 0.75, 1]
    assert found.classes.tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert found.over_classes.tolist() == pytest.approx([1 / 3, 2 / 3, 1])


def test_who_gives_all_labels_the_same_score_knows_nothing() -> None:
    found = rank_scores(np.zeros((4, 4)), np.arange(4))
    assert found.place.tolist() == [4] * 4
    assert hits(found, ks=(1, 3, 4)).over_images.tolist() == [0, 0, 1]
    assert found.best[:, :5].tolist() == [[0, 1, 2, 3, -1]] * 4


def test_a_label_without_a_score_is_a_miss_at_every_k() -> None:
    scores = np.array([[NAN, 0.5], [NAN, 0.5], [-np.inf, 0.1]])
    found = rank_scores(scores, np.array([0, 1, 0]))
    assert hits(found, ks=(1, 20, 10**6)).images.tolist() == [[0] * 3, [1] * 3, [0] * 3]
    assert found.lost == 2
    assert found.best[:, 0].tolist() == [1, 1, 1]
    assert found.best[:, 1:].max() == -1
    nothing = rank_scores(np.full((2, 3), NAN), np.array([0, 2]))
    assert nothing.lost == 2
    assert nothing.best.max() == -1


@pytest.mark.parametrize("seed", range(3))
def test_laws_of_ranks(seed: int) -> None:
    scores, truth = example(seed)
    found = rank_scores(scores, truth)
    assert (np.diff(hits(found).images, axis=1) >= 0).all()  # more are looked at
    stretched = rank_scores(np.exp(scores / 3) - 5, truth)
    finite = np.isfinite(scores[np.arange(len(truth)), truth])
    assert (stretched.place[finite] == found.place[finite]).all()
    order = np.random.default_rng(seed).permutation(scores.shape[1])
    moved = rank_scores(scores[:, order], np.argsort(order)[truth])
    assert (moved.place == found.place).all()
    rows = np.random.default_rng(seed).permutation(len(scores))
    assert (rank_scores(scores[rows], truth[rows]).place == found.place[rows]).all()


@pytest.mark.parametrize("rows", [1, 7])
def test_the_size_of_a_part_changes_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, truth = example(0)
    images, words, own = vectors(0)
    whole = rank_scores(scores, truth), rank_vectors(images, words, own)
    monkeypatch.setattr(vl.metrics.zero_shot, "_BYTES", rows * 8 * scores.shape[1])
    monkeypatch.setattr(vl.search.nearest, "_BYTES", 1)
    parts = rank_scores(scores, truth), rank_vectors(images, words, own)
    for one, other in zip(whole, parts, strict=True):
        assert one.place.tolist() == other.place.tolist()
        assert one.best.tolist() == other.best.tolist()


def vectors(seed: int, images: int = 30, labels: int = 25) -> tuple[Floats, Floats, Ints]:
    """Images near their labels; some labels have one vector, some none."""
    draw = np.random.default_rng(seed)
    words = draw.normal(size=(labels, 6))
    words[3] = words[11] = words[20]
    truth = draw.integers(0, labels, images)
    near = words[truth] + draw.normal(size=(images, 6))
    words[5, 2] = NAN
    words[8] = 0
    words[9, 0] = np.inf
    return near, words, truth


@pytest.mark.parametrize("seed", range(5))
def test_vectors_are_ranked_by_their_cosines(seed: int) -> None:
    images, words, truth = vectors(seed)
    less = np.random.default_rng(seed).normal(size=len(words)) / 9
    scores = np.full((len(images), len(words)), NAN)
    for image in range(len(images)):
        for label in range(len(words)):
            if label not in (5, 8, 9):
                lengths = math.hypot(*images[image]) * math.hypot(*words[label])
                dot = sum(a * b for a, b in zip(images[image], words[label], strict=True))
                scores[image, label] = dot / lengths
    less[[3, 11, 20]] = 0.05
    for expected, given in ((scores, None), (scores - less, less)):
        found = rank_vectors(images, words, truth, less=given)
        plain = rank_scores(expected.round(6), truth)  # so that equal ones are
        assert found.place.tolist() == plain.place.tolist()
        assert found.best.tolist() == plain.best.tolist()


def test_labels_of_one_vector_are_exactly_equal() -> None:
    draw = np.random.default_rng(0)
    words = draw.normal(size=(101, 50)).astype(np.float32)
    words[100] = words[37] = words[0]
    images = words[[0, 37, 100]] + 0.1 * draw.normal(size=(3, 50)).astype(np.float32)
    found = rank_vectors(images, words, np.array([0, 37, 100]))
    assert found.place.tolist() == [3, 3, 3]
    assert found.best[:, :3].tolist() == [[0, 37, 100]] * 3


def test_lengths_change_nothing() -> None:
    images, words, truth = vectors(1)
    found = rank_vectors(images, words, truth)
    longer = rank_vectors(images * 8, words * 2.0 ** np.arange(25)[:, None], truth)
    assert longer.place.tolist() == found.place.tolist()
    assert longer.best.tolist() == found.best.tolist()
    images[4] = 0
    nowhere = rank_vectors(images, words, truth)
    assert nowhere.place[4] in (22, NEVER)  # all labels that have a vector are equal to it


def test_half_precision_is_only_the_storage() -> None:
    images, words, truth = vectors(1)
    images, words = images.astype(np.float16), 1000 * words.astype(np.float16)
    found = rank_vectors(images, words, truth)
    exact = rank_vectors(images.astype(np.float32), words.astype(np.float32), truth)
    assert found.best.tolist() == exact.best.tolist()


def test_arrays_of_any_layout_will_do() -> None:
    images, words, truth = vectors(2)
    expected = rank_vectors(images, words, truth)
    turned = [np.ascontiguousarray(part[::-1])[::-1] for part in (images, words, truth)]
    for part in turned:
        part.flags.writeable = False
    found = rank_vectors(*turned)
    assert found.place.tolist() == expected.place.tolist()
    assert found.best.tolist() == expected.best.tolist()


def test_less_for_seen_labels_lets_the_others_win() -> None:
    words = np.eye(2)
    image, truth = np.array([[0.8, 0.6]]), np.array([1])
    assert rank_vectors(image, words, truth).place.tolist() == [2]
    assert rank_vectors(image, words, truth, less=np.array([0.19, 0])).place.tolist() == [2]
    assert rank_vectors(image, words, truth, less=np.array([0.21, 0])).place.tolist() == [1]


def wordnet(seed: int, size: int = 60) -> tuple[WordNet, list[str], list[tuple[str, str]]]:
    """Synsets of one or two parents, in several parts; some of them as candidates; the edges."""
    draw = random.Random(seed)
    names = [f"n{number:08d}" for number in range(size)]
    drawn = [
        (names[draw.randrange(child)], names[child])
        for child in range(1, size)
        for _ in range(draw.choice([0, 1, 1, 1, 2]))
    ]
    pairs = list(dict.fromkeys(drawn))
    return WordNet({name: [name] for name in names}, pairs), draw.sample(names, 25), pairs


def plain_correct_set(
    truth: str, k: int, candidates: list[str], pairs: list[tuple[str, str]]
) -> set[str]:
    reached, correct = {truth}, {truth}
    while len(correct) < k:
        around = {b for a, b in pairs if a in reached} | {a for a, b in pairs if b in reached}
        if around <= reached:
            break
        reached |= around
        correct = reached & set(candidates)
    return correct


@pytest.mark.parametrize("seed", range(5))
def test_hierarchical_precision_agrees_with_a_plain_loop(seed: int) -> None:
    graph, candidates, pairs = wordnet(seed)
    scores, truth = example(seed)
    ranking = rank_scores(scores, truth)
    found = hierarchical_precision(ranking, graph, candidates)
    for image, (row, label) in enumerate(zip(scores.tolist(), truth.tolist(), strict=True)):
        for column, k in enumerate(KS):
            correct = plain_correct_set(candidates[label], k, candidates, pairs)
            first = {candidates[number] for number in plain_best(row, k)}
            assert found.images[image, column] == pytest.approx(len(first & correct) / k)
    assert found.over_images == pytest.approx(found.images.mean(0))
    assert found.truths.tolist() == sorted(set(truth.tolist()))


def chain() -> WordNet:
    """Five synsets in a row, the third no candidate below, and one by itself."""
    names = [f"n{number:08d}" for number in range(6)]
    pairs = [(names[n], names[n + 1]) for n in range(4)]
    return WordNet({name: [name] for name in names}, pairs)


def test_hierarchical_precision_by_hand() -> None:
    graph = chain()
    candidates = [graph.ids[n] for n in (0, 1, 3, 4, 5)]
    best = np.array([[3, 1, 0, 2], [2, 3, 1, 0], [4, 2, 1, 0]])
    ranking = Ranking(np.array([2, 2, 4]), np.array([4, 1, 1]), best, labels=5)
    found = hierarchical_precision(ranking, graph, candidates, ks=(1, 2, 3, 4)).images
    # Of synset 3: itself; 4 at one hop; 1 at two hops, through what is no candidate; 0 at three.
    assert found[0].tolist() == pytest.approx([0, 1 / 2, 2 / 3, 1])
    assert found[1].tolist() == pytest.approx([1, 1, 1, 1])
    assert found[2].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])  # nothing is near it


def test_a_place_that_no_label_took_is_not_near() -> None:
    graph = chain()
    ranking = Ranking(np.array([3]), np.array([NEVER]), np.array([[0, -1]]), labels=4)
    found = hierarchical_precision(ranking, graph, graph.ids[:4], ks=(1, 2)).images
    assert found.tolist() == [[0, 0]]


def test_the_last_hop_is_taken_whole() -> None:
    names = [f"n{number:08d}" for number in range(5)]
    star = WordNet({name: [name] for name in names}, [(names[0], name) for name in names[1:]])
    ranking = Ranking(np.array([0]), np.array([1]), np.array([[3, 4, 0]]), labels=5)
    found = hierarchical_precision(ranking, star, names, ks=(1, 2)).images
    assert found.tolist() == [[0, 1]]  # any two of the star's five


@pytest.mark.parametrize("seed", range(3))
def test_hierarchical_precision_at_1_is_the_hit_at_1(seed: int) -> None:
    graph, candidates, _ = wordnet(seed)
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(200, 25))
    scores[:, 7] = NAN
    ranking = rank_scores(scores, draw.integers(0, 25, 200))
    found = hierarchical_precision(ranking, graph, candidates)
    assert found.images[:, 0].tolist() == hits(ranking).images[:, 0].tolist()


def test_a_perfect_order_by_hops_is_precise_at_every_k() -> None:
    graph, candidates, _ = wordnet(0)
    truth = np.arange(25)
    scores = np.stack([-graph.hops([name])[graph.rows(candidates)] for name in candidates]) * 1.0
    scores[scores == 1] = -1000  # no way
    found = hierarchical_precision(rank_scores(scores, truth), graph, candidates, ks=(1, 2, 5))
    connected = (scores > -1000).sum(1) >= 5
    assert connected.sum() > 10
    assert (found.images[connected] == 1).all()


def test_seen_and_unseen_labels_by_hand() -> None:
    # Labels 0 and 1 are seen; places of six images.
    truth = np.array([0, 0, 0, 1, 2, 3])
    place = np.array([1, 1, 2, 1, 1, NEVER])
    ranking = Ranking(truth, place, np.zeros((6, 1), np.int64), labels=4)
    seen = np.array([True, True, False, False])
    found = generalised(ranking, seen)
    assert found == pytest.approx(((2 / 3 + 1) / 2, 1 / 2, 2 * 5 / 6 / 2 / (5 / 6 + 1 / 2)))
    found = generalised(ranking, seen, over="images")
    assert found == pytest.approx((3 / 4, 1 / 2, 0.6))
    nothing = ranking._replace(place=np.full(6, 2))
    assert generalised(nothing, seen) == (0, 0, 0)
    only_seen = ranking._replace(place=np.array([1, 1, 1, 1, 2, 2]))
    assert generalised(only_seen, seen) == (1, 0, 0)


def test_what_was_given_is_not_changed() -> None:
    scores, truth = example(0)
    images, words, own = vectors(0)
    before = [part.copy() for part in (scores, truth, images, words, own)]
    rank_scores(scores, truth)
    rank_vectors(images, words, own, less=np.ones(25))
    for part, old in zip((scores, truth, images, words, own), before, strict=True):
        assert np.array_equal(part, old, equal_nan=part.dtype.kind == "f")


def test_wrong_use_is_refused() -> None:
    scores, truth = np.zeros((2, 3)), np.array([0, 1])
    with pytest.raises(ValueError, match=r"scores have shape \(3,\); expected images by labels"):
        rank_scores(scores[0], truth)
    with pytest.raises(ValueError, match=r"2 images, true labels of shape \(1,\)"):
        rank_scores(scores, truth[:1])
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=r"true labels go from -?\d to \d, labels to 2"):
            rank_scores(scores, np.array([0, wrong]))
    with pytest.raises(ValueError, match="depth is 0; it must be at least 1"):
        rank_scores(scores, truth, depth=0)
    with pytest.raises(ValueError, match="images have width 3, words 4"):
        rank_vectors(scores, np.eye(4), truth)
    with pytest.raises(ValueError, match="an image's vector has a number that is not finite"):
        rank_vectors(scores * NAN, np.eye(3), truth)
    with pytest.raises(ValueError, match=r"less has shape \(2,\), there are 3 labels"):
        rank_vectors(scores, np.eye(3), truth, less=np.zeros(2))
    ranking = rank_scores(scores, truth, depth=2)
    with pytest.raises(ValueError, match=r"k is 0; it must be at least 1$"):
        hits(ranking, ks=(1, 0))
    with pytest.raises(ValueError, match="there is no image"):
        hits(rank_scores(scores[:0], truth[:0]))
    graph = chain()
    with pytest.raises(ValueError, match=r"k is 3; .* and at most the ranking's depth, 2"):
        hierarchical_precision(ranking, graph, graph.ids[:3], ks=(1, 3))
    with pytest.raises(ValueError, match="2 candidates, the ranking is of 3 labels"):
        hierarchical_precision(ranking, graph, graph.ids[:2], ks=(1,))
    with pytest.raises(ValueError, match="a synset is there twice among the candidates"):
        hierarchical_precision(ranking, graph, [graph.ids[0]] * 3, ks=(1,))
    with pytest.raises(ValueError, match="1 of 3 are no synsets of this WordNet: 'dog'"):
        hierarchical_precision(ranking, graph, [*graph.ids[:2], "dog"], ks=(1,))
    with pytest.raises(ValueError, match=r"seen has shape \(2,\), the ranking is of 3 labels"):
        generalised(ranking, np.array([True, False]))
    for group, seen in (("seen", False), ("unseen", True)):
        with pytest.raises(ValueError, match=f"no image has a label that is {group}$"):
            generalised(ranking, np.full(3, seen))
