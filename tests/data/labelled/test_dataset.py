"""Labelled pictures are read alike from files and from shards."""

import pickle

import pytest

from vl.data.labelled.dataset import FileDataset, open_dataset
from vl.data.labelled.folders import read_labelled_images
from vl.data.labelled.shards import ShardDataset, about, write_classes
from vl.data.labelled.tar_samples import Entry, write


@pytest.fixture
def photos(tmp_path):
    for name in ("dog/a.jpg", "dog/b.png", "cat/c.jpg", "cat/deep/a.jpg", "emu/d.webp"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 7)
    return tmp_path / "photos"


def test_files_are_pictures_with_the_place_of_their_class(photos):
    files = open_dataset(photos)
    assert isinstance(files, FileDataset)
    assert files.names == ("cat/c.jpg", "cat/deep/a.jpg", "dog/a.jpg", "dog/b.png", "emu/d.webp")
    assert [files.classes[label] for label in files.labels] == ["cat", "cat", "dog", "dog", "emu"]
    assert list(files.labels) == [0, 0, 1, 1, 2]
    assert [files.read(row) for row in range(5)] == [name.encode() * 7 for name in files.names]


def test_a_list_keeps_its_order_and_its_classes_theirs(photos):
    path = photos / "list.tsv"
    path.write_text("emu/d.webp\tlarge bird\n\ndog/a.jpg\tdog\ncat/c.jpg\tlarge bird\n")
    files = open_dataset(path)
    assert files.names == ("emu/d.webp", "dog/a.jpg", "cat/c.jpg")
    assert files.classes == ("large bird", "dog")
    assert list(files.labels) == [0, 1, 0]
    assert files.notes == read_labelled_images(path).notes
    assert len(files.notes) == 1


def test_a_folder_of_shards_and_one_shard_are_shards(tmp_path):
    write_classes(tmp_path / "shards", ["cat"])
    write(
        tmp_path / "shards" / "x.tar",
        [Entry("0", ".jpg", b"one", "0", about("a/b.jpg", "cat"))],
    )
    for path in (tmp_path / "shards", tmp_path / "shards" / "x.tar"):
        found = open_dataset(path)
        assert isinstance(found, ShardDataset)
        assert (list(found.names), list(found.labels), found.classes) == (
            ["a/b.jpg"],
            [0],
            ("cat",),
        )
        assert found.read(0) == b"one"


def test_a_picture_that_has_gone_is_an_error_that_names_it(photos):
    files = open_dataset(photos)
    (photos / "dog" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"dog/b\.png"):
        files.read(3)
    with pytest.raises(FileNotFoundError, match=r"dog/b\.png"):
        files.stamp(3)


def test_a_picture_that_is_changed_has_another_stamp(photos):
    files = open_dataset(photos)
    before = [files.stamp(row) for row in range(5)]
    (photos / "dog" / "b.png").write_bytes(b"longer than it was before, or at least another length")
    after = [files.stamp(row) for row in range(5)]
    assert [row for row in range(5) if before[row] != after[row]] == [3]


def test_files_survive_pickling(photos):
    files = open_dataset(photos)
    again = pickle.loads(pickle.dumps(files))
    assert again.names == files.names
    assert list(again.labels) == list(files.labels)
    assert [again.read(row) for row in range(5)] == [files.read(row) for row in range(5)]


def test_what_is_not_there_is_named(tmp_path):
    for name in ("none", "none.tar"):
        with pytest.raises(FileNotFoundError, match=name):
            open_dataset(tmp_path / name)


@pytest.mark.parametrize("name", ["x.tar.gz", "x.TGZ", "x.tar.xz", "x.tar.bz2", "x.tar.zst"])
def test_a_packed_shard_is_to_be_unpacked(tmp_path, name):
    (tmp_path / name).write_bytes(b"whatever")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ValueError, match=r"packed; unpack it to a plain \.tar first"):
            open_dataset(path)


def test_shards_beside_folders_may_be_either(photos):
    (photos / "x.tar").write_bytes(b"")
    with pytest.raises(ValueError, match=r"side by side.*: 'cat', 'dog', 'emu'$"):
        open_dataset(photos)
