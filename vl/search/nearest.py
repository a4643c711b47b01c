"""The nearest labels of images in word space, exactly, and what is taken off labels near to all.

It knows vectors and numbers of labels; what they are called and what an image shows it does not.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Measured on two busy cores of a Zen 4 with 21,842 labels: between blocks of 16, 32 and 64 labels
# the noise was greater than the difference; 512 images at once did as well as 1,024, 128 took half
# as long again.
_BLOCK = 32
_LANES = 64  # images at once are a multiple: rows that begin at odd places halve the speed
_BYTES = 48 * 2**20  # of the scores that are in memory at once


class Nearest(NamedTuple):
    """The best labels of each image."""

    scores: Tensor  # (B, top) float32, the best first; minus infinity where there are no more
    numbers: Tensor  # (B, top) int64; -1 where there are no more


class Placed(NamedTuple):
    """The best labels of each image, and where its true one came."""

    nearest: Nearest
    places: Tensor  # (B,) int64, from 1; 0 for a true label that is never chosen


class Labels:
    """A list of labels, prepared once, to which images are then compared.

    A score is the cosine between image and label, less what is taken off that label. Of equal
    scores the label of lower number comes first, and labels with one and the same vector, as two
    senses of a word have, score exactly the same. An image of length 0 has cosine 0 to all.

    Args:
        words: a vector for each label, ``(K, D)``, of any length. One that is not finite, or of
            length 0, is a label without, which is never chosen; ``known`` says which are left.
        less: what is taken off each label's cosine, ``(K,)``; a label where it is not finite is
            never chosen either. Nothing by default.

    Raises:
        ValueError: shapes do not fit.
    """

    def __init__(self, words: Tensor, *, less: Tensor | None = None) -> None:
        if words.ndim != 2 or not words.shape[1]:
            raise ValueError(f"words have shape {tuple(words.shape)}; expected labels by width")
        if less is not None and less.shape != words.shape[:1]:
            raise ValueError(f"less has shape {tuple(less.shape)}, there are {len(words)} labels")
        units, known = _units(words.detach())
        if less is not None:
            less = less.detach().to(units)
            known = known & less.isfinite()
        self.width = words.shape[1]
        self.known = known  # (K,)
        # Two equal rows of a product may differ in the last bit: each vector is multiplied once.
        row = _same(units if less is None else torch.cat([units, less[:, None]], 1), known)
        self._row = row  # (K,) of each label among the U different ones; -1 for a label without
        self._copies = torch.bincount(row[known])  # (U,)
        # Labels by row, and among those of one row by number.
        self._numbers = torch.argsort(row, stable=True)[len(row) - int(known.sum()) :]
        self._begin = self._copies.cumsum(0) - self._copies  # (U,) place of a row's first label
        first = self._numbers[self._begin]
        self._vectors = units[first]  # (U, D)
        self._less = None if less is None else less[first, None]  # (U, 1)

    def __len__(self) -> int:
        """Number of labels, ``K``."""
        return len(self._row)

    def nearest(self, images: Tensor, *, top: int) -> Nearest:
        """The labels with the greatest scores.

        Args:
            images: in word space, ``(B, D)``, of any length.
            top: how many labels.

        Raises:
            ValueError: shapes or devices do not fit, an image's vector is not finite, or ``top``
                is below 1.
        """
        parts = [self._best(scores, top) for scores in self._scored(images, top)]
        return self._joined(parts, top)

    def placed(self, images: Tensor, truth: Tensor, *, top: int) -> Placed:
        """The same, and how many labels score no less than an image's true one, itself counted.

        Args:
            images: in word space, ``(B, D)``, of any length.
            truth: number of each image's label, ``(B,)``, int64.
            top: how many labels are kept.

        Raises:
            ValueError: as of ``nearest``, or the true labels do not fit.
        """
        if truth.shape != images.shape[:1]:
            raise ValueError(f"{len(images)} images, true labels of shape {tuple(truth.shape)}")
        if len(truth) and not (truth.min() >= 0 and truth.max() < len(self)):
            raise ValueError(
                f"true labels go from {truth.min()} to {truth.max()}, labels to {len(self) - 1}"
            )
        own_row = self._row[truth.long()]
        parts: list[Nearest] = []
        places = torch.zeros_like(own_row)
        begin = 0
        copies = self._copies[None].float()  # (1, U); sums are whole numbers, exact up to 2^24
        for scores in self._scored(images, top):
            rows = slice(begin, begin := begin + scores.shape[1])
            own = scores.gather(0, own_row[None, rows].clamp(min=0))  # (1, n)
            parts.append(self._best(scores, top))
            # In place of the scores: as truth values made numbers it takes four times as long.
            not_worse = copies @ scores[: len(self._vectors)].ge_(own)  # (1, n)
            places[rows] = torch.where(own_row[rows] >= 0, not_worse[0].long(), 0)
        return Placed(self._joined(parts, top), places)

    def log_totals(self, images: Tensor, *, temperature: float) -> Tensor:
        """The logarithm of the sum of exp(score / temperature) over all labels, ``(B,)``.

        Args:
            images: in word space, ``(B, D)``, of any length.
            temperature: above 0.

        Raises:
            ValueError: as of ``nearest``, or the temperature is not above 0.
        """
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; it must be above 0")
        copies = self._copies[:, None].to(self._vectors).log()  # (U, 1)
        parts = [
            torch.logsumexp(scores[: len(self._vectors)] / temperature + copies, 0)
            for scores in self._scored(images, 1)
        ]
        return torch.cat(parts) if parts else self._vectors.new_zeros(0)

    def _scored(self, images: Tensor, top: int) -> Iterator[Tensor]:
        """Scores of some hundred images at a time, ``(U, n)`` filled up to whole blocks.

        Each is written over by the next. Labels come first: so the product is half as quick again
        as with images first, and greatest scores of blocks are found without a look across lanes.
        """
        if images.ndim != 2 or images.shape[1] != self.width:
            raise ValueError(f"images have width {images.shape[-1]}, words {self.width}")
        if images.device != self._vectors.device:
            raise ValueError(f"images are on {images.device}, words on {self._vectors.device}")
        if top < 1:
            raise ValueError(f"top is {top}; it must be at least 1")
        if not bool(images.isfinite().all()):
            raise ValueError("an image's vector has a number that is not finite")
        different = len(self._vectors)
        height = max(1, -(-different // _BLOCK)) * _BLOCK
        at_once = max(1, min(_BYTES // (4 * height), len(images) + _LANES - 1) // _LANES) * _LANES
        space = self._vectors.new_empty((height, at_once))
        space[different:] = -torch.inf
        for part in torch.split(images.detach(), at_once):
            scores = space[:, : len(part)]
            torch.mm(self._vectors, _units(part)[0].T, out=scores[:different])
            if self._less is not None:
                scores[:different] -= self._less
            yield scores

    def _best(self, scores: Tensor, top: int) -> Nearest:
        """Of ``(height, n)`` scores those of the first labels, ``(n, top)`` or fewer.

        The first ``top`` lie in the ``top`` blocks with the greatest maxima, of equal maxima the
        lower blocks: each block before another holds a label before all of the other.
        """
        greatest = torch.unflatten(scores, 0, (-1, _BLOCK)).amax(1)  # (blocks, n)
        likely = _greatest(greatest.T.contiguous(), top)  # (n, blocks)
        inside = torch.arange(_BLOCK, device=scores.device)
        rows = (likely[:, :, None] * _BLOCK + inside).flatten(1)  # (n, candidates)
        candidates = scores.T.gather(1, rows)
        kept = _greatest(candidates, top)
        return self._spread(candidates.gather(1, kept), rows.gather(1, kept), top)

    def _spread(self, scores: Tensor, rows: Tensor, top: int) -> Nearest:
        """From different vectors, in their order, to the labels that have them, the best first."""
        if not len(self._vectors):
            return Nearest(scores, torch.full_like(rows, -1))
        real = scores > -torch.inf
        rows = torch.where(real, rows, 0)
        most = min(top, int(self._copies.max()))
        if most == 1:
            numbers = self._numbers[self._begin[rows]]
        else:
            copy = torch.arange(most, device=rows.device)
            there = (copy < self._copies[rows][:, :, None]).flatten(1)  # (n, rows * most)
            places = (self._begin[rows][:, :, None] + copy).flatten(1)
            numbers = self._numbers[places.clamp(max=len(self._numbers) - 1)]
            scores = scores.repeat_interleave(most, 1).masked_fill(~there, -torch.inf)
            numbers, order = numbers.sort(dim=1)
            scores = scores.gather(1, order)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        scores, numbers = scores[:, :top], numbers.gather(1, order[:, :top])
        return Nearest(scores, numbers.masked_fill(scores == -torch.inf, -1))

    def _joined(self, parts: list[Nearest], top: int) -> Nearest:
        """All images, with ``top`` places each."""
        images = sum(len(part.scores) for part in parts)
        scores = self._vectors.new_full((images, top), -torch.inf)
        numbers = self._row.new_full((images, top), -1)
        begin = 0
        for part in parts:
            count, found = part.scores.shape
            scores[begin : begin + count, :found] = part.scores
            numbers[begin : begin + count, :found] = part.numbers
            begin += count
        return Nearest(scores, numbers)


def nearest(images: Tensor, words: Tensor, *, top: int, less: Tensor | None = None) -> Nearest:
    """The labels nearest to each image; for many calls with the same labels keep a ``Labels``.

    Args:
        images: in word space, ``(B, D)``, of any length.
        words: as of ``Labels``, ``(K, D)``.
        top: how many labels.
        less: as of ``Labels``, ``(K,)``.

    Raises:
        ValueError: as of ``Labels`` and its ``nearest``.
    """
    return Labels(words, less=less).nearest(images, top=top)


def hub_penalty(words: Tensor, references: Tensor, *, neighbours: int = 10) -> Tensor:
    """How near each label is to images in general, to be taken off its cosines.

    Some labels are among the nearest of very many images. Cross-domain similarity local scaling is
    twice the cosine, less what the image has to its nearest labels, less what the label has to its
    nearest images. The second is one number for all labels of an image: half the third, taken off
    the cosine, ranks them the same.

    Args:
        words: a vector for each label, ``(K, D)``, of any length.
        references: images in word space, ``(R, D)``, of any length but 0.
        neighbours: how many references count; 10 in the paper.

    Returns:
        Half the mean cosine between a label and its nearest references, ``(K,)``, float32; 0 for a
        label whose vector is not finite or has length 0.

    Raises:
        ValueError: shapes do not fit, a reference has no direction, or there are fewer of them
            than neighbours.

    Source:
        Conneau et al. 2018, section 2.3.
    """
    if words.ndim != 2 or words.shape[1:] != references.shape[1:]:
        raise ValueError(f"references have width {references.shape[-1]}, words {words.shape[-1]}")
    if neighbours < 1:
        raise ValueError(f"neighbours is {neighbours}; it must be at least 1")
    if len(references) < neighbours:
        raise ValueError(f"neighbours is {neighbours}, there are {len(references)} references")
    images = Labels(references)
    for row in (~images.known).nonzero()[:1, 0].tolist():
        raise ValueError(f"reference {row} has length 0 or a number that is not finite")
    known = _known(words)
    near = images.nearest(words.masked_fill(~known[:, None], 0), top=neighbours)
    return near.scores.mean(1).masked_fill(~known, 0) / 2


def _greatest(scores: Tensor, count: int) -> Tensor:
    """Columns of the greatest of ``(n, m)``, ``(n, count)``, ascending; of equals the first."""
    more = min(count + 1, scores.shape[1])
    values, columns = scores.topk(more, dim=1)
    columns = columns[:, :count]
    if more > count:
        # Which of several equal to the last are taken, topk does not promise.
        last = values[:, count - 1]
        unclear = ((last == values[:, count]) & (last > -torch.inf)).nonzero()[:, 0]
        if len(unclear):
            order = scores[unclear].sort(dim=1, descending=True, stable=True).indices
            columns[unclear] = order[:, :count]
    return columns.sort(dim=1).values


def _known(vectors: Tensor) -> Tensor:
    """Whether each has a direction, ``(n, D)`` to ``(n,)``."""
    return vectors.isfinite().all(1) & (vectors != 0).any(1)


def _units(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of length 1, float32, and whether each had a direction; 0 where it had none."""
    known = _known(vectors)
    vectors = vectors.masked_fill(~known[:, None], 0)
    if vectors.dtype != torch.float64:
        vectors = vectors.float()
    # Squares of very long and very short vectors would not be numbers of this type.
    largest = vectors.abs().amax(1, keepdim=True)
    vectors = (vectors / torch.where(largest > 0, largest, 1)).float()
    length = vectors.norm(dim=1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1), known


def _same(vectors: Tensor, known: Tensor) -> Tensor:
    """A number for each different vector, in the order of their first; -1 for those not known."""
    first: dict[bytes, int] = {}
    found = np.full(len(vectors), -1, np.int64)
    on_cpu = vectors.cpu().numpy()
    for row in known.nonzero()[:, 0].tolist():
        found[row] = first.setdefault(on_cpu[row].tobytes(), len(first))
    return torch.from_numpy(found).to(vectors.device)
