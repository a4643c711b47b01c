"""Candidate labels in word space, and the answers that are chosen from them."""

from typing import NamedTuple

from torch import Tensor

from vl.data.tsv import tsv_line
from vl.data.words.label_space import LabelVectors
from vl.data.words.labels import Label
from vl.search.nearest import NearestNeighbors


class Prediction(NamedTuple):
    """A label of an image."""

    text: str
    cosine: float  # between image and label, in word space
    probability: float | None  # among the candidates; None if the labeller is not calibrated
    label_index: int = -1  # among the candidates


class Answer(NamedTuple):
    """The labels of an image."""

    predictions: tuple[Prediction, ...]  # the best first
    none_of_these: bool  # the best label's score is not above the rejection threshold


class Candidates(NamedTuple):
    """Labels that images may get, prepared once for any number of images."""

    labels: tuple[Label, ...]
    label_vectors: LabelVectors
    vectors: Tensor  # (K, D); NaN for a label without
    seen: Tensor  # (K,) bool: trained on
    penalty: Tensor  # (K,) subtracted from each label's cosine
    neighbors: NearestNeighbors

    @property
    def without_vector(self) -> tuple[int, ...]:
        """Indices of the labels that can never be predicted."""
        return tuple(self.vectors.isnan().any(1).nonzero()[:, 0].tolist())

    def summary(self) -> list[str]:
        """How many labels are seen, and how their vectors were found."""
        seen = int(self.seen.sum())
        count = len(self.labels)
        seen_or_not = f"{count} labels, {seen} seen in training, {count - seen} unseen"
        return [seen_or_not, *self.label_vectors.summary()]

    def coverage_table(self) -> str:
        """How each label's vector was found, as tab-separated text."""
        lines = ["label\tid\trule\twords\tsynset\tseen"]
        missing = set(self.without_vector)
        for index, (label, lookup) in enumerate(
            zip(self.labels, self.label_vectors.coverage.lookups, strict=True)
        ):
            rule = lookup.rule if lookup.vector is not None else "hypernyms"
            cells = (
                label.text,
                label.synset or "",
                "none" if index in missing else rule,
                lookup.text,
                self.label_vectors.synsets[index] or "",
                "yes" if self.seen[index] else "no",
            )
            lines.append(tsv_line(*cells))
        return "\n".join(lines) + "\n"
