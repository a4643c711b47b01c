"""`vl train words`: word vectors trained on plain text, as DeViSE's were."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vl.commands.options import OutputOptions
from vl.data.bounds import InputFile, NonNegativeInt, PositiveInt
from vl.data.outputs import WORD_VECTORS
from vl.data.words.label_tables import LabelColumns
from vl.labelling.recipe import PhraseDetection, Word2VecSettings

if TYPE_CHECKING:
    from vl.metrics.analogies import Analogies

_log = logging.getLogger(__name__)
_TEXT_SUFFIXES = (".txt", ".vec")


@dataclass(frozen=True)
class WordTraining(OutputOptions, LabelColumns):
    """Train word vectors on plain text; the defaults are DeViSE's where it gives one."""

    texts: tyro.conf.Positional[list[Path]]
    """Text in UTF-8, a paragraph a line, perhaps compressed by gzip, xz or bzip2; - is stdin."""
    output: Annotated[Path, WORD_VECTORS]
    """File of vectors, in word2vec's binary format."""
    text_format: bool = False
    """Write word2vec's text format instead."""
    labels: InputFile | None = None
    """Labels, one a line, or WordNet's words.txt: terms of several words become one word."""
    detection: PhraseDetection = field(default_factory=PhraseDetection)
    word2vec: Word2VecSettings = field(default_factory=Word2VecSettings)
    seed: NonNegativeInt = 0
    """Random seed; with one worker the result is reproducible."""
    num_workers: PositiveInt | None = None
    """Threads; one a core by default."""
    analogies: InputFile | None = None
    """word2vec's questions-words.txt: report the accuracy on its analogies."""


def run(flags: WordTraining) -> int:
    """Train, save, and perhaps evaluate on analogies."""
    _check_paths(flags)
    from vl.data.images.read_ahead import num_cores
    from vl.data.words.label_lists import read_label_file
    from vl.data.words.phrases import label_phrases
    from vl.labelling.word_training import train_word_vectors
    from vl.metrics.analogies import read_analogies

    phrases = set()
    if flags.labels:
        listed = read_label_file(flags.labels, columns=flags)
        for note in listed.notes:
            _log.info("%s: %s", flags.labels, note)
        phrases = label_phrases(listed.texts)
    analogies = read_analogies(flags.analogies) if flags.analogies else None
    train_word_vectors(
        [Path("/dev/stdin") if text == Path("-") else text for text in flags.texts],
        flags.output,
        flags.word2vec,
        phrases=phrases,
        detection=flags.detection,
        text_format=flags.text_format,
        seed=flags.seed,
        num_workers=flags.num_workers or num_cores(),
    )
    print(flags.output)
    if analogies is not None:
        _print_analogies(flags.output, analogies)
    return 0


def _print_analogies(path: Path, analogies: "Analogies") -> None:
    from vl.data.words.vectors import WordVectors
    from vl.metrics.analogies import evaluate_analogies

    sections = evaluate_analogies(WordVectors.load(path), analogies)
    width = max(len(section.section) for section in sections)
    for section in sections:
        accuracy = f"{100 * section.correct / section.total:5.1f} %" if section.total else "      -"
        counts = f"{section.correct}/{section.total}"
        print(f"{section.section:{width}}  {accuracy}  {counts:>11}  {section.skipped} skipped")


def _check_paths(flags: WordTraining) -> None:
    """Refuse missing texts, and a name that says another format."""
    if not flags.texts:
        raise ValueError("no text is given")
    for text in flags.texts:
        if text != Path("-"):
            text.stat()
    suffix = flags.output.suffix.lower()
    if suffix != ".w2v" and flags.text_format != (suffix in _TEXT_SUFFIXES):
        expected = ".txt or .vec" if flags.text_format else ".bin; or use --text-format"
        raise ValueError(f"{flags.output}: the name of these vectors ends in {expected}")
