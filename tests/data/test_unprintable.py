"""What files hold reaches the terminal as visible signs."""

import logging

import pytest

from vl.__main__ import main
from vl.data.files import escape_unprintable


@pytest.mark.parametrize(
    ("text", "shown"),
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
def test_what_commands_a_terminal_is_spelt(text: str, shown: str) -> None:
    assert escape_unprintable(text) == shown


def test_an_error_and_a_warning_command_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["\x1b[31mno\ud83d"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert main(["caption", "a\x1b[2J.jpg", "--model", "\x1b]0;title\x07none\udcff"]) == 2
    err = capsys.readouterr().err
    assert r"\x1b]0;title\x07none\udcff" in err
    assert "\x1b" not in err


def test_what_the_library_logs_commands_no_terminal() -> None:
    from vl.__main__ import _Formatter

    record = logging.LogRecord("vl", logging.WARNING, "", 0, "as %s", ("\x1b[31m\nx",), None)
    assert _Formatter().format(record) == "vl: warning: as \\x1b[31m\nx"
