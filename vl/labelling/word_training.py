"""Word vectors trained on plain text through gensim, as DeViSE's were (Frome et al. 2013).

It does not know the command's flags, nor how a label gets its vector.
"""

import contextlib
import logging
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gensim.models import KeyedVectors, Phrases, Word2Vec

from vl.data.errors import FormatError
from vl.data.files import atomic_write
from vl.data.words.phrases import Joiner, Phrase
from vl.data.words.texts import plain_words, text_lines
from vl.terminal import ProgressBar

_log = logging.getLogger(__name__)
LONGEST = 10_000  # words; gensim trains on no more of a line, and says nothing of the rest
_CHUNK = 1 << 17  # bytes of lines that are read at once
_MEGABYTE = 1 << 20
_POLL_SECONDS = 0.1


class Corpus:
    """Lines of words on disk, in a file without a name: nothing is left of it after a kill.

    The file is as gensim's LineSentence wants it: words parted by spaces, a paragraph a line.
    Training goes through it several times, so that the cutting and joining is done once.

    Args:
        folder: on whose disk the file is; it takes about as much as the text, unpacked.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - close() is ours
        except OSError as cause:
            raise self._refused(cause) from cause
        self._lock = threading.Lock()
        self._advance: Callable[[int], object] = lambda words: None
        self.counts: Counter[str] = Counter()
        self.lines = 0

    def __enter__(self) -> "Corpus":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the disk back; who still goes through the lines finds no more of them."""
        # gensim's reading thread lives on when an interruption ends the training, hence the lock;
        # what a full disk did not take is wanted no more.
        with self._lock, contextlib.suppress(OSError):
            self._file.close()

    @property
    def words(self) -> int:
        """Words in all lines, a joined phrase being one."""
        return self.counts.total()

    def __iter__(self) -> Iterator[list[str]]:
        """The lines from the first to the last; one at a time can go through them."""
        place = 0
        while True:
            with self._lock:
                if self._file.closed:
                    return
                try:
                    self._file.seek(place)  # writes what is not written yet
                except OSError as cause:
                    raise self._refused(cause) from cause
                lines = self._file.readlines(_CHUNK)
                place = self._file.tell()
            if not lines:
                return
            split = [line.decode().split() for line in lines]
            self._advance(sum(map(len, split)))
            yield from split

    def add(self, words: list[str]) -> None:
        """One more line, if there are words; of a longer one than gensim takes several."""
        for start in range(0, len(words), LONGEST):
            part = words[start : start + LONGEST]
            self.counts.update(part)
            try:
                self._file.write((" ".join(part) + "\n").encode())
            except OSError as cause:
                raise self._refused(cause) from cause
            self.lines += 1

    def _refused(self, cause: OSError) -> OSError:
        """Names the folder, for of the file nobody has heard."""
        return OSError(f"{self._folder}: cannot be written: {cause.strerror}")

    def bar(self, task: str, *, times: int = 1) -> ProgressBar:
        """Progress of going so many times through the lines."""
        bar = ProgressBar(task, times * self.words, unit="words")
        self._advance = bar.advance
        return bar

    def rewritten(self, write: Callable[[list[str]], list[str]]) -> "Corpus":
        """The same lines, each written anew; this corpus is closed."""
        corpus = Corpus(self._folder)
        try:
            with self, self.bar("join"):
                for line in self:
                    corpus.add(write(line))
        except BaseException:
            corpus.close()
            raise
        return corpus


def gather(paths: Sequence[Path], folder: Path) -> Corpus:
    """The words of these texts in lower case.

    Args:
        paths: see ``vl.data.words.texts.text_lines``.
        folder: of the corpus.

    Raises:
        FormatError: a file is no text, is damaged, or there is no word in it.
        OSError: one cannot be read, or the corpus not be written.
    """
    total = sum(path.stat().st_size for path in paths)
    corpus = Corpus(folder)
    try:
        with ProgressBar("read", -(-total // _MEGABYTE), unit="MB") as bar:
            seen = 0

            def advance(count: int) -> None:
                nonlocal seen
                begun = -(-(seen + count) // _MEGABYTE) - -(-seen // _MEGABYTE)
                if begun:
                    bar.advance(begun)
                seen += count

            for path in paths:
                before = corpus.lines
                for line in text_lines(path, advance=advance):
                    corpus.add(plain_words(line.lower()))
                if corpus.lines == before:
                    raise FormatError(path, "there is no word in it")
    except BaseException:
        corpus.close()
        raise
    return corpus


def joined(corpus: Corpus, phrases: set[Phrase], *, minimum: int) -> Corpus:
    """The same text, with those phrases as one word that then come often enough.

    Of a rarer phrase the words stay apart, for as one word it would get no vector and its words
    would lose a place they stand in; shorter phrases in it are joined then.

    Args:
        corpus: the lines; it is closed.
        phrases: what to join.
        minimum: times a phrase must come.
    """
    with corpus.bar("count phrases"):
        found = Joiner(phrases).counted(corpus)
    phrases = {phrase for phrase in phrases if found[phrase] >= minimum}
    corpus = corpus.rewritten(Joiner(phrases))
    # Some of them stand mostly in longer ones.
    while rare := {phrase for phrase in phrases if 0 < corpus.counts["_".join(phrase)] < minimum}:
        apart = {"_".join(phrase): phrase for phrase in phrases}
        phrases = phrases - rare
        corpus = corpus.rewritten(_again(apart, {"_".join(phrase) for phrase in rare}, phrases))
    return corpus


def _again(
    apart: dict[str, Phrase], rare: set[str], phrases: set[Phrase]
) -> Callable[[list[str]], list[str]]:
    """Join lines anew that have a rare phrase; all others stay the same without it."""
    join = Joiner(phrases)

    def write(line: list[str]) -> list[str]:
        if rare.isdisjoint(line):
            return line
        return join([part for word in line for part in apart.get(word, (word,))])

    return write


def frequent_pairs(corpus: Corpus, *, minimum: int, threshold: float) -> set[Phrase]:
    """Pairs of words that stand together far more often than their counts would have it.

    Args:
        corpus: the lines.
        minimum: pairs below this count are none.
        threshold: of (count(a, b) - minimum) * types / (count(a) * count(b)), where types are those
            of single words and pairs; higher gives fewer.

    Source:
        Mikolov et al. 2013 ("Distributed Representations of Words and Phrases"), equation 6, times
        the types, as gensim counts it.
    """
    # A space between the two: gensim takes a pair apart again at what joins it, and words that are
    # phrases already have underscores.
    with corpus.bar("count pairs"):
        phrases = Phrases(corpus, min_count=minimum, threshold=threshold, delimiter=" ")
    if phrases.min_reduce > 1:
        _log.warning("there are more pairs than gensim holds; it forgot rare ones on its way")
    return {tuple(pair.split(" ")) for pair in phrases.export_phrases()}


class Method(NamedTuple):
    """How vectors are trained; DeViSE's settings where it gives one."""

    size: int = 500
    """Numbers in a vector; 500 or 1,000 in DeViSE."""
    window: int = 20
    """Words to either side, at most; 20 in DeViSE."""
    cbow: bool = False
    """Predict a word from its neighbours, not the neighbours from the word."""
    negative: int = 0
    """Noise words a word is told from; 0 for hierarchical softmax, as in DeViSE."""
    epochs: int = 1
    """Passes over the text; 1 in DeViSE."""
    minimum: int = 5
    """Times a word must come."""
    sample: float = 1e-3
    """Share of the text from which on a word is sometimes left out; 1e-3 in word2vec; 0: never."""
    rate: float = 0.025
    """Learning rate at first; it falls to 0.0001 in a line (word2vec)."""


def train(corpus: Corpus, method: Method, *, seed: int, workers: int) -> KeyedVectors:
    """Vectors of all words that come often enough, the most frequent first.

    gensim hands lines out to its workers one by one. Its other way, ``corpus_file``, starts workers
    at any byte, so that some words are read twice and others not at all; it trains on at most
    10,000 words of those it takes at a time, and does not say how far it is.

    Args:
        corpus: the lines.
        method: the settings.
        seed: of the first vectors and the sampling; with one worker it makes the result repeat.
        workers: threads.

    Raises:
        ValueError: fewer than two words come often enough.
        OSError: the lines cannot be read.
    """
    # Ordered here, by count and then alphabet, so that the order is the same everywhere.
    often = [(word, count) for word, count in corpus.counts.items() if count >= method.minimum]
    if len(often) < 2:  # of one word gensim makes no tree
        most = max(corpus.counts.values(), default=0)
        raise ValueError(
            f"{'only one' if often else 'no'} word comes {method.minimum} times or more, and there "
            f"must be two; the most frequent comes {most} times"
        )
    often.sort(key=lambda counted: (-counted[1], counted[0]))
    total = corpus.words
    # In a short text gensim's usual 10,000 words at a time would leave the rate no time to fall.
    at_once = max(1, min(LONGEST, total * method.epochs // (20 * workers)))
    model = Word2Vec(
        sg=0 if method.cbow else 1,
        hs=0 if method.negative else 1,
        negative=method.negative,
        window=method.window,
        vector_size=method.size,
        epochs=method.epochs,
        min_count=1,  # they are chosen
        sample=method.sample,
        alpha=method.rate,
        min_alpha=min(1e-4, method.rate),
        seed=seed,
        workers=workers,
        sorted_vocab=0,
        batch_words=at_once,
    )
    model.build_vocab_from_freq(dict(often))
    with corpus.bar("train", times=method.epochs):
        named = {"total_examples": corpus.lines, "total_words": total, "epochs": method.epochs}
        _in_thread(lambda: model.train(corpus, **named))
    return model.wv


def _in_thread(train: Callable[[], object]) -> None:
    """Run gensim's training, which would wait for ever for a thread of its own that has failed."""
    failures: list[BaseException | None] = []
    before = threading.excepthook
    threading.excepthook = lambda failed: failures.append(failed.exc_value)
    try:
        thread = threading.Thread(target=train, daemon=True)
        thread.start()
        while thread.is_alive() and not failures:
            thread.join(_POLL_SECONDS)
    finally:
        threading.excepthook = before
    for failure in failures:
        raise failure or RuntimeError("a thread of the training failed")


def save(vectors: KeyedVectors, path: Path, *, text: bool = False) -> None:
    """Write in word2vec's binary format, or as text; whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path) as beside:
        vectors.save_word2vec_format(str(beside), binary=not text)
