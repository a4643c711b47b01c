"""Train word vectors on plain text with gensim, as DeViSE's were (Frome et al. 2013).

It does not know how a label gets its vector.
"""

import contextlib
import logging
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial
from pathlib import Path

from gensim.models import KeyedVectors, Phrases, Word2Vec

from vl.data.errors import FormatError, WriteError
from vl.data.files import atomic_write, keeping
from vl.data.outputs import lock_output
from vl.data.text_files import text_lines
from vl.data.words.phrases import Phrase, PhraseJoiner
from vl.data.words.texts import plain_words
from vl.labelling.recipe import PhraseDetection, Word2VecSettings
from vl.terminal import ProgressBar

_log = logging.getLogger(__name__)
_KEPT = "nothing of the training is kept, so the same command starts again"
MAX_LINE_WORDS = 10_000  # gensim silently ignores the rest of a longer line
_READ_SIZE = 1 << 17  # bytes of lines
_MEGABYTE = 1 << 20
_POLL_SECONDS = 0.1


class TokenCorpus:
    """Lines of words in an unnamed temporary file, which disappears even if the process is killed.

    Training reads it several times; tokenizing and joining phrases is done once.

    Args:
        folder: where the file is; it takes about as much as the uncompressed text.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - close() is ours
        except OSError as cause:
            raise self._write_error(cause) from cause
        self._lock = threading.Lock()
        self._advance: Callable[[int], object] = lambda words: None
        self.counts: Counter[str] = Counter()
        self.num_lines = 0

    def __enter__(self) -> "TokenCorpus":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the file; iterators that are still running end."""
        # gensim's reading thread survives an interrupted training, hence the lock; a full disk may
        # refuse the last write.
        with self._lock, contextlib.suppress(OSError):
            self._file.close()

    @property
    def num_words(self) -> int:
        """Words in all lines, a joined phrase counted as one."""
        return self.counts.total()

    def __iter__(self) -> Iterator[list[str]]:
        """The lines in order; one iterator at a time."""
        offset = 0
        while True:
            with self._lock:
                if self._file.closed:
                    return
                try:
                    self._file.seek(offset)  # flushes
                except OSError as cause:
                    raise self._write_error(cause) from cause
                lines = self._file.readlines(_READ_SIZE)
                offset = self._file.tell()
            if not lines:
                return
            tokens = [line.decode().split() for line in lines]
            self._advance(sum(map(len, tokens)))
            yield from tokens

    def add(self, words: list[str]) -> None:
        """Append a line, unless it is empty; one too long for gensim becomes several."""
        for start in range(0, len(words), MAX_LINE_WORDS):
            part = words[start : start + MAX_LINE_WORDS]
            self.counts.update(part)
            try:
                self._file.write((" ".join(part) + "\n").encode())
            except OSError as cause:
                raise self._write_error(cause) from cause
            self.num_lines += 1

    def _write_error(self, cause: OSError) -> OSError:
        """Names the folder, as the file has no name."""
        return WriteError(cause.errno, f"cannot be written: {cause.strerror}", str(self._folder))

    def progress_bar(self, task: str, *, epochs: int = 1) -> ProgressBar:
        """A progress bar of reading the lines so many times."""
        bar = ProgressBar(task, epochs * self.num_words, unit="words")
        self._advance = bar.advance
        return bar

    def map_lines(self, function: Callable[[list[str]], list[str]]) -> "TokenCorpus":
        """A new corpus of the function's lines; this one is closed."""
        with contextlib.ExitStack() as stack, self, self.progress_bar("join"):
            corpus = stack.enter_context(TokenCorpus(self._folder))
            for line in self:
                corpus.add(function(line))
            stack.pop_all()
        return corpus


def read_corpus(paths: Sequence[Path], folder: Path) -> TokenCorpus:
    """Tokenize texts into words in lower case.

    Args:
        paths: see ``vl.data.text_files.text_lines``.
        folder: of the corpus.

    Raises:
        FormatError: a file is not text, is damaged, or has no word.
        OSError: a file cannot be read, or the corpus cannot be written.
    """
    num_bytes = 0

    def advance(count: int) -> None:
        nonlocal num_bytes
        before = num_bytes // _MEGABYTE
        num_bytes += count
        if megabytes := num_bytes // _MEGABYTE - before:
            bar.advance(megabytes)

    total = sum(path.stat().st_size for path in paths)
    with contextlib.ExitStack() as stack, ProgressBar("read", total // _MEGABYTE, unit="MB") as bar:
        corpus = stack.enter_context(TokenCorpus(folder))
        for path in paths:
            before = corpus.num_lines
            for line in text_lines(path, advance=advance):
                corpus.add(plain_words(line.lower()))
            if corpus.num_lines == before:
                raise FormatError(path, "there is no word in it")
        stack.pop_all()
    return corpus


def join_phrases(corpus: TokenCorpus, phrases: set[Phrase], *, min_count: int) -> TokenCorpus:
    """Join phrases into single words where these are frequent enough.

    A rarer phrase is not joined, since as one word it would get no vector and its words would lose
    an occurrence; shorter phrases within it are joined then.

    Args:
        corpus: the lines; it is closed.
        phrases: to be joined.
        min_count: least count of a joined phrase.
    """
    with corpus.progress_bar("count phrases"):
        counts = PhraseJoiner(phrases).count(corpus)
    phrases = {phrase for phrase in phrases if counts[phrase] >= min_count}
    corpus = corpus.map_lines(PhraseJoiner(phrases))
    # Some occur mostly within longer ones.
    while rare := {phrase for phrase in phrases if 0 < corpus.counts["_".join(phrase)] < min_count}:
        words_of = {"_".join(phrase): phrase for phrase in phrases}
        phrases = phrases - rare
        rare_words = {"_".join(phrase) for phrase in rare}
        corpus = corpus.map_lines(partial(_rejoin, rare_words, words_of, PhraseJoiner(phrases)))
    return corpus


def frequent_pairs(corpus: TokenCorpus, *, min_count: int, threshold: float) -> set[Phrase]:
    """Pairs of words that occur together far more often than by chance.

    Args:
        corpus: the lines.
        min_count: least count of a pair.
        threshold: of (count(a, b) - min_count) * types / (count(a) * count(b)), where types are
            distinct words and pairs; higher gives fewer pairs.

    Source:
        Mikolov et al. 2013 ("Distributed Representations of Words and Phrases"), equation 6, times
        the types, as gensim counts it.
    """
    # Joined by a space: gensim splits a pair at its delimiter, and joined phrases have underscores.
    with corpus.progress_bar("count pairs"):
        phrases = Phrases(corpus, min_count=min_count, threshold=threshold, delimiter=" ")
    if phrases.min_reduce > 1:
        _log.warning("gensim dropped rare pairs to limit its memory")
    return {tuple(pair.split(" ")) for pair in phrases.export_phrases()}


def train_word_vectors(
    texts: Sequence[Path],
    output: Path,
    settings: Word2VecSettings,
    *,
    phrases: Set[Phrase] = frozenset(),
    detection: PhraseDetection | None = None,
    text_format: bool = False,
    seed: int = 0,
    num_workers: int = 1,
) -> None:
    """Train word vectors on texts and save them in word2vec's format.

    Args:
        texts: see ``vl.data.text_files.text_lines``.
        output: the file of vectors.
        settings: of word2vec.
        phrases: terms of several words that become one word.
        detection: of further phrases; none by default.
        text_format: word2vec's text format, not its binary one.
        seed: of the initial vectors and the sampling; with one worker the result is reproducible.
        num_workers: threads.

    Raises:
        FormatError: a text is not text, is damaged, or has no word.
        ValueError: fewer than two words are frequent enough.
        OSError: a text cannot be read, or the output cannot be written.
    """
    with lock_output(output), keeping(lambda: _KEPT):
        corpus = read_corpus(texts, output.resolve().parent)
        with _joined(corpus, settings.min_count, phrases, detection or PhraseDetection()) as corpus:
            _log_counts(corpus, settings.min_count, phrases)
            vectors = train_word2vec(corpus, settings, seed=seed, num_workers=num_workers)
        save_word2vec(vectors, output, text_format=text_format)
    _log.info("%d vectors of size %d in %s", len(vectors), settings.vector_size, output)


def train_word2vec(
    corpus: TokenCorpus, settings: Word2VecSettings, *, seed: int, num_workers: int
) -> KeyedVectors:
    """Vectors of all words that are frequent enough, the most frequent first.

    gensim's ``corpus_file`` is not used: its workers start at arbitrary bytes, so that some words
    are read twice and others not at all, and it reports no progress.

    Raises:
        ValueError: fewer than two words are frequent enough.
        OSError: the lines cannot be read.
    """
    min_count = settings.min_count
    # Sorted here, by count and then alphabet, so that the order is the same everywhere.
    frequent = [(word, count) for word, count in corpus.counts.items() if count >= min_count]
    if len(frequent) < 2:  # gensim builds no tree of one word
        most = max(corpus.counts.values(), default=0)
        raise ValueError(
            f"{'only one' if frequent else 'no'} word occurs {min_count} times or more, and there "
            f"must be two; the most frequent occurs {most} times"
        )
    frequent.sort(key=lambda item: (-item[1], item[0]))
    # With gensim's 10,000 words a batch the learning rate could not decay on a short text.
    num_words = corpus.num_words
    batch_words = max(1, min(MAX_LINE_WORDS, num_words * settings.epochs // (20 * num_workers)))
    model = Word2Vec(
        sg=0 if settings.cbow else 1,
        hs=0 if settings.negative else 1,
        negative=settings.negative,
        window=settings.window,
        vector_size=settings.vector_size,
        epochs=settings.epochs,
        min_count=1,  # they are chosen
        sample=settings.sample,
        alpha=settings.learning_rate,
        min_alpha=min(1e-4, settings.learning_rate),
        seed=seed,
        workers=num_workers,
        sorted_vocab=0,
        batch_words=batch_words,
    )
    model.build_vocab_from_freq(dict(frequent))
    sizes = {"total_examples": corpus.num_lines, "total_words": num_words}
    with corpus.progress_bar("train", epochs=settings.epochs):
        _run_in_thread(partial(model.train, corpus, epochs=settings.epochs, **sizes))
    return model.wv


def save_word2vec(vectors: KeyedVectors, path: Path, *, text_format: bool = False) -> None:
    """Write vectors in word2vec's binary or text format, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path) as partial_path:
        vectors.save_word2vec_format(str(partial_path), binary=not text_format)


@contextlib.contextmanager
def _joined(
    corpus: TokenCorpus, min_count: int, phrases: Set[Phrase], detection: PhraseDetection
) -> Iterator[TokenCorpus]:
    """The corpus with phrases joined."""
    terms = {"_".join(phrase) for phrase in phrases}
    try:
        if phrases:
            corpus = join_phrases(corpus, set(phrases), min_count=min_count)
        for index in range(1, detection.phrase_passes + 1):
            pairs = frequent_pairs(
                corpus,
                min_count=detection.phrase_min_count,
                threshold=detection.phrase_threshold,
            )
            # Or a label that occurs mostly within some pair would lose its word.
            pairs = {pair for pair in pairs if terms.isdisjoint(pair)}
            _log.info("pass %d joins %d pairs of words", index, len(pairs))
            if not pairs:
                break
            corpus = join_phrases(corpus, pairs, min_count=min_count)
        yield corpus
    finally:
        corpus.close()


def _rejoin(
    rare: set[str], words_of: dict[str, Phrase], join: PhraseJoiner, line: list[str]
) -> list[str]:
    """Split a line with a rare phrase into words and join them again; other lines stay."""
    if rare.isdisjoint(line):
        return line
    return join([part for word in line for part in words_of.get(word, (word,))])


def _log_counts(corpus: TokenCorpus, min_count: int, phrases: Set[Phrase]) -> None:
    counts, num_words = corpus.counts, corpus.num_words
    rare = [count for count in counts.values() if count < min_count]
    _log.info("%d words in %d lines", num_words, corpus.num_lines)
    _log.info(
        "of %d distinct words %d occur fewer than %d times and get no vector (%.1f %% of the text)",
        *(len(counts), len(rare), min_count, 100 * sum(rare) / num_words),
    )
    if phrases:
        num_joined = sum("_".join(phrase) in counts for phrase in phrases)
        _log.info(
            "of %d terms of several words %d occur %d times or more and are joined",
            *(len(phrases), num_joined, min_count),
        )


def _run_in_thread(function: Callable[[], object]) -> None:
    """Run gensim's training, which would wait forever for a thread of its own that has failed."""
    failures: list[BaseException | None] = []
    hook = threading.excepthook
    threading.excepthook = lambda failure: failures.append(failure.exc_value)
    try:
        thread = threading.Thread(target=function, daemon=True)
        thread.start()
        while thread.is_alive() and not failures:
            thread.join(_POLL_SECONDS)
    finally:
        threading.excepthook = hook
    for failure in failures:
        raise failure or RuntimeError("a thread of the training failed")
