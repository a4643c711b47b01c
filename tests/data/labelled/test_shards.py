"""ShardDataset: what is in them is read once each, by any number of processes; what is wrong is named."""

import contextlib
import io
import json
import multiprocessing
import os
import pickle
import random
import tarfile
import threading
import warnings

import pytest

from vl.data.errors import FormatError
from vl.data.images.decode import SUFFIXES
from vl.data.labelled import shards as module
from vl.data.labelled.shards import (
    CLASSES,
    SETTINGS,
    ShardDataset,
    about,
    shard_names,
    write_classes,
)
from vl.data.labelled.tar_samples import Entry, write


def tar(path, *members, form=tarfile.USTAR_FORMAT):
    """A tar of names and contents; None as content makes a folder, a TarInfo is taken as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as file:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is None:
                if not isinstance(name, tarfile.TarInfo):
                    member.type = tarfile.DIRTYPE
                file.addfile(member)
                continue
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def sample(key, content=b"picture", label=b"0", suffix=".jpg"):
    return [(f"{key}{suffix}", content), (f"{key}.cls", label)]


def ours(folder, count, *, per_shard=3, classes=("cat", "dog")):
    """Our shards, and what is in them by name."""
    generator = random.Random(0)
    write_classes(folder, classes)
    contents = {}
    for begin in range(0, count, per_shard):
        entries = []
        for row in range(begin, min(begin + per_shard, count)):
            name, label = f"{classes[row % len(classes)]}/é {row}.jpg", row % len(classes)
            contents[name] = generator.randbytes(generator.randrange(2000))
            text = about(name, classes[label])
            entries.append(Entry(f"{row:06d}", ".jpg", contents[name], str(label), text))
        write(folder / f"shard-{begin // per_shard:06d}.tar", entries)
    return contents


def test_shards_give_back_what_was_written(tmp_path):
    contents = ours(tmp_path, 10)
    found = ShardDataset(tmp_path)
    assert list(found.names) == list(contents)
    assert found.classes == ("cat", "dog")
    assert list(found.labels) == [row % 2 for row in range(10)]
    assert {found.names[row]: found.read(row) for row in range(10)} == contents
    assert found.notes == ()
    assert list(found.names[2:5]) == list(contents)[2:5]
    assert found.names[-1] == list(contents)[-1]
    with pytest.raises(IndexError):
        found.names[10]


def test_a_class_may_be_one_that_has_no_pictures(tmp_path):
    tar(tmp_path / "a.tar", *sample("0", label=b"2"))
    found = ShardDataset(tmp_path)
    assert found.classes == ("0", "1", "2")
    assert found.notes == ("2 of 3 classes have no picture",)


def test_other_peoples_shards_have_numbers_as_classes_and_keys_as_names(tmp_path):
    """All suffixes that pictures have, in capitals too, members in any order, deep keys."""
    suffixes = sorted(SUFFIXES)
    members = []
    for row, suffix in enumerate(suffixes):
        key = f"./deep.er/{row:03d}"
        members += [
            (f"{key}.cls", f"{row}\n".encode()),
            (f"{key}{suffix.upper()}", bytes([row]) * 5),
        ]
    tar(tmp_path / "set-0.tar", *members)
    found = ShardDataset(tmp_path / "set-0.tar")
    assert found.classes == tuple(map(str, range(len(suffixes))))
    assert list(found.names) == [f"set-0/./deep.er/{row:03d}" for row in range(len(suffixes))]
    assert [found.read(row) for row in range(len(suffixes))] == [
        bytes([row]) * 5 for row in range(len(suffixes))
    ]


def test_other_peoples_json_is_no_name(tmp_path):
    for row, text in enumerate(
        [b'{"name": "x"}', b'{"name": 3, "label": "0"}', b"[1", b"[" * 10000, b'"x"', b"\xff"]
    ):
        tar(tmp_path / f"{row}.tar", ("k.json", text), *sample("k"))
    assert list(ShardDataset(tmp_path).names) == [f"{row}/k" for row in range(6)]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_any_tar_format_are_read(tmp_path, form):
    keys = [f"{'x' * 60}/{'é' * 10}/{n}{'y' * 60}" for n in range(3)]
    members = [member for key in keys for member in sample(key, key.encode())]
    found = ShardDataset(tar(tmp_path / "a.tar", *members, form=form))
    assert [found.read(row).decode() for row in range(3)] == keys


def test_what_is_neither_picture_nor_class_is_counted(tmp_path):
    link = tarfile.TarInfo("0.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar(
        tmp_path / "a.tar",
        ("folder", None),
        (link, None),
        ("README", b"no suffix"),
        ("._0.jpg", b"no key"),
        ("0.jpg", b"here"),
        ("0.txt", b"a caption"),
        ("0.seg.png", b"not the picture"),
        ("0.cls", b"0"),
        ("info.json", b"{}"),
    )
    found = ShardDataset(tmp_path)
    assert found.read(0) == b"here"
    (note,) = found.notes
    for part in (
        "2 folders and links",
        "2 without key and suffix",
        "1 .txt",
        "1 .seg.png",
        "1 .json",
    ):
        assert part in note


def test_nothing_is_unpacked_to_the_disk(tmp_path):
    tar(tmp_path / "in" / "a.tar", *sample("../out/x"), *sample(f"{tmp_path}/y"))
    assert ShardDataset(tmp_path / "in").read(1) == b"picture"
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a.tar", "in"]


def test_a_class_may_be_written_as_its_text(tmp_path):
    (tmp_path / CLASSES).write_text("stop sign\r\nzebra\n")
    tar(tmp_path / "a.tar", *sample("0", label=b"zebra\n"), *sample("1", label=b"0"))
    found = ShardDataset(tmp_path)
    assert list(found.labels) == [1, 0]
    assert found.classes == ("stop sign", "zebra")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("7.jpg", b"")], r"a\.tar: member '7\.jpg': the sample has no class"),
        ([("7.cls", b"0")], r"a\.tar: member '7\.cls': the sample has no picture"),
        ([*sample("7"), ("7.png", b"")], r"'7\.png': the sample has another picture, '7\.jpg'"),
        ([*sample("7"), ("7.jpg", b"")], r"member '7\.jpg': it is there twice"),
        ([*sample("7"), *sample("8"), *sample("7")], "the key '7' is there before others as well"),
        (sample("7", label=b"cat"), r"'7\.cls': 'cat' is not a class's number$"),
        (sample("7", label=b"-1"), "'-1' is not a class's number"),
        (sample("7", label=b"1.0"), "'1.0' is not a class's number"),
        (sample("7", label=b""), "'' is not a class's number"),
        (sample("7", label="٣".encode()), "'٣' is not a class's number"),
        (sample("7", label=b"1000000"), "there is no class 1000000: 1,000,000 are possible"),
        (sample("7", label=b"9" * 30), "is not a class's number"),
        (sample("7", label=b"1" * 70000), "70000 bytes are no class"),
        ([("info.txt", b"")], r"there is no picture in it"),
        ([], r"there is no picture in it"),
    ],
)
def test_a_wrong_sample_is_named(tmp_path, members, message):
    tar(tmp_path / "a.tar", *members)
    with pytest.raises(FormatError, match=message):
        ShardDataset(tmp_path)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (b"2", "there is no class 2: classes.txt has 2"),
        (b"cow", "'cow' is neither a class's number nor one of classes.txt"),
    ],
)
def test_a_class_that_classes_txt_has_not_is_named(tmp_path, label, message):
    write_classes(tmp_path, ["cat", "dog"])
    tar(tmp_path / "a.tar", *sample("7", label=label))
    with pytest.raises(FormatError, match=rf"a\.tar: member '7\.cls': {message}"):
        ShardDataset(tmp_path)


def test_classes_of_other_shards_are_refused(tmp_path):
    ours(tmp_path, 4)
    write_classes(tmp_path, ["dog", "cat"])
    with pytest.raises(
        FormatError, match=r"its \.json says 'cat', which is not class 0 of classes"
    ):
        ShardDataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n\nb\n", "line 2: a class was expected"),
        ("a\nb\na\n", "line 3: the class 'a' is on line 1 already"),
        ("", "there is no class in it"),
    ],
)
def test_wrong_classes_are_named_by_line(tmp_path, text, message):
    (tmp_path / CLASSES).write_text(text)
    tar(tmp_path / "a.tar", *sample("0"))
    with pytest.raises(FormatError, match=rf"classes\.txt: {message}"):
        ShardDataset(tmp_path)


@pytest.mark.parametrize("name", ["a\nb", "a\r", "", "  ", "\ufeffa", "a\udcff", "a\0"])
def test_a_class_that_is_no_line_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"cannot be a line of classes\.txt"):
        write_classes(tmp_path, ["fine", name])
    assert list(tmp_path.iterdir()) == []


def test_a_name_in_two_shards_is_refused(tmp_path):
    write_classes(tmp_path, ["cat"])
    for shard in shard_names(2):
        write(tmp_path / shard, [Entry("0", ".jpg", b"", "0", about("a.jpg", "cat"))])
    with pytest.raises(FormatError, match=r"000001\.tar: .*there is a picture 'a\.jpg' already"):
        ShardDataset(tmp_path)


def test_a_tar_cut_short_anywhere_is_refused(tmp_path):
    whole = tar(
        tmp_path / "whole.tar", *sample("0", b"x" * 700), *sample("1", b"y" * 5)
    ).read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # of the last member
    ShardDataset(tmp_path / "whole.tar")
    for length in [*range(0, end, 128), end, end + 511]:
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"cut\.tar: .*cut short or damaged"):
            ShardDataset(tmp_path / "cut.tar")


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    path = tar(tmp_path / "a.tar", *sample("0"), *sample("1"))
    whole = path.read_bytes()
    for header in range(0, 4 * 1024, 1024):
        path.write_bytes(whole[: header + 3] + b"?" + whole[header + 4 :])
        with pytest.raises(FormatError, match=r"a\.tar: .*damaged"):
            ShardDataset(path)


def test_two_tars_in_one_are_refused(tmp_path):
    one, two = (tar(tmp_path / name, *sample(name)) for name in ("a.tar", "b.tar"))
    one.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(FormatError, match=r"a\.tar: something lies behind the tar's end"):
        ShardDataset(one)


def test_a_size_below_zero_ends(tmp_path):
    """Else a reader goes back and round for ever."""
    header = bytearray(tar(tmp_path / "a.tar", *sample("0")).read_bytes()[:512])
    header[124:136] = (-1024).to_bytes(12, "big", signed=True)  # in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(1024).join([bytes(header), b""]))
    with pytest.raises(FormatError, match=r"a\.tar: .*damaged"):
        ShardDataset(tmp_path)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_packed_tar_is_known_by_its_bytes(tmp_path, mode):
    with tarfile.open(tmp_path / "a.tar", mode) as file:
        file.addfile(tarfile.TarInfo("0.jpg"))
    with pytest.raises(FormatError, match=r"a\.tar: packed; unpack it"):
        ShardDataset(tmp_path)


def test_gaps_in_other_people_s_shards_are_noted(tmp_path):
    for number in (2, 3, 6):
        tar(tmp_path / f"set-{number:04d}.tar", *sample("0"))
    tar(tmp_path / "other-20240101.tar", *sample("0"))
    (note,) = ShardDataset(tmp_path).notes
    assert note == f"{tmp_path}: 2 shards are missing: 'set-0004.tar', 'set-0005.tar'"
    assert ShardDataset(tmp_path / "set-0002.tar").notes == ()


def test_a_part_of_our_shards_is_refused(tmp_path):
    ours(tmp_path, 9)
    (tmp_path / SETTINGS).write_text(json.dumps({"shards": 5}))
    with pytest.raises(
        FileNotFoundError, match=r"2 of 5 shards are missing: 'shard-000003\.tar', 'shard-000004"
    ):
        ShardDataset(tmp_path)
    assert len(ShardDataset(tmp_path / "shard-000001.tar").labels) > 0
    for wrong in ("{", "[]", "{}", '{"shards": -1}', '{"shards": 10000000000}', '{"shards": true}'):
        (tmp_path / SETTINGS).write_text(wrong)
        with pytest.raises(FormatError, match=SETTINGS):
            ShardDataset(tmp_path)


def test_a_shard_that_was_changed_is_not_read(tmp_path):
    contents = ours(tmp_path, 6)
    found = ShardDataset(tmp_path)
    shard = tmp_path / shard_names(2)[1]
    os.utime(shard, ns=(1, 1))
    assert found.read(0) == contents[found.names[0]]
    with pytest.raises(OSError, match=r"000001\.tar: changed since"):
        found.read(3)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"000001\.tar"):
        found.read(3)


def test_a_shard_that_is_cut_while_it_is_read_is_an_error(tmp_path):
    ours(tmp_path, 3)
    found = ShardDataset(tmp_path)
    found.read(0)
    os.truncate(tmp_path / shard_names(1)[0], 600)
    with pytest.raises(OSError, match="cut short since"):
        found.read(2)


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_few_shards_are_open_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_OPEN", 4)
    contents = ours(tmp_path, 20, per_shard=1)
    found = ShardDataset(tmp_path)
    before = open_files()
    for row in random.Random(0).choices(range(20), k=200):
        assert found.read(row) == contents[found.names[row]]
        assert open_files() <= before + 4
    del found
    assert open_files() == before


def test_threads_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_OPEN", 2)
    contents = ours(tmp_path, 24, per_shard=2)
    found = ShardDataset(tmp_path)
    wrong = []

    def read(seed):
        for row in random.Random(seed).choices(range(24), k=200):
            try:
                if found.read(row) != contents[found.names[row]]:
                    wrong.append(row)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_pickling_takes_no_open_file_along(tmp_path):
    contents = ours(tmp_path, 6)
    found = ShardDataset(tmp_path)
    found.read(0)
    again = pickle.loads(pickle.dumps(found))
    assert again._open == {}
    assert len(found._open) == 1
    assert {again.names[row]: again.read(row) for row in range(6)} == contents


def read_rows(found, rows, answers):
    answers.put([(row, found.read(row)) for row in rows])


def shared_among(found, processes, method):
    """Every row, read by processes at the same time, each a share of them."""
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    workers = [
        context.Process(
            target=read_rows, args=(found, range(rank, len(found.names), processes), answers)
        )
        for rank in range(processes)
    ]
    with warnings.catch_warnings():
        # From Python 3.12 on, as other tests may have left threads; the child only reads.
        warnings.simplefilter("ignore", DeprecationWarning)
        for worker in workers:
            worker.start()
    got = [pair for _ in workers for pair in answers.get()]
    for worker in workers:
        worker.join()
    return got


@pytest.mark.parametrize("processes", [1, 3, 7])
def test_forked_processes_read_every_picture_once(tmp_path, processes):
    contents = ours(tmp_path, 40, per_shard=6)
    found = ShardDataset(tmp_path)
    found.read(0)  # a file is open before the fork
    got = shared_among(found, processes, "fork")
    assert sorted(row for row, _ in got) == list(range(40))
    assert {found.names[row]: content for row, content in got} == contents


@pytest.mark.slow
def test_spawned_processes_read_every_picture_once(tmp_path):
    contents = ours(tmp_path, 40, per_shard=6)
    found = ShardDataset(tmp_path)
    found.read(0)
    got = shared_among(found, 2, "spawn")
    assert sorted(row for row, _ in got) == list(range(40))
    assert {found.names[row]: content for row, content in got} == contents


def test_any_damage_is_an_error_or_does_no_harm(tmp_path):
    """Whatever the bytes, nothing but a FormatError comes out."""
    path = tar(tmp_path / "a.tar", *sample("0", b"x" * 600), *sample("1"), form=tarfile.PAX_FORMAT)
    whole = path.read_bytes()[: 9 * 512]
    generator = random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(generator.choice([1, 3, 30])):
            damaged[generator.randrange(len(whole))] = generator.choice([0, 48, 55, 120, 128, 255])
        path.write_bytes(damaged)
        with contextlib.suppress(FormatError):
            ShardDataset(path).read(0)
