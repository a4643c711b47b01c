"""The vector of a label, which way it was found, and how many of a list have one."""

import numpy as np
import pytest
from gensim.models import KeyedVectors

from vl.data.errors import FormatError
from vl.data.words.vectors import LOOKUP_RULES, WordVectors


def made(*words, width=8, seed=0):
    matrix = np.random.default_rng(seed).normal(size=(len(words), width)).astype(np.float32)
    return WordVectors(words, matrix / np.linalg.norm(matrix, axis=1)[:, None])


def mean(vectors, *words):
    """By hand: the sum of unit vectors, brought to unit length."""
    total = sum(vectors.matrix[vectors.words.index(word)].astype(np.float64) for word in words)
    return total / np.sqrt(sum(number * number for number in total))


# What there is, the label, the way, the words whose vectors it is, the place of the synonym.
FOUND = [
    ("stop_sign stop sign", "stop sign", "phrase", "stop_sign", 0),
    ("stop_sign Stop_Sign", "Stop Sign", "phrase", "Stop_Sign", 0),  # as it is written, then lower
    ("stop_sign STOP_SIGN", "Stop Sign", "phrase", "stop_sign", 0),
    ("tench tinca_tinca", "tench, Tinca tinca", "phrase", "tench", 0),
    ("other tinca_tinca", "tench, Tinca tinca", "phrase", "tinca_tinca", 1),
    ("stop sign traffic_sign", "stop sign, traffic sign", "words", "stop + sign", 0),
    ("stop traffic_sign", "stop sign, traffic sign", "phrase", "traffic_sign", 1),
    ("stop traffic sign_x sign", "halt sign, traffic sign", "words", "traffic + sign", 1),
    ("t-shirt shirt t", "tshirt", "spelling", "t-shirt", 0),
    ("tshirt shirt t", "T-shirt", "spelling", "tshirt", 0),
    ("t_shirt shirt t", "T-shirt", "spelling", "t_shirt", 0),
    ("t-shirt shirt t", "t shirt", "spelling", "t-shirt", 0),
    ("hot_dog dog", "hotdog", "spelling", "hot_dog", 0),
    ("New_York", "NEW YORK", "spelling", "New_York", 0),
    ("pate the", "pâté", "spelling", "pate", 0),
    ("pâté the", "pate", "spelling", "pâté", 0),
    ("carpenter's_kit", "carpenters' kit", "spelling", "carpenter's_kit", 0),
    ("the carpenters_kit", "carpenter\u2019s kit", "spelling", "carpenters_kit", 0),
    ("tee-shirt teeshirt", "tee shirt", "spelling", "tee-shirt", 0),  # the more frequent one
    ("wombats the", "wombat", "number", "wombats", 0),
    ("wombat the", "Wombats", "number", "wombat", 0),
    ("golden_retrievers golden", "golden retriever", "number", "golden_retrievers", 0),
    ("fireman men", "firemen", "number", "fireman", 0),
    ("jeweller kit", "jeweller's", "number", "jeweller", 0),
    ("sea cucumbers", "sea cucumber", "words", "sea + cucumbers", 0),
    ("flat coated retriever", "flat-coated retriever", "words", "flat + coated + retriever", 0),
    ("black and tan hound", "black-and-tan hound", "words", "black + and + tan + hound", 0),
    ("coffee mill", "coffeemill", "compound", "coffee + mill", 0),
    ("coffee mill", "kuvasz, coffeemill", "compound", "coffee + mill", 1),
    ("coffee mill cup", "coffeemill, cup", "phrase", "cup", 1),
    ("deer hound wild", "wild deerhound", "compound", "wild + deer + hound", 0),
    ("golden retriever", "flat-coated retriever", "part", "retriever", 0),
    ("wheaten golden", "golden retriever", "part", "golden", 0),
    ("soft wheaten terrier", "soft-coated wheaten terrier", "part", "soft + wheaten + terrier", 0),
    (
        "irish terrier",
        "Irish setter, Sealyham terrier",
        "part",
        "terrier",
        1,
    ),  # the last word first
    ("red big fox", "small red big hound, red hound", "part", "red + big", 0),
    ("the of", "the isle of man", "none", "", -1),
    ("cat", "coucal", "none", "", -1),
    ("cat", "", "none", "", -1),
    ("cat", " , - ", "none", "", -1),
]


@pytest.mark.parametrize(("words", "label", "way", "text", "synonym"), FOUND)
def test_a_label_is_found_in_the_best_way_there_is(words, label, way, text, synonym):
    vectors = made(*words.split())
    found = vectors.lookup(label)
    assert found[1:] == (way, text, synonym)
    if way == "none":
        assert found.vector is None
    else:
        assert found.vector.dtype == np.float32 and found.vector.shape == (8,)
        np.testing.assert_allclose(found.vector, mean(vectors, *text.split(" + ")), atol=1e-6)
        assert np.linalg.norm(found.vector.astype(np.float64)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "label"),
    [
        (["whip", "pet"], "whippet"),  # three letters
        (["reds", "hank"], "redshank"),  # a plural in front
        (["sweat", *[f"w{number}" for number in range(30_000)], "shirt"], "sweatshirt"),  # rare
    ],
)
def test_what_is_likely_no_compound_is_not_taken_apart(words, label):
    assert made(*words, width=2).lookup(label).rule == "none"


def test_a_compound_comes_apart_into_its_most_frequent_words():
    vectors = made("handy", "work", "hand", "ywork", "other")
    assert vectors.lookup("handywork").text == "handy + work"


def test_the_order_of_synonyms_alone_decides_among_full_ones():
    vectors = made("red", "fox", "vulpes_vulpes")
    assert vectors.lookup("red fox, Vulpes vulpes").rule == "words"
    assert vectors.lookup("Vulpes vulpes, red fox").rule == "phrase"


def test_words_that_point_in_opposite_directions_have_no_mean():
    matrix = np.array([[1, 0], [-1, 0]], np.float32)
    assert WordVectors(["hot", "cold"], matrix).lookup("hot cold").vector is None


def test_what_is_found_can_be_written_to_and_the_vectors_cannot():
    vectors = made("cat", "dog")
    before = vectors.matrix.copy()
    vectors.lookup("cat").vector[:] = 0
    vectors["dog"][:] = 0
    np.testing.assert_array_equal(vectors.matrix, before)
    with pytest.raises(ValueError, match="read-only"):
        vectors.matrix[0] = 0


def test_coverage_keeps_every_label_in_its_place():
    vectors = made("cat", "stop_sign", "wombats", "coffee", "sea", "lion")
    labels = ["coucal", "cat", "stop sign", "kuvasz, wombat", "sea lion", "grey lion", "coucal"]
    coverage = vectors.coverage(iter(labels))
    assert coverage.labels == tuple(labels)
    assert [found.rule for found in coverage.lookups] == [
        *("none", "phrase", "phrase", "number", "words", "part", "none")
    ]
    assert coverage.missing == ["coucal", "coucal"]
    assert list(coverage.counts) == list(LOOKUP_RULES)
    assert coverage.counts == {
        **dict.fromkeys(LOOKUP_RULES, 0),
        "none": 2,
        "phrase": 2,
        "number": 1,
        "words": 1,
        "part": 1,
    }
    summary = coverage.summary().splitlines()
    assert summary[0] == "7 labels, 1 of them by a later synonym"
    assert summary[1].split()[0] == "2" and summary[-2:] == ["no vector: coucal"] * 2
    assert sum(int(line.split()[0]) for line in summary[1:-2]) == len(labels)
    assert vectors.coverage([]).summary() == "0 labels, 0 of them by a later synonym"


def test_a_file_is_loaded_at_unit_length(tmp_path):
    held = KeyedVectors(3)
    held.add_vectors(["cat", "dog"], np.array([[3, 0, 4], [0, 2, 0]], np.float32))
    held.save_word2vec_format(str(tmp_path / "words.bin"), binary=True)
    vectors = WordVectors.load(str(tmp_path / "words.bin"))
    assert vectors.words == ("cat", "dog") and vectors.index == {"cat": 0, "dog": 1}
    assert len(vectors) == 2 and vectors.width == 3
    assert "cat" in vectors and "cats" not in vectors
    np.testing.assert_allclose(vectors["cat"], [0.6, 0, 0.8], atol=1e-7)
    with pytest.raises(KeyError):
        vectors["cats"]
    assert WordVectors.load(tmp_path / "words.bin", limit=1).words == ("cat",)
    with pytest.raises(ValueError, match="limit is 0; it must be at least 1"):
        WordVectors.load(tmp_path / "words.bin", limit=0)
    with pytest.raises(FormatError, match="empty: the file is empty"):
        (tmp_path / "empty").touch()
        WordVectors.load(tmp_path / "empty")


@pytest.mark.parametrize(
    ("words", "matrix", "message"),
    [
        (["a"], [[1.0, 0], [0, 1]], "expected a float32 matrix with 1 rows, one a word"),
        (["a"], [1.0], "found float32 of shape"),
        (["a", "b"], [[1.0, 0], [0, 2]], "the vector of 'b' has length 2, not 1"),
        (["a", "b"], [[1.0, 0], [0, np.nan]], "the vector of 'b' has length nan, not 1"),
        (["a", "b", "a"], [[1.0], [1], [1]], "the word 'a' is there 2 times"),
    ],
)
def test_words_and_vectors_that_do_not_fit_are_refused(words, matrix, message):
    with pytest.raises(ValueError, match=message):
        WordVectors(words, np.array(matrix, np.float32))
    with pytest.raises(ValueError, match="found float64"):
        WordVectors(["a"], np.ones((1, 1)))
