"""`vl shard`: the same shards whatever happened in between, and no half of one at any time."""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import tarfile
import warnings

import pytest
import torch
from PIL import Image

from vl.__main__ import main
from vl.data import files as atomic
from vl.data.images.decode import decode_bytes
from vl.data.labelled.dataset import FileDataset, open_dataset
from vl.data.labelled.shards import CLASSES, SETTINGS, ShardDataset

HEIGHTS = (20, 31, 8, 25, 40, 16, 17, 30, 9, 12, 22)


@pytest.fixture
def photos(tmp_path):
    """Eleven pictures of three classes, JPEG and PNG, of width 24."""
    generator = torch.Generator().manual_seed(0)
    for row, height in enumerate(HEIGHTS):
        folder = tmp_path / "photos" / ("cat", "stop_sign", "zébra")[row % 3]
        folder.mkdir(parents=True, exist_ok=True)
        values = torch.randint(256, (height, 24, 3), generator=generator, dtype=torch.uint8)
        image = Image.fromarray(values.numpy())
        image.save(folder / f"{row}.{'png' if row % 2 else 'jpeg'}")
    return tmp_path / "photos"


def shard(source, out, *flags):
    return main(["shard", str(source), "--out", str(out), "--pictures", "3", *flags])


def held(folder):
    """All that is in a folder."""
    return {each.name: each.read_bytes() for each in sorted(folder.iterdir())}


def by_name(source):
    return {
        source.names[row]: (source.classes[source.labels[row]], source.read(row))
        for row in range(len(source.names))
    }


def test_pictures_are_copied_byte_for_byte(photos, tmp_path, capsys):
    out = tmp_path / "new" / "shards"
    assert shard(photos, out) == 0
    assert sorted(held(out)) == [CLASSES, *(f"shard-00000{n}.tar" for n in range(4)), SETTINGS]
    assert (out / CLASSES).read_text(encoding="utf-8") == "cat\nstop_sign\nzébra\n"
    source, found = open_dataset(photos), open_dataset(out)
    assert isinstance(found, ShardDataset)
    assert found.notes == ()
    assert found.classes == source.classes
    assert by_name(found) == by_name(source)
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "shard 11/11" in stderr
    assert f"11 pictures of 3 classes in 4 shards in {out}, 0 of them from before" in stderr


def test_members_are_as_webdataset_has_them(photos, tmp_path):
    shard(photos, tmp_path / "out", "--order", "given")
    names = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path, "r:") as tar:
            members = tar.getmembers()
            names += [member.name for member in members]
            assert {(each.mtime, each.uid, each.gid, each.uname) for each in members} == {
                (0, 0, 0, "")
            }
            first = members[0].name.partition(".")[0]
            text = json.loads(tar.extractfile(f"{first}.json").read())
            number = int(tar.extractfile(f"{first}.cls").read())
            assert text["label"] == ["cat", "stop_sign", "zébra"][number]
    assert names[:4] == ["000000.jpg", "000000.cls", "000000.json", "000001.png"]
    assert [name for name in names if name.endswith("cls")] == [f"{n:06d}.cls" for n in range(11)]


def test_the_order_is_of_the_seed_or_as_given(photos, tmp_path):
    def names(*flags):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        assert shard(photos, out, *flags) == 0
        return list(open_dataset(out).names)

    given = list(open_dataset(photos).names)
    shuffled = [names("--seed", str(seed)) for seed in range(4)]
    assert names() == shuffled[0]
    assert names("--order", "given") == given == names("--order", "given", "--seed", "5")
    assert len({tuple(each) for each in [*shuffled, given]}) == 5
    assert all(sorted(each) == sorted(given) for each in shuffled)


def test_a_list_and_shards_can_be_sharded(photos, tmp_path):
    files = open_dataset(photos)
    lines = [
        f"{files.names[row]}\t{files.classes[files.labels[row]]}\n" for row in range(10, -1, -1)
    ]
    (photos / "list.tsv").write_text("".join(lines), encoding="utf-8")
    assert shard(photos / "list.tsv", tmp_path / "listed", "--order", "given") == 0
    listed = open_dataset(tmp_path / "listed")
    assert list(listed.names) == list(files.names)[::-1]
    assert listed.classes == files.classes[::-1]  # as they come first in the list
    assert shard(tmp_path / "listed", tmp_path / "again", "--pictures=5") == 0
    assert len(list((tmp_path / "again").glob("*.tar"))) == 3
    assert by_name(open_dataset(tmp_path / "again")) == by_name(files)


def test_a_name_that_says_no_kind_gets_it_from_the_bytes(tmp_path):
    kinds = {"PNG": "png", "GIF": "gif", "BMP": "bmp", "WEBP": "webp", "TIFF": "tif", "JPEG": "jpg"}
    (tmp_path / "in").mkdir()
    for kind in kinds:
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / kind, kind)
    lines = "".join(f"{kind}\tx\n" for kind in kinds)
    (tmp_path / "in" / "list.tsv").write_text(lines)
    shard(tmp_path / "in" / "list.tsv", tmp_path / "out", "--order", "given", "--pictures=9")
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        ends = [name.partition(".")[2] for name in tar.getnames()]
    assert [end for end in ends if end not in ("cls", "json")] == list(kinds.values())


def test_shrinking_shortens_the_shorter_side_and_no_other_picture(photos, tmp_path):
    out = tmp_path / "out"
    assert shard(photos, out, "--side", "16") == 0
    before, after = by_name(open_dataset(photos)), by_name(open_dataset(out))
    assert before.keys() == after.keys()
    for name, (label, content) in before.items():
        assert after[name][0] == label
        height = decode_bytes(content, name).shape[1]
        if min(height, 24) <= 16:
            assert after[name][1] == content
            continue
        with Image.open(io.BytesIO(after[name][1])) as image:
            scale = 16 / min(height, 24)
            assert (image.format, image.size) == (
                "JPEG",
                (round(24 * scale), round(height * scale)),
            )


def test_a_shrunk_picture_looks_the_same_and_stands_upright(tmp_path):
    (tmp_path / "in" / "ramp").mkdir(parents=True)
    ramp = torch.linspace(0, 255, 60)[:, None, None].expand(60, 40, 3).byte()  # dark above
    turned = Image.Exif()
    turned[0x0112] = 3  # the EXIF turn by half
    Image.fromarray(ramp.numpy()).save(tmp_path / "in/ramp/a.png")
    image = Image.fromarray(ramp.flip(0).contiguous().numpy())
    image.save(tmp_path / "in/ramp/b.jpg", quality=95, exif=turned)
    assert shard(tmp_path / "in", tmp_path / "out", "--side", "20") == 0
    found = open_dataset(tmp_path / "out")
    expected = torch.linspace(0, 1, 60)[None, :, None].reshape(1, 30, 2, 1).mean(2)  # (1, 30, 1)
    for row in range(2):
        pixels = decode_bytes(found.read(row), "shrunk")
        assert pixels.shape == (3, 30, 20)
        assert (pixels - expected).abs().max() < 0.03


@pytest.mark.parametrize("flags", [["--check"], ["--side", "16"]])
def test_damaged_pictures_are_reported_and_left_out_where_they_are_decoded(
    photos, tmp_path, capsys, flags
):
    whole = open_dataset(photos)
    broken = [whole.names[3], whole.names[7]]
    for name in broken:
        (photos / name).write_bytes((photos / name).read_bytes()[:100])
    out = tmp_path / "out"
    for _ in range(2):  # said again when it is run again
        assert shard(photos, out, *flags) == 1
        stderr = capsys.readouterr().err
        for name in broken:
            assert f"vl: error: {name}: " in stderr
        assert "2 pictures failed" in stderr
    assert set(open_dataset(out).names) == set(whole.names) - set(broken)
    assert shard(photos, tmp_path / "copied") == 0
    assert by_name(open_dataset(tmp_path / "copied")) == by_name(open_dataset(photos))


def test_a_picture_that_cannot_be_read_is_reported(photos, tmp_path, capsys, monkeypatch):
    source = open_dataset(photos)
    read = FileDataset.read

    def failing(self, row):
        if row == 4:
            raise PermissionError(13, "Permission denied", source.names[4])
        return read(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(FileDataset, "read", failing)
        assert shard(photos, tmp_path / "out") == 1
    assert f"vl: error: {source.names[4]}: Permission denied" in capsys.readouterr().err
    assert len(open_dataset(tmp_path / "out").names) == 10
    assert shard(photos, tmp_path / "out") == 0  # it is readable again
    assert by_name(open_dataset(tmp_path / "out")) == by_name(source)


def killed(run):
    """Run in a process of its own; whether it died by SIGKILL."""
    with warnings.catch_warnings():
        # From Python 3.12 on, as other tests may have left threads; the child only copies files.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            run()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def after(calls, function):
    """The function, which kills its process when it is called once too often."""
    count = 0

    def counting(*arguments):
        nonlocal count
        count += 1
        if count > calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    return counting


@pytest.mark.parametrize(
    ("moment", "calls"),
    [
        *(("reading", calls) for calls in (0, 1, 4, 8, 10)),
        *(("before it is on the disk", calls) for calls in range(6)),  # two files and four shards
        *(("a member", calls) for calls in (0, 1, 8, 9, 16, 32)),
    ],
)
def test_a_kill_at_any_moment_leaves_whole_shards_and_changes_nothing(
    photos, tmp_path, monkeypatch, moment, calls
):
    assert shard(photos, tmp_path / "undisturbed") == 0
    expected = held(tmp_path / "undisturbed")
    out = tmp_path / "out"
    target, name = {
        "reading": (FileDataset, "read"),
        "before it is on the disk": (atomic.os, "fsync"),
        "a member": (tarfile.TarFile, "addfile"),
    }[moment]
    with monkeypatch.context() as patch:
        patch.setattr(target, name, after(calls, getattr(target, name)))
        assert killed(lambda: shard(photos, out))
    left = held(out)
    for each, content in left.items():
        assert each.endswith(".part") or content == expected[each]
    if moment != "reading":
        assert len([each for each in left if each.endswith(".part")]) == 1
        assert len(left) - 1 == (calls if moment != "a member" else 2 + calls // 9)
    assert shard(photos, out) == 0
    assert held(out) == expected


def test_shards_that_are_whole_are_kept(photos, tmp_path, capsys):
    out = tmp_path / "out"
    shard(photos, out)
    expected = held(out)
    (out / "shard-000001.tar").unlink()
    (out / "shard-000003.tar").write_bytes(expected["shard-000003.tar"][:1500])
    times = {each.name: each.stat().st_ino for each in out.glob("*.tar")}
    capsys.readouterr()
    assert shard(photos, out) == 0
    assert held(out) == expected
    kept = [each.name for each in out.glob("*.tar") if times.get(each.name) == each.stat().st_ino]
    assert sorted(kept) == ["shard-000000.tar", "shard-000002.tar"]
    stderr = capsys.readouterr().err
    assert "2 of them from before" in stderr
    assert "shard-000003.tar: " in stderr
    assert "it is written again" in stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed", "1"], "--seed 0 there and 1 here"),
        (["--order", "given"], "--seed 0 there and None here"),
        (["--side", "9"], "--side None there and 9 here, --check False there and True here"),
        (["--check"], "--check False there and True here"),
        (["--pictures=4"], "--pictures 3 there and 4 here"),
    ],
)
def test_other_settings_are_refused(photos, tmp_path, capsys, flags, message):
    out = tmp_path / "out"
    shard(photos, out)
    before = held(out)
    capsys.readouterr()
    assert shard(photos, out, *flags) == 2
    assert f"{out}: it holds shards made otherwise ({message})" in capsys.readouterr().err
    assert held(out) == before


@pytest.mark.parametrize("change", ["more", "fewer", "content", "class"])
def test_other_pictures_are_refused(photos, tmp_path, capsys, change):
    out = tmp_path / "out"
    shard(photos, out)
    before = held(out)
    one = next(photos.glob("cat/*"))
    if change == "more":
        shutil.copy(one, photos / "cat" / "more.png")
    elif change == "fewer":
        one.unlink()
    elif change == "content":
        one.write_bytes(one.read_bytes()[:-1] + b"?")  # as long as before
    else:
        (photos / "cat").rename(photos / "cow")
    capsys.readouterr()
    assert shard(photos, out) == 2
    assert "(other pictures, or some have changed since)" in capsys.readouterr().err
    assert held(out) == before


@pytest.mark.parametrize("stranger", ["x.tar", CLASSES, "folder/x"])
def test_a_folder_of_others_is_refused(photos, tmp_path, capsys, stranger):
    (tmp_path / "out" / stranger).parent.mkdir(parents=True)
    (tmp_path / "out" / stranger).write_text("theirs")
    assert shard(photos, tmp_path / "out") == 2
    message = f"{tmp_path / 'out'}: {stranger.partition('/')[0]!r} is none of these shards"
    assert message in capsys.readouterr().err
    assert (tmp_path / "out" / stranger).read_text() == "theirs"


def test_a_shard_too_many_is_refused(photos, tmp_path, capsys):
    shard(photos, tmp_path / "out")
    shutil.copy(tmp_path / "out" / "shard-000000.tar", tmp_path / "out" / "shard-000004.tar")
    assert shard(photos, tmp_path / "out") == 2
    assert "'shard-000004.tar' is none of these shards" in capsys.readouterr().err


def test_shards_do_not_go_into_their_own_source(photos, tmp_path, capsys):
    for out in (photos, photos / "shards"):
        assert shard(photos, out) == 2
        assert "it lies in the source" in capsys.readouterr().err
    assert not (photos / "shards").exists()


def test_a_full_disk_is_one_sentence_and_whole_shards_stay(photos, tmp_path, capsys):
    """A limit to a file's size stands for the disk's; the last shard is beyond it."""
    (photos / "zébra" / "large.png").write_bytes(b"x" * 300_000)
    assert shard(photos, tmp_path / "undisturbed", "--order", "given") == 0
    expected, out = held(tmp_path / "undisturbed"), tmp_path / "out"
    capsys.readouterr()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        code = shard(photos, out, "--order", "given")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2
    stderr = capsys.readouterr().err
    assert stderr.splitlines()[-1] == f"vl: error: {out / 'shard-000003.tar'}: File too large"
    left = held(out)
    assert left == {name: expected[name] for name in left}
    assert len(left) == len(expected) - 1
    assert shard(photos, out, "--order", "given") == 0
    assert held(out) == expected


@pytest.mark.parametrize("flag", ["--pictures", "--side"])
def test_numbers_below_one_are_refused(photos, tmp_path, capsys, flag):
    assert main(["shard", str(photos), "--out", str(tmp_path / "out"), flag, "0"]) == 2
    assert f"{flag} is 0; it must be at least 1" in capsys.readouterr().err
