"""The vector of a label, the rule that found it, and the coverage of a list."""

import numpy as np
import pytest
from gensim.models import KeyedVectors

from vl.data.words.vectors import LOOKUP_RULES, Coverage, WordVectors


def random_vectors(*words, width=8, seed=0):
    matrix = np.random.default_rng(seed).normal(size=(len(words), width)).astype(np.float32)
    return WordVectors(words, matrix / np.linalg.norm(matrix, axis=1)[:, None])


def mean(vectors, *words):
    total = sum(vectors.matrix[vectors.words.index(word)].astype(np.float64) for word in words)
    return total / np.sqrt(total @ total)


LOOKUPS = [  # words with vectors, label, rule, words of its vector, index of the synonym
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
    ("ramses ram", "rams", "number", "ram", 0),
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
    ("irish terrier", "Irish setter, Sealyham terrier", "part", "terrier", 1),  # the last word
    ("red big fox", "small red big hound, red hound", "part", "red + big", 0),
    ("the of", "the isle of man", "none", "", -1),
    ("cat", "coucal", "none", "", -1),
    ("cat", "", "none", "", -1),
    ("cat", " , - ", "none", "", -1),
]


@pytest.mark.parametrize(("words", "label", "rule", "text", "synonym"), LOOKUPS)
def test_lookup_takes_the_best_rule(words, label, rule, text, synonym):
    vectors = random_vectors(*words.split())
    lookup = vectors.lookup(label)
    assert lookup[1:] == (rule, text, synonym)
    if rule == "none":
        assert lookup.vector is None
    else:
        assert lookup.vector.dtype == np.float32 and lookup.vector.shape == (8,)
        np.testing.assert_allclose(lookup.vector, mean(vectors, *text.split(" + ")), atol=1e-6)


@pytest.mark.parametrize(
    ("words", "label"),
    [
        (["whip", "pet"], "whippet"),  # three letters
        (["reds", "hank"], "redshank"),  # a plural in front
        (["sweat", *[f"w{n}" for n in range(30_000)], "shirt"], "sweatshirt"),  # rare
    ],
)
def test_unlikely_compounds_are_not_split(words, label):
    assert random_vectors(*words, width=2).lookup(label).rule == "none"


def test_compound_is_split_into_frequent_words():
    vectors = random_vectors("handy", "work", "hand", "ywork", "other")
    assert vectors.lookup("handywork").text == "handy + work"


def test_first_complete_synonym_is_taken():
    vectors = random_vectors("red", "fox", "vulpes_vulpes")
    assert vectors.lookup("red fox, Vulpes vulpes").rule == "words"
    assert vectors.lookup("Vulpes vulpes, red fox").rule == "phrase"


def test_opposite_vectors_have_no_mean():
    matrix = np.array([[1, 0], [-1, 0]], np.float32)
    assert WordVectors(["hot", "cold"], matrix).lookup("hot cold").vector is None


def test_lookups_are_copies_and_the_matrix_is_read_only():
    vectors = random_vectors("cat", "dog")
    before = vectors.matrix.copy()
    vectors.lookup("cat").vector[:] = 0
    vectors["dog"][:] = 0
    np.testing.assert_array_equal(vectors.matrix, before)
    with pytest.raises(ValueError, match="read-only"):
        vectors.matrix[0] = 0


def test_coverage_counts_rules():
    vectors = random_vectors("cat", "stop_sign", "wombats", "coffee", "sea", "lion")
    labels = ("coucal", "cat", "stop sign", "kuvasz, wombat", "sea lion", "grey lion", "coucal")
    coverage = Coverage(labels, tuple(map(vectors.lookup, labels)))
    rules = [lookup.rule for lookup in coverage.lookups]
    assert rules == ["none", "phrase", "phrase", "number", "words", "part", "none"]
    assert coverage.counts == {rule: rules.count(rule) for rule in LOOKUP_RULES}


def test_load(tmp_path):
    path = tmp_path / "words.bin"
    by_gensim = KeyedVectors(3)
    by_gensim.add_vectors(["cat", "dog"], np.array([[3, 0, 4], [0, 2, 0]], np.float32))
    by_gensim.save_word2vec_format(str(path), binary=True)
    vectors = WordVectors.load(str(path))
    assert vectors.words == ("cat", "dog") and vectors.index == {"cat": 0, "dog": 1}
    assert len(vectors) == 2 and vectors.width == 3
    assert "cat" in vectors and "cats" not in vectors
    np.testing.assert_allclose(vectors["cat"], [0.6, 0, 0.8], atol=1e-7)
    with pytest.raises(KeyError):
        vectors["cats"]
    assert WordVectors.load(path, limit=1).words == ("cat",)
    with pytest.raises(ValueError, match="limit"):
        WordVectors.load(path, limit=0)


@pytest.mark.parametrize(
    ("words", "matrix", "key_word"),
    [
        (["a"], [[1.0, 0], [0, 1]], "1 rows"),
        (["a"], [1.0], "shape"),
        (["a", "b"], [[1.0, 0], [0, 2]], "'b' has length 2"),
        (["a", "b"], [[1.0, 0], [0, np.nan]], "'b' has length nan"),
        (["a", "b", "a"], [[1.0], [1], [1]], "2 times"),
    ],
)
def test_refuses_words_and_matrices_that_do_not_fit(words, matrix, key_word):
    with pytest.raises(ValueError, match=key_word):
        WordVectors(words, np.array(matrix, np.float32))
    with pytest.raises(ValueError, match="float64"):
        WordVectors(["a"], np.ones((1, 1)))
