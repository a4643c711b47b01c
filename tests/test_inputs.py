"""The photographs that a command line asks for."""

import pytest

from tests.helpers.tiny_captioner import drawings
from vl.data.errors import FormatError
from vl.inputs import error_message, photographs


def test_files_come_in_the_order_of_the_paths_and_failures_apart(tmp_path):
    paths = drawings(tmp_path / "photos", 3)
    empty, gone = tmp_path / "empty", tmp_path / "gone.png"
    empty.mkdir()
    files, failures = photographs([paths[2], empty, tmp_path / "photos", gone])
    assert files == [paths[2], *paths]
    assert [type(error) for error in failures] == [ValueError, FileNotFoundError]
    assert photographs([gone]).files == []


def test_nothing_to_do_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no photographs are given"):
        photographs([])
    with pytest.raises(ValueError, match="the folder has no image"):
        photographs([tmp_path])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.png"), "a.png: No such file or dir"),
        (FormatError("a.png", "cut\nshort"), "a.png: cut short"),
        (OSError("a.png: gone"), "a.png: gone"),
    ],
)
def test_a_complaint_is_one_line(error, line):
    assert error_message(error).startswith(f"vl: error: {line}")
    assert "\n" not in error_message(error)
    assert "Errno" not in error_message(error)
