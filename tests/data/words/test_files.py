"""Files of word vectors: good ones as gensim reads them, broken ones by file and record."""

import bz2
import gzip
import logging
import lzma
import re
import struct
import subprocess
import tracemalloc

import numpy as np
import pytest
from gensim.models import KeyedVectors, Word2Vec

from vl.data.errors import FormatError
from vl.data.words.files import read_word_file

WORDS = ["the", "stop_sign", "café", "漢字", "3", "don't", ",", "\x85"]
FORMATS = ("binary", "text", "glove")


def random_vectors(words=WORDS, width=5, seed=0):
    vectors = KeyedVectors(width)
    matrix = np.random.default_rng(seed).normal(size=(len(words), width)).astype(np.float32)
    vectors.add_vectors(words, matrix)
    return vectors


def write(vectors, path, layout="binary", compress=bytes):
    vectors.save_word2vec_format(
        str(path), binary=layout == "binary", write_header=layout != "glove"
    )
    path.write_bytes(compress(path.read_bytes()))
    return path


def unit(rows):
    return rows / np.linalg.norm(rows.astype(np.float64), axis=1)[:, None]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # gensim's, without a header
@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("width", [1, 2, 300])
def test_equals_gensim(tmp_path, layout, compress, width):
    path = write(random_vectors(width=width), tmp_path / "words", layout)
    expected = KeyedVectors.load_word2vec_format(
        str(path), binary=layout == "binary", no_header=layout == "glove"
    )
    path.write_bytes(compress(path.read_bytes()))
    words, matrix = read_word_file(path)
    assert words == expected.index_to_key == WORDS
    np.testing.assert_array_equal(matrix, unit(expected.vectors).astype(np.float32), strict=True)


@pytest.mark.parametrize("layout", FORMATS)
def test_limit_reads_the_first_words(tmp_path, layout):
    path = write(random_vectors(), tmp_path / "words", layout)
    matrix = read_word_file(path).matrix
    for limit in (1, 3, len(WORDS), 100):
        limited = read_word_file(path, limit=limit)
        assert limited.words == WORDS[:limit]
        np.testing.assert_array_equal(limited.matrix, matrix[:limit])


def test_nothing_is_checked_beyond_the_limit(tmp_path):
    path = write(random_vectors(), tmp_path / "words")
    path.write_bytes(path.read_bytes()[:100])
    assert read_word_file(path, limit=2).words == WORDS[:2]


def test_line_feeds_of_word2vec(tmp_path):
    """word2vec.c ends each vector with one, and a line of text with a space before it."""
    rows = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "words"
    first, second = (row.tobytes() + b"\n" for row in rows)
    for content in (
        b"2 3\na " + first + b"b " + second,
        b"2 3 \r\na 1 2 3 \r\nb 4 5 6 \r\n\n",
    ):
        path.write_bytes(content)
        words, matrix = read_word_file(path)
        assert words == ["a", "b"]
        np.testing.assert_allclose(matrix, unit(rows), atol=1e-7)


def test_words_of_glove_may_have_spaces(tmp_path):
    (tmp_path / "words").write_text("the 1 2\n. . . 3 4\nat name@domain.com 5 6\n")
    words = read_word_file(tmp_path / "words").words
    assert words == ["the", ". . .", "at name@domain.com"]


@pytest.mark.parametrize("layout", FORMATS)
def test_huge_and_tiny_vectors_get_unit_length(tmp_path, layout):
    vectors = random_vectors(["huge", "tiny"], 2)
    vectors.vectors[:] = [[3e30, 4e30], [-3e-30, 4e-30]]
    matrix = read_word_file(write(vectors, tmp_path / "words", layout)).matrix
    np.testing.assert_allclose(matrix, [[0.6, 0.8], [-0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("layout", FORMATS)
def test_zero_vectors_are_left_out_with_a_warning(tmp_path, caplog, layout):
    vectors = random_vectors(["<pad>", "a", "b", "</pad>"])
    vectors.vectors[[0, 3]] = 0
    with caplog.at_level(logging.WARNING):
        words, matrix = read_word_file(write(vectors, tmp_path / "words", layout))
    assert words == ["a", "b"]
    np.testing.assert_allclose(matrix, unit(vectors.vectors[1:3]), atol=1e-7)
    assert "2 zero vectors: '<pad>', '</pad>'" in caplog.text


def test_matrix_is_the_only_copy(tmp_path):
    path = write(random_vectors([f"w{n}" for n in range(6000)], 500), tmp_path / "words")  # 12 MB
    read_word_file(path, limit=1)
    tracemalloc.start()
    try:
        matrix = read_word_file(path).matrix
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert matrix.nbytes < peak < 1.7 * matrix.nbytes  # and a block of rows


ROW = struct.pack("<3f", 1, 2, 3)
BROKEN = [  # content, record, key word
    (b"", None, "empty"),
    (b" \n\n", None, "empty"),
    (b"\x80\x04\x95abc", None, "pickle"),
    (b"PK\x03\x04abc", None, "zip"),
    (struct.pack("<i", 793712314) + b"\x0c\0\0\0", None, "fastText"),
    (b"\x89PNG\r\n\x1a\n\x00", None, "neither"),
    (b"\x93NUMPY\x01\x00v\x00", None, "without words$"),
    (b"hello\n", "line 1", "numbers"),
    (b"two words\n", "line 1", "'words'"),
    (b"0 3\n", None, "0 words"),
    (b"3 0\n", None, "0 numbers"),
    (b"999999999999999 999999999999999\na 1\n", "line 1", "memory"),
    (b"3 2\na 1 2\nb 3 4\n", "line 4", "ends"),
    (b"1 2\na 1 2\nb 3 4\n", "line 3", "more"),
    (b"2 3\na 1 2\nb 3 4\n", "line 2", "3 numbers, found 2"),
    (b"1 2\ncaf\xe9 3 4\n", "line 2", "UTF-8.*iconv"),
    (b"1 2\na nan 4\n", "line 2", "'a'.* finite"),
    (b"a 1 2\nb x 3\nc 4 5\nd 6 x\ne 1\n", "line 2", "'x'.*3 records.* bad"),
    (b"a 1 x\nb 3 4\n", "line 1", "'x'"),  # the first record tells another format
    (b"a 1\n" + b"b 3 4\n" * 9, "line 2", "found 2.*6 records.* bad"),
    (b"w 1 2\n" * 2000 + b"caf\xe9 1 2\n" * 21, "line 2001", "UTF-8.*21 records"),
    (b"a 0 0\nb 0 0\n", None, "zero"),
    (b"2 3\na " + ROW, "word 2", "ends"),
    (b"2 3\na " + ROW + b"b " + ROW[:-1], "word 2", "ends"),
    (b"1 3\na " + ROW + b"b " + ROW, "word 2", "more"),
    (b"1 3\na " + struct.pack("<3f", 1, 2, float("nan")), "word 1", "'a'.* finite"),
    (b"1 1\na \x01\0\x80\x7f", "word 1", "finite"),  # a NaN of which NumPy warns
    (b"1 3\n\xe9 " + ROW, "word 1", "UTF-8"),
    (b"1 2\na " + bytes(9000), "word 2", "more"),  # another size than the header's
    (b"2 3\na " + ROW + b"\x01" * 9000, "word 2", "size 3"),
]


@pytest.mark.parametrize(("content", "record", "key_word"), BROKEN)
def test_refuses_broken_files(tmp_path, content, record, key_word):
    path = tmp_path / "words"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=key_word) as caught:
        read_word_file(path)
    assert (caught.value.path, caught.value.record) == (path, record)


GOOD = b"a 1 2\n", b"b 3 4\n", b"c 5 6\n"
FLAWED = [  # a record, key word of its warning
    (b"d 3\n", "line 2: expected a word and 2 numbers, found 1"),
    (b"d 3 4 5\n", "line 2: expected a word and 2 numbers, found 3"),
    (b"\n", "line 2: the line is blank"),
    (b"d 3 x\n", "line 2: 'x' is not a number"),
    (b"d  4\n", "line 2: '' is not a number"),
    (b"d nan 4\n", "line 2: the vector of 'd' .*finite"),
    (b"d 3 1e39\n", "line 2: the vector of 'd' .*finite"),
    (b" 3 4\n", "line 2: the word is missing"),
    (b"caf\xe9 3 4\n", "line 2: the word .* not UTF-8; `iconv"),
]


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize(("record", "warning"), FLAWED)
def test_a_bad_record_costs_itself_alone(tmp_path, caplog, record, warning, header):
    path = tmp_path / "words"
    content = GOOD[0] + record + b"".join(GOOD[1:])
    num_records = 4 - (not record.strip())
    path.write_bytes(f"{num_records} 2\n".encode() * header + content)
    words, matrix = read_word_file(path)
    assert words == ["a", "b", "c"]
    np.testing.assert_allclose(matrix, unit(np.arange(1, 7.0).reshape(3, 2)), atol=1e-7)
    (message,) = caplog.messages
    warning = warning.replace("line 2", "line 3") if header else warning
    assert re.search(rf"words: left out: bad records \(1 of {num_records}\): {warning}", message)


def test_text_that_may_be_cut_short_says_so(tmp_path, caplog):
    (tmp_path / "words").write_bytes(b"".join(GOOD) + b"d 7")
    assert read_word_file(tmp_path / "words").words == ["a", "b", "c"]
    assert "line 4: expected a word and 2 numbers, found 1, and the file ends here" in caplog.text


@pytest.mark.parametrize("layout", FORMATS)
def test_of_a_word_that_is_there_twice_the_first_counts(tmp_path, caplog, layout):
    """As in glove.840B.300d."""
    words = ["the", "rare", "of", "rare", "and", "the"]
    vectors = random_vectors([f"w{n}" for n in range(6)])
    content = write(vectors, tmp_path / "words", layout).read_bytes()
    for number, word in enumerate(words):
        content = content.replace(f"w{number} ".encode(), f"{word} ".encode())
    (tmp_path / "words").write_bytes(content)
    read, matrix = read_word_file(tmp_path / "words")
    assert read == ["the", "rare", "of", "and"]
    np.testing.assert_allclose(matrix, unit(vectors.vectors[[0, 1, 2, 4]]), atol=1e-6)
    (message,) = (text for text in caplog.messages if "left out" in text)  # the other is gensim's
    first, second = {"glove": (2, 4), "text": (3, 5), "binary": (2, 4)}[layout]
    unit_name = "word" if layout == "binary" else "line"
    assert "repeated words (2), of which the first counts" in message
    assert f"'rare' in {unit_name} {second}, first {unit_name} {first}; 'the' in" in message


@pytest.mark.parametrize("layout", FORMATS)
def test_of_a_word_whose_first_vector_is_not_finite_the_second_counts(tmp_path, caplog, layout):
    vectors = random_vectors(["a", "bad", "c", "again"])
    vectors.vectors[1, 2] = np.nan
    content = write(vectors, tmp_path / "words", layout).read_bytes()
    (tmp_path / "words").write_bytes(content.replace(b"again ", b"bad "))
    read, matrix = read_word_file(tmp_path / "words")
    assert read == ["a", "bad", "c"]
    np.testing.assert_allclose(matrix, unit(vectors.vectors[[0, 3, 2]]), atol=1e-6)
    record = {"glove": "line 2", "text": "line 3", "binary": "word 2"}[layout]
    assert f"bad records (1 of 4): {record}: the vector of 'bad'" in caplog.text
    assert "repeated" not in caplog.text


@pytest.mark.parametrize(
    ("bad", "warning"),
    [
        (b"\xe9 " + ROW, "word 2: the word .* not UTF-8"),
        (b" " + ROW, "word 2: the word is missing"),
        (b"d " + struct.pack("<3f", 1, 2, float("nan")), "word 2: the vector of 'd' .*finite"),
    ],
)
def test_a_bad_record_of_a_binary_file_costs_itself_alone(tmp_path, caplog, bad, warning):
    (tmp_path / "words").write_bytes(b"3 3\na " + ROW + bad + b"b " + ROW)
    assert read_word_file(tmp_path / "words").words == ["a", "b"]
    assert re.search(rf"bad records \(1 of 3\): {warning}", caplog.text)


def test_one_record_in_a_hundred_may_be_bad(tmp_path, caplog):
    lines = [f"w{n} {n + 1} 2\n" for n in range(2000)]
    for n in range(19, 2000, 100):
        lines[n] = f"w{n} 3\n"
    (tmp_path / "words").write_text("".join(lines))
    assert len(read_word_file(tmp_path / "words").words) == 1980
    assert "bad records (20 of 2000): line 20:" in caplog.text
    assert caplog.text.count("expected") == 3


def test_limit_counts_good_words(tmp_path):
    (tmp_path / "words").write_bytes(GOOD[0] + b"x 1\n" + GOOD[0] + GOOD[1] + GOOD[2])
    assert read_word_file(tmp_path / "words", limit=2).words == ["a", "b"]


@pytest.mark.parametrize("header", ["", "2 2\n"])
@pytest.mark.parametrize(
    ("encoding", "end"),
    [("utf-8-sig", "\n"), ("utf-16", "\r\n"), ("utf-8", "\r"), ("utf-8-sig", "\r\n")],
)
def test_text_as_editors_save_it(tmp_path, encoding, end, header):
    text = f"{header}café 3 4\n漢字 1 0\n".replace("\n", end)
    (tmp_path / "words").write_bytes(text.encode(encoding))
    words, matrix = read_word_file(tmp_path / "words")
    assert words == ["café", "漢字"]
    np.testing.assert_allclose(matrix, [[0.6, 0.8], [1, 0]], atol=1e-7)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_refuses_truncated_compression(tmp_path, layout, compress):
    vectors = random_vectors([f"w{n}" for n in range(500)], 50)
    path = write(vectors, tmp_path / "words", layout, compress)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FormatError, match=r"words: .*truncated"):
        read_word_file(path)


def test_refuses_binary_file_truncated_anywhere(tmp_path):
    path = write(random_vectors(), tmp_path / "words")
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(FormatError):
            read_word_file(path)


def saved_by_gensim(path, *, whole_model, **options):
    """Saves vectors in gensim's own format, in which they are pickled."""
    model = Word2Vec(vector_size=5, min_count=1)
    model.build_vocab([WORDS])
    (model if whole_model else model.wv).save(str(path), **options)
    return model.wv


def parse_command(problem):
    """The program and the code that a shell makes of the command at a message's end."""
    command = problem[problem.index("python -c ") :]
    process = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True
    )
    python, flag, code = process.stdout.split("\0")[:3]
    assert (python, flag) == ("python", "-c")
    return code


@pytest.mark.parametrize("name", ["words.kv", "my words'", 'a "b"', "$HOME", "`id`"])
@pytest.mark.parametrize("whole_model", [False, True])
def test_error_for_pickles_has_a_command_that_converts_them(tmp_path, name, whole_model):
    vectors = saved_by_gensim(tmp_path / name, whole_model=whole_model)
    with pytest.raises(FormatError, match="pickle") as caught:
        read_word_file(tmp_path / name)
    exec(parse_command(caught.value.problem), {})  # only gensim's file of this test is read
    words, matrix = read_word_file(tmp_path / f"{name}.bin")
    assert words == vectors.index_to_key
    np.testing.assert_allclose(matrix, unit(vectors.vectors), atol=1e-7)


@pytest.mark.parametrize("whole_model", [False, True])
def test_error_for_an_array_of_gensim_names_its_file(tmp_path, whole_model):
    saved_by_gensim(tmp_path / "words.kv", whole_model=whole_model, sep_limit=0)
    (array,) = tmp_path.glob("*vectors.npy")
    with pytest.raises(FormatError, match=r"words\.kv'"):
        read_word_file(array)


def test_binary_numbers_that_look_like_text(tmp_path):
    """A space, a digit and a line feed: such bytes occur once in some hundreds of files."""
    first = b"\xb1\xf1= 9" + b"\n\x17>" + struct.pack("<2f", 0.25, -0.5)
    second = struct.pack("<4f", 1, 2, 3, 4)
    path = tmp_path / "words.bin"
    path.write_bytes(b"2 4\na " + first + b"\nb " + second + b"\n")
    words, matrix = read_word_file(path)
    assert words == ["a", "b"]
    expected = np.frombuffer(first + second, "<f4").reshape(2, 4)
    np.testing.assert_allclose(matrix, unit(expected), rtol=1e-6)
