"""Shards: any order, threads and processes read the same; faults name shard and member."""

import json
import multiprocessing
import os
import pickle
import random
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from tests.helpers.tars import sample, tar
from vl.data.errors import FormatError
from vl.data.images.files import SUFFIXES
from vl.data.labelled.shards import CLASSES, SETTINGS, ShardDataset, shard_names


def write_classes(folder, *classes):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CLASSES).write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")


def ours(folder, count, *, per_shard=3, classes=("cat", "dog")):
    """Our shards, and their contents by name."""
    generator = random.Random(0)
    write_classes(folder, *classes)
    contents = {}
    for begin in range(0, count, per_shard):
        members = []
        for row in range(begin, min(begin + per_shard, count)):
            name, label = f"{classes[row % len(classes)]}/é {row}.jpg", row % len(classes)
            contents[name] = generator.randbytes(generator.randrange(2000))
            metadata = json.dumps({"name": name, "label": classes[label]}).encode()
            members += sample(f"{row:06d}", contents[name], str(label).encode())
            members.append((f"{row:06d}.json", metadata))
        tar(folder / f"shard-{begin // per_shard:06d}.tar", *members)
    return contents


def test_shards_have_the_written_images(tmp_path):
    contents = ours(tmp_path, 10)
    dataset = ShardDataset(tmp_path)
    assert list(dataset.names) == list(contents)
    assert dataset.classes == ("cat", "dog")
    assert list(dataset.labels) == [row % 2 for row in range(10)]
    assert {dataset.names[row]: dataset.read(row) for row in range(10)} == contents
    assert dataset.warnings == ()
    assert list(dataset.names[2:5]) == list(contents)[2:5]
    assert dataset.names[-1] == list(contents)[-1]
    with pytest.raises(IndexError):
        dataset.names[10]


def test_classes_without_images(tmp_path):
    tar(tmp_path / "a.tar", *sample("0", label=b"2"))
    dataset = ShardDataset(tmp_path)
    assert dataset.classes == ("0", "1", "2")
    assert "2 of 3 classes" in dataset.warnings[0]


def test_foreign_shards_have_indices_as_classes_and_keys_as_names(tmp_path):
    """All suffixes of images, in capitals too, members in any order, nested keys."""
    suffixes = sorted(SUFFIXES)
    members = []
    for row, suffix in enumerate(suffixes):
        members.append((f"./deep.er/{row:03d}.cls", f"{row}\n".encode()))
        members.append((f"./deep.er/{row:03d}{suffix.upper()}", bytes([row]) * 5))
    tar(tmp_path / "set-0.tar", *members)
    dataset = ShardDataset(tmp_path / "set-0.tar")
    assert dataset.classes == tuple(str(row) for row in range(len(suffixes)))
    assert list(dataset.names) == [f"set-0/./deep.er/{row:03d}" for row in range(len(suffixes))]
    for row in range(len(suffixes)):
        assert dataset.read(row) == bytes([row]) * 5


def test_foreign_json_is_no_name(tmp_path):
    for row, text in enumerate(
        [b'{"name": "x"}', b'{"name": 3, "label": "0"}', b"[1", b"[" * 10000, b'"x"', b"\xff"]
    ):
        tar(tmp_path / f"{row}.tar", ("k.json", text), *sample("k"))
    assert list(ShardDataset(tmp_path).names) == [f"{row}/k" for row in range(6)]


def test_class_as_text(tmp_path):
    (tmp_path / CLASSES).write_text("stop sign\r\nzebra\n")
    tar(tmp_path / "a.tar", *sample("0", label=b"zebra\n"), *sample("1", label=b"0"))
    dataset = ShardDataset(tmp_path)
    assert list(dataset.labels) == [1, 0]
    assert dataset.classes == ("stop sign", "zebra")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("7.jpg", b"")], "7.jpg.*no class"),
        ([("7.cls", b"0")], "7.cls.*no image"),
        ([*sample("7"), ("7.png", b"")], "7.png.*another image"),
        ([*sample("7"), ("7.jpg", b"")], "7.jpg.*duplicate"),
        ([*sample("7"), *sample("8"), *sample("7")], "7.jpg.*adjacent"),
        (sample("7", label=b"-1"), "index, got '-1'"),
        (sample("7", label=b"1.0"), "index, got '1.0'"),
        (sample("7", label=b""), "index, got ''"),
        (sample("7", label="٣".encode()), "index, got '٣'"),
        (sample("7", label=b"1000000"), "unknown class 1000000"),
        (sample("7", label=b"9" * 30), "index"),
        (sample("7", label=b"1" * 70000), "70000 bytes"),
        ([("info.txt", b"")], "no image"),
        ([], "no image"),
    ],
)
def test_refuses_invalid_samples(tmp_path, members, message):
    path = tar(tmp_path / "a.tar", *members)
    with pytest.raises(FormatError, match=rf"a\.tar: .*{message}"):
        ShardDataset(path)


@pytest.mark.parametrize("label", ["2", "cow"])
def test_refuses_unknown_classes(tmp_path, label):
    write_classes(tmp_path, "cat", "dog")
    tar(tmp_path / "a.tar", *sample("7", label=label.encode()))
    with pytest.raises(FormatError, match=rf"a\.tar: .*7\.cls.*{label}"):
        ShardDataset(tmp_path)


def test_refuses_classes_of_other_shards(tmp_path):
    ours(tmp_path, 4)
    write_classes(tmp_path, "dog", "cat")
    with pytest.raises(FormatError, match=r"000000.*'cat'.* not class 0"):
        ShardDataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n\nb\n", "line 2: .*empty"),
        ("a\nb\na\n", "line 3: .*'a'"),
        ("", "no classes"),
    ],
)
def test_refuses_invalid_class_lists(tmp_path, text, message):
    (tmp_path / CLASSES).write_text(text)
    tar(tmp_path / "a.tar", *sample("0"))
    with pytest.raises(FormatError, match=rf"classes\.txt: .*{message}"):
        ShardDataset(tmp_path)


def test_refuses_duplicate_names(tmp_path):
    write_classes(tmp_path, "cat")
    for shard in shard_names(2):
        metadata = b'{"name": "a.jpg", "label": "cat"}'
        tar(tmp_path / shard, *sample("0"), ("0.json", metadata))
    with pytest.raises(FormatError, match=r"000001\.tar: .*a second image 'a\.jpg'"):
        ShardDataset(tmp_path)


def test_warns_of_gaps_in_foreign_shards(tmp_path):
    for number in (2, 3, 6):
        tar(tmp_path / f"set-{number:04d}.tar", *sample("0"))
    tar(tmp_path / "other-20240101.tar", *sample("0"))
    (warning,) = ShardDataset(tmp_path).warnings
    assert "2 shards are missing: 'set-0004.tar', 'set-0005.tar'" in warning
    assert ShardDataset(tmp_path / "set-0002.tar").warnings == ()


def test_refuses_an_incomplete_set_of_our_shards(tmp_path):
    ours(tmp_path, 9)
    (tmp_path / SETTINGS).write_text(json.dumps({"shards": 5}))
    with pytest.raises(FileNotFoundError, match=r"2 of 5 .*'shard-000003.*'shard-000004"):
        ShardDataset(tmp_path)
    assert len(ShardDataset(tmp_path / "shard-000001.tar").labels) > 0
    for wrong in ("{", "[]", "{}", '{"shards": -1}', '{"shards": 10000000000}', '{"shards": true}'):
        (tmp_path / SETTINGS).write_text(wrong)
        with pytest.raises(FormatError, match=SETTINGS):
            ShardDataset(tmp_path)


def test_refuses_to_read_a_changed_or_truncated_shard(tmp_path):
    contents = ours(tmp_path, 6)
    dataset = ShardDataset(tmp_path)
    first, second = (tmp_path / name for name in shard_names(2))
    os.utime(second, ns=(1, 1))
    assert dataset.read(0) == contents[dataset.names[0]]
    with pytest.raises(OSError, match=r"000001\.tar: changed"):
        dataset.read(3)
    second.unlink()
    with pytest.raises(FileNotFoundError, match=r"000001\.tar"):
        dataset.read(3)
    os.truncate(first, 600)  # it is open
    with pytest.raises(OSError, match=r"000000\.tar: truncated"):
        dataset.read(2)


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_few_shards_are_open_at_once(tmp_path):
    contents = ours(tmp_path, 20, per_shard=1)
    dataset = ShardDataset(tmp_path, max_open=4)
    before = open_files()
    for row in random.Random(0).choices(range(20), k=200):
        assert dataset.read(row) == contents[dataset.names[row]]
        assert open_files() <= before + 4
    del dataset
    assert open_files() == before


def test_reading_is_thread_safe(tmp_path):
    contents = ours(tmp_path, 24, per_shard=2)
    dataset = ShardDataset(tmp_path, max_open=2)
    rows = random.Random(0).choices(range(24), k=1600)
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(dataset.read, rows))
    assert outputs == [contents[dataset.names[row]] for row in rows]


def test_pickled_data_set_opens_its_own_files(tmp_path):
    contents = ours(tmp_path, 6)
    dataset = ShardDataset(tmp_path)
    dataset.read(0)
    before = open_files()
    again = pickle.loads(pickle.dumps(dataset))
    assert open_files() == before
    assert {again.names[row]: again.read(row) for row in range(6)} == contents


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")  # the child only reads
@pytest.mark.parametrize(
    ("processes", "method"),
    [(1, "fork"), (3, "fork"), (7, "fork"), pytest.param(2, "spawn", marks=pytest.mark.slow)],
)
def test_processes_read_every_image(tmp_path, processes, method):
    contents = ours(tmp_path, 40, per_shard=6)
    dataset = ShardDataset(tmp_path)
    dataset.read(0)  # a file is open before the fork
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        outputs = list(pool.map(dataset.read, range(40), chunksize=40 // processes))
    assert dict(zip(dataset.names, outputs, strict=True)) == contents
