"""`vl demo`: from pictures to captions and labels, on a drawn world whose truth is known."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from rich.console import Console
from rich.table import Table

from vl import devices
from vl.commands.bounds import NonNegativeInt
from vl.data.words.vectors import WordVectors
from vl.data.world.files import read_truth
from vl.data.world.kinds import OF, UNSEEN
from vl.data.world.scenes import Split
from vl.demo import report as demo_report
from vl.demo.report import Figures, Label, Report, Shown, Stage, Trained
from vl.demo.stages import JUDGED, METHODS, Demo, Sizes
from vl.demo.truth import ATTRIBUTES, Tally, TruthScores
from vl.labelling.labeller import Labeller
from vl.terminal import print_line

_log = logging.getLogger(__name__)
_SHOWN = 12  # pictures of a split on the page
_LABELS = 5
_METHODS = {
    "devise": "DeViSE",
    "conse": "ConSE",
    "random": "DeViSE, random vectors for words",
}


@dataclass(frozen=True)
class DemoRun:
    """Draw a world, train everything on it from nothing, and say how true its captions are."""

    out: Path = Path("demo")
    """Folder for the world, the bundles, captions in COCO's format and report.html; made here."""
    pictures: Annotated[int, Ge(40)] = Sizes().training
    """Drawn to train on."""
    judged: Annotated[int, Ge(12)] = Sizes().judged
    """Drawn for each other split."""
    seed: NonNegativeInt = 0
    """Of everything."""
    device: str = "cpu"
    """cpu or cuda."""


def run(flags: DemoRun) -> int:
    """Run it."""
    devices.named(flags.device)
    if flags.out.exists() and (not flags.out.is_dir() or any(flags.out.iterdir())):
        raise ValueError(f"{flags.out} is there already; choose another folder with --out")
    sizes = Sizes(training=flags.pictures, judged=flags.judged)
    demo = Demo(flags.out, sizes=sizes, seed=flags.seed, device=flags.device)
    begin = time.monotonic()
    stages = [_timed(name, stage) for name, stage in demo.stages().items()]
    scores = {split: demo.caption_scores(split) for split in JUDGED}
    labels = {method: demo.label_scores(method) for method in METHODS}
    figures = (
        _caption_figures(scores),
        _attribute_figures({split: truth for split, (_, truth) in scores.items()}),
        _label_figures(labels),
    )
    shown = {split: _shown(demo, split) for split in JUDGED}
    seconds = time.monotonic() - begin
    page = flags.out / "report.html"
    demo_report.write(
        page,
        Report(
            seed=flags.seed,
            seconds=seconds,
            stages=tuple(stages),
            pictures=_counts(demo),
            figures=figures,
            shown=tuple(each for split in JUDGED for each in shown[split]),
            trained=tuple(
                Trained(name, demo.folder / place / "log.jsonl")
                for name, place in (
                    ("encoder", "encoder"),
                    ("labeller", "labeller-devise"),
                    ("captioner", "captioner"),
                )
            ),
            words=WordVectors.load(demo.words),
        ),
    )
    for each in figures:
        _print(each)
    for split in JUDGED:
        one = shown[split][0]
        said = ", ".join(f"{label.text} {label.score:.2f}" for label in one.labels[:3])
        print_line(f"{one.path}\n  {one.caption}\n  {said}")
    print_line(f"{seconds:.0f} seconds; {page} shows all of it. To go on:")
    picture = shown["held-out-kinds"][0].path
    print_line(f"  vl caption {picture} --model {demo.captioner} --n-best 3")
    print_line(f'  vl label {picture} --model {demo.labeller("devise")} --labels "{_unseen()}"')
    return 0


def _timed(name: str, stage: Callable[[], None]) -> Stage:
    """A stage, of whose commands only warnings are heard, and their bars seen."""
    begin = time.monotonic()
    ours = logging.getLogger("vl")
    level = ours.level
    ours.setLevel(logging.WARNING)
    try:
        stage()
    finally:
        ours.setLevel(level)
    seconds = time.monotonic() - begin
    _log.info("%s: %.0f s", name, seconds)
    return Stage(name, seconds)


def _caption_figures(scores: dict[Split, tuple[dict[str, Any], TruthScores]]) -> Figures:
    rows = []
    for split, (summary, truth) in scores.items():
        attributes = truth.attributes
        rows.append(
            (
                split,
                f"{summary['BLEU-4']:.3f}",
                _share(attributes["kind"].true, attributes["kind"].said),
                _share(attributes["colour"].true, attributes["colour"].said),
                _share(truth.main_kind_and_colour, truth.captions),
                _share(truth.hallucinating, truth.captions),
                _share(truth.all_true, truth.captions),
            )
        )
    return Figures(
        "Captions",
        (
            "split",
            "BLEU-4",
            "kinds said that are true, %",
            "colours said that are true, %",
            "main kind and colour both said rightly, %",
            "a thing that is not there, %",
            "nothing false, %",
        ),
        tuple(rows),
        "Five references a picture; the words for kinds that no picture shows are not in the "
        "captioner's vocabulary.",
    )


def _attribute_figures(truths: dict[Split, TruthScores]) -> Figures:
    def cells(tally: Tally) -> tuple[str, str]:
        return _share(tally.true, tally.said), _share(tally.found, tally.there)

    columns = [f"{split}, {what}" for split in truths for what in ("precision %", "recall %")]
    rows = tuple(
        (name, *(cell for truth in truths.values() for cell in cells(truth.attributes[name])))
        for name in ATTRIBUTES
    )
    note = (
        "Precision: of what is said, how much is true. Recall: of what is there, how much is said."
    )
    return Figures("What captions say", ("attribute", *columns), rows, note)


def _label_figures(labels: dict[str, dict[str, Any]]) -> Figures:
    rows = []
    chance = ""
    for method, record in labels.items():
        result = {each["name"]: each for each in record["results"]}["unseen among unseen"]
        chance = f"Chance: {100 / result['candidates']:.1f} and {500 / result['candidates']:.1f}."
        hits = dict(zip(result["k"], result["hit"], strict=True))
        both = record["generalised"]
        rows.append(
            (
                _METHODS[method],
                f"{100 * hits[1]:.1f}",
                f"{100 * hits[5]:.1f}",
                *(
                    f"{100 * both[how]['harmonic']:.1f}" if how in both else "-"
                    for how in ("plain", "stacking")
                ),
            )
        )
    return Figures(
        "Labels of kinds that no picture shows",
        (
            "method",
            "hit@1 %",
            "hit@5 %",
            "all kinds, harmonic mean %",
            "the same, seen kinds held back",
        ),
        tuple(rows),
        f"The first two among held-out kinds only. {chance}",
    )


def _shown(demo: Demo, split: Split) -> list[Shown]:
    truth, said = read_truth(demo.world / f"truth-{split}.jsonl"), demo.said(split)
    names = list(truth)[:_SHOWN]
    paths = [demo.world / "pictures" / split / name for name in names]
    labeller = Labeller.load(demo.labeller("devise"), device=demo.device)
    answers = labeller(paths, labels=[", ".join(kind.words) for kind in OF.values()], top=_LABELS)
    return [
        Shown(
            path,
            truth[name],
            said[name],
            tuple(Label(each.text, each.cosine) for each in answer.labels),
        )
        for name, path, answer in zip(names, paths, answers, strict=True)
    ]


def _counts(demo: Demo) -> dict[str, int]:
    return {"training": demo.sizes.training} | dict.fromkeys(
        ("development", *JUDGED), demo.sizes.judged
    )


def _print(figures: Figures) -> None:
    table = Table(title=figures.heading, caption=figures.note, title_justify="left")
    for number, column in enumerate(figures.columns):
        table.add_column(column, justify="right" if number else "left")
    for row in figures.rows:
        table.add_row(*row)
    Console().print(table)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


def _unseen() -> str:
    return ", ".join(UNSEEN)
