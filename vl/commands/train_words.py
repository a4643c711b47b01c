"""`vl train words`: plain text to word vectors, as DeViSE's were made."""

import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

import tyro

from vl.data.words.label_lists import read_label_file
from vl.data.words.phrases import Phrase, label_phrases
from vl.data.words.vectors import WordVectors
from vl.labelling.word_training import Corpus, Method, frequent_pairs, gather, joined, save, train
from vl.metrics.analogies import Analogies, evaluate_analogies, read_analogies

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WordTraining:
    """Train word vectors on plain text, by word2vec; defaults are DeViSE's where it gives them."""

    texts: tyro.conf.Positional[list[Path]]
    """Text in UTF-8, a paragraph a line; may be packed by gzip, xz or bzip2; - is stdin."""
    out: Path
    """The file of vectors, in word2vec's binary format."""
    text: bool = False
    """Write word2vec's text format instead."""
    labels: Path | None = None
    """Labels, one a line, or WordNet's words.txt: terms of several words become one word."""
    phrases: int = 0
    """Passes that join pairs of words which often stand together; two find up to four words.
    The terms of --labels stay as they are."""
    phrase_minimum: int = 5
    """Times such a pair must come; 5 in gensim."""
    phrase_threshold: float = 10.0
    """How much oftener than by chance; 10 in gensim, 100 in word2vec; higher finds fewer."""
    size: int = 500
    """Numbers in a vector; 500 or 1,000 in DeViSE."""
    window: int = 20
    """Words to either side that count as neighbours; 20 in DeViSE."""
    cbow: bool = False
    """Predict a word from the bag of its neighbours; DeViSE does the reverse (skip-gram)."""
    negative: int = 0
    """Noise words each word is told from; 0 is hierarchical softmax, as in DeViSE."""
    epochs: int = 1
    """Passes over the text; 1 in DeViSE."""
    minimum: int = 5
    """Times a word must come; 5 in word2vec."""
    sample: float = 1e-3
    """Share of the text from which on a word is sometimes left out; word2vec's; 0 never."""
    rate: float = 0.025
    """Learning rate at first; word2vec's, which has 0.05 for its bag of words."""
    seed: int = 0
    """Of the first vectors and the sampling; one worker makes the same file again."""
    workers: int | None = None
    """Threads; as many as there are cores."""
    evaluate: Path | None = None
    """word2vec's questions-words.txt: how many analogies the vectors solve."""


def run(flags: WordTraining) -> int:
    """Train, save, and perhaps ask the analogies."""
    _check(flags)
    phrases = _phrases(flags.labels) if flags.labels else set()
    questions = read_analogies(flags.evaluate) if flags.evaluate else None
    method = Method(
        size=flags.size,
        window=flags.window,
        cbow=flags.cbow,
        negative=flags.negative,
        epochs=flags.epochs,
        minimum=flags.minimum,
        sample=flags.sample,
        rate=flags.rate,
    )
    with _corpus(flags, phrases) as corpus:
        _say_counts(corpus, flags.minimum, phrases)
        vectors = train(corpus, method, seed=flags.seed, workers=_workers(flags))
    save(vectors, flags.out, text=flags.text)
    _log.info("%d vectors of %d numbers in %s", len(vectors), flags.size, flags.out)
    print(flags.out)
    if questions is not None:
        _ask(flags.out, questions)
    return 0


def _phrases(path: Path) -> set[Phrase]:
    """The terms of several words in a file of labels."""
    listed = read_label_file(path)
    for note in listed.notes:
        _log.info("%s: %s", path, note)
    return label_phrases(listed.texts)


def _corpus(flags: WordTraining, phrases: set[Phrase]) -> Corpus:
    """All texts, with phrases joined."""
    texts = [Path("/dev/stdin") if text == Path("-") else text for text in flags.texts]
    corpus = gather(texts, flags.out.resolve().parent)
    terms = {"_".join(phrase) for phrase in phrases}
    try:
        if phrases:
            corpus = joined(corpus, phrases, minimum=flags.minimum)
        for number in range(1, flags.phrases + 1):
            pairs = frequent_pairs(
                corpus, minimum=flags.phrase_minimum, threshold=flags.phrase_threshold
            )
            # Or a label that stands mostly in some pair would lose its word.
            pairs = {pair for pair in pairs if terms.isdisjoint(pair)}
            _log.info("pass %d joins %d pairs of words", number, len(pairs))
            if not pairs:
                break
            corpus = joined(corpus, pairs, minimum=flags.minimum)
    except BaseException:
        corpus.close()
        raise
    return corpus


def _say_counts(corpus: Corpus, minimum: int, phrases: set[Phrase]) -> None:
    rare = [count for count in corpus.counts.values() if count < minimum]
    _log.info(
        "%d words in %d lines; of %d different ones %d come fewer than %d times and get no vector "
        "(%.1f %% of the text)",
        corpus.words,
        corpus.lines,
        len(corpus.counts),
        len(rare),
        minimum,
        100 * sum(rare) / corpus.words,
    )
    if phrases:
        counts = [corpus.counts["_".join(phrase)] for phrase in phrases]
        _log.info(
            "of %d terms of several words %d come %d times or more and are joined",
            len(phrases),
            sum(count > 0 for count in counts),
            minimum,
        )


def _ask(path: Path, questions: Analogies) -> None:
    sections = evaluate_analogies(WordVectors.load(path), questions)
    width = max(len(section.section) for section in sections)
    for section in sections:
        share = f"{100 * section.correct / section.total:5.1f} %" if section.total else "      -"
        counts = f"{section.correct}/{section.total}"
        print(f"{section.section:{width}}  {share}  {counts:>11}  {section.skipped} skipped")


def _workers(flags: WordTraining) -> int:
    if flags.workers is not None:
        return flags.workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # those that this process may use
    return os.cpu_count() or 1


def _check(flags: WordTraining) -> None:
    """Refuse what cannot be meant, before hours have gone into it."""
    if not flags.texts:
        raise ValueError("no text is given")
    if flags.out.exists() and not flags.out.is_file():
        raise ValueError(f"{flags.out}: not a regular file, cannot be replaced")
    read = [*flags.texts, flags.labels, flags.evaluate]
    if flags.out.resolve() in [path.resolve() for path in read if path]:
        raise ValueError(f"{flags.out} is both read and written")
    if flags.out.suffix in (".gz", ".xz", ".bz2", ".zip"):
        raise ValueError(f"vectors are written as they are, not packed; --out is {flags.out.name}")
    least = {"phrases": 0, "phrase_minimum": 1, "size": 1, "window": 1, "negative": 0}
    least |= {"epochs": 1, "minimum": 1, "seed": 0}
    for name, bound in least.items():
        if getattr(flags, name) < bound:
            raise ValueError(
                f"{_flag(name)} is {getattr(flags, name)}; it must be at least {bound}"
            )
    if flags.workers is not None and flags.workers < 1:
        raise ValueError(f"--workers is {flags.workers}; it must be at least 1")
    if not 0 < flags.phrase_threshold < math.inf:
        problem = f"--phrase-threshold is {flags.phrase_threshold}; it must be more than 0"
        raise ValueError(problem)
    if not 0 < flags.rate <= 1:  # from 10 on gensim leaves the vectors as they were at first
        raise ValueError(f"--rate is {flags.rate}; it must be more than 0 and at most 1")
    if not 0 <= flags.sample < 1:
        raise ValueError(f"--sample is {flags.sample}; it must be from 0 to 1")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
