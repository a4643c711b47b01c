"""Where labels lie: against a plain recursive one, hand arithmetic, and the words alone."""

from itertools import pairwise

import numpy as np
import pytest

from tests.helpers.tiny_labeller import IS_A, SYNSETS, WIDTH, WORDS, wordnet, words
from vl.data.words.label_space import LabelSpace, Placed
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet

LABELS = (
    *("ball", "stop signs", "okapi", "qqq, ring", "quokka", "giraffe ball", "qqq", "Guitar"),
    *("beast", "ringing", "guitar, okapi"),
)


def unit(vector):
    return np.asarray(vector) / np.linalg.norm(vector)


def plain_place(held: WordVectors, synset: str, kinds: float) -> np.ndarray:
    """A synset's own words plus its share of its parents' mean place, by recursion."""
    own = held.vector_of(", ".join(SYNSETS[synset])).vector
    place = np.zeros(WIDTH) if own is None else own.astype(np.float64)
    return place + plain_above(held, synset, kinds)


def plain_above(held: WordVectors, synset: str, kinds: float) -> np.ndarray:
    parents = [parent for parent, child in IS_A if child == synset]
    if not parents:
        return np.zeros(WIDTH)
    return kinds * sum(plain_place(held, parent, kinds) for parent in parents) / len(parents)


def plain(held: WordVectors, label: str, synset: str | None, kinds: float, centre=None):
    """A label's place, or None."""
    own = held.vector_of(label).vector
    place = np.zeros(WIDTH) if own is None else own.astype(np.float64)
    if synset is not None:
        place = place + plain_above(held, synset, kinds)
    if not np.linalg.norm(place):
        return None
    place = unit(place)
    return place if centre is None else unit(place - centre)


def assert_placed(placed: Placed, expected) -> None:
    for row, place in zip(placed.vectors, expected, strict=True):
        if place is None:
            assert np.isnan(row).all()
        else:
            np.testing.assert_allclose(row, place, atol=1e-5)


@pytest.mark.parametrize("given", [None, wordnet()])
def test_without_kinds_labels_are_their_own_words(given):
    held = words()
    placed = LabelSpace(held, given).place(LABELS)
    assert_placed(placed, [held.vector_of(label).vector for label in LABELS])
    pairs = zip(placed.coverage.found, held.coverage(LABELS).found, strict=True)
    assert all(one[1:] == other[1:] for one, other in pairs)
    assert placed.missing == ["quokka", "qqq", "beast", "ringing"]
    assert placed.synsets == (None,) * len(LABELS)
    assert placed.kinds == 0
    assert placed.vectors.dtype == np.float32


@pytest.mark.parametrize("kinds", [0.3, 0.99])
@pytest.mark.parametrize("centre", [None, np.linspace(-0.2, 0.3, WIDTH, dtype=np.float32)])
def test_kinds_are_as_a_plain_one_has_them(kinds, centre):
    held = words()
    space = LabelSpace(held, wordnet(), kinds=kinds, centre=centre)
    ids = list(SYNSETS)
    labels = [", ".join(SYNSETS[name]) for name in ids]
    placed = space.place(labels, ids)
    expected = [plain(held, label, name, kinds, centre) for label, name in zip(labels, ids)]
    assert_placed(placed, expected)
    assert expected[0] is None  # the entity has no word and is a kind of nothing
    assert placed.missing == ["entity"]
    assert placed.kinds == 1  # the quokka
    assert placed.synsets == tuple(ids)
    np.testing.assert_allclose(
        np.linalg.norm(placed.vectors[1:], axis=1), np.ones(len(ids) - 1), atol=1e-6
    )
    # What is remembered changes nothing.
    assert np.array_equal(space.place(labels, ids).vectors, placed.vectors, equal_nan=True)


def test_of_two_parents_the_mean_counts():
    """A ball and a box at right angles; what is a kind of both lies between them."""
    held = WordVectors(("ball", "box"), np.eye(2, dtype=np.float32))
    names = {"n1": ["ball"], "n2": ["box"], "n3": ["qqq"]}
    both = WordNet(names, [("n1", "n3"), ("n2", "n3")])
    placed = LabelSpace(held, both, kinds=0.5).place(["qqq", "ball"], ["n3", "n3"])
    half = 0.5**0.5
    np.testing.assert_allclose(placed.vectors[0], [half, half], atol=1e-6)
    np.testing.assert_allclose(placed.vectors[1], unit([1.25, 0.25]), atol=1e-6)


def test_a_label_without_an_id_takes_the_sense_whose_kind_is_nearest():
    """A guitar's ring rings; another's is worn."""
    for number, (of_guitar, of_entity) in enumerate([((1, 0), (0, 1)), ((0, 1), (1, 0))]):
        rows = np.array([unit([1, 0.1]), of_guitar, of_entity], dtype=np.float32)
        held = WordVectors(("ring", "guitar", "entity"), rows)
        space = LabelSpace(held, wordnet(), kinds=0.5)
        senses = space.place(["ring", "RINGS", "qqq, ring", "zzz"]).synsets
        # Of a guitar, which is a kind of entity, half of both counts.
        expected = ("n00000007", "n00000006")[number]
        assert senses == (expected, expected, expected, None)


def test_a_label_without_a_vector_takes_the_first_sense():
    held = WordVectors(("animal", "guitar"), np.eye(2, dtype=np.float32))
    placed = LabelSpace(held, wordnet(), kinds=0.5).place(["ring", "quokkas", "quokka, ring"])
    assert placed.synsets == ("n00000006", "n00000005", "n00000005")
    assert placed.missing == ["ring"]  # of the entity, which has no vector either
    np.testing.assert_allclose(placed.vectors[1], [1, 0], atol=1e-6)


@pytest.mark.parametrize("label", ["", ",", " , ,", "\u5b57", "\x00", "a" * 3000, "-", "_"])
def test_odd_labels_have_no_vector_and_do_no_harm(label):
    for space in (
        LabelSpace(words()),
        LabelSpace(words(), wordnet(), kinds=0.5, synonyms="mean"),
    ):
        assert space.place([label, "ball"]).missing == [label]


def test_the_mean_of_synonyms_by_hand():
    held = words()
    label = "okapi, qqq, giraffe, qqq ball"
    own = LabelSpace(held, synonyms="mean").place([label, "okapi, qqq", "okapi, zzz ball"])
    mean = unit(held["okapi"].astype(float) + held["giraffe"])
    np.testing.assert_allclose(own.vectors[0], mean, atol=1e-6)
    assert own.coverage.found[0].text == "okapi + giraffe"
    # What is known in part only does not count beside what is known whole.
    for row in (1, 2):
        np.testing.assert_allclose(own.vectors[row], held["okapi"], atol=1e-6)
    first = LabelSpace(held).place([label])
    np.testing.assert_allclose(first.vectors[0], held["okapi"], atol=1e-6)


def test_synonyms_that_cancel_out_leave_the_first():
    held = WordVectors(("east", "west"), np.array([[1, 0], [-1, 0]], dtype=np.float32))
    placed = LabelSpace(held, synonyms="mean").place(["east, west"])
    assert placed.vectors.tolist() == [[1, 0]]


def test_the_centre_is_taken_off_units():
    held = WordVectors(("east", "north"), np.eye(2, dtype=np.float32))
    space = LabelSpace(held, centre=np.array([1, 0], dtype=np.float32))
    placed = space.place(["east", "north"])
    assert placed.missing == ["east"]  # nothing is left of it
    np.testing.assert_allclose(placed.vectors[1], unit([-1, 1]), atol=1e-6)
    centred = LabelSpace(held).centred(LabelSpace(held).place(["east", "qqq", "north"]).vectors)
    assert centred.centre.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("centre", [None, np.linspace(-0.2, 0.3, WIDTH, dtype=np.float32)])
def test_all_words_lie_where_they_do_as_labels(centre):
    held = words()
    space = LabelSpace(held, centre=centre)
    every = space.all_words()
    np.testing.assert_allclose(every.vectors, space.place(WORDS).vectors, atol=1e-6)
    assert every.coverage.labels == tuple(word.replace("_", " ") for word in WORDS)
    assert every.missing == []


def test_of_all_words_one_that_is_the_centre_has_no_vector():
    held = WordVectors(("east", "north"), np.eye(2, dtype=np.float32))
    every = LabelSpace(held, centre=np.array([1, 0], dtype=np.float32)).all_words()
    assert every.missing == ["east"]


def test_the_order_of_labels_only_moves_them():
    space = LabelSpace(words(), wordnet(), kinds=0.5)
    order = [*range(1, len(LABELS), 2), *range(0, len(LABELS), 2)]
    mixed = LabelSpace(words(), wordnet(), kinds=0.5).place([LABELS[row] for row in order])
    placed = space.place(LABELS)
    assert np.array_equal(mixed.vectors, placed.vectors[order], equal_nan=True)
    assert mixed.synsets == tuple(placed.synsets[row] for row in order)


def test_a_chain_of_kinds_may_be_longer_than_pythons_stack():
    names = [f"n{number:08d}" for number in range(2000)]
    chain = WordNet({name: ["qqq"] for name in names}, list(pairwise(names)))
    placed = LabelSpace(words(), chain, kinds=0.5).place(["ball"], [names[-1]])
    np.testing.assert_allclose(placed.vectors[0], words()["ball"], atol=1e-6)


def test_the_summary_counts_all_and_names_those_without():
    placed = LabelSpace(words(), wordnet(), kinds=0.5).place(["ball", "quokka", "qqq", "stop sign"])
    summary = placed.summary().splitlines()
    assert summary[0] == "4 labels, 0 of them by a later synonym"
    assert "     1 of those without have the place of what they are a kind of" in summary
    assert [line for line in summary if line.startswith("no vector")] == ["no vector: qqq"]


@pytest.mark.parametrize(("count", "told"), [(0, [0]), (999, [999]), (2001, [1000, 1000, 1])])
def test_progress_adds_up(count, told):
    heard: list[int] = []
    placed = LabelSpace(words()).place(["ball"] * count, advance=heard.append)
    assert heard == told
    assert placed.vectors.shape == (count, WIDTH)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kinds": 0.5}, "kinds want a WordNet"),
        ({"kinds": 1.0, "wordnet": wordnet()}, "kinds is 1.0; it must be from 0 to less than 1"),
        ({"kinds": -0.1}, "kinds is -0.1"),
        ({"synonyms": "last"}, "synonyms is 'last'; it must be 'first' or 'mean'"),
        ({"centre": np.zeros(3, np.float32)}, r"the centre has shape \(3,\), the words width 6"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        LabelSpace(words(), **given)


def test_ids_must_fit():
    space = LabelSpace(words(), wordnet(), kinds=0.5)
    with pytest.raises(ValueError, match="2 labels, 1 ids"):
        space.place(["ball", "box"], ["n00000001"])
    with pytest.raises(ValueError, match="'n99999999'"):
        space.place(["ball"], ["n99999999"])


@pytest.mark.parametrize("label", ["", " ", ",", " , "])
def test_a_blank_label_is_no_synset(label):
    placed = LabelSpace(words(), wordnet(), kinds=0.5).place([label])
    assert np.isnan(placed.vectors).all()
    assert placed.synsets == (None,)


def test_a_word_means_the_synset_that_it_is_the_commonest_word_of():
    # Both are called chair; the first of them by another word before, and nearer to the word.
    synsets = {
        "n00000001": ("person",),
        "n00000002": ("furniture",),
        "n00000003": ("president", "chair"),
        "n00000004": ("chair",),
    }
    edges = [("n00000001", "n00000003"), ("n00000002", "n00000004")]
    matrix = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    held = WordVectors(["person", "furniture", "chair"], matrix)
    space = LabelSpace(held, WordNet(synsets, edges), kinds=0.5)
    assert space.place(["chair"]).synsets == ("n00000004",)
    # Capitals tell names from words.
    synsets["n00000004"] = ("Chair",)
    space = LabelSpace(held, WordNet(synsets, edges), kinds=0.5)
    assert space.place(["chair", "Chair"]).synsets == ("n00000003", "n00000004")


def test_with_kinds_all_words_are_those_that_wordnet_has():
    space = LabelSpace(words(), wordnet(), kinds=0.5)
    placed = space.all_words()
    assert placed.coverage.labels == ("ring", "okapi", "giraffe", "guitar", "animal")
    np.testing.assert_array_equal(placed.vectors, space.place(placed.coverage.labels).vectors)
