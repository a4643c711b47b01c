"""Zero-shot labelling metrics: hit@k, hierarchical precision@k, generalized accuracy.

It knows vectors and indices of labels; only hierarchical precision asks what the labels are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vl.data.words.wordnet import WordNet
from vl.metrics.ngrams import Ints
from vl.search.nearest import NearestNeighbors

FloatArray = NDArray[np.floating[Any]]

KS = (1, 2, 5, 10, 20)  # Frome et al. 2013
UNRANKED = int(np.iinfo(np.int64).max)  # the rank of a label without a vector


class Ranking(NamedTuple):
    """The rank of each image's true label, and the labels ranked first."""

    targets: Ints  # (N,) index of the true label
    ranks: Ints  # (N,) from 1; UNRANKED for a label without a vector
    top: Ints  # (N, depth) indices of labels, best first; -1 where there are no more

    @property
    def num_unranked(self) -> int:
        """Images whose true label has no vector: misses at every k."""
        return int((self.ranks == UNRANKED).sum())


class ScoresAtK(NamedTuple):
    """A metric at each k, per image and per true label."""

    ks: tuple[int, ...]
    per_image: NDArray[np.float64]  # (N, len(ks))
    labels: Ints  # (L,) the true labels that occur, ascending
    per_label: NDArray[np.float64]  # (L, len(ks)) mean over each one's images

    @property
    def image_mean(self) -> NDArray[np.float64]:
        """Mean over images, ``(len(ks),)``."""
        return self.per_image.mean(0)

    @property
    def label_mean(self) -> NDArray[np.float64]:
        """Mean over true labels, ``(len(ks),)``."""
        return self.per_label.mean(0)


class GeneralizedAccuracy(NamedTuple):
    """Hit@1 where seen and unseen labels are both candidates."""

    seen: float  # of images whose label was seen in training
    unseen: float
    harmonic_mean: float


def rank_labels(
    embeddings: FloatArray,
    label_vectors: FloatArray,
    targets: Ints,
    *,
    penalty: FloatArray | None = None,
    depth: int = KS[-1],
) -> Ranking:
    """Rank labels by cosine similarity to each image.

    Of equal scores the true label's comes last, so that a constant score is no hit; labels with
    the same vector, as two senses of a word have, are exactly equal. In ``top`` equal labels are
    in index order. Cosines are float32.

    Args:
        embeddings: images in word space, ``(N, D)``; not normalized. The zero vector has cosine 0.
        label_vectors: ``(K, D)``, not normalized; one that is not finite or zero is a label
            without a vector.
        targets: index of each image's label, ``(N,)``.
        penalty: subtracted from each label's cosine, ``(K,)``; a constant for the labels seen in
            training and 0 for the others is calibrated stacking (Chao et al. 2016). A label whose
            penalty is not finite is never chosen.
        depth: how many labels ``top`` holds.

    Raises:
        ValueError: shapes do not match, a target is out of range, or an embedding is not finite.
    """
    subtracted = None if penalty is None else _tensor(penalty)
    labels = NearestNeighbors(_tensor(label_vectors), penalty=subtracted)
    ranked = labels.rank(_tensor(embeddings), _tensor(targets), top_k=depth)
    ranks, top = ranked.ranks.numpy(), ranked.neighbors.indices.numpy()
    return Ranking(targets, np.where(ranks > 0, ranks, UNRANKED), top)


def hit_at_k(ranking: Ranking, *, ks: Sequence[int] = KS) -> ScoresAtK:
    """Flat hit@k: 1 where the true label is among the first k, else 0.

    Args:
        ranking: of at least one image.
        ks: each at least 1.

    Raises:
        ValueError: there is no image.

    Source:
        Frome et al. 2013, who report the mean over images.
    """
    per_image = (ranking.ranks[:, None] <= np.array(ks)).astype(np.float64)
    return _scores_at_k(per_image, ranking.targets, ks)


def hierarchical_precision(
    ranking: Ranking, wordnet: WordNet, candidates: Sequence[str], *, ks: Sequence[int] = KS
) -> ScoresAtK:
    """Hierarchical precision@k: the share of the first k labels near the true one in WordNet.

    The correct set is, of the candidates, the true label and those within the smallest number of
    hops, up or down, that makes it at least k; the last hop is taken whole. At k = 1 it is the
    true label alone, so that the precision is the hit@1 except for equal scores. Where fewer than
    k candidates can be reached, the correct set is smaller.

    Args:
        ranking: of at least one image.
        wordnet: has a synset for each candidate; paths may lead through others.
        candidates: the synset of each of the K labels, also of those without a vector.
        ks: each at least 1 and at most the ranking's depth.

    Raises:
        ValueError: a candidate is duplicated or no synset, or there is no image.

    Source:
        Frome et al. 2013, supplement; the definition follows later work that recalls it, and was
        not compared with the supplement itself.
    """
    rows = wordnet.rows(candidates)
    label_of = np.full(len(wordnet), -1, dtype=np.int64)  # of each synset
    label_of[rows] = np.arange(len(rows))
    if (label_of[rows] != np.arange(len(rows))).any():
        raise ValueError("a synset is duplicated among the candidates")
    precision = np.zeros((len(ranking.targets), len(ks)))
    distance = np.full(len(rows) + 1, UNRANKED, dtype=np.int64)  # hops; the last is that of -1
    order = np.argsort(ranking.targets, kind="stable")
    labels, starts = np.unique(ranking.targets[order], return_index=True)
    for target, images in zip(labels.tolist(), np.split(order, starts[1:]), strict=True):
        near = wordnet.nearest(candidates[target], label_of >= 0, min_count=max(ks))
        distance[label_of[near.rows]] = near.hops
        hops = distance[ranking.top[images]]  # (n, depth)
        distance[label_of[near.rows]] = UNRANKED
        for column, k in enumerate(ks):
            farthest = near.hops[min(k, len(near.hops)) - 1]
            precision[images, column] = (hops[:, :k] <= farthest).sum(1) / k
    return _scores_at_k(precision, ranking.targets, ks)


def generalized_accuracy(ranking: Ranking, seen: NDArray[np.bool_]) -> GeneralizedAccuracy:
    """Hit@1 of images with seen and with unseen labels, where all labels are candidates.

    Args:
        ranking: among seen and unseen labels together.
        seen: whether each label was seen in training, ``(K,)``.

    Raises:
        ValueError: one of the groups has no image.

    Source:
        Xian et al. 2017, who report the mean over true labels.
    """
    seen_image = seen[ranking.targets]
    accuracies = {}
    for group, mask in (("seen", seen_image), ("unseen", ~seen_image)):
        if not mask.any():
            raise ValueError(f"no image has a label that is {group}")
        part = ranking._replace(targets=ranking.targets[mask], ranks=ranking.ranks[mask])
        accuracies[group] = float(hit_at_k(part, ks=(1,)).label_mean[0])
    total, product = sum(accuracies.values()), accuracies["seen"] * accuracies["unseen"]
    return GeneralizedAccuracy(**accuracies, harmonic_mean=2 * product / total if total else 0.0)


def _tensor(array: NDArray[Any]) -> Tensor:
    """The array as a tensor, copied only where PyTorch cannot share its memory."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _scores_at_k(per_image: NDArray[np.float64], targets: Ints, ks: Sequence[int]) -> ScoresAtK:
    if not len(per_image):
        raise ValueError("there is no image")
    labels, index = np.unique(targets, return_inverse=True)
    sums = np.zeros((len(labels), len(ks)))
    np.add.at(sums, index.ravel(), per_image)
    return ScoresAtK(tuple(ks), per_image, labels, sums / np.bincount(index.ravel())[:, None])
