"""Some of labelled pictures: what is put aside, and classes by other numbers."""

import pickle
from collections import Counter

import pytest

from vl.data.labelled.dataset import DatasetSubset, split_dataset


class Named:
    """Pictures whose bytes are their names."""

    def __init__(self, labels, classes="abc"):
        self.labels = labels
        self.names = tuple(f"{row}.png" for row in range(len(labels)))
        self.classes = tuple(classes)
        self.notes = ("one was left out",)

    def read(self, row):
        return self.names[row].encode()


def test_a_subset_reads_the_rows_it_has():
    pictures = DatasetSubset(Named([0, 1, 2, 0]), [3, 1])
    assert pictures.names == ("3.png", "1.png")
    assert list(pictures.labels) == [0, 1]
    assert pictures.classes == ("a", "b", "c")
    assert pictures.notes == ("one was left out",)
    assert [pictures.read(row) for row in range(2)] == [b"3.png", b"1.png"]


def test_a_subset_of_a_subset_and_a_pickled_one_read_the_same():
    pictures = DatasetSubset(DatasetSubset(Named([0, 1, 2, 0]), [3, 2, 1]), [2, 0])
    for each in (pictures, pickle.loads(pickle.dumps(pictures))):
        assert [each.read(row) for row in range(2)] == [b"1.png", b"3.png"]


def test_classes_can_have_other_numbers():
    pictures = DatasetSubset(Named([0, 1]), [0, 1], labels=[2, 0], classes=("b", "x", "a"))
    assert list(pictures.labels) == [2, 0]
    assert pictures.classes == ("b", "x", "a")


def test_there_is_a_label_for_each_picture():
    with pytest.raises(ValueError, match="1 labels for 2 pictures"):
        DatasetSubset(Named([0, 1]), [0, 1], labels=[2])


@pytest.mark.parametrize(
    ("share", "counts", "put"),
    [
        (0.25, (8, 4, 20), (2, 1, 5)),
        (0.01, (8, 4, 2), (1, 1, 1)),  # at least one
        (0.9, (10, 2, 1), (9, 1, 0)),  # and at least one is left
    ],
)
def test_a_share_of_each_class_is_put_aside(share, counts, put):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    kept, judged = split_dataset(Named(labels), share, seed=1)
    assert Counter(judged.labels) == {n: count for n, count in enumerate(put) if count}
    assert sorted(kept.names + judged.names) == sorted(Named(labels).names)
    for part in (kept, judged):
        rows = [int(name.removesuffix(".png")) for name in part.names]
        assert rows == sorted(rows)
        assert list(part.labels) == [labels[row] for row in rows]
        assert part.read(0).decode() == part.names[0]


def test_what_is_put_aside_goes_by_the_seed():
    pictures = Named([0] * 50 + [1] * 50)
    one, same, other = (split_dataset(pictures, 0.2, seed=seed)[1].names for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_a_share_is_between_none_and_all(share):
    with pytest.raises(ValueError, match=r"it must be between 0 and 1"):
        split_dataset(Named([0, 0]), share, seed=0)


def test_of_single_pictures_none_can_be_put_aside():
    with pytest.raises(ValueError, match="no class has two pictures"):
        split_dataset(Named([0, 1, 2]), 0.5, seed=0)
