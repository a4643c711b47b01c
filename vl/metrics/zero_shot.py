"""How well labels are found that were never shown in training: hits, and hits by WordNet's measure.

It knows scores and numbers of labels; what the labels are called matters only to WordNet.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vl.data.words.wordnet import WordNet
from vl.search.nearest import NearestNeighbors

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

KS = (1, 2, 5, 10, 20)  # Frome et al. 2013
NEVER = int(np.iinfo(np.int64).max)  # the place of a label that cannot be chosen

_BYTES = 64 * 2**20  # of the scores that are in memory at once


class Ranking(NamedTuple):
    """Where the true label of each image came, and which labels came first."""

    truth: Ints  # (N,) number of the true label
    place: Ints  # (N,) from 1; NEVER for a label without a score
    best: Ints  # (N, depth) numbers of labels, the best first; -1 where there are no more
    labels: int  # K

    @property
    def lost(self) -> int:
        """Images whose true label has no score: misses at every k."""
        return int((self.place == NEVER).sum())


class Means(NamedTuple):
    """A figure for each k, ``images`` of every image and ``classes`` of every true label."""

    ks: tuple[int, ...]
    images: NDArray[np.float64]  # (N, len(ks))
    truths: Ints  # (L,) the true labels there are, ascending
    classes: NDArray[np.float64]  # (L, len(ks)) mean of each one's images

    @property
    def over_images(self) -> NDArray[np.float64]:
        """The mean in which every image counts the same, ``(len(ks),)``."""
        return self.images.mean(0)

    @property
    def over_classes(self) -> NDArray[np.float64]:
        """The mean in which every true label counts the same, ``(len(ks),)``."""
        return self.classes.mean(0)


class Generalised(NamedTuple):
    """Hits at 1 where seen and unseen labels compete."""

    seen: float  # of images whose label was seen in training
    unseen: float
    harmonic: float  # 2 seen unseen / (seen + unseen)


def rank_scores(scores: Floats, truth: Ints, *, depth: int = KS[-1]) -> Ranking:
    """Where each image's true label comes among all labels.

    Of equal scores the true label's comes last: who gives all labels the same score knows nothing.
    In ``best`` equal ones stand in their order.

    Args:
        scores: of N images for K labels, ``(N, K)``, greater is better; NaN or minus infinity is
            a label that cannot be chosen, as one without a word vector. Where it is the true one,
            the image is a miss at every k.
        truth: number of each image's label, ``(N,)``.
        depth: how many of the best are kept.

    Raises:
        ValueError: shapes do not fit, a true label is none of the K, or depth is below 1.
    """
    if scores.ndim != 2:
        raise ValueError(f"scores have shape {scores.shape}; expected images by labels")
    rows = _rows_at_once(scores.shape[1])
    parts = (scores[start : start + rows] for start in range(0, len(scores), rows))
    return _ranking(parts, truth, images=len(scores), labels=scores.shape[1], depth=depth)


def rank_vectors(
    images: Floats,
    words: Floats,
    truth: Ints,
    *,
    less: Floats | None = None,
    depth: int = KS[-1],
) -> Ranking:
    """The same from vectors: a score is the cosine between an image and a label.

    Labels with one and the same vector, as two senses of a word have, are exactly equal. Cosines
    are float32, and those of some hundred images are in memory at once.

    Args:
        images: in word space, ``(N, D)``, of any length; a vector of length 0 has cosine 0.
        words: a vector for each label, ``(K, D)``, of any length; one that is not finite, or of
            length 0, is a label without.
        truth: number of each image's label, ``(N,)``.
        less: what is taken off each label's cosine, ``(K,)``; a constant for the labels seen in
            training and 0 for the others is calibrated stacking (Chao et al. 2016). A label where
            it is not finite cannot be chosen.
        depth: how many of the best are kept.

    Raises:
        ValueError: as of ``rank_scores``, or an image's vector is not finite.
    """
    if images.shape[1:] != words.shape[1:]:
        raise ValueError(f"images have width {images.shape[-1]}, words {words.shape[-1]}")
    if not np.isfinite(images).all():
        raise ValueError("an image's vector has a number that is not finite")
    if less is not None and less.shape != words.shape[:1]:
        raise ValueError(f"less has shape {less.shape}, there are {len(words)} labels")
    _check_truth(truth, images=len(images), labels=len(words), depth=depth)
    penalty = None if less is None else _tensor(less)
    labels = NearestNeighbors(_tensor(words), penalty=penalty)
    found = labels.rank(_tensor(images), _tensor(truth), top_k=depth)
    places, best = found.ranks.numpy(), found.neighbors.indices.numpy()
    return Ranking(truth, np.where(places > 0, places, NEVER), best, len(words))


def hits(ranking: Ranking, *, ks: Sequence[int] = KS) -> Means:
    """Flat hit@k: whether the true label is among the first k, 1 or 0.

    Args:
        ranking: of at least one image.
        ks: each at least 1.

    Raises:
        ValueError: there is no image, or a k is below 1.

    Source:
        Frome et al. 2013, whose mean is over images.
    """
    _check_ks(ks)
    return _means((ranking.place[:, None] <= np.array(ks)).astype(np.float64), ranking.truth, ks)


def hierarchical_precision(
    ranking: Ranking, wordnet: WordNet, candidates: Sequence[str], *, ks: Sequence[int] = KS
) -> Means:
    """Hierarchical precision@k: how many of the first k labels are near the true one in WordNet.

    Near are, of the candidates, the true label and those within so many hops of it, up or down,
    as are needed to have k; the last hop is taken whole. The figure is the near ones among the
    first k, divided by k. At k = 1 only the true label is near, so that it is the hit@1 but for
    equal scores. A label that no hops lead from to k candidates has fewer near it.

    Args:
        ranking: of at least one image.
        wordnet: has a synset for each candidate; hops may lead through others.
        candidates: the synset of each of the K labels; those without a word vector as well.
        ks: each at least 1 and at most the ranking's depth.

    Raises:
        ValueError: candidates are not the ranking's labels, one is there twice or no synset, there
            is no image, or a k is out of its range.

    Source:
        Frome et al. 2013, whose supplement defines it; the definition is given here as it is
        recalled in later work, and was not checked against theirs.
    """
    _check_ks(ks, ranking.best.shape[1])
    if len(candidates) != ranking.labels:
        raise ValueError(f"{len(candidates)} candidates, the ranking is of {ranking.labels} labels")
    rows = wordnet.rows(candidates)
    number = np.full(len(wordnet), -1, dtype=np.int64)  # of each synset among the candidates
    number[rows] = np.arange(len(rows))
    if (number[rows] != np.arange(len(rows))).any():
        raise ValueError("a synset is there twice among the candidates")
    found = np.zeros((len(ranking.truth), len(ks)))
    away = np.full(len(rows) + 1, NEVER, dtype=np.int64)  # hops; the last is that of -1, no label
    for truth, images in _by_class(ranking.truth):
        near = wordnet.nearest(candidates[truth], number >= 0, at_least=max(ks))
        around = number[near.rows]
        away[around] = near.hops
        hops = away[ranking.best[images]]  # (n, depth)
        away[around] = NEVER
        for column, k in enumerate(ks):
            farthest = near.hops[min(k, len(near.hops)) - 1]
            found[images, column] = (hops[:, :k] <= farthest).sum(1) / k
    return _means(found, ranking.truth, ks)


def generalised(
    ranking: Ranking, seen: NDArray[np.bool_], *, over: Literal["images", "classes"] = "classes"
) -> Generalised:
    """Hits at 1 of images with seen and with unseen labels, where all labels are candidates.

    Args:
        ranking: among seen and unseen labels together.
        seen: whether each label was seen in training, ``(K,)``.
        over: what counts the same within a group: true labels, as in Xian et al. 2017, or images.

    Raises:
        ValueError: ``seen`` does not fit the ranking, or one of the groups has no image.

    Source:
        Xian et al. 2017.
    """
    if seen.shape != (ranking.labels,):
        raise ValueError(f"seen has shape {seen.shape}, the ranking is of {ranking.labels} labels")
    figures = []
    for group, is_in in (("seen", seen[ranking.truth]), ("unseen", ~seen[ranking.truth])):
        if not is_in.any():
            raise ValueError(f"no image has a label that is {group}")
        part = ranking._replace(truth=ranking.truth[is_in], place=ranking.place[is_in])
        found = hits(part, ks=(1,))
        figures.append(float((found.over_classes if over == "classes" else found.over_images)[0]))
    one, other = figures
    return Generalised(one, other, 2 * one * other / (one + other) if one + other else 0.0)


def _ranking(
    parts: Iterator[Floats], truth: Ints, *, images: int, labels: int, depth: int
) -> Ranking:
    """Ranks chunks of images, each ``(n, K)`` scores."""
    _check_truth(truth, images=images, labels=labels, depth=depth)
    place = np.empty(images, dtype=np.int64)
    best = np.full((images, depth), -1, dtype=np.int64)
    start = 0
    for scores in parts:
        rows = slice(start, start + len(scores))
        own = np.take_along_axis(scores, truth[rows, None], 1)  # (n, 1)
        not_worse = (scores >= own).sum(1)  # NaN is neither
        place[rows] = np.where(own[:, 0] > -np.inf, not_worse, NEVER)
        best[rows, :labels] = _best(scores, min(depth, labels))
        start += len(scores)
    return Ranking(truth, place, best, labels)


def _check_truth(truth: Ints, *, images: int, labels: int, depth: int) -> None:
    if truth.shape != (images,):
        raise ValueError(f"{images} images, true labels of shape {truth.shape}")
    if images and (truth.min() < 0 or truth.max() >= labels):
        raise ValueError(
            f"true labels go from {truth.min()} to {truth.max()}, labels to {labels - 1}"
        )
    if depth < 1:
        raise ValueError(f"depth is {depth}; it must be at least 1")


def _tensor(array: NDArray[Any]) -> Tensor:
    """The same numbers, copied only where PyTorch could not use the array as it lies."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _best(scores: Floats, depth: int) -> Ints:
    """The numbers of the greatest scores, ``(n, K)`` to ``(n, depth)``; equals in their order."""
    cost = -scores  # NumPy sorts NaN behind all else
    found = np.sort(np.argpartition(cost, depth - 1, axis=1)[:, :depth], axis=1)
    costs = np.take_along_axis(cost, found, 1)
    # Which of several labels equal to the last are taken, the partition does not promise.
    for row in np.flatnonzero((cost <= costs.max(1, keepdims=True)).sum(1) > depth):
        found[row] = np.sort(np.argsort(cost[row], kind="stable")[:depth])
        costs[row] = cost[row, found[row]]
    order = np.argsort(costs, axis=1, kind="stable")
    found, costs = np.take_along_axis(found, order, 1), np.take_along_axis(costs, order, 1)
    return np.where(costs < np.inf, found, -1).astype(np.int64)


def _means(images: NDArray[np.float64], truth: Ints, ks: Sequence[int]) -> Means:
    if not len(images):
        raise ValueError("there is no image")
    truths, of = np.unique(truth, return_inverse=True)
    sums = np.zeros((len(truths), len(ks)))
    np.add.at(sums, of.ravel(), images)
    return Means(tuple(ks), images, truths, sums / np.bincount(of.ravel())[:, None])


def _by_class(truth: Ints) -> Iterator[tuple[int, Ints]]:
    """Each true label and its images."""
    order = np.argsort(truth, kind="stable")
    truths, starts = np.unique(truth[order], return_index=True)
    yield from zip(truths.tolist(), np.split(order, starts[1:]), strict=True)


def _rows_at_once(labels: int) -> int:
    return max(1, _BYTES // (8 * max(1, labels)))


def _check_ks(ks: Sequence[int], most: int = NEVER) -> None:
    for k in ks:
        if not 1 <= k <= most:
            limit = "" if most == NEVER else f" and at most the ranking's depth, {most}"
            raise ValueError(f"k is {k}; it must be at least 1{limit}")
