"""`vl label`: photographs to ranked labels, out of any list of them."""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from vl import devices, sheets
from vl.commands.options import DeviceOptions
from vl.data.files import escape_unprintable, write_text
from vl.data.words.label_lists import Lemmas, read_labels
from vl.data.words.vectors import LOOKUP_RULES
from vl.data.words.wordnet import WordNet
from vl.inputs import error_message, listed, photographs
from vl.labelling.labeller import Answer, Candidates, Labeller, Prediction
from vl.terminal import ProgressBar, print_line

_log = logging.getLogger(__name__)
_SHEET_IMAGES, _SHEET_LABELS = 60, 10  # on the contact sheet, and below an image
_GREY, _PALE_GREY = "#888888", "#dddddd"

_NAMED = 10  # labels without a vector that are named unasked
_LONG = 5000  # labels from which on placing them takes a second or more
_NO_VECTOR = "no vector"
_SMALL = 0.0005  # probability below which three decimals would be none


@dataclass(frozen=True)
class LabelRun(DeviceOptions):
    """Label images: a line per image and candidate label, the best first.

    A line has path, label, cosine and probability, with tabs between. No label need have been
    trained on: of each its words' vectors are enough.
    """

    paths: tyro.conf.Positional[list[Path]]
    """Photographs, folders of them, or - for a list of paths on stdin."""
    model: Path
    """A labeller's file."""
    labels: str | None = None
    """Labels with commas between, or a file with one a line; WordNet's ids may begin a line."""
    nearest_words: int | None = None
    """Instead of labels: so many of all words that have a vector, the nearest to the photograph."""
    top: int = 5
    """Labels of each photograph."""
    none_of_these: float | None = None
    """Say so of photographs that show none; this share of such, as 0.05, may get a label still."""
    stacking: bool = False
    """Take back the lead of labels that were trained on, where others are among the labels."""
    csls: bool = False
    """Take back the lead of labels that are near to all photographs."""
    wordnet: Path | None = None
    """Folder of WordNet's words.txt and is_a.txt, for ids without words; else the labeller's."""
    json: bool = False
    """One JSON line a photograph: path, labels, and whether it is none of these."""
    coverage: Path | None = None
    """Write how each label's vector was found, as tab-separated text."""
    picture: Path | None = None
    """Write a .png of the photographs with their labels, the first 60."""
    batch_size: int = 32
    """Photographs at once."""


class _Asked(NamedTuple):
    """What photographs may be called, and how they are told."""

    candidates: Candidates
    ids: tuple[str | None, ...]  # WordNet's, as they were given
    lost: tuple[int, ...]  # numbers of the labels without a vector
    top: int
    none_of_these: float | None


def run(flags: LabelRun) -> int:
    """Label; 1 if a photograph could not be read."""
    _check(flags)
    inputs = photographs(listed(flags.paths))
    labeller = Labeller.load(flags.model, device=devices.resolve_device(flags.device))
    labeller.embedder.batch_size = flags.batch_size
    asked = _asked(flags, labeller)
    cells: list[sheets.Cell] = []
    failures = len(inputs.failures)
    with ProgressBar("label", len(inputs.files), unit="images") as bar:
        for unusable in inputs.failures:
            bar.print(error_message(unusable))
        for part in labeller.embedder.stream(inputs.files):
            for _, error in part.failures:
                bar.print(error_message(error))
            failures += len(part.failures)
            projected = labeller.project(part.vectors.mean(1))
            answers = labeller.answers(
                projected, asked.candidates, top=asked.top, none_of_these=asked.none_of_these
            )
            for index, answer in zip(part.indices, answers, strict=True):
                path = inputs.files[index]
                if flags.json:
                    print(json.dumps(_record(path, answer, asked)))
                else:
                    _print(path, answer, asked)
                if flags.picture and len(cells) < _SHEET_IMAGES:
                    cells.append(_cell(path, answer, asked))
            sys.stdout.flush()  # who reads the pipe need not wait for the next batches
            bar.advance(len(part.indices) + len(part.failures))
    total = len(inputs.files) + len(inputs.failures)
    if failures:
        _log.info("%d of %d inputs failed", failures, total)
    drawn = not flags.picture or _draw(flags.picture, cells, labelled=total - failures)
    return 0 if drawn and not failures else 1


def _check(flags: LabelRun) -> None:
    """Refuse what makes no sense, before any work."""
    if (flags.labels is None) == (flags.nearest_words is None):
        raise ValueError("give either --labels or --nearest-words: what photographs may be called")
    if flags.top < 1:
        raise ValueError(f"--top is {flags.top}; it must be at least 1")
    if flags.nearest_words is not None:
        if flags.nearest_words < 1:
            raise ValueError(f"--nearest-words is {flags.nearest_words}; it must be at least 1")
        if flags.top != LabelRun.top:
            raise ValueError("--nearest-words says how many there are, so --top has no place")
        if flags.stacking or flags.csls:
            raise ValueError("--stacking and --csls are for --labels, not for --nearest-words")
    if flags.none_of_these is not None and not 0 < flags.none_of_these < 1:
        raise ValueError(
            f"--none-of-these is {flags.none_of_these}; it is a share between 0 and 1, as 0.05"
        )
    if flags.picture and flags.picture.suffix.lower() != ".png":
        raise ValueError(f"--picture writes a .png file, not {flags.picture.name!r}")
    for written in (flags.picture, flags.coverage):
        if written and written.is_dir():
            raise IsADirectoryError(f"{written}: a folder, not a file")


def _asked(flags: LabelRun, labeller: Labeller) -> _Asked:
    """The labels in word space; what is to be known of them is told."""
    if flags.labels is None:
        candidates = labeller.all_words()
        ids: tuple[str | None, ...] = (None,) * len(candidates.texts)
        top = flags.nearest_words or flags.top
    else:
        found = read_labels(flags.labels, lemmas=_lemmas(flags, labeller))
        for note in found.notes:
            _log.info("labels: %s", note)
        ids, top = found.synsets, flags.top
        with ProgressBar("place", len(ids), unit="labels", quiet=len(ids) < _LONG) as bar:
            candidates = labeller.candidates(
                found.texts,
                ids if any(ids) else None,
                stacking=flags.stacking,
                csls=flags.csls,
                advance=bar.advance,
            )
    lost = tuple(candidates.vectors.isnan().any(1).nonzero()[:, 0].tolist())
    _tell(flags, candidates, lost)
    if flags.coverage:
        write_text(flags.coverage, "\n".join(_coverage(candidates, ids)) + "\n")
    if flags.none_of_these is not None:
        labeller.threshold(candidates, flags.none_of_these)  # refused here, before the photographs
    return _Asked(candidates, ids, lost, top, flags.none_of_these)


def _lemmas(flags: LabelRun, labeller: Labeller) -> Lemmas | None:
    """The words of WordNet's ids, if they are known."""
    wordnet = labeller.space.wordnet
    if flags.wordnet:
        wordnet = WordNet.load(flags.wordnet)
    return None if wordnet is None else wordnet.lemmas()


def _tell(flags: LabelRun, candidates: Candidates, lost: tuple[int, ...]) -> None:
    """How the labels' vectors were found, in a few lines."""
    what = "words" if flags.labels is None else "labels"
    seen = int(candidates.seen.sum())
    count = len(candidates.texts)
    _log.info("%d %s, %d of them trained on, %d not", count, what, seen, count - seen)
    placed = candidates.placed
    ways = [
        f"{number} {LOOKUP_RULES[way]}" for way, number in placed.coverage.counts.items() if number
    ]
    if placed.num_by_hypernym:  # they are among the last, those without
        ways[-1] += f", of which {placed.num_by_hypernym} have the place of what they are a kind of"
    _log.info("their vectors: %s", "; ".join(ways))
    if lost:
        every = _log.isEnabledFor(logging.DEBUG)
        named = [repr(candidates.texts[number]) for number in (lost if every else lost[:_NAMED])]
        rest = len(lost) - len(named)
        more = f" and {rest} more, which --debug names and --coverage lists" if rest else ""
        _log.warning(
            "no vector, so never chosen: %d of %d %s: %s%s",
            len(lost),
            count,
            what,
            ", ".join(named),
            more,
        )


def _coverage(candidates: Candidates, ids: tuple[str | None, ...]) -> list[str]:
    """A line a label: what its vector is and where that is from."""
    lines = ["label\tid\tway\twords\tsynset\ttrained on"]
    placed = candidates.placed
    without = candidates.vectors.isnan().any(1).tolist()
    rows = zip(candidates.texts, ids, placed.coverage.lookups, placed.synsets, without, strict=True)
    for (text, name, found, synset, lost), seen in zip(rows, candidates.seen.tolist(), strict=True):
        way = "none" if lost else found.rule if found.vector is not None else "kind"
        cells = (text, name or "", way, found.text, synset or "", "yes" if seen else "no")
        lines.append("\t".join(escape_unprintable(cell) for cell in cells))
    return lines


def _without(asked: _Asked, answer: Answer) -> tuple[int, ...]:
    """Numbers of labels without a vector that there is room for behind those with one."""
    return asked.lost[: asked.top - len(answer.labels)]


def _record(path: Path, answer: Answer, asked: _Asked) -> dict[str, Any]:
    labels: list[dict[str, Any]] = []
    for text, cosine, probability, number in answer.labels:
        figures = {"cosine": cosine, "probability": probability}
        labels.append({"label": text, **_id(asked, number), **figures})
    for number in _without(asked, answer):
        figures = {"cosine": None, "probability": None}
        text = asked.candidates.texts[number]
        labels.append({"label": text, **_id(asked, number), **figures, "note": _NO_VECTOR})
    record: dict[str, Any] = {"path": str(path), "labels": labels}
    if asked.none_of_these is not None:
        record["none_of_these"] = answer.none_of_these
    return record


def _id(asked: _Asked, number: int) -> dict[str, str]:
    """The label's id, if it was given or its sense in WordNet was chosen."""
    name = asked.ids[number] or asked.candidates.placed.synsets[number]
    return {} if name is None else {"id": name}


def _print(path: Path, answer: Answer, asked: _Asked) -> None:
    if answer.none_of_these:
        best = answer.labels[0]
        print_line(f"{path}\tnone of these\t{_figures(best)}\tthe nearest: {best.text}")
        return
    for label in answer.labels:
        print_line(f"{path}\t{label.text}\t{_figures(label)}")
    for number in _without(asked, answer):
        print_line(f"{path}\t{asked.candidates.texts[number]}\t-\t-\t{_NO_VECTOR}")


def _figures(label: Prediction) -> str:
    chance = "-"
    if label.probability is not None:  # among very many labels all are small
        digits = ".3f" if label.probability >= _SMALL else ".0e"
        chance = f"{label.probability:{digits}}"
    return f"{label.cosine:.4f}\t{chance}"


def _cell(path: Path, answer: Answer, asked: _Asked) -> sheets.Cell:
    """An image on the contact sheet; a bar is the probability, or else the cosine."""
    lines = [sheets.Line(sheets.file_name(path), color="#666666")]
    if answer.none_of_these:
        lines.append(sheets.Line("none of these", color="#b00020", bold=True))
    for text, cosine, probability, _ in answer.labels:
        best = len(lines) == 1
        value = f"{cosine:.2f}" if probability is None else f"{probability:.0%}"
        line = sheets.Line(text, value, cosine if probability is None else probability, bold=best)
        if answer.none_of_these:
            line = line._replace(color=_GREY, bar_color=_PALE_GREY, bold=False)
        elif not best:
            line = line._replace(bar_color=sheets.PALE_BAR_COLOR)
        lines.append(line)
    for index in _without(asked, answer):
        lines.append(sheets.Line(asked.candidates.texts[index], _NO_VECTOR, color=_GREY))
    return sheets.Cell(path, lines[: 2 + _SHEET_LABELS])


def _draw(picture: Path, cells: list[sheets.Cell], *, labelled: int) -> bool:
    """Write the sheet; whether all that is on it could be drawn."""
    if not cells:
        _log.warning("no photograph could be read, so %s is not written", picture)
        return False
    failed = sheets.write(picture, cells)
    for error in failed:
        print(escape_unprintable(error_message(error)), file=sys.stderr)
    _log.info("%d photographs in %s", len(cells) - len(failed), picture)
    if labelled > len(cells):
        _log.info("%d more have no place on it", labelled - len(cells))
    return not failed
