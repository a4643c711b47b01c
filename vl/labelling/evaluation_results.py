"""Results of evaluating a labeller: as a table, as JSON and per class."""

from typing import Any, NamedTuple

import torch

from vl.data.tsv import tsv_line
from vl.data.words.labels import Label
from vl.metrics.ngrams import Ints
from vl.metrics.zero_shot import GeneralizedAccuracy, ScoresAtK


class GroupResult(NamedTuple):
    """Images of one group of labels, among one list of candidates."""

    name: str  # "unseen among all"
    labels: tuple[Label, ...]  # the candidates
    missing: tuple[str, ...]  # candidates without a vector
    targets: Ints  # (N,) each image's label, as an index of the candidates
    lost: int  # images whose label has no vector: misses
    hits: ScoresAtK
    precision: ScoresAtK | None  # hierarchical; None if a candidate is no synset
    calibration_error: float | None  # of the first label's probability (Guo et al. 2017)

    @property
    def images(self) -> int:
        """Count of images."""
        return len(self.hits.per_image)


class Rejection(NamedTuple):
    """How often images get a label if "none of these" is an answer."""

    rate: float  # of false accepts that was asked for
    false_accepts: float  # of images whose label is no candidate
    accepts: float  # of images whose label is one


class LabelEvaluation(NamedTuple):
    """All results of a labeller; ``str()`` is a table for the terminal."""

    results: tuple[GroupResult, ...]
    generalized: dict[str, GeneralizedAccuracy]  # by how seen labels are penalized
    rejection: Rejection | None
    excluded: int  # images of labels that validated the training
    failed: int  # images that could not be read
    signature: str  # what the results depend on

    def to_dict(self) -> dict[str, Any]:
        """All results as JSON values."""
        return {
            "signature": self.signature,
            "results": [
                {
                    "name": result.name,
                    "images": result.images,
                    "candidates": len(result.labels),
                    "without_vector": len(result.missing),
                    "images_of_labels_without_vector": result.lost,
                    "k": list(result.hits.ks),
                    "hit": result.hits.image_mean.tolist(),
                    "hit_over_classes": result.hits.label_mean.tolist(),
                    "hierarchical_precision": None
                    if result.precision is None
                    else result.precision.image_mean.tolist(),
                    "calibration_error": result.calibration_error,
                }
                for result in self.results
            ],
            "generalized": {name: means._asdict() for name, means in self.generalized.items()},
            "none_of_these": None if self.rejection is None else self.rejection._asdict(),
        }

    def __str__(self) -> str:
        ks = self.results[0].hits.ks
        hits = "".join(f"{f'hit@{k}':>8}" for k in ks)
        lines = [f"{'%':34}{'images':>8}{'labels':>8}{hits}{'class hit@1':>13}"]
        for result in self.results:
            by_class = 100 * float(result.hits.label_mean[0])
            lines.append(
                f"{result.name:34}{result.images:8}{len(result.labels):8}"
                f"{_percent(result.hits.image_mean.tolist())}{by_class:13.1f}"
            )
            chance = [min(1.0, k / len(result.labels)) for k in ks]
            lines.append(f"{'  chance':50}{_percent(chance)}")
            if result.precision is not None:
                precision = _percent(result.precision.image_mean.tolist())
                lines.append(f"{'  hierarchical precision':50}{precision}")
            if result.calibration_error is not None:
                lines.append(f"  calibration error {100 * result.calibration_error:.1f}")
        for name, means in self.generalized.items():
            lines.append(
                f"generalized zero-shot, {name}: hit@1 by class, seen {100 * means.seen:.1f}  "
                f"unseen {100 * means.unseen:.1f}  harmonic mean {100 * means.harmonic_mean:.1f}"
            )
        if (rejection := self.rejection) is not None:
            lines.append(
                f"none of these, at {100 * rejection.rate:g} %: accepted images of no candidate "
                f"{100 * rejection.false_accepts:.1f}, of a candidate "
                f"{100 * rejection.accepts:.1f}"
            )
        return "\n".join([*lines, self.signature])

    def per_class(self) -> str:
        """A table of each label with images or without a vector, as tab-separated text."""
        ks = self.results[0].hits.ks
        lines = ["\t".join(["group", "label", "id", "images", *(f"hit@{k}" for k in ks), "note"])]
        for result in self.results:
            missing = set(result.missing)
            counts = torch.bincount(torch.from_numpy(result.targets), minlength=len(result.labels))
            hits = dict(
                zip(result.hits.labels.tolist(), result.hits.per_label.tolist(), strict=True)
            )
            for index, label in enumerate(result.labels):
                note = "no vector" if label.text in missing else ""
                if index not in hits and not note:
                    continue
                values = [f"{100 * hit:.1f}" for hit in hits.get(index, [])] or [""] * len(ks)
                count = str(int(counts[index]))
                cells = [result.name, label.text, label.synset or "", count, *values, note]
                lines.append(tsv_line(*cells))
        return "\n".join(lines) + "\n"


def _percent(values: list[float]) -> str:
    return "".join(f"{100 * value:8.1f}" for value in values)
