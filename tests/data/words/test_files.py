"""Files of word vectors: read as gensim reads good ones, and bad ones named by file and place."""

import bz2
import gzip
import logging
import lzma
import struct
import subprocess
import tracemalloc

import numpy as np
import pytest
from gensim.models import KeyedVectors, Word2Vec

from vl.data.errors import FormatError
from vl.data.words.files import read_word_file

WORDS = ["the", "stop_sign", "café", "漢字", "3", "don't", ",", "\x85"]
KINDS = ("binary", "text", "glove")


def vectors(words=WORDS, width=5, seed=0):
    held = KeyedVectors(width)
    numbers = np.random.default_rng(seed).normal(size=(len(words), width)).astype(np.float32)
    held.add_vectors(words, numbers)
    return held


def write(held, path, kind="binary", pack=bytes):
    held.save_word2vec_format(str(path), binary=kind == "binary", write_header=kind != "glove")
    path.write_bytes(pack(path.read_bytes()))
    return path


def unit(numbers):
    return numbers / np.linalg.norm(numbers.astype(np.float64), axis=1)[:, None]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, bz2.compress])
@pytest.mark.parametrize("kind", KINDS)
def test_what_gensim_writes_is_read_whole(tmp_path, kind, pack):
    held = vectors()
    read = read_word_file(write(held, tmp_path / "words", kind, pack))
    assert read.words == WORDS
    assert read.rows == {word: row for row, word in enumerate(WORDS)}
    assert read.matrix.dtype == np.float32
    np.testing.assert_allclose(read.matrix, unit(held.vectors), atol=1e-7)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # gensim's, without a header
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1, 2, 300])
@pytest.mark.parametrize("seed", range(3))
def test_it_reads_what_gensim_reads(tmp_path, kind, width, seed):
    words = [f"w{number}" for number in range(100)]
    path = write(vectors(words, width, seed), tmp_path / "words", kind)
    other = KeyedVectors.load_word2vec_format(
        str(path), binary=kind == "binary", no_header=kind == "glove"
    )
    read = read_word_file(path)
    assert read.words == other.index_to_key
    np.testing.assert_array_equal(read.matrix, unit(other.vectors).astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_reads_the_first_words_only(tmp_path, kind):
    path = write(vectors(), tmp_path / "words", kind)
    whole = read_word_file(path)
    for limit in (1, 3, len(WORDS), 100):
        read = read_word_file(path, limit=limit)
        assert read.words == WORDS[:limit]
        np.testing.assert_array_equal(read.matrix, whole.matrix[:limit])


def test_what_lies_beyond_the_limit_is_not_looked_at(tmp_path):
    path = write(vectors(), tmp_path / "words")
    path.write_bytes(path.read_bytes()[:100])
    assert read_word_file(path, limit=2).words == WORDS[:2]


def test_the_original_tools_line_feeds_are_no_part_of_words(tmp_path):
    """word2vec.c ends each vector with one, and a line of text with a space before it."""
    numbers = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "words"
    first, second = (row.tobytes() + b"\n" for row in numbers)
    path.write_bytes(b"2 3\na " + first + b"b " + second)
    read = read_word_file(path)
    assert read.words == ["a", "b"]
    np.testing.assert_allclose(read.matrix, unit(numbers), atol=1e-7)
    path.write_bytes(b"2 3 \r\na 1 2 3 \r\nb 4 5 6 \r\n\n")
    np.testing.assert_allclose(read_word_file(path).matrix, unit(numbers), atol=1e-7)


def test_gloves_words_with_spaces_are_whole(tmp_path):
    (tmp_path / "words").write_text("the 1 2\n. . . 3 4\nat name@domain.com 5 6\n")
    read = read_word_file(tmp_path / "words")
    assert read.words == ["the", ". . .", "at name@domain.com"]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_any_size_come_to_unit_length(tmp_path, kind):
    held = vectors(["huge", "tiny"], 2)
    held.vectors[:] = [[3e30, 4e30], [-3e-30, 4e-30]]
    read = read_word_file(write(held, tmp_path / "words", kind))
    np.testing.assert_allclose(read.matrix, [[0.6, 0.8], [-0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_of_zeros_are_left_out_and_told(tmp_path, caplog, kind):
    held = vectors(["<pad>", "a", "b", "</pad>"])
    held.vectors[[0, 3]] = 0
    with caplog.at_level(logging.WARNING, "data"):
        read = read_word_file(write(held, tmp_path / "words", kind))
    assert read.words == ["a", "b"] and read.rows == {"a": 0, "b": 1}
    np.testing.assert_allclose(read.matrix, unit(held.vectors[1:3]), atol=1e-7)
    assert "left out: 2 zero vectors: '<pad>', '</pad>'" in caplog.text


def test_the_matrix_is_the_only_copy(tmp_path):
    words = [f"w{number}" for number in range(6000)]
    path = write(vectors(words, 500), tmp_path / "words")  # 12 MB
    read_word_file(path, limit=1)
    tracemalloc.start()
    try:
        read = read_word_file(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read.matrix.nbytes < peak < 1.7 * read.matrix.nbytes  # and a block of rows


ROW = struct.pack("<3f", 1, 2, 3)
BAD = {
    "nothing": (b"", "words: the file is empty"),
    "blank": (b" \n\n", "words: the file is empty"),
    "pickle": (b"\x80\x04\x95abc", r"words: a pickle, .* convert it once .*binary=True\)"),
    "zip": (b"PK\x03\x04abc", "words: compressed as zip"),
    "fasttext": (struct.pack("<i", 793712314) + b"\x0c\0\0\0", r"fastText.* \.vec file"),
    "other": (b"\x89PNG\r\n\x1a\n\x00", "words: no word vectors: neither a header nor text"),
    "numpy": (b"\x93NUMPY\x01\x00v\x00", "words: a numpy array: numbers without words$"),
    "no numbers": (b"hello\n", "words: line 1: expected a word and its numbers"),
    "prose": (b"two words\n", "words: line 1: 'words' is not a number"),
    "no words": (b"0 3\n", "words: no vectors: the header says 0 words of 3 numbers"),
    "no width": (b"3 0\n", "words: no vectors: the header says 3 words of 0 numbers"),
    "too many": (b"999999999999999 999999999999999\na 1\n", "line 1: 9+ words .* into memory"),
    "text short": (b"3 2\na 1 2\nb 3 4\n", "words: line 4: the file ends here, .* says 3 words"),
    "text long": (b"1 2\na 1 2\nb 3 4\n", "words: line 3: the header says 1 words, but more"),
    "few": (b"2 2\na 1 2\nb 3\n", "words: line 3: expected a word and 2 numbers, found 1"),
    "many": (b"2 2\na 1 2\nb 3 4 5\n", "words: line 3: expected a word and 2 numbers, found 3"),
    "width": (b"2 3\na 1 2\nb 3 4\n", "words: line 2: expected a word and 3 numbers, found 2"),
    "glove few": (b"a 1 2\nb 3\n", "words: line 2: expected a word and 2 numbers, found 1"),
    "glove many": (b"a 1 2\nb 3 4 5\n", "words: line 2: expected a word and 2 numbers, found 3"),
    "glove blank": (b"a 1 2\n\nb 3 4\n", "words: line 2: expected a word and 2 numbers, found 0"),
    "no number": (b"a 1 2\nb 3 x\n", "words: line 2: 'x' is not a number"),
    "empty number": (b"a 1 2\nb  4\n", "words: line 2: '' is not a number"),
    "text twice": (b"a 1 2\nb 3 4\na 5 6\n", "words: line 3: 'a' is there twice, .* in line 1"),
    "text nan": (b"2 2\na 1 2\nb nan 4\n", "line 3: the vector of 'b' has a number .* not finite"),
    "text infinite": (b"a 1 2\nb 3 1e39\n", "line 2: the vector of 'b' has a number .* not finite"),
    "no word": (b"a 1 2\n 3 4\n", "words: line 2: the word is missing"),
    "latin-1": (b"a 1 2\ncaf\xe9 3 4\n", r"words: line 2: the word b'caf\\xe9' is not UTF-8"),
    "latin-1 first": (b"1 2\ncaf\xe9 3 4\n", r"words: line 2: the word b'caf\\xe9' is not UTF-8"),
    "zeros": (b"a 0 0\nb 0 0\n", "words: all its vectors are zero"),
    "short": (b"2 3\na " + ROW, "words: word 2: the file ends here, .* 2 words of 3 numbers"),
    "cut": (b"2 3\na " + ROW + b"b " + ROW[:-1], "words: word 2: the file ends here"),
    "long": (
        b"1 3\na " + ROW + b"b " + ROW,
        "words: word 2: the header says 1 .* but more follows",
    ),
    "twice": (b"2 3\na " + ROW + b"a " + ROW, "words: word 2: 'a' is there twice, .* in word 1"),
    "nan": (b"1 3\na " + struct.pack("<3f", 1, 2, float("nan")), "word 1: the vector of 'a' has"),
    "odd nan": (b"1 1\na \x01\0\x80\x7f", "word 1: the vector of 'a' has a number .* not finite"),
    "missing": (b"2 3\na " + ROW + b" " + ROW, "words: word 2: the word is missing"),
    "bad utf-8": (b"1 3\n\xe9 " + ROW, r"words: word 1: the word b'\\xe9' is not UTF-8"),
    "wrong width": (b"1 2\na " + bytes(9000), "words: word 2: the header says 1 words of 2"),
    "no space": (
        b"2 3\na " + ROW + b"\x01" * 9000,
        "words: word 2: no word, or the header's size 3",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_is_named_with_the_place_and_the_fault(tmp_path, fault):
    content, message = BAD[fault]
    (tmp_path / "words").write_bytes(content)
    with pytest.raises(FormatError, match=message):
        read_word_file(tmp_path / "words")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_packed_file_that_is_cut_short_is_refused(tmp_path, kind, pack):
    path = write(vectors([f"w{n}" for n in range(500)], 50), tmp_path / "words", kind, pack)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FormatError, match=r"words: .* truncated or damaged"):
        read_word_file(path)


def test_what_gensim_saves_of_its_own_is_never_unpickled(tmp_path):
    vectors().save(str(tmp_path / "words"))
    with pytest.raises(FormatError, match="words: a pickle"):
        read_word_file(tmp_path / "words")


@pytest.mark.parametrize("name", ["words.kv", "my words'", 'a "b"', "$HOME", "`id`"])
@pytest.mark.parametrize("whole_model", [False, True])
def test_the_command_for_gensims_own_files_converts_them(tmp_path, name, whole_model):
    held = vectors()
    if whole_model:
        model = Word2Vec(vector_size=5, min_count=1)
        model.build_vocab([WORDS])
        held, saved = model.wv, model
    else:
        saved = held
    saved.save(str(tmp_path / name))
    with pytest.raises(FormatError, match="a pickle") as raised:
        read_word_file(tmp_path / name)
    python, code = run_by_shell(raised.value.problem)
    assert python == "python"
    exec(code, {})  # the command's own; only gensim's file of this test is read by it
    read = read_word_file(tmp_path / f"{name}.bin")
    assert read.words == held.index_to_key
    np.testing.assert_allclose(read.matrix, unit(held.vectors), atol=1e-7)


@pytest.mark.parametrize("whole_model", [False, True])
def test_an_array_of_gensims_leads_to_its_file(tmp_path, whole_model):
    model = Word2Vec(vector_size=5, min_count=1)
    model.build_vocab([WORDS])
    saved = model if whole_model else model.wv
    saved.save(str(tmp_path / "words.kv"), sep_limit=0)
    arrays = [path for path in tmp_path.iterdir() if path.name.endswith("vectors.npy")]
    assert len(arrays) == 1
    with pytest.raises(FormatError, match=r"gensim wrote it beside words\.kv, .*words\.kv'"):
        read_word_file(arrays[0])


def run_by_shell(problem):
    """The program and the code that a shell makes of the command at a message's end."""
    command = problem[problem.index("python -c ") :]
    printed = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True
    )
    python, flag, code = printed.stdout.split("\0")[:3]
    assert flag == "-c"
    return python, code


def test_numbers_whose_bytes_look_like_the_end_of_a_line_of_text_are_numbers_still(tmp_path):
    """A blank, a digit and a newline: such bytes come up once in some hundreds of files."""
    first = b"\xb1\xf1= 9" + b"\n\x17>" + struct.pack("<2f", 0.25, -0.5)
    second = struct.pack("<4f", 1, 2, 3, 4)
    path = tmp_path / "words.bin"
    path.write_bytes(b"2 4\na " + first + b"\nb " + second + b"\n")
    held = read_word_file(path)
    assert held.words == ["a", "b"]
    expected = np.frombuffer(first + second, "<f4").reshape(2, 4)
    np.testing.assert_allclose(held.matrix, unit(expected), rtol=1e-6)


def test_a_binary_file_cut_anywhere_is_refused(tmp_path):
    whole = write(vectors(), tmp_path / "words").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "words").write_bytes(whole[:length])
        with pytest.raises(FormatError):
            read_word_file(tmp_path / "words")
