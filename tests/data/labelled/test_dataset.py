"""Data sets of files and shards are read alike; subsets and splits."""

import pickle
from collections import Counter

import pytest
from webdataset import TarWriter

from vl.data.labelled.dataset import DatasetSubset, FileDataset, open_dataset, split_dataset
from vl.data.labelled.folders import read_labelled_images
from vl.data.labelled.shards import ShardDataset

NAMES = ("cat/c.jpg", "cat/deep/a.jpg", "dog/a.jpg", "dog/b.png", "emu/d.webp")


@pytest.fixture
def photos(tmp_path):
    for name in NAMES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 7)
    return tmp_path / "photos"


class Named:
    """Images whose bytes are their names."""

    def __init__(self, labels, classes="abc"):
        self.labels = labels
        self.names = tuple(f"{index}.png" for index in range(len(labels)))
        self.classes = tuple(classes)
        self.warnings = ("skipped one",)

    def read(self, index):
        return self.names[index].encode()


def test_files_have_the_index_of_their_class(photos):
    files = open_dataset(photos)
    assert isinstance(files, FileDataset)
    for dataset in (files, pickle.loads(pickle.dumps(files))):
        assert dataset.names == NAMES
        assert dataset.classes == ("cat", "dog", "emu")
        assert list(dataset.labels) == [0, 0, 1, 1, 2]
        assert [dataset.read(index) for index in range(5)] == [name.encode() * 7 for name in NAMES]


def test_list_keeps_the_order_of_images_and_classes(photos):
    path = photos / "list.tsv"
    path.write_text("emu/d.webp\tlarge bird\n\ndog/a.jpg\tdog\ncat/c.jpg\tlarge bird\n")
    files = open_dataset(path)
    assert files.names == ("emu/d.webp", "dog/a.jpg", "cat/c.jpg")
    assert files.classes == ("large bird", "dog")
    assert list(files.labels) == [0, 1, 0]
    assert len(files.warnings) == 1
    assert files.warnings == read_labelled_images(path).warnings


def test_folder_of_shards_and_one_shard(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\n")
    path = tmp_path / "x.tar"
    with TarWriter(str(path), encoder=False) as tar:
        metadata = b'{"name": "a/b.jpg", "label": "cat"}'
        tar.write({"__key__": "0", "jpg": b"one", "cls": b"0", "json": metadata})
    for shards in (open_dataset(tmp_path), open_dataset(path)):
        assert isinstance(shards, ShardDataset)
        assert list(shards.names) == ["a/b.jpg"] and shards.classes == ("cat",)
        assert list(shards.labels) == [0] and shards.read(0) == b"one"


def test_missing_image_is_named(photos):
    files = open_dataset(photos)
    (photos / "dog" / "b.png").unlink()
    for access in (files.read, files.stamp):
        with pytest.raises(FileNotFoundError, match=r"dog/b\.png"):
            access(3)


def test_changed_image_has_another_stamp(photos):
    files = open_dataset(photos)
    before = [files.stamp(index) for index in range(5)]
    (photos / "dog" / "b.png").write_bytes(b"of another length")
    assert [files.stamp(index) != before[index] for index in range(5)] == [0, 0, 0, 1, 0]


def test_missing_data_set_is_named(tmp_path):
    for name in ("none", "none.tar"):
        with pytest.raises(FileNotFoundError, match=name):
            open_dataset(tmp_path / name)


@pytest.mark.parametrize("name", ["x.tar.gz", "x.TGZ", "x.tar.xz", "x.tar.bz2", "x.tar.zst"])
def test_refuses_compressed_shards(tmp_path, name):
    (tmp_path / name).write_bytes(b"whatever")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ValueError, match="decompress"):
            open_dataset(path)


def test_refuses_shards_beside_folders(photos):
    (photos / "x.tar").write_bytes(b"")
    with pytest.raises(ValueError, match=r"side by side.*'cat'"):
        open_dataset(photos)


def test_subset_reads_its_images():
    subset = DatasetSubset(Named([0, 1, 2, 0]), [3, 1])
    assert subset.names == ("3.png", "1.png")
    assert list(subset.labels) == [0, 1]
    assert subset.classes == ("a", "b", "c")
    assert subset.warnings == ("skipped one",)
    nested = DatasetSubset(DatasetSubset(Named([0, 1, 2, 0]), [3, 2, 1]), [2, 0])
    for dataset in (nested, pickle.loads(pickle.dumps(nested))):
        assert [dataset.read(index) for index in range(2)] == [b"1.png", b"3.png"]


def test_subset_can_have_other_classes():
    subset = DatasetSubset(Named([0, 1]), [0, 1], labels=[2, 0], classes=("b", "x", "a"))
    assert list(subset.labels) == [2, 0]
    assert subset.classes == ("b", "x", "a")


@pytest.mark.parametrize(
    ("share", "counts", "expected"),
    [
        (0.25, (8, 4, 20), (2, 1, 5)),
        (0.01, (8, 4, 2), (1, 1, 1)),  # at least one
        (0.9, (10, 2, 1), (9, 1, 0)),  # and at least one stays in training
    ],
)
def test_split_takes_a_share_of_each_class(share, counts, expected):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    training, validation = split_dataset(Named(labels), share, seed=1)
    assert Counter(validation.labels) == {n: count for n, count in enumerate(expected) if count}
    assert sorted(training.names + validation.names) == sorted(Named(labels).names)
    for part in (training, validation):
        indices = [int(name.removesuffix(".png")) for name in part.names]
        assert indices == sorted(indices)
        assert list(part.labels) == [labels[index] for index in indices]
        assert part.read(0).decode() == part.names[0]


def test_split_depends_on_the_seed():
    dataset = Named([0] * 50 + [1] * 50)
    one, same, other = (split_dataset(dataset, 0.2, seed=seed)[1].names for seed in (1, 1, 2))
    assert one == same != other


def test_split_refuses_classes_of_one_image():
    with pytest.raises(ValueError, match="two images"):
        split_dataset(Named([0, 1, 2]), 0.5, seed=0)
