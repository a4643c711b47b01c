"""Samples of one tar: any format is read; truncated, damaged, compressed tars are refused."""

import contextlib
import random
import tarfile

import pytest

from tests.helpers.tars import sample, tar
from vl.data.errors import FormatError
from vl.data.labelled.shards import ShardDataset


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_any_tar_format_are_read(tmp_path, form):
    keys = [f"{'x' * 60}/{'é' * 10}/{n}{'y' * 60}" for n in range(3)]
    members = [member for key in keys for member in sample(key, key.encode())]
    dataset = ShardDataset(tar(tmp_path / "a.tar", *members, form=form))
    assert [dataset.read(row).decode() for row in range(3)] == keys


def test_warns_of_skipped_members(tmp_path):
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
        ("0.seg.png", b"not the image"),
        ("0.cls", b"0"),
        ("info.json", b"{}"),
    )
    dataset = ShardDataset(tmp_path)
    assert dataset.read(0) == b"here"
    (warning,) = dataset.warnings
    for count in ("2 folders", "2 without key", "1 .txt", "1 .seg.png", "1 .json"):
        assert count in warning


def test_nothing_is_extracted_to_the_disk(tmp_path):
    tar(tmp_path / "in" / "a.tar", *sample("../out/x"), *sample(f"{tmp_path}/y"))
    assert ShardDataset(tmp_path / "in").read(1) == b"image"
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a.tar", "in"]


def test_refuses_truncated_tars(tmp_path):
    members = [*sample("0", b"x" * 700), *sample("1", b"y" * 5)]
    whole = tar(tmp_path / "whole.tar", *members).read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # of the last member
    ShardDataset(tmp_path / "whole.tar")
    for length in [*range(0, end, 128), end, end + 511]:
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"cut\.tar: .*truncated"):
            ShardDataset(tmp_path / "cut.tar")


def test_damaged_header_is_not_the_end(tmp_path):
    path = tar(tmp_path / "a.tar", *sample("0"), *sample("1"))
    whole = path.read_bytes()
    for header in range(0, 4 * 1024, 1024):
        path.write_bytes(whole[: header + 3] + b"?" + whole[header + 4 :])
        with pytest.raises(FormatError, match=r"a\.tar: .*damaged"):
            ShardDataset(path)


def test_refuses_concatenated_tars(tmp_path):
    one, two = (tar(tmp_path / name, *sample(name)) for name in ("a.tar", "b.tar"))
    one.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(FormatError, match=r"a\.tar: data after"):
        ShardDataset(one)


def test_refuses_negative_sizes(tmp_path):
    """A reader would loop for ever."""
    header = bytearray(tar(tmp_path / "a.tar", *sample("0")).read_bytes()[:512])
    header[124:136] = (-1024).to_bytes(12, "big", signed=True)  # in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(1024).join([bytes(header), b""]))
    with pytest.raises(FormatError, match=r"a\.tar: .*damaged"):
        ShardDataset(tmp_path)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_refuses_compressed_tars_by_their_content(tmp_path, mode):
    with tarfile.open(tmp_path / "a.tar", mode) as file:
        file.addfile(tarfile.TarInfo("0.jpg"))
    with pytest.raises(FormatError, match=r"a\.tar: compressed"):
        ShardDataset(tmp_path)


def test_damaged_bytes_raise_format_errors_only(tmp_path):
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
