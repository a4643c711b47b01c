"""Word vector training: the corpus on disk, joined phrases, and gensim's vectors."""

import contextlib
import logging
import random
import re
import resource
import threading
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from vl.data.errors import FormatError
from vl.data.words.phrases import PhraseJoiner
from vl.data.words.vectors import WordVectors
from vl.labelling.recipe import Word2VecSettings
from vl.labelling.word_training import (
    TokenCorpus,
    frequent_pairs,
    join_phrases,
    read_corpus,
    save_word2vec,
    train_word2vec,
)

SMALL = Word2VecSettings(vector_size=12, window=4, epochs=4, min_count=1)


def story(num_lines=400, seed=0):
    """Lines in which cat and dog have the same contexts, and car and bus others."""
    rng = random.Random(seed)
    templates = {
        ("cat", "dog"): ["the {} sleeps on the warm sofa", "she feeds her {} some fresh meat"],
        ("car", "bus"): ["a {} drives down that busy road", "his old {} needs more petrol today"],
    }
    lines = []
    for _ in range(num_lines):
        nouns, sentences = rng.choice(list(templates.items()))
        lines.append(rng.choice(sentences).format(rng.choice(nouns)).split())
    return lines


@pytest.fixture
def corpus(tmp_path):
    with TokenCorpus(tmp_path) as corpus:
        yield corpus


def filled(corpus, lines):
    for line in lines:
        corpus.add(line)
    return corpus


@contextlib.contextmanager
def full_disk():
    """A limit on the size of files."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "settings",
    [
        replace(SMALL, epochs=20),
        replace(SMALL, epochs=20, negative=5),
        replace(SMALL, epochs=40, cbow=True, learning_rate=0.05),
    ],
)
def test_words_in_similar_contexts_have_similar_vectors(corpus, settings):
    vectors = train_word2vec(filled(corpus, story()), settings, seed=0, num_workers=1)
    assert vectors.similarity("cat", "dog") > vectors.similarity("cat", "car") + 0.2
    assert vectors.similarity("bus", "car") > vectors.similarity("bus", "dog") + 0.2


def test_corpus_can_be_read_repeatedly(corpus):
    lines = [[f"wörd{n}" for n in range(length)] for length in (1, 30, 2, 9_000, 5) * 9]
    filled(corpus, lines)
    assert list(corpus) == list(corpus) == lines
    assert corpus.num_lines == 45 and corpus.num_words == sum(map(len, lines))
    assert corpus.counts == Counter(word for line in lines for word in line)


def test_long_lines_are_split_and_empty_ones_left_out(corpus):
    words = [str(index) for index in range(25_000)]
    filled(corpus, [[], words, [], ["last"]])
    assert [len(line) for line in corpus] == [10_000, 10_000, 5_000, 1]
    assert [word for line in corpus for word in line] == [*words, "last"]
    assert corpus.num_lines == 4


def test_gensim_trains_on_every_word(corpus, caplog):
    """Where it reads a file by itself, it drops words or reads some twice."""
    rng = random.Random(0)
    filled(corpus, [["a", "b"] * rng.choice([1, 30, 2000, 6000]) for _ in range(60)])
    settings = Word2VecSettings(vector_size=1, window=1, epochs=3, min_count=1, sample=0)
    with caplog.at_level(logging.INFO, "gensim"):
        train_word2vec(corpus, settings, seed=0, num_workers=3)
    counts = re.findall(r"training on (\d+) raw words \((\d+) effective", caplog.text)
    assert counts[-1] == (str(3 * corpus.num_words),) * 2  # of all epochs


@pytest.mark.parametrize("count", [3, 100_000])
def test_full_disk_is_an_error_with_the_folder(tmp_path, count):
    with full_disk(), pytest.raises(OSError, match=f"{tmp_path}"), TokenCorpus(tmp_path) as corpus:
        filled(corpus, [["word"]] * count)
        list(corpus)  # a few lines are written no earlier


def test_corpus_leaves_no_file(tmp_path):
    with filled(TokenCorpus(tmp_path / "new"), story(10)) as corpus:
        assert list((tmp_path / "new").iterdir()) == []
        lines = iter(corpus)
        next(lines)
    assert len(list(lines)) == 9  # what has been read already, and no more from a closed file
    assert list(corpus) == []


def test_refuses_folder_that_cannot_be_written_to():
    with pytest.raises(OSError, match=r"^/proc: "):
        TokenCorpus(Path("/proc"))


def test_texts_are_tokenized_in_lower_case(tmp_path):
    (tmp_path / "one").write_text("The Cat's mat.\n\n...\nÉTÉ")
    (tmp_path / "two").write_text("Stop-sign\n")
    with read_corpus([tmp_path / "one", tmp_path / "two"], tmp_path) as corpus:
        assert list(corpus) == [["the", "cat's", "mat"], ["été"], ["stop-sign"]]


@pytest.mark.parametrize("text", ["", "\n\n", "... -- '_'\n"])
def test_refuses_text_without_words(tmp_path, text):
    (tmp_path / "one").write_text("The cat.\n")
    (tmp_path / "two").write_text(text)
    with pytest.raises(FormatError, match=r"two: .*no word"):
        read_corpus([tmp_path / "one", tmp_path / "two"], tmp_path)


def join_slowly(lines, phrases, min_count):
    """Every time from the beginning, without what was too rare the time before."""
    spans = Counter(
        tuple(line[start:end])
        for line in lines
        for start in range(len(line))
        for end in range(start + 1, len(line) + 1)
    )
    phrases = {phrase for phrase in phrases if spans[phrase] >= min_count}
    while True:
        joined = [PhraseJoiner(phrases)(line) for line in lines]
        counts = Counter(word for line in joined for word in line)
        rare = {phrase for phrase in phrases if 0 < counts["_".join(phrase)] < min_count}
        if not rare:
            return joined
        phrases -= rare


@pytest.mark.parametrize("seed", range(20))
def test_only_frequent_phrases_are_joined(tmp_path, seed):
    rng = random.Random(seed)
    phrases = {tuple(rng.choices("abcde", k=rng.choice([2, 3]))) for _ in range(25)}
    lines = [rng.choices("abcde", k=rng.randrange(1, 12)) for _ in range(60)]
    with join_phrases(filled(TokenCorpus(tmp_path), lines), phrases, min_count=4) as corpus:
        assert list(corpus) == join_slowly(lines, phrases, 4)
        assert all(count >= 4 for word, count in corpus.counts.items() if "_" in word)
        assert any("_" in word for word in corpus.counts)


@pytest.mark.parametrize(
    ("lines", "joined"),
    [
        # The terrier within a rare pit bull terrier.
        (
            ["pit bull terrier", "bull terrier", "a bull terrier"],
            ["pit bull_terrier", "bull_terrier", "a bull_terrier"],
        ),
        # A bull terrier mostly within a longer phrase is rare.
        (
            ["pit bull terrier", "pit bull terrier", "bull terrier"],
            ["pit_bull_terrier", "pit_bull_terrier", "bull terrier"],
        ),
    ],
)
def test_phrases_within_longer_ones(tmp_path, lines, joined):
    phrases = {("pit", "bull", "terrier"), ("bull", "terrier"), ("a", "bull")}
    corpus = filled(TokenCorpus(tmp_path), [line.split() for line in lines])
    with join_phrases(corpus, phrases, min_count=2) as corpus:
        assert [" ".join(line) for line in corpus] == joined


def pairs_by_formula(lines, min_count, threshold):
    words = Counter(word for line in lines for word in line)
    pairs = Counter(pair for line in lines for pair in pairwise(line))
    types = len(words) + len(pairs)
    return {
        pair
        for pair, count in pairs.items()
        if (count - min_count) * types / (words[pair[0]] * words[pair[1]]) > threshold
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("min_count", "threshold"), [(1, 0.4), (2, 0.2), (5, 0.05)])
def test_frequent_pairs_equal_formula(tmp_path, seed, min_count, threshold):
    rng = random.Random(seed)
    words = [*"abc", "d_e", "d", "e_f"]  # some are phrases already
    lines = [rng.choices(words, k=rng.randrange(9)) for _ in range(200)]
    lines += [["new", "york", "city"]] * 9
    with filled(TokenCorpus(tmp_path), lines) as corpus:
        pairs = frequent_pairs(corpus, min_count=min_count, threshold=threshold)
    assert pairs == pairs_by_formula(lines, min_count, threshold)
    assert pairs


def test_words_are_sorted_by_count_then_alphabet(corpus):
    filled(corpus, [["c", "b", "a"], ["b", "a", "d"], ["e", "e", "e"]])
    words = train_word2vec(corpus, SMALL, seed=0, num_workers=1).index_to_key
    assert words == ["e", "a", "b", "c", "d"]


def test_min_count(corpus):
    filled(corpus, [["c", "b", "a"], ["b", "a", "d"], ["b"]])
    vectors = train_word2vec(corpus, replace(SMALL, min_count=2), seed=0, num_workers=1)
    assert vectors.index_to_key == ["b", "a"]
    for min_count, key_word in ((3, "only one"), (4, "3 times")):
        with pytest.raises(ValueError, match=key_word):
            train_word2vec(corpus, replace(SMALL, min_count=min_count), seed=0, num_workers=1)


class Unreadable(TokenCorpus):
    """Fails in gensim's thread that reads."""

    def __iter__(self):
        raise OSError(5, "Input/output error")


class Unhashable(TokenCorpus):
    """Fails in gensim's threads that train."""

    def __iter__(self):
        yield [[]]


@pytest.mark.parametrize(("kind", "error"), [(Unreadable, OSError), (Unhashable, TypeError)])
def test_failing_thread_of_gensim_ends_training(tmp_path, kind, error):
    """Left to itself, gensim would wait for it forever."""
    before = threading.excepthook
    with kind(tmp_path) as corpus, pytest.raises(error):
        train_word2vec(filled(corpus, story(10)), SMALL, seed=0, num_workers=2)
    assert threading.excepthook is before


def train_and_save(tmp_path, name, *, seed=0, text_format=False):
    with filled(TokenCorpus(tmp_path), story()) as corpus:
        vectors = train_word2vec(corpus, SMALL, seed=seed, num_workers=1)
    save_word2vec(vectors, tmp_path / name, text_format=text_format)
    return vectors


def test_one_worker_is_reproducible(tmp_path):
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        train_and_save(tmp_path, name, seed=seed)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "again").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("text", [False, True])
def test_saved_vectors_are_read_back(tmp_path, text):
    vectors = train_and_save(tmp_path, "words", text_format=text)
    by_gensim = KeyedVectors.load_word2vec_format(str(tmp_path / "words"), binary=not text)
    assert by_gensim.index_to_key == vectors.index_to_key
    np.testing.assert_array_equal(by_gensim.vectors, vectors.vectors)
    loaded = WordVectors.load(tmp_path / "words")
    assert list(loaded.words) == vectors.index_to_key
    np.testing.assert_allclose(loaded.matrix, vectors.get_normed_vectors(), atol=1e-6)


def test_full_disk_leaves_the_old_file(tmp_path):
    (tmp_path / "words").write_text("old")
    vectors = KeyedVectors(2)
    vectors.add_vectors(["cat"], np.ones((1, 2), np.float32))
    with full_disk(), pytest.raises(OSError, match="large"):
        save_word2vec(vectors, tmp_path / "words")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
