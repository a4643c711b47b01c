"""Word vector training: the corpus on disk, joined phrases, and gensim's vectors."""

import random
import resource
import threading
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from gensim.models import KeyedVectors

from vl.data.errors import FormatError
from vl.data.words.phrases import PhraseJoiner
from vl.data.words.vectors import WordVectors
from vl.labelling import word_training
from vl.labelling.word_training import (
    TokenCorpus,
    Word2VecSettings,
    frequent_pairs,
    join_phrases,
    read_corpus,
    save_word2vec,
    train_word2vec,
)

SMALL = Word2VecSettings(vector_size=12, window=4, epochs=4, min_count=1)


def story(sentences=400, seed=0):
    """Lines in which cat and dog stand among the same words, and car and bus among others."""
    randomly = random.Random(seed)
    places = {
        ("cat", "dog"): ["the {} sleeps on the warm sofa", "she feeds her {} some fresh meat"],
        ("car", "bus"): ["a {} drives down that busy road", "his old {} needs more petrol today"],
    }
    lines = []
    for _ in range(sentences):
        things, templates = randomly.choice(list(places.items()))
        lines.append(randomly.choice(templates).format(randomly.choice(things)).split())
    return lines


@pytest.fixture
def corpus(tmp_path):
    with TokenCorpus(tmp_path) as made:
        yield made


def filled(corpus, lines):
    for line in lines:
        corpus.add(line)
    return corpus


def angle(vectors, one, other):
    return float(vectors.get_vector(one, norm=True) @ vectors.get_vector(other, norm=True))


@pytest.mark.parametrize(
    "settings",
    [
        SMALL._replace(epochs=20),
        SMALL._replace(epochs=20, negative=5),
        SMALL._replace(epochs=40, cbow=True, learning_rate=0.05),
    ],
)
def test_words_in_similar_contexts_have_similar_vectors(corpus, settings):
    vectors = train_word2vec(filled(corpus, story()), settings, seed=0, num_workers=1)
    assert angle(vectors, "cat", "dog") > angle(vectors, "cat", "car") + 0.2
    assert angle(vectors, "bus", "car") > angle(vectors, "bus", "dog") + 0.2


def test_a_corpus_can_be_read_repeatedly(corpus):
    lines = story(50)
    filled(corpus, lines)
    assert list(corpus) == lines
    assert list(corpus) == lines
    assert corpus.num_lines == 50 and corpus.num_words == sum(map(len, lines))
    assert corpus.counts == Counter(word for line in lines for word in line)


def test_lines_of_every_length_are_read_back(corpus):
    lines = [[f"wörd{n}" for n in range(length)] for length in (1, 30, 2, 9_000, 5) * 9]
    assert list(filled(corpus, lines)) == lines


def test_long_lines_are_split_and_empty_ones_left_out(corpus):
    words = [str(number) for number in range(25_000)]
    filled(corpus, [[], words, [], ["last"]])
    assert [len(line) for line in corpus] == [10_000, 10_000, 5_000, 1]
    assert [word for line in corpus for word in line] == [*words, "last"]
    assert corpus.num_lines == 4


def test_gensim_trains_on_every_word(corpus, monkeypatch):
    """As it does not where it reads a file by itself: there it drops words, or reads some twice."""
    seen = []
    whole = word_training.Word2Vec.train

    def watched(self, *arguments, **named):
        seen.append(whole(self, *arguments, **named))

    monkeypatch.setattr(word_training.Word2Vec, "train", watched)
    randomly = random.Random(0)
    lines = [["a", "b"] * randomly.choice([1, 30, 2000, 6000]) for _ in range(60)]
    filled(corpus, lines)
    train_word2vec(
        corpus,
        Word2VecSettings(vector_size=1, window=1, epochs=3, min_count=1, sample=0),
        seed=0,
        num_workers=3,
    )
    assert seen == [(3 * corpus.num_words, 3 * corpus.num_words)]  # trained, read


@pytest.mark.parametrize("count", [3, 100_000])
def test_a_full_disk_is_an_error_with_the_folder(tmp_path, count):
    """Here a limit on the size of files stands for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
    try:
        with (
            pytest.raises(OSError, match=f"{tmp_path}: cannot be written: File too large"),
            TokenCorpus(tmp_path) as corpus,
        ):
            filled(corpus, [["word"]] * count)
            list(corpus)  # a few lines are written no earlier
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_corpus_leaves_no_file(tmp_path):
    with filled(TokenCorpus(tmp_path / "new"), story(10)) as corpus:
        assert list((tmp_path / "new").iterdir()) == []
        lines = iter(corpus)
        next(lines)
    assert len(list(lines)) == 9  # what has been read already, and no more from a closed file
    assert list(corpus) == []


def test_refuses_a_folder_without_write_permission(tmp_path, monkeypatch):
    def refused(dir):
        raise PermissionError(13, "Permission denied", f"{dir}/tmpabc")

    monkeypatch.setattr(word_training.tempfile, "TemporaryFile", refused)
    with pytest.raises(OSError, match=rf"^{tmp_path}: cannot be written: Permission denied$"):
        TokenCorpus(tmp_path)


def test_texts_are_tokenized_in_lower_case(tmp_path):
    (tmp_path / "one").write_text("The Cat's mat.\n\n...\nÉTÉ")
    (tmp_path / "two").write_text("Stop-sign\n")
    with read_corpus([tmp_path / "one", tmp_path / "two"], tmp_path) as corpus:
        assert list(corpus) == [["the", "cat's", "mat"], ["été"], ["stop-sign"]]


@pytest.mark.parametrize("text", ["", "\n\n", "... -- '_'\n"])
def test_refuses_a_text_without_words(tmp_path, text):
    (tmp_path / "one").write_text("The cat.\n")
    (tmp_path / "two").write_text(text)
    with pytest.raises(FormatError, match="two: there is no word in it"):
        read_corpus([tmp_path / "one", tmp_path / "two"], tmp_path)


def plain_joined(lines, phrases, min_count):
    """Every time from the beginning, without what was too rare the time before."""
    stands = Counter(
        tuple(line[start:end])
        for line in lines
        for start in range(len(line))
        for end in range(start + 1, len(line) + 1)
    )
    phrases = {phrase for phrase in phrases if stands[phrase] >= min_count}
    while True:
        told = [PhraseJoiner(phrases)(line) for line in lines]
        counts = Counter(word for line in told for word in line)
        rare = {phrase for phrase in phrases if 0 < counts["_".join(phrase)] < min_count}
        if not rare:
            return told
        phrases -= rare


@pytest.mark.parametrize("seed", range(20))
def test_only_frequent_phrases_are_joined(tmp_path, seed):
    randomly = random.Random(seed)
    phrases = {tuple(randomly.choices("abcde", k=randomly.choice([2, 3]))) for _ in range(25)}
    lines = [randomly.choices("abcde", k=randomly.randrange(1, 12)) for _ in range(60)]
    with join_phrases(filled(TokenCorpus(tmp_path), lines), phrases, min_count=4) as corpus:
        assert list(corpus) == plain_joined(lines, phrases, 4)
        assert all(count == 0 or count >= 4 for word, count in corpus.counts.items() if "_" in word)
        assert any("_" in word for word in corpus.counts)


def test_shorter_phrases_within_a_rare_one_are_joined(tmp_path):
    lines = [["pit", "bull", "terrier"], ["bull", "terrier"], ["a", "bull", "terrier"]]
    phrases = {("pit", "bull", "terrier"), ("bull", "terrier"), ("a", "bull")}
    with join_phrases(filled(TokenCorpus(tmp_path), lines), phrases, min_count=2) as corpus:
        assert list(corpus) == [["pit", "bull_terrier"], ["bull_terrier"], ["a", "bull_terrier"]]


def test_a_phrase_mostly_within_longer_ones_is_rare(tmp_path):
    lines = [["pit", "bull", "terrier"]] * 3 + [["bull", "terrier"]]
    phrases = {("pit", "bull", "terrier"), ("bull", "terrier")}
    with join_phrases(filled(TokenCorpus(tmp_path), lines), phrases, min_count=2) as corpus:
        assert list(corpus) == [["pit_bull_terrier"]] * 3 + [["bull", "terrier"]]


def plain_pairs(lines, min_count, threshold):
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
def test_frequent_pairs_agree_with_the_formula(tmp_path, seed, min_count, threshold):
    randomly = random.Random(seed)
    letters = [*"abc", "d_e", "d", "e_f"]  # some are phrases already
    lines = [randomly.choices(letters, k=randomly.randrange(9)) for _ in range(200)]
    lines += [["new", "york", "city"]] * 9
    with filled(TokenCorpus(tmp_path), lines) as corpus:
        pairs = frequent_pairs(corpus, min_count=min_count, threshold=threshold)
    assert pairs == plain_pairs(lines, min_count, threshold)
    assert pairs


def test_words_are_sorted_by_count_and_alphabet(corpus):
    filled(corpus, [["c", "b", "a"], ["b", "a", "d"], ["e", "e", "e"]])
    assert train_word2vec(corpus, SMALL, seed=0, num_workers=1).index_to_key == [
        "e",
        "a",
        "b",
        "c",
        "d",
    ]


def test_words_below_the_least_count_have_no_vector(corpus):
    filled(corpus, [["c", "b", "a"], ["b", "a", "d"], ["b"]])
    vectors = train_word2vec(corpus, SMALL._replace(min_count=2), seed=0, num_workers=1)
    assert vectors.index_to_key == ["b", "a"]
    for min_count, message in (
        (3, "only one word occurs 3 times"),
        (4, "no word occurs 4 times.* 3 times"),
    ):
        with pytest.raises(ValueError, match=message):
            train_word2vec(corpus, SMALL._replace(min_count=min_count), seed=0, num_workers=1)


@pytest.mark.parametrize("where", ["_do_train_job", "_job_producer"])
def test_a_failing_thread_of_gensim_ends_training(corpus, monkeypatch, where):
    """Left to itself, gensim would wait for it for ever."""

    def fail(self, *_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(word_training.Word2Vec, where, fail)
    before = threading.excepthook
    with pytest.raises(OSError, match="Input/output error"):
        train_word2vec(filled(corpus, story(10)), SMALL, seed=0, num_workers=2)
    assert threading.excepthook is before


def trained(tmp_path, seed, name, *, text_format=False):
    with filled(TokenCorpus(tmp_path), story()) as corpus:
        vectors = train_word2vec(corpus, SMALL, seed=seed, num_workers=1)
    save_word2vec(vectors, tmp_path / name, text_format=text_format)
    return vectors


def test_the_same_seed_and_one_worker_give_the_same_file(tmp_path):
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        trained(tmp_path, seed, name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "again").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("text", [False, True])
def test_saved_vectors_are_read_by_gensim_and_by_us(tmp_path, text):
    vectors = trained(tmp_path, 0, "words", text_format=text)
    read = KeyedVectors.load_word2vec_format(str(tmp_path / "words"), binary=not text)
    assert read.index_to_key == vectors.index_to_key
    np.testing.assert_array_equal(read.vectors, vectors.vectors)
    ours = WordVectors.load(tmp_path / "words")
    assert list(ours.words) == vectors.index_to_key
    np.testing.assert_allclose(ours.matrix, vectors.get_normed_vectors(), atol=1e-6)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "words").write_text("old")

    def full(self, path, **_):
        with open(path, "w") as file:  # noqa: PTH123 - as gensim does
            file.write("half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(KeyedVectors, "save_word2vec_format", full)
        with pytest.raises(OSError, match="No space left"):
            save_word2vec(KeyedVectors(2), tmp_path / "words")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
