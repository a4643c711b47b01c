"""Reading and writing files: whole or unchanged; errors name the file and the position."""

import os
import stat
from pathlib import Path

import pytest

from vl.__main__ import main
from vl.data.errors import FormatError
from vl.data.files import (
    atomic_write,
    escape_unprintable,
    first_few,
    json_type,
    parse_json,
    write_text,
)

PATH = Path("a.json")


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "grüß\n")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "grüß\n"
    assert list(path.parent.iterdir()) == [path]


def test_durable_files_are_synced_and_appear_at_the_end_of_the_block(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", synced.append)
    for durable in (False, True):
        path = tmp_path / f"durable-{durable}"
        with atomic_write(path, durable=durable) as temporary:
            temporary.write_text("new")
            assert not path.exists()
        assert path.read_text() == "new"
        assert len(synced) == durable


def test_new_file_has_the_permissions_of_the_umask_and_a_replaced_one_its_own(tmp_path):
    mask = os.umask(0o022)
    try:
        for permissions in (0o644, 0o600):
            write_text(tmp_path / "file.txt", "")
            assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == permissions
            (tmp_path / "file.txt").chmod(0o600)
    finally:
        os.umask(mask)


def test_target_of_a_link_is_replaced(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_refuses_to_replace_what_is_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="not a regular file"):
            write_text(path, "new")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", r"^a\.json: the file is empty$"),
        ('[\n{"a": 1,}]', r"^a\.json: line 2 column \d+: not JSON"),
        ("[" * 100_000, r"^a\.json: this JSON cannot be read"),
        ("9" * 5000, r"^a\.json: this JSON cannot be read"),
    ],
)
def test_refuses_text_that_is_not_json(text, message):
    with pytest.raises(FormatError, match=message):
        parse_json(PATH, text)


def test_names_of_json_types():
    values = [None, {}, [], "", True, 7, 1.5]
    names = "null, an object, a list, a string, true or false, the number 7, the number 1.5"
    assert ", ".join(map(json_type, values)) == names


@pytest.mark.parametrize(
    ("items", "text"),
    [([], ""), (["a", 7], "'a', 7"), ("abc", "'a', 'b', 'c'"), ("abcd", "'a', 'b', 'c', ...")],
)
def test_first_few_items(items, text):
    assert first_few(items) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a \x1b[31mred\x07 dog", r"a \x1b[31mred\x07 dog"),
        ("tab\there\r", r"tab\there\r"),
        ("one\ntwo", "one\ntwo"),
        ("half \ud83d, right to left \u202e", r"half \ud83d, right to left \u202e"),
        ("\U000e0041", r"\U000e0041"),
        ("Grüße, 犬, 🐕, \\x", "Grüße, 犬, 🐕, \\x"),
    ],
    ids=["escape", "tab", "lines", "half", "tag", "printable"],
)
def test_unprintable_characters_are_escaped(text, escaped):
    assert escape_unprintable(text) == escaped


def test_errors_and_warnings_are_escaped(tmp_path, capsys):
    assert main(["\x1b[31mno\ud83d"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert main(["caption", "a\x1b[2J.jpg", "--model", "\x1b]0;title\x07none\udcff"]) == 2
    err = capsys.readouterr().err
    assert r"\x1b]0;title\x07none\udcff" in err
    assert "\x1b" not in err
    folder = tmp_path / "a\x1b[2J"  # of one image and a file that a warning is about
    for name in ("class/a.jpg", "class/notes.txt"):
        write_text(folder / name, "")
    assert main(["shard", str(folder), "--output-dir", str(tmp_path / "out")]) == 0
    err = capsys.readouterr().err
    assert "vl: warning: " in err and "(TXT)" in err
    assert "\x1b" not in err
