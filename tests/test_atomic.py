"""Files are whole or as they were."""

import os
import stat

import pytest

from data.atomic import replacing, write_text


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "grüß\n")
    assert path.read_text(encoding="utf-8") == "grüß\n"
    assert list(path.parent.iterdir()) == [path]


def test_what_was_there_stays_when_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_seen_before_the_end(tmp_path):
    path = tmp_path / "file.txt"
    with replacing(path) as beside:
        beside.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"


def test_the_file_has_the_usual_rights(tmp_path):
    mask = os.umask(0o022)
    try:
        write_text(tmp_path / "file.txt", "")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o644
