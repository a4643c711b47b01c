"""Zips of others: unpacked whole into their folder, or refused with nothing left."""

import stat
import zipfile

import pytest

from vl.data.download.unpack import unzip
from vl.data.errors import FormatError


def archive(path, *entries):
    """A zip of names and contents; a ZipInfo is added unchanged."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            file.writestr(name, content)
    return path


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("entries", "members", "expected"),
    [
        ([("a.txt", "a"), ("b/c.txt", "c")], (), {"a.txt": "a", "b/c.txt": "c"}),
        ([("top/", ""), ("top/a", "a"), ("top/b/c", "c")], (), {"a": "a", "b/c": "c"}),
        ([("top/a", "a"), ("top/b", "b")], ("top/b",), {"b": "b"}),
        ([("only", "o")], (), {"only": "o"}),
        ([("./top/..a", "a")], (), {"..a": "a"}),
    ],
)
def test_unpacks_without_the_common_folder(tmp_path, entries, members, expected):
    zipped = archive(tmp_path / "a.zip", *entries)
    unzip(zipped, tmp_path / "out/content", max_bytes=100, members=members)
    assert files(tmp_path / "out") == {f"content/{name}": text for name, text in expected.items()}


@pytest.mark.parametrize(
    ("entries", "members", "word"),
    [
        ([("../evil", "e")], (), "outside"),
        ([("a/../../evil", "e")], (), "outside"),
        ([("/evil", "e")], (), "outside"),
        ([("..\\evil", "e")], (), "outside"),
        ([("C:evil", "e")], (), "outside"),
        ([("good", "g"), (link("evil"), "/etc/passwd")], (), "link"),
        ([("bomb", "0" * 101)], (), "more than 100 bytes"),
        ([(f"bomb{index}", "0" * 50) for index in range(3)], (), "more than 100 bytes"),
        ([("a", "1"), ("A", "2")], (), "twice"),
        ([("a", "1")], ("b",), "'b'"),
    ],
)
def test_refuses_what_is_unsafe(tmp_path, entries, members, word):
    zipped = archive(tmp_path / "a.zip", *entries)
    with pytest.raises(FormatError, match=word) as error:
        unzip(zipped, tmp_path / "out/content", max_bytes=100, members=members)
    assert "a.zip" in str(error.value)
    assert {path.name for path in tmp_path.rglob("*")} <= {"a.zip", "out"}


def test_a_member_larger_than_announced_is_refused(tmp_path):
    """A bomb may state a small size in both places; the content must agree."""
    zipped = archive(tmp_path / "a.zip", ("bomb", "0" * 5000))
    sizes = (5000).to_bytes(4, "little"), (50).to_bytes(4, "little")
    zipped.write_bytes(zipped.read_bytes().replace(*sizes))
    with pytest.raises(FormatError, match=r"a\.zip"):
        unzip(zipped, tmp_path / "out", max_bytes=100)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-10], lambda data: b"", lambda data: data[:40] + b"\0\0\0" + data[43:]],
)
def test_damaged_zips_are_refused(tmp_path, damage):
    zipped = archive(tmp_path / "a.zip", ("a", "some text, " * 20))
    zipped.write_bytes(damage(zipped.read_bytes()))
    with pytest.raises(FormatError, match="whole zip"):
        unzip(zipped, tmp_path / "out", max_bytes=1000)
    assert not (tmp_path / "out").exists()
