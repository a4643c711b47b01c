"""Results of the demonstration: tables and examples for its page."""

import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vl.data.words.vectors import WordVectors
from vl.data.world.files import read_ground_truth
from vl.data.world.kinds import KINDS
from vl.data.world.scenes import EVALUATION_SPLITS, Split
from vl.demo import report
from vl.demo.report import Example, Report, ResultTable
from vl.demo.truth import ATTRIBUTES, TruthScores, truth_scores
from vl.labelling.evaluation_results import LabelEvaluation
from vl.labelling.labeller import Labeller

if TYPE_CHECKING:
    from vl.demo.stages import Demo  # trains, which results need not know

_EXAMPLES = 12  # of a split on the page
_TOP_K = 5
_METHOD_NAMES = {
    "devise": "DeViSE",
    "conse": "ConSE",
    "random": "DeViSE, random word vectors",
}


def evaluate_demo(demo: "Demo", stages: dict[str, float], path: Path) -> Report:
    """Evaluate a demonstration with all stages done, given the seconds of each; write its page."""
    start = time.monotonic()
    truths = {split: _truth_scores(demo, split) for split in EVALUATION_SPLITS}
    tables = (
        _caption_table(demo, truths),
        _attribute_table(truths),
        _label_table({method: demo.label_scores(method) for method in _METHOD_NAMES}),
    )
    contents = Report(
        seed=demo.seed,
        seconds=sum(stages.values()) + time.monotonic() - start,
        stages=stages,
        images=demo.image_counts,
        tables=tables,
        examples=tuple(chain(*(_examples(demo, split) for split in EVALUATION_SPLITS))),
        logs={
            file.stem: file.with_name("log.jsonl")
            for file in (demo.encoder, demo.labeller("devise"), demo.captioner)
        },
        words=WordVectors.load(demo.words),
    )
    report.write(path, contents)
    return contents


def _truth_scores(demo: "Demo", split: Split) -> TruthScores:
    scenes, captions = read_ground_truth(demo.world / f"truth-{split}.jsonl"), demo.captions(split)
    return truth_scores([captions[name] for name in scenes], list(scenes.values()))


def _caption_table(demo: "Demo", truths: dict[Split, TruthScores]) -> ResultTable:
    rows = []
    for split, truth in truths.items():
        kind, color = truth.attributes["kind"], truth.attributes["color"]
        captions = (truth.main_kind_and_color, truth.hallucinating, truth.all_true)
        cells = (
            _percent(kind.true, kind.asserted),
            _percent(color.true, color.asserted),
            *(_percent(count, truth.captions) for count in captions),
        )
        rows.append((split, f"{demo.bleu_4(split):.1f}", *cells))
    return ResultTable(
        "Captions",
        (
            "split",
            "BLEU-4 x 100",
            "true kinds, %",
            "true colors, %",
            "main kind and color correct, %",
            "hallucinated object, %",
            "nothing false, %",
        ),
        tuple(rows),
        "Five references an image; names of kinds that are in no training image are not in the "
        "captioner's vocabulary.",
    )


def _attribute_table(truths: dict[Split, TruthScores]) -> ResultTable:
    rows = []
    for name in ATTRIBUTES:
        cells = [name]
        for truth in truths.values():
            counts = truth.attributes[name]
            cells.append(_percent(counts.true, counts.asserted))
            cells.append(_percent(counts.recalled, counts.facts))
        rows.append(tuple(cells))
    columns = [f"{split}, {metric}" for split in truths for metric in ("precision %", "recall %")]
    return ResultTable(
        "Attributes in captions",
        ("attribute", *columns),
        tuple(rows),
        "Precision: true assertions among all. Recall: asserted facts among all.",
    )


def _label_table(evaluations: dict[str, LabelEvaluation]) -> ResultTable:
    rows = []
    for method, evaluation in evaluations.items():
        results = {result.name: result for result in evaluation.results}
        unseen = results["unseen among unseen"]
        hits = dict(zip(unseen.hits.ks, unseen.hits.image_mean.tolist(), strict=True))
        generalized = [evaluation.generalized.get(name) for name in ("plain", "calibrated")]
        harmonic = (
            "-" if means is None else f"{100 * means.harmonic_mean:.1f}" for means in generalized
        )
        cells = (f"{100 * hits[1]:.1f}", f"{100 * hits[5]:.1f}", *harmonic)
        rows.append((_METHOD_NAMES[method], *cells))
    candidates = len(unseen.labels)
    return ResultTable(
        "Zero-shot labels",
        (
            "method",
            "hit@1 %",
            "hit@5 %",
            "all kinds, harmonic mean %",
            "with calibrated stacking %",
        ),
        tuple(rows),
        f"Kinds that are in no training image; the first two columns among these alone. "
        f"Chance: {100 / candidates:.1f} and {500 / candidates:.1f}.",
    )


def _examples(demo: "Demo", split: Split) -> list[Example]:
    scenes, captions = read_ground_truth(demo.world / f"truth-{split}.jsonl"), demo.captions(split)
    names = list(scenes)[:_EXAMPLES]
    paths = [demo.image_folder(split) / name for name in names]
    labeller = Labeller.load(demo.labeller("devise"), device=demo.device)
    labels = [", ".join(kind.words) for kind in KINDS]
    answers = labeller(paths, labels=labels, top_k=_TOP_K)
    return [
        Example(
            path,
            scenes[name],
            captions[name],
            tuple((KINDS[label.label_index], label.cosine) for label in answer.predictions),
        )
        for name, path, answer in zip(names, paths, answers, strict=True)
    ]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"
