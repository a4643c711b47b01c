"""Label vectors: against plain recursion, arithmetic by hand, and the word vectors alone."""

from itertools import pairwise

import numpy as np
import pytest

from tests.helpers.tiny_labeller import IS_A, SYNSETS, WIDTH, WORDS, wordnet, words
from vl.data.words.label_space import LabelSpace
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet

LABELS = (
    *("ball", "stop signs", "okapi", "qqq, ring", "quokka", "giraffe ball", "qqq", "Guitar"),
    *("beast", "ringing", "guitar, okapi"),
)


def unit(vector):
    return np.asarray(vector) / np.linalg.norm(vector)


def plain_synset_vector(word_vectors, synset, weight):
    """The vector of a synset's words plus the weighted mean of its parents', by recursion."""
    lookup = word_vectors.lookup(", ".join(SYNSETS[synset])).vector
    vector = np.zeros(WIDTH) if lookup is None else lookup.astype(np.float64)
    return vector + plain_parent_vector(word_vectors, synset, weight)


def plain_parent_vector(word_vectors, synset, weight):
    parents = [parent for parent, child in IS_A if child == synset]
    if not parents:
        return np.zeros(WIDTH)
    vectors = [plain_synset_vector(word_vectors, parent, weight) for parent in parents]
    return weight * np.mean(vectors, axis=0)


def plain(word_vectors, label, synset, weight, mean=None):
    """A label's vector, or None."""
    lookup = word_vectors.lookup(label).vector
    vector = np.zeros(WIDTH) if lookup is None else lookup.astype(np.float64)
    if synset is not None:
        vector = vector + plain_parent_vector(word_vectors, synset, weight)
    if not np.linalg.norm(vector):
        return None
    vector = unit(vector)
    return vector if mean is None else unit(vector - mean)


def assert_vectors(embedded, expected):
    for row, vector in zip(embedded.vectors, expected, strict=True):
        if vector is None:
            assert np.isnan(row).all()
        else:
            np.testing.assert_allclose(row, vector, atol=1e-5)


@pytest.mark.parametrize("settings", [None, wordnet()])
def test_without_hypernyms_labels_have_their_words_vectors(settings):
    word_vectors = words()
    embedded = LabelSpace(word_vectors, settings).embed(LABELS)
    assert_vectors(embedded, [word_vectors.lookup(label).vector for label in LABELS])
    lookups = zip(embedded.coverage.lookups, map(word_vectors.lookup, LABELS), strict=True)
    assert all(one[1:] == other[1:] for one, other in lookups)
    assert embedded.missing == ["quokka", "qqq", "beast", "ringing"]
    assert embedded.synsets == (None,) * len(LABELS)
    assert embedded.num_by_hypernym == 0
    assert embedded.vectors.dtype == np.float32


@pytest.mark.parametrize("weight", [0.3, 0.99])
@pytest.mark.parametrize("mean", [None, np.linspace(-0.2, 0.3, WIDTH, dtype=np.float32)])
def test_hypernyms_agree_with_plain_recursion(weight, mean):
    word_vectors = words()
    space = LabelSpace(word_vectors, wordnet(), hypernym_weight=weight, mean=mean)
    ids = list(SYNSETS)
    labels = [", ".join(SYNSETS[name]) for name in ids]
    embedded = space.embed(labels, ids)
    expected = [plain(word_vectors, label, name, weight, mean) for label, name in zip(labels, ids)]
    assert_vectors(embedded, expected)
    assert expected[0] is None  # the entity has no word and is a kind of nothing
    assert embedded.missing == ["entity"]
    assert embedded.num_by_hypernym == 1  # the quokka
    assert embedded.synsets == tuple(ids)
    np.testing.assert_allclose(
        np.linalg.norm(embedded.vectors[1:], axis=1), np.ones(len(ids) - 1), atol=1e-6
    )
    # Caches change nothing.
    assert np.array_equal(space.embed(labels, ids).vectors, embedded.vectors, equal_nan=True)


def test_two_parents_are_averaged():
    """Of a ball and a box, at right angles."""
    word_vectors = WordVectors(("ball", "box"), np.eye(2, dtype=np.float32))
    names = {"n1": ["ball"], "n2": ["box"], "n3": ["qqq"]}
    both = WordNet(names, [("n1", "n3"), ("n2", "n3")])
    embedded = LabelSpace(word_vectors, both, hypernym_weight=0.5).embed(
        ["qqq", "ball"], ["n3", "n3"]
    )
    half = 0.5**0.5
    np.testing.assert_allclose(embedded.vectors[0], [half, half], atol=1e-6)
    np.testing.assert_allclose(embedded.vectors[1], unit([1.25, 0.25]), atol=1e-6)


@pytest.mark.parametrize(
    ("guitar", "entity", "sense"),
    [((1, 0), (0, 1), "n00000007"), ((0, 1), (1, 0), "n00000006")],
)
def test_label_without_id_takes_the_sense_with_the_nearest_hypernym(guitar, entity, sense):
    matrix = np.array([unit([1, 0.1]), guitar, entity], dtype=np.float32)
    word_vectors = WordVectors(("ring", "guitar", "entity"), matrix)
    space = LabelSpace(word_vectors, wordnet(), hypernym_weight=0.5)
    senses = space.embed(["ring", "RINGS", "qqq, ring", "zzz"]).synsets
    assert senses == (sense, sense, sense, None)


def test_label_without_vector_takes_the_first_sense():
    word_vectors = WordVectors(("animal", "guitar"), np.eye(2, dtype=np.float32))
    embedded = LabelSpace(word_vectors, wordnet(), hypernym_weight=0.5).embed(
        ["ring", "quokkas", "quokka, ring"]
    )
    assert embedded.synsets == ("n00000006", "n00000005", "n00000005")
    assert embedded.missing == ["ring"]  # of the entity, which has no vector either
    np.testing.assert_allclose(embedded.vectors[1], [1, 0], atol=1e-6)


@pytest.mark.parametrize("label", ["", " , ,", "\u5b57", "\x00", "a" * 3000, "-", "_"])
def test_labels_without_words(label):
    for space in (
        LabelSpace(words()),
        LabelSpace(words(), wordnet(), hypernym_weight=0.5, synonyms="mean"),
    ):
        embedded = space.embed([label, "ball"])
        assert embedded.missing == [label]
        assert embedded.synsets[0] is None


def test_mean_of_synonyms_by_hand():
    word_vectors = words()
    label = "okapi, qqq, giraffe, qqq ball"
    lookup = LabelSpace(word_vectors, synonyms="mean").embed(
        [label, "okapi, qqq", "okapi, zzz ball"]
    )
    mean = unit(word_vectors["okapi"].astype(float) + word_vectors["giraffe"])
    np.testing.assert_allclose(lookup.vectors[0], mean, atol=1e-6)
    assert lookup.coverage.lookups[0].text == "okapi + giraffe"
    # A part of a term does not count beside a whole one.
    for row in (1, 2):
        np.testing.assert_allclose(lookup.vectors[row], word_vectors["okapi"], atol=1e-6)
    first = LabelSpace(word_vectors).embed([label])
    np.testing.assert_allclose(first.vectors[0], word_vectors["okapi"], atol=1e-6)


def test_opposite_synonyms_leave_the_first():
    word_vectors = WordVectors(("east", "west"), np.array([[1, 0], [-1, 0]], dtype=np.float32))
    embedded = LabelSpace(word_vectors, synonyms="mean").embed(["east, west"])
    assert embedded.vectors.tolist() == [[1, 0]]


def test_mean_is_subtracted_from_unit_vectors():
    word_vectors = WordVectors(("east", "north"), np.eye(2, dtype=np.float32))
    space = LabelSpace(word_vectors, mean=np.array([1, 0], dtype=np.float32))
    embedded = space.embed(["east", "north"])
    assert embedded.missing == ["east"]  # nothing is left of it
    np.testing.assert_allclose(embedded.vectors[1], unit([-1, 1]), atol=1e-6)
    centered = LabelSpace(word_vectors).subtract_mean(
        LabelSpace(word_vectors).embed(["east", "qqq", "north"]).vectors
    )
    assert centered.mean.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("mean", [None, np.linspace(-0.2, 0.3, WIDTH, dtype=np.float32)])
def test_all_words_have_the_vectors_of_labels(mean):
    space = LabelSpace(words(), mean=mean)
    embedded = space.all_words()
    np.testing.assert_allclose(embedded.vectors, space.embed(WORDS).vectors, atol=1e-6)
    assert embedded.coverage.labels == tuple(word.replace("_", " ") for word in WORDS)
    assert embedded.missing == []


def test_word_equal_to_the_mean_has_no_vector():
    word_vectors = WordVectors(("east", "north"), np.eye(2, dtype=np.float32))
    space = LabelSpace(word_vectors, mean=np.array([1, 0], dtype=np.float32))
    assert space.all_words().missing == ["east"]


def test_order_of_labels_only_permutes_their_vectors():
    space = LabelSpace(words(), wordnet(), hypernym_weight=0.5)
    order = [*range(1, len(LABELS), 2), *range(0, len(LABELS), 2)]
    shuffled = space.embed([LABELS[row] for row in order])
    embedded = LabelSpace(words(), wordnet(), hypernym_weight=0.5).embed(LABELS)
    assert np.array_equal(shuffled.vectors, embedded.vectors[order], equal_nan=True)
    assert shuffled.synsets == tuple(embedded.synsets[row] for row in order)


def test_hypernym_chain_longer_than_pythons_stack():
    names = [f"n{index:08d}" for index in range(2000)]
    chain = WordNet({name: ["qqq"] for name in names}, list(pairwise(names)))
    embedded = LabelSpace(words(), chain, hypernym_weight=0.5).embed(["ball"], [names[-1]])
    np.testing.assert_allclose(embedded.vectors[0], words()["ball"], atol=1e-6)


def test_summary():
    embedded = LabelSpace(words(), wordnet(), hypernym_weight=0.5).embed(
        ["ball", "quokka", "qqq", "zzz, stop sign"]
    )
    summary = embedded.summary()
    assert summary[0] == "4 labels, 1 of them found by a later synonym"
    assert summary[1].split()[0] == summary[2].split()[0] == "2"
    assert summary[3:] == ["     1 of those have the vector of their hypernyms"]
    assert embedded.missing == ["qqq"]


@pytest.mark.parametrize(("count", "expected"), [(0, [0]), (999, [999]), (2001, [1000, 1000, 1])])
def test_progress_adds_up(count, expected):
    counts: list[int] = []
    embedded = LabelSpace(words()).embed(["ball"] * count, advance=counts.append)
    assert counts == expected
    assert embedded.vectors.shape == (count, WIDTH)


@pytest.mark.parametrize(
    ("settings", "key_word"),
    [
        ({"hypernym_weight": 0.5}, "WordNet"),
        ({"hypernym_weight": 1.0, "wordnet": wordnet()}, "hypernym_weight is 1.0"),
        ({"hypernym_weight": -0.1}, "hypernym_weight is -0.1"),
        ({"synonyms": "last"}, "'last'"),
        ({"mean": np.zeros(3, np.float32)}, "width 6"),
    ],
)
def test_refuses_invalid_settings(settings, key_word):
    with pytest.raises(ValueError, match=key_word):
        LabelSpace(words(), **settings)


def test_refuses_unknown_or_fewer_ids():
    space = LabelSpace(words(), wordnet(), hypernym_weight=0.5)
    with pytest.raises(ValueError, match="1 ids"):
        space.embed(["ball", "box"], ["n00000001"])
    with pytest.raises(ValueError, match="'n99999999'"):
        space.embed(["ball"], ["n99999999"])


def test_sense_whose_first_word_it_is_comes_first():
    # The president has another first word, and is nearer to the word.
    synsets = {
        "n00000001": ("person",),
        "n00000002": ("furniture",),
        "n00000003": ("president", "chair"),
        "n00000004": ("chair",),
    }
    edges = [("n00000001", "n00000003"), ("n00000002", "n00000004")]
    matrix = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    word_vectors = WordVectors(["person", "furniture", "chair"], matrix)
    space = LabelSpace(word_vectors, WordNet(synsets, edges), hypernym_weight=0.5)
    assert space.embed(["chair"]).synsets == ("n00000004",)
    # Capitals tell names from words.
    synsets["n00000004"] = ("Chair",)
    space = LabelSpace(word_vectors, WordNet(synsets, edges), hypernym_weight=0.5)
    assert space.embed(["chair", "Chair"]).synsets == ("n00000003", "n00000004")


def test_with_hypernyms_all_words_are_those_of_wordnet():
    space = LabelSpace(words(), wordnet(), hypernym_weight=0.5)
    embedded = space.all_words()
    assert embedded.coverage.labels == ("ring", "okapi", "giraffe", "guitar", "animal")
    np.testing.assert_array_equal(embedded.vectors, space.embed(embedded.coverage.labels).vectors)
