"""Scored captions as JSON: one object for all of them, and a line for each image."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vl.data.files import atomic_write
from vl.evaluation.pairing import Aligned
from vl.metrics.diversity import Diversity
from vl.metrics.evaluator import Evaluated, Evaluator, Figure, Paired


class System(NamedTuple):
    """One file of captions, scored."""

    name: str
    aligned: Aligned
    evaluated: Evaluated


class Outcome(NamedTuple):
    """All that came out of an evaluation, and the settings it depends on."""

    sources: Sequence[str]  # names of the references' files; none if there are no references
    evaluator: Evaluator
    system: System
    against: System | None  # on the same images
    figures: Sequence[Figure]
    compared: Sequence[Paired]  # empty if with nothing
    variety: Diversity | None  # None if nobody asked
    resamples: int  # 0 for no intervals
    confidence: float
    seed: int

    @property
    def source(self) -> str:
        """The names of the references' files, joined."""
        return ", ".join(self.sources)


def summary(outcome: Outcome) -> dict[str, object]:
    """Every figure by its name, and beside them all that could change them."""
    system, figures = outcome.system, outcome.figures
    numbers = [len(captions) for captions in outcome.evaluator.references]
    found: dict[str, object] = {figure.name: figure.value for figure in figures}
    found["images"] = len(numbers)
    found["left_out"], found["unknown"] = system.aligned.left_out, system.aligned.unknown
    if outcome.sources:
        found["references"] = {"fewest": min(numbers), "most": max(numbers)}
    for score in system.evaluated.scores:
        if score.name == "BLEU-1":  # the sums of BLEU begin with the lengths
            own, closest = score.statistics.sum(0)[:2].tolist()
            found |= {"candidate_length": int(own), "reference_length": int(closest)}
    found["intervals"] = {
        figure.name: list(figure.interval) for figure in figures if figure.interval
    }
    for setting in ("resamples", "confidence", "seed"):
        found[setting] = getattr(outcome, setting)
    if outcome.variety:
        commonest = " ".join(outcome.variety.commonest)
        found["diversity"] = {**outcome.variety._asdict(), "commonest": commonest}
    if outcome.against:
        scores = {paired.name: _comparison(paired) for paired in outcome.compared}
        unknown = outcome.against.aligned.unknown  # what it left out is what the other did
        found["comparison"] = {"against": outcome.against.name, "unknown": unknown, **scores}
    return found | {"signatures": {figure.name: figure.signature for figure in figures}}


def write_per_image(path: Path, outcome: Outcome) -> None:
    """Write a line of JSON an image, in the references' order, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    system, against = outcome.system, outcome.against
    # A half of a character, which JSON can hold and UTF-8 cannot, is written as JSON spells it.
    with (
        atomic_write(path) as beside,
        beside.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        for row, image in enumerate(system.aligned.images):
            record = {
                "image_id": image.image_id,
                "file_name": image.file_name or None,
                **_said(system, row),
                "references": list(image.captions),
            }
            if against:
                record["against"] = _said(against, row)
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _said(system: System, row: int) -> dict[str, object]:
    scores = system.evaluated.scores
    return {
        "caption": system.aligned.captions[row],
        "words": system.evaluated.words[row],
        "scores": {score.name: float(score.images[row]) for score in scores},
    }


def _comparison(paired: Paired) -> dict[str, object]:
    found = paired.comparison
    return {
        "first": paired.first,
        "second": paired.second,
        "difference": found.difference,
        "interval": list(found.interval),
        "p": found.p_value,
    }
