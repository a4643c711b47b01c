"""`vl label`: images to ranked labels, out of any list of them."""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vl.commands.options import BatchOptions, OutputOptions
from vl.data.bounds import (
    InputFile,
    InputPath,
    OpenFraction,
    OutputPng,
    PositiveInt,
)
from vl.data.outputs import COVERAGE, check_no_inputs
from vl.data.tsv import escape_field, tsv_line
from vl.data.words.label_lists import find_label_file, read_labels
from vl.data.words.label_tables import LabelColumns

if TYPE_CHECKING:
    from vl.labelling.candidates import Answer, Candidates, Prediction
    from vl.labelling.labeller import Labeller
    from vl.sheets import Cell

_log = logging.getLogger(__name__)

_NAMED = 10  # labels without a vector that are named without --debug
_LONG_LIST = 5000  # labels from which on placing them takes a second or more
_NO_VECTOR = "no vector"
_SMALL = 0.0005  # probability that three decimals would round to 0
_CANDIDATES = tyro.conf.create_mutex_group(required=True)


@dataclass(frozen=True)
class LabelFlags(OutputOptions, BatchOptions, LabelColumns):
    """Label images: a line for each image and label, the best first.

    A line has path, label, cosine and probability, separated by tabs. The labeller need not be
    trained on a label: vectors of its words are enough.
    """

    paths: tyro.conf.Positional[list[Path]]
    """Images, folders of them, or - for a list of paths on stdin."""
    model: InputFile
    """Labeller's file."""
    labels: Annotated[str | None, _CANDIDATES] = None
    """Candidate labels: a file with one a line, perhaps behind its WordNet id, or a .csv, .tsv,
    .json or .jsonl; or labels separated by commas."""
    nearest_words: Annotated[PositiveInt | None, _CANDIDATES] = None
    """This many of all words that have a vector, the nearest to each image."""
    top_k: PositiveInt = 5
    """Labels of each image, with --labels."""
    none_of_these: OpenFraction | None = None
    """Report images that show none of the labels; of such, accept this fraction, as 0.05."""
    calibrated_stacking: bool = False
    """Penalize labels seen in training (Chao et al. 2016)."""
    csls: bool = False
    """Correct hubness: penalize labels close to every image (Conneau et al. 2018)."""
    wordnet: InputPath | None = None
    """Folder with WordNet's words.txt and is_a.txt, for ids without words; by default the
    labeller's own WordNet."""
    json: bool = False
    """Print one JSON line an image: path, labels, and whether it is none of these."""
    coverage: Annotated[Path, COVERAGE] | None = None
    """Write how each label's vector was found, as tab-separated text."""
    contact_sheet: OutputPng | None = None
    """Write a .png of the first 60 images with their labels."""


def run(flags: LabelFlags) -> int:
    """Label; 1 if an image could not be read."""
    if flags.labels is not None:
        find_label_file(flags.labels)  # refused before PyTorch is imported
    from vl import devices
    from vl.inputs import error_message, find_inputs
    from vl.labelling.labeller import Labeller
    from vl.labelling.sheet import MAX_LABELLED, label_cell
    from vl.terminal import ProgressBar, print_line

    inputs = find_inputs(flags.paths)
    if flags.contact_sheet:
        check_no_inputs([flags.contact_sheet], inputs.files)
    labeller = Labeller.load(flags.model, device=devices.resolve_device(flags.device))
    labeller.embedder.batch_size = flags.batch_size
    candidates = _candidates(flags, labeller)
    threshold = None
    if flags.none_of_these is not None:
        threshold = labeller.threshold(candidates, flags.none_of_these)
    top_k = flags.nearest_words or flags.top_k
    without_vector = candidates.without_vector
    cells: list[Cell] = []
    failures = len(inputs.failures)
    with ProgressBar("label", len(inputs.files), unit="images") as bar:
        for failure in inputs.failures:
            bar.print(error_message(failure))
        for batch in labeller.stream(inputs.files, candidates, top_k=top_k, threshold=threshold):
            for _, error in batch.failures:
                bar.print(error_message(error))
            failures += len(batch.failures)
            for index, answer in zip(batch.indices, batch.answers, strict=True):
                path = inputs.files[index]
                missing = without_vector[: top_k - len(answer.predictions)]  # if there is room
                texts = [candidates.labels[row].text for row in missing]
                if flags.json:
                    record = _record(path, answer, candidates, missing)
                    if threshold is not None:
                        record["none_of_these"] = answer.none_of_these
                    print(json.dumps(record))
                else:
                    for line in _lines(answer, texts):
                        print_line(f"{escape_field(str(path))}\t{line}")
                if flags.contact_sheet and len(cells) < MAX_LABELLED:
                    cells.append(label_cell(path, answer, texts))
            sys.stdout.flush()  # a reader of the pipe need not wait for the next batches
            bar.advance(len(batch.indices) + len(batch.failures))
    total = len(inputs.files) + len(inputs.failures)
    if failures:
        _log.info("%d of %d inputs failed", failures, total)
    drawn = not flags.contact_sheet or _draw(flags.contact_sheet, cells, count=total - failures)
    return 0 if drawn and not failures else 1


def _candidates(flags: LabelFlags, labeller: "Labeller") -> "Candidates":
    """The candidate labels; how their vectors were found is logged."""
    from vl.data.files import first_few, write_text
    from vl.data.words.wordnet import WordNet
    from vl.terminal import ProgressBar

    labels = None
    if flags.labels is not None:
        wordnet = WordNet.load(flags.wordnet) if flags.wordnet else labeller.space.wordnet
        lemmas = None if wordnet is None else wordnet.lemmas()
        listed = read_labels(flags.labels, lemmas=lemmas, columns=flags)
        for note in listed.notes:
            _log.info("labels: %s", note)
        labels = listed.labels
    count = len(labels or ())
    with ProgressBar("embed", count, unit="labels", quiet=count < _LONG_LIST) as bar:
        candidates = labeller.candidates(
            labels,
            calibrated_stacking=flags.calibrated_stacking,
            csls=flags.csls,
            advance=bar.advance,
        )
    for line in candidates.summary():
        _log.info("%s", line)
    if missing := candidates.label_vectors.missing:
        limit = len(missing) if _log.isEnabledFor(logging.DEBUG) else _NAMED
        _log.warning(
            "no vector, so never predicted: %d of %d labels: %s",
            len(missing),
            len(candidates.labels),
            first_few(missing, limit=limit),
        )
    if flags.coverage:
        write_text(flags.coverage, candidates.coverage_table())
    return candidates


def _record(
    path: Path, answer: "Answer", candidates: "Candidates", missing: tuple[int, ...]
) -> dict[str, Any]:
    """The JSON object of an image; labels without a vector come last."""
    rows: list[tuple[str, float | None, float | None, int]] = [*answer.predictions]
    rows += [(candidates.labels[index].text, None, None, index) for index in missing]
    labels = []
    for text, cosine, probability, index in rows:
        label: dict[str, Any] = {"label": text}
        if synset := candidates.label_vectors.synsets[index]:  # given, or chosen in WordNet
            label["id"] = synset
        label |= {"cosine": cosine, "probability": probability}
        labels.append(label if cosine is not None else {**label, "note": _NO_VECTOR})
    return {"path": str(path), "labels": labels}


def _lines(answer: "Answer", missing: list[str]) -> list[str]:
    """The lines of an image without its path; labels without a vector come last."""
    if answer.none_of_these:
        best = answer.predictions[0]
        return [tsv_line("none of these", *_scores(best), f"the nearest: {best.text}")]
    lines = [tsv_line(label.text, *_scores(label)) for label in answer.predictions]
    return lines + [tsv_line(text, "-", "-", _NO_VECTOR) for text in missing]


def _scores(label: "Prediction") -> tuple[str, str]:
    probability = "-"
    if label.probability is not None:  # among very many labels all are small
        digits = ".3f" if label.probability >= _SMALL else ".0e"
        probability = f"{label.probability:{digits}}"
    return f"{label.cosine:.4f}", probability


def _draw(path: Path, cells: "list[Cell]", *, count: int) -> bool:
    """Write the contact sheet; whether all images on it could be drawn."""
    from vl.data.files import escape_unprintable
    from vl.inputs import error_message
    from vl.sheets import write

    if not cells:
        _log.warning("no image could be read, so %s is not written", path)
        return False
    failures = write(path, cells)
    for error in failures:
        print(escape_unprintable(error_message(error)), file=sys.stderr)
    _log.info("%d images in %s", len(cells) - len(failures), path)
    if count > len(cells):
        _log.info("%d more images are not on it", count - len(cells))
    return not failures
