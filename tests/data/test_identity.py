"""What identifies an image: names with and without folders, and the content of files."""

import os
from pathlib import Path

import pytest

from vl.data.identity import NameIndex, current_stamp, distinct_names, read_stamped

NAMES = [
    "kitchen/1.jpg",
    "street/1.jpg",
    "street/2.jpg",
    "3.jpg",
    "a/street/4.jpg",
    "caf\u00e9.jpg",
]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("kitchen/1.jpg", [0]),
        ("./kitchen//1.jpg", [0]),
        ("photos/kitchen/1.jpg", [0]),
        ("/photos/street/1.jpg", [1]),
        ("2.jpg", [2]),
        ("house/2.jpg", []),
        ("reet/2.jpg", []),
        ("1.jpg", [0, 1]),
        ("house/1.jpg", []),
        ("house/3.jpg", [3]),  # the index has it without folders
        ("street/4.jpg", [4]),
        ("cafe\u0301.jpg", [5]),
        ("", []),
        ("kitchen", []),
    ],
)
def test_names_may_lack_folders(name: str, rows: list[int]) -> None:
    assert NameIndex(NAMES).find(name) == rows


def test_a_name_of_several_images_is_refused() -> None:
    index = NameIndex(NAMES)
    assert index.row("2.jpg") == 2 and index.row("none.jpg") is None
    with pytest.raises(
        ValueError, match=r"'1\.jpg' .* 2 images: 'kitchen/1\.jpg', 'street/1\.jpg'"
    ):
        index.row("1.jpg")
    assert NameIndex(["1.jpg", "x/1.jpg"]).row("1.jpg") == 0  # an equal name comes first


def test_distinct_names_have_as_many_folders_as_needed() -> None:
    paths = [
        Path(path) for path in ("/a/x/1.jpg", "/b/x/1.jpg", "/b/y/1.jpg", "/2.jpg", "/a/3.jpg")
    ]
    expected = ["a/x/1.jpg", "b/x/1.jpg", "y/1.jpg", "2.jpg", "3.jpg"]
    assert distinct_names(paths) == expected
    assert distinct_names([*paths, paths[0], Path("/a/../b/y/1.jpg")]) == [
        *expected,
        "a/x/1.jpg",
        "y/1.jpg",
    ]
    assert distinct_names([Path("/1.jpg"), Path("/a/1.jpg")]) == ["1.jpg", "a/1.jpg"]


def test_content_decides_where_size_and_time_do_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"cat")
    content, stamp = read_stamped(path)
    assert content == b"cat" and current_stamp(path, stamp) == stamp
    os.utime(path, ns=(1, 1))
    assert current_stamp(path, stamp) == stamp._replace(mtime_ns=1)
    path.write_bytes(b"dog")
    os.utime(path, ns=(2, 2))
    assert current_stamp(path, stamp) is None
    os.utime(path, ns=(stamp.mtime_ns, stamp.mtime_ns))
    assert current_stamp(path, stamp) == stamp  # not read: 8,000 files are checked in no time
    path.write_bytes(b"bird")
    assert current_stamp(path, stamp) is None
