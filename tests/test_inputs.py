"""Images that a command line names."""

import io
import os
from types import SimpleNamespace

import pytest

from tests.helpers.tiny_captioner import drawings
from vl.data.errors import FormatError
from vl.inputs import error_message, find_inputs, find_labelled_images


def test_files_keep_the_order_of_the_paths(tmp_path):
    paths = drawings(tmp_path / "images", 3)
    empty, missing = tmp_path / "empty", tmp_path / "missing.png"
    empty.mkdir()
    files, failures = find_inputs([paths[2], empty, tmp_path / "images", missing])
    assert files == [paths[2], *paths]
    assert [type(error) for error in failures] == [ValueError, FileNotFoundError]
    assert find_inputs([missing]).files == []


def test_stdin_lists_paths(tmp_path, monkeypatch):
    paths = drawings(tmp_path, 2)
    content = f"{paths[1]}\r\n\n{paths[0]}\n".encode()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert find_inputs([type(paths[0])("-")]).files == [paths[1], paths[0]]


def test_stdin_lists_paths_of_any_name_between_null_characters(tmp_path, monkeypatch):
    names = ["a\nb.png", " c.png\r", os.fsdecode(b"\xff.png")]
    paths = [path.rename(tmp_path / name) for path, name in zip(drawings(tmp_path, 3), names)]
    content = b"".join(os.fsencode(path) + b"\0" for path in paths)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert find_inputs([type(paths[0])("-")]).files == paths


def test_counts_in_one_line_what_folders_hold_beside_images(tmp_path, caplog):
    paths = drawings(tmp_path / "a", 2)
    for name in ("a/x.mov", "a/y.nef", "b/z.mp4", "b/c.jfif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "a" / "z.jpg")
    files, failures = find_inputs([tmp_path / "a", tmp_path / "b", tmp_path / "a" / "z.jpg"])
    assert files == [*paths, tmp_path / "b" / "c.jfif"]
    assert [str(error) for error in failures] == [
        f"{tmp_path}/a/z.jpg: a named pipe; expected a file"
    ]
    (line,) = caplog.messages
    assert line.startswith("left out: 1 raw photograph (NEF; ")
    assert "2 videos (MOV, MP4; " in line and line.endswith(", 1 named pipe")


def test_refuses_to_read_nothing(tmp_path):
    for find in (find_inputs, find_labelled_images):
        with pytest.raises(ValueError, match="no images"):
            find([])
    with pytest.raises(ValueError, match="no image"):
        find_inputs([tmp_path])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.png"), "a.png: No such file or dir"),
        (FormatError("a.png", "cut\nshort"), "a.png: cut short"),
        (OSError("a.png: missing"), "a.png: missing"),
    ],
    ids=["missing", "malformed", "other"],
)
def test_errors_are_one_line(error, line):
    message = error_message(error)
    assert message.startswith(f"vl: error: {line}")
    assert "\n" not in message
    assert "Errno" not in message
