"""Progress in a pipe: lines on stderr with their units; nothing from a quiet bar."""

import re
from types import SimpleNamespace

import pytest

from vl import terminal
from vl.terminal import ProgressBar


@pytest.mark.parametrize("total", [40, 0])
def test_a_pipe_gets_one_line_at_the_end(capsys, total):
    with ProgressBar("embed", total, unit="images") as bar:
        bar.advance(total, "loss 0.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"embed {total}/{total}  \d+\.\d images/s  0 s left\n", err)


def test_a_pipe_gets_a_line_a_minute(capsys, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with ProgressBar("train", 1000, unit="steps") as bar:
        bar.skip(100)  # of an earlier process: no part of the throughput
        for now, count, text in [(30, 50, ""), (61, 72, "loss 0.2"), (122, 122, "loss 0.1")]:
            clock.now = float(now)
            bar.advance(count, text)
    assert capsys.readouterr().err.splitlines() == [
        "train 222/1000  loss 0.2  2.0 steps/s  389 s left",
        "train 344/1000  loss 0.1  2.0 steps/s  328 s left",
        "train 344/1000  2.0 steps/s  328 s left",
    ]


def test_nothing_is_printed_after_an_error_or_by_a_quiet_bar(capsys):
    with pytest.raises(ValueError, match="wrong"), ProgressBar("embed", 2, unit="images"):
        raise ValueError("wrong")
    with ProgressBar("train", 2, unit="steps", quiet=True) as bar:
        bar.advance(2, "loss 1")
        bar.print("epoch 1")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "line", ["error: a[b].jpg", "a:cat:", "[red]x[/red]", "x" * 300, "1.5 é 漢"]
)
def test_a_line_is_printed_as_it_is(capsys, line):
    with ProgressBar("embed", 1, unit="images") as bar:
        bar.print(line)
        assert capsys.readouterr() == ("", f"{line}\n")


def test_a_terminal_gets_a_bar_with_the_unit(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes a pipe for a terminal
    monkeypatch.setenv("COLUMNS", "100")
    with ProgressBar("embed", 4, unit="images") as bar:
        bar.advance(4, "loss 0.5")
        bar.print("one more thing")
    out, err = capsys.readouterr()
    assert out == ""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    assert "one more thing\n" in plain
    assert re.search(r"embed .*4/4 images  loss 0\.5", plain)
