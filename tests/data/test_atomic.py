"""Files are whole or as they were."""

import os
import stat

import pytest

from vl.data.files import atomic_write, write_text


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "grüß\n")
    assert path.read_text(encoding="utf-8") == "grüß\n"
    assert list(path.parent.iterdir()) == [path]


def test_what_was_there_stays_when_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_seen_before_the_end(tmp_path):
    path = tmp_path / "file.txt"
    with atomic_write(path) as beside:
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


def test_rights_are_kept(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    path.chmod(0o600)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_of_a_link_the_target_is_replaced(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="not a file that could be replaced"):
            write_text(path, "new")
    assert (tmp_path / "pipe").is_fifo()


def test_only_what_shall_last_is_waited_for(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr("os.fsync", waited.append)
    for durable in (False, True):
        with atomic_write(tmp_path / "file", durable=durable) as beside:
            beside.write_text(str(durable))
        assert (tmp_path / "file").read_text() == str(durable)
        assert len(waited) == durable
