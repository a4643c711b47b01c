"""`vl shard`: the same shards whenever it was interrupted, and never half of one."""

import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import tarfile

import pytest
import torch
from PIL import Image

from vl.__main__ import main
from vl.data.images.decode import decode_bytes
from vl.data.labelled.dataset import open_dataset
from vl.data.labelled.shards import CLASSES, SETTINGS, ShardDataset

HEIGHTS = (20, 31, 8, 25, 40, 16, 17, 30, 9, 12, 22)


@pytest.fixture
def photos(tmp_path):
    """Eleven images of three classes, JPEG and PNG, of width 24."""
    generator = torch.Generator().manual_seed(0)
    for row, height in enumerate(HEIGHTS):
        folder = tmp_path / "photos" / ("cat", "stop_sign", "zébra")[row % 3]
        folder.mkdir(parents=True, exist_ok=True)
        values = torch.randint(256, (height, 24, 3), generator=generator, dtype=torch.uint8)
        image = Image.fromarray(values.numpy())
        image.save(folder / f"{row}.{'png' if row % 2 else 'jpeg'}")
    return tmp_path / "photos"


def shard(source, out, *flags):
    return main(["shard", str(source), "--output-dir", str(out), "--images-per-shard", "3", *flags])


def contents(folder):
    """The files of a folder."""
    return {
        item.name: item.read_bytes()
        for item in sorted(folder.iterdir())
        if item.name != ".lock"  # of a killed run
    }


def by_name(source):
    return {
        source.names[row]: (source.classes[source.labels[row]], source.read(row))
        for row in range(len(source.names))
    }


def test_images_are_copied_byte_for_byte(photos, tmp_path, capsys):
    out = tmp_path / "new" / "shards"
    assert shard(photos, out) == 0
    assert sorted(contents(out)) == [CLASSES, *(f"shard-00000{n}.tar" for n in range(4)), SETTINGS]
    assert (out / CLASSES).read_text(encoding="utf-8") == "cat\nstop_sign\nzébra\n"
    source, shards = open_dataset(photos), open_dataset(out)
    assert isinstance(shards, ShardDataset)
    assert shards.warnings == ()
    assert shards.classes == source.classes
    assert by_name(shards) == by_name(source)
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "11 images of 3 classes" in stderr and "0 of them from before" in stderr


def test_members_are_in_webdatasets_format(photos, tmp_path):
    shard(photos, tmp_path / "out", "--no-shuffle")
    names = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path, "r:") as tar:
            members = tar.getmembers()
            names += [member.name for member in members]
            for member in members:
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
            first = members[0].name.partition(".")[0]
            text = json.loads(tar.extractfile(f"{first}.json").read())
            number = int(tar.extractfile(f"{first}.cls").read())
            assert text["label"] == ["cat", "stop_sign", "zébra"][number]
    assert names[:4] == ["000000.cls", "000000.jpg", "000000.json", "000001.cls"]
    assert [name for name in names if name.endswith("cls")] == [f"{n:06d}.cls" for n in range(11)]


def test_order_depends_on_the_seed(photos, tmp_path):
    def names(*flags):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        assert shard(photos, out, *flags) == 0
        return list(open_dataset(out).names)

    unshuffled = list(open_dataset(photos).names)
    shuffled = [names("--seed", str(seed)) for seed in range(4)]
    assert names() == shuffled[0]
    assert names("--no-shuffle") == unshuffled == names("--no-shuffle", "--seed", "5")
    assert len({tuple(item) for item in [*shuffled, unshuffled]}) == 5
    assert all(sorted(item) == sorted(unshuffled) for item in shuffled)


def test_lists_and_shards_can_be_sharded(photos, tmp_path):
    files = open_dataset(photos)
    lines = [f"{name}\t{name.partition('/')[0]}\n" for name in reversed(files.names)]
    (photos / "list.tsv").write_text("".join(lines), encoding="utf-8")
    assert shard(photos / "list.tsv", tmp_path / "listed", "--no-shuffle") == 0
    listed = open_dataset(tmp_path / "listed")
    assert list(listed.names) == list(files.names)[::-1]
    assert listed.classes == files.classes[::-1]  # as they come first in the list
    assert shard(tmp_path / "listed", tmp_path / "again", "--images-per-shard=5") == 0
    assert len(list((tmp_path / "again").glob("*.tar"))) == 3
    assert by_name(open_dataset(tmp_path / "again")) == by_name(files)


def test_suffix_from_the_content(tmp_path):
    kinds = {"PNG": "png", "GIF": "gif", "BMP": "bmp", "WEBP": "webp", "TIFF": "tif", "JPEG": "jpg"}
    (tmp_path / "in").mkdir()
    for kind in kinds:
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / kind, kind)
    lines = "".join(f"{kind}\tx\n" for kind in kinds)
    (tmp_path / "in" / "list.tsv").write_text(lines)
    shard(tmp_path / "in" / "list.tsv", tmp_path / "out", "--no-shuffle", "--images-per-shard=9")
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        ends = [name.partition(".")[2] for name in tar.getnames()]
    assert [end for end in ends if end not in ("cls", "json")] == list(kinds.values())


def test_shrinking_changes_larger_images_only(photos, tmp_path):
    out = tmp_path / "out"
    assert shard(photos, out, "--shorter-side", "16") == 0
    before, after = by_name(open_dataset(photos)), by_name(open_dataset(out))
    assert before.keys() == after.keys()
    for name, (label, content) in before.items():
        assert after[name][0] == label
        height = decode_bytes(content, name).shape[1]
        if min(height, 24) <= 16:
            assert after[name][1] == content
            continue
        scale = 16 / min(height, 24)
        with Image.open(io.BytesIO(after[name][1])) as image:
            assert image.format == "JPEG"
            assert image.size == (round(24 * scale), round(height * scale))


def test_shrunk_image_looks_the_same_and_is_upright(tmp_path):
    (tmp_path / "in" / "ramp").mkdir(parents=True)
    ramp = torch.linspace(0, 255, 60)[:, None, None].expand(60, 40, 3).byte()  # dark above
    turned = Image.Exif()
    turned[0x0112] = 3  # EXIF orientation: turned by 180 degrees
    Image.fromarray(ramp.numpy()).save(tmp_path / "in/ramp/a.png")
    image = Image.fromarray(ramp.flip(0).contiguous().numpy())
    image.save(tmp_path / "in/ramp/b.jpg", quality=95, exif=turned)
    assert shard(tmp_path / "in", tmp_path / "out", "--shorter-side", "20") == 0
    shards = open_dataset(tmp_path / "out")
    expected = torch.linspace(0, 1, 60)[None, :, None].reshape(1, 30, 2, 1).mean(2)  # (1, 30, 1)
    for row in range(2):
        pixels = decode_bytes(shards.read(row), "shrunk")
        assert pixels.shape == (3, 30, 20)
        assert (pixels - expected).abs().max() < 0.03


@pytest.mark.parametrize("flags", [["--check"], ["--shorter-side", "16"]])
def test_damaged_images_are_reported_and_left_out_if_decoded(photos, tmp_path, capsys, flags):
    whole = open_dataset(photos)
    broken = [whole.names[3], whole.names[7]]
    for name in broken:
        (photos / name).write_bytes((photos / name).read_bytes()[:100])
    out = tmp_path / "out"
    for _ in range(2):  # reported again by the next run
        assert shard(photos, out, *flags) == 1
        stderr = capsys.readouterr().err
        for name in broken:
            assert f"vl: error: {name}: " in stderr
        assert "2 images failed" in stderr
    assert set(open_dataset(out).names) == set(whole.names) - set(broken)
    assert shard(photos, tmp_path / "copied") == 0
    assert by_name(open_dataset(tmp_path / "copied")) == by_name(open_dataset(photos))


def test_unreadable_images_are_reported(photos, tmp_path, capsys):
    link = photos / "cat" / "link.png"
    link.symlink_to(tmp_path / "image.png")
    assert shard(photos, tmp_path / "out") == 1
    assert "cat/link.png: No such file" in capsys.readouterr().err
    assert len(open_dataset(tmp_path / "out").names) == 11
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    assert shard(photos, tmp_path / "whole") == 0
    assert len(open_dataset(tmp_path / "whole").names) == 12


def killed(run):
    """Run in a child process; whether it died by SIGKILL."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            run()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def after(calls, function):
    """The function, which kills its process after so many calls."""
    count = 0

    def counting(*arguments):
        nonlocal count
        count += 1
        if count > calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    return counting


# From Python 3.12 on, as other tests may have left threads; the child only copies files.
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("module", "function", "calls"),
    [
        *((os, "fsync", calls) for calls in range(6)),  # of two files and four shards
        *((tarfile.TarFile, "addfile", calls) for calls in (0, 1, 8, 9, 16, 32)),
    ],
)
def test_killed_run_leaves_complete_shards_and_can_be_resumed(
    photos, tmp_path, monkeypatch, module, function, calls
):
    assert shard(photos, tmp_path / "undisturbed") == 0
    expected = contents(tmp_path / "undisturbed")
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(module, function, after(calls, getattr(module, function)))
        assert killed(lambda: shard(photos, out))
    left = contents(out)
    complete = {name for name in left if not name.endswith(".part")}
    assert all(left[name] == expected[name] for name in complete)
    assert len(left) - 1 == len(complete) == (calls if module is os else 2 + calls // 9)
    assert shard(photos, out) == 0
    assert contents(out) == expected


def test_complete_shards_are_reused(photos, tmp_path, capsys):
    out = tmp_path / "out"
    shard(photos, out)
    expected = contents(out)
    (out / "shard-000001.tar").unlink()
    (out / "shard-000003.tar").write_bytes(expected["shard-000003.tar"][:1500])
    times = {item.name: item.stat().st_ino for item in out.glob("*.tar")}
    capsys.readouterr()
    assert shard(photos, out) == 0
    assert contents(out) == expected
    reused = [item.name for item in out.glob("*.tar") if times.get(item.name) == item.stat().st_ino]
    assert sorted(reused) == ["shard-000000.tar", "shard-000002.tar"]
    stderr = capsys.readouterr().err
    assert "6 of them from before" in stderr
    assert "shard-000003.tar: " in stderr


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        ("--seed=1", "seed was 0, is 1"),
        ("--no-shuffle", "seed was 0, is None"),
        ("--shorter-side=9", "shorter_side was None, is 9; check was False, is True"),
        ("--check", "check was False, is True"),
        ("--images-per-shard=4", "images_per_shard was 3, is 4"),
    ],
)
def test_refuses_other_settings(photos, tmp_path, capsys, flags, difference):
    out = tmp_path / "out"
    shard(photos, out)
    before = contents(out)
    assert shard(photos, out, flags) == 2
    assert difference in capsys.readouterr().err
    assert contents(out) == before


@pytest.mark.parametrize("change", ["more", "fewer", "content", "class"])
def test_refuses_other_images(photos, tmp_path, capsys, change):
    out = tmp_path / "out"
    shard(photos, out)
    before = contents(out)
    image = next(photos.glob("cat/*"))
    if change == "more":
        shutil.copy(image, photos / "cat" / "more.png")
    elif change == "fewer":
        image.unlink()
    elif change == "content":
        image.write_bytes(image.read_bytes()[:-1] + b"?")  # as long as before
    else:
        (photos / "cat").rename(photos / "cow")
    assert shard(photos, out) == 2
    assert "other images" in capsys.readouterr().err
    assert contents(out) == before


@pytest.mark.parametrize("stranger", ["x.tar", CLASSES, "folder/x"])
def test_refuses_a_folder_of_other_files(photos, tmp_path, capsys, stranger):
    (tmp_path / "out" / stranger).parent.mkdir(parents=True)
    (tmp_path / "out" / stranger).write_text("theirs")
    assert shard(photos, tmp_path / "out") == 2
    assert repr(stranger.partition("/")[0]) in capsys.readouterr().err
    assert (tmp_path / "out" / stranger).read_text() == "theirs"


def test_refuses_a_surplus_shard(photos, tmp_path, capsys):
    shard(photos, tmp_path / "out")
    shutil.copy(tmp_path / "out" / "shard-000000.tar", tmp_path / "out" / "shard-000004.tar")
    assert shard(photos, tmp_path / "out") == 2
    assert "'shard-000004.tar'" in capsys.readouterr().err


def test_refuses_an_output_folder_in_the_source(photos, capsys):
    for out in (photos, photos / "shards"):
        assert shard(photos, out) == 2
        assert str(out) in capsys.readouterr().err
    assert not (photos / "shards").exists()


def test_full_disk_leaves_complete_shards(photos, tmp_path, capsys):
    """A limit of the file size stands for the disk's; the last shard exceeds it."""
    (photos / "zébra" / "large.png").write_bytes(b"x" * 300_000)
    assert shard(photos, tmp_path / "undisturbed", "--no-shuffle") == 0
    expected, out = contents(tmp_path / "undisturbed"), tmp_path / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        assert shard(photos, out, "--no-shuffle") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.search("shard-000003.tar: .*: File too large; .* goes on", capsys.readouterr().err)
    left = contents(out)
    assert left == {name: expected[name] for name in left}
    assert len(left) == len(expected) - 1
    assert shard(photos, out, "--no-shuffle") == 0
    assert contents(out) == expected


@pytest.mark.parametrize("name", ["\ufeffa", "a\r", "  "])
def test_refuses_classes_that_are_not_a_line(tmp_path, capsys, name):
    (tmp_path / "in" / name).mkdir(parents=True)
    (tmp_path / "in" / name / "a.jpg").write_bytes(b"")
    assert shard(tmp_path / "in", tmp_path / "out") == 2
    assert "classes.txt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
