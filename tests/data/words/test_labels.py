"""When two labels are the same, and how one is looked up."""

from itertools import product

import pytest

from vl.data.words.labels import Label, LabelIndex, UniqueLabels


def same_label(first, second):
    if first.synset and second.synset:
        return first.synset == second.synset
    if not first.synset and not second.synset:
        return first.names == second.names
    with_id, without = (first, second) if first.synset else (second, first)
    return without.names[0] in with_id.names


OKAPI, RING, RINGING = "n00000003", "n00000006", "n00000007"


def test_names_are_compared_without_case_blanks_and_underscores():
    assert Label(" Stop_Sign,, traffic  sign , ").names == ("stop sign", "traffic sign")
    assert Label("caf\u00e9").names == Label("Cafe\u0301").names
    assert Label("_").names != Label("-").names


@pytest.mark.parametrize(
    ("labels", "positions"),
    [
        ([("okapi", None), ("Okapi ", None), ("okapi, x", None)], [0, 0, 1]),
        ([("okapi", OKAPI), ("anything", OKAPI), ("okapi", RING)], [0, 0, 1]),
        ([("x, okapi", OKAPI), ("okapi", None), ("okapi, y", None)], [0, 0, 0]),
        ([("x, okapi", OKAPI), ("y, okapi", None)], [0, 1]),
        ([("okapi", None), ("x, okapi", OKAPI), ("okapi", None)], [0, 0, 0]),
        ([("ring", None), ("ring", RING), ("ring", RINGING), ("ring", None)], [0, 0, 1, 0]),
        ([("ring", RING), ("ring", RINGING), ("ring", None)], [0, 1, 0]),
        ([("stop_sign", None), ("stop sign", RING), ("STOP  sign", None)], [0, 0, 0]),
        ([("caf\u00e9", None), ("cafe\u0301", None)], [0, 0]),
        ([("_", None), ("-", None), ("_", None)], [0, 1, 0]),
    ],
)
def test_same_labels_are_merged(labels, positions):
    unique = UniqueLabels()
    assert [unique.add(Label(*label)) for label in labels] == positions
    assert len(unique.labels) == max(positions) + 1


def test_pairs_are_merged_if_and_only_if_they_are_the_same():
    texts, ids = ("a", "b", "a, b", "b, a", "A ,b", "c, a"), (None, "n00000001", "n00000002")
    every = [Label(text, synset) for text, synset in product(texts, ids)]
    for first, second in product(every, every):
        unique = UniqueLabels()
        assert (unique.add(first) == unique.add(second)) == same_label(first, second)
        assert same_label(first, second) == same_label(second, first)
        if same_label(first, second):  # looking up is never stricter, and exclusion least strict
            without_id, other = (second, first) if first.synset else (first, second)
            assert LabelIndex([other]).find(without_id) == [0]
        if LabelIndex([first]).find(second):
            assert LabelIndex([first]).shares_name(second)


def test_label_takes_on_a_later_id():
    unique = UniqueLabels()
    for label in (Label("okapi"), Label("okapi, x", OKAPI)):
        unique.add(label)
    assert unique.labels == [Label("okapi", OKAPI)]


INDEX = LabelIndex(
    [Label("ring, ringing", RINGING), Label("ring", RING), Label("stop_sign"), Label("a, ring")]
)


@pytest.mark.parametrize(
    ("label", "positions", "closest"),
    [
        (Label("ring"), [0, 1, 3], [1]),
        (Label("Ring, x"), [0, 1, 3], [0, 1, 3]),  # its first name counts
        (Label("x, ring"), [], []),
        (Label("anything", RING), [1], [1]),
        (Label("ring", OKAPI), [3], [3]),  # another sense than those with ids
        (Label("Stop  Sign"), [2], [2]),
        (Label("stop sign", OKAPI), [2], [2]),
    ],
)
def test_find_by_id_or_else_first_name(label, positions, closest):
    assert INDEX.find(label) == positions
    assert INDEX.find_closest(label) == closest


@pytest.mark.parametrize(
    ("label", "shared"),
    [
        (Label("x, ringing"), True),
        (Label("x, ringing", OKAPI), False),
        (Label("x, a", OKAPI), True),
        (Label("x", RING), True),
        (Label("x"), False),
    ],
)
def test_any_name_in_common_is_shared(label, shared):
    assert INDEX.shares_name(label) is shared
