"""The `vl` command: exit codes, one line for a mistake, and nothing but results on stdout."""

import dataclasses
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vl.__main__ import COMMANDS, Command, load, main
from vl.version import __version__

ROOT = Path(__file__).resolve().parents[1]

LITTLE_COMMAND = '''
import logging
from dataclasses import dataclass


@dataclass(frozen=True)
class Flags:
    """A command that ends as it is told."""

    end: str
    """How."""


def run(flags: Flags) -> int:
    logging.getLogger("vl.little").info("begun")
    logging.getLogger("vl.little").warning("one of two is wrong")
    logging.getLogger("other").info("somebody else's")
    if flags.end == "some failed":
        return 1
    if flags.end == "too large":
        import torch

        torch.empty(1 << 48)
    raise {
        "stopped": KeyboardInterrupt,
        "two lines": ValueError("width is 3\\nexpected 4"),
        "no message": ValueError(),
        "our fault": RuntimeError("a bug"),
        "full": MemoryError(),
        "GPU full": RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    }[flags.end]
'''
FULL = "vl: error: the memory is too small for this; smaller batches want less (--batch-size)\n"
LOGGED = "vl: begun\nvl: warning: one of two is wrong\n"


@pytest.fixture
def little_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb of two words, in a module of its own."""
    (tmp_path / "little_command.py").write_text(LITTLE_COMMAND)
    monkeypatch.syspath_prepend(tmp_path)
    command = Command("little_command:Flags", "A command that ends as it is told")
    monkeypatch.setitem(COMMANDS, "end quickly", command)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr() == (f"vl {__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command_once(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for verb, command in COMMANDS.items():
        assert [line.split() for line in out.splitlines()].count(
            f"{verb} {command.summary}".split()
        ) == 1


def test_no_command_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: vl COMMAND")


def test_an_unknown_command_is_named_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluat"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"vl: error: no command 'evaluat'; there are {', '.join(COMMANDS)}\n"


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_is_as_the_table_says(verb: str) -> None:
    flags, run = load(COMMANDS[verb])
    assert dataclasses.is_dataclass(flags)
    assert flags.__dataclass_params__.frozen
    assert callable(run)
    assert (flags.__doc__ or "").startswith(COMMANDS[verb].summary)


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_of_a_command_has_each_flag_once(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"usage: vl {verb} ")
    lines = [line.strip("│ ") for line in out.splitlines()]
    described = [line.split()[0] for line in lines if re.match("--[a-z]", line)]
    assert len(described) == len(set(described))
    for field in dataclasses.fields(load(COMMANDS[verb])[0]):
        name = {"borrowed": "from"}.get(field.name, field.name)  # no field can be called "from"
        flag = f"--{name.replace('_', '-')}"
        assert flag in described or name.upper() in out


def test_tyro_names_a_flag_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "a.json", "--references", "b.json", "--splt", "x"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--splt" in err
    assert "--split" in err


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.json"
    assert main(["evaluate", str(path), "--references", str(path)]) == 2
    assert capsys.readouterr() == ("", f"vl: error: {path}: No such file or directory\n")


def test_a_wrong_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    path.write_text("{}")
    assert main(["evaluate", str(path), "--references", str(path)]) == 2
    expected = f"vl: error: {path}: a list of captions was expected, not an object\n"
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize("place", [0, 1, 4])
def test_debug_anywhere_shows_where_an_error_came_from(
    place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "none.json")
    arguments = ["evaluate", path, "--references", path]
    arguments.insert(place, "--debug")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" in err
    assert "FileNotFoundError" in err
    assert err.endswith(f"vl: error: {path}: No such file or directory\n")


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("some failed", 1, ""),
        ("stopped", 130, "vl: stopped\n"),
        ("two lines", 2, "vl: error: width is 3 expected 4\n"),
        ("no message", 2, "vl: error: ValueError\n"),
        ("too large", 2, FULL),
        ("full", 2, FULL),
        ("GPU full", 2, FULL),
    ],
)
@pytest.mark.usefixtures("little_command")
def test_how_a_command_ends(
    end: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["end", "quickly", "--end", end]) == code
    assert capsys.readouterr() == ("", LOGGED + said)


@pytest.mark.usefixtures("little_command")
def test_a_fault_of_ours_is_not_made_the_users() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        main(["end", "quickly", "--end", "our fault"])


@pytest.mark.usefixtures("little_command")
def test_half_a_verb_lists_its_other_halves(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["end", "--help"]) == 0
    out, err = capsys.readouterr()
    assert "  end quickly  A command that ends as it is told\n" in out
    assert "evaluate" not in out
    assert err == ""
    assert main(["end"]) == 2
    assert capsys.readouterr() == ("", out)
    assert main(["end", "slowly"]) == 2
    assert capsys.readouterr() == (
        "",
        "vl: error: no command 'end slowly'; there are end quickly\n",
    )


def test_logging_is_left_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    before = list(logging.getLogger().handlers)
    main(["--version"])
    assert logging.getLogger().handlers == before


def test_a_reader_that_has_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "vl", "--help"],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": ""},  # the error must not wait for the exit
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_help_imports_no_torch() -> None:
    program = (
        "import sys; from vl.__main__ import main; main(['--help']); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_a_flag_that_is_there_twice_is_refused(capsys):
    """Else the first one's values were lost."""
    code = main(["evaluate", "said.txt", "--references", "one.txt", "--references=two.txt"])
    assert code == 2
    assert "error: --references is there twice" in capsys.readouterr().err
