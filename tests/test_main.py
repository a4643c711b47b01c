"""The command line: exit codes, one-line errors, and nothing but results on stdout."""

import dataclasses
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import vl.commands
from vl.__main__ import COMMANDS, load, main, parse
from vl.version import __version__

ROOT = Path(__file__).resolve().parents[1]

TINY_COMMAND = '''
import logging
from dataclasses import dataclass


@dataclass(frozen=True)
class Flags:
    """A command that ends in a chosen way."""

    end: str
    """How."""


def run(flags: Flags) -> int:
    logging.getLogger("vl.tiny").info("begun")
    logging.getLogger("vl.tiny").warning("one of two is wrong")
    logging.getLogger("other").info("somebody else's")
    if flags.end == "some failed":
        return 1
    if flags.end.startswith("disk"):
        import errno
        from contextlib import ExitStack

        from vl.data.files import keeping

        with ExitStack() as stack:
            for text in flags.end.split(": ")[1:]:
                stack.enter_context(keeping(lambda text=text: text))
            raise OSError(errno.ENOSPC, "full", "a.pt")
    if flags.end == "too large":
        import torch

        torch.empty(1 << 48)
    raise {
        "interrupted": KeyboardInterrupt,
        "two lines": ValueError("width is 3\\nexpected 4"),
        "no message": ValueError(),
        "bug": RuntimeError("a bug"),
        "full": MemoryError(),
        "GPU full": RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    }[flags.end]
'''
OUT_OF_MEMORY = "vl: error: out of memory; try a smaller --batch-size\n"
DISK_FULL = "vl: error: a.pt: full"
LOGGED = "vl: begun\nvl: warning: one of two is wrong\n"


@pytest.fixture
def tiny_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb of two words, in a module of its own."""
    (tmp_path / "end_quickly.py").write_text(TINY_COMMAND)
    monkeypatch.setattr(vl.commands, "__path__", [*vl.commands.__path__, str(tmp_path)])
    monkeypatch.setitem(COMMANDS, "end quickly", "A command that ends in a chosen way")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr() == (f"vl {__version__}\n", "")


def test_help_lists_every_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = [line.split() for line in out.splitlines()]
    for name, summary in COMMANDS.items():
        assert lines.count(f"{name} {summary}".split()) == 1
    assert main([]) == 2
    assert capsys.readouterr() == ("", out)


@pytest.mark.parametrize("name", COMMANDS)
def test_table_describes_the_commands(name: str) -> None:
    flags, run = load(name)
    assert dataclasses.is_dataclass(flags)
    assert flags.__dataclass_params__.frozen
    assert callable(run)
    assert (flags.__doc__ or "").startswith(COMMANDS[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_every_flag_once(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"usage: vl {name} ")
    lines = [line.strip("│ ") for line in out.splitlines()]
    described = [line.split()[0] for line in lines if re.match("--[a-z]", line)]
    assert len(described) == len(set(described))
    assert described or "positional" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluat"], ("evaluat", "evaluate-labels")),
        (["train", "words", "--vectr"], ("--vectr",)),
        (["evaluate", "a", "--references", "b", "--splt", "x"], ("--splt", "--split")),
        (["evaluate", "a", "--references", "b", "--references=c"], ("--references", "repeated")),
        (["evaluate", "a", "--references", "a"], ("vl: error: a: No such file",)),
        (["evaluate", "setup.cfg", "--references", "setup.cfg"], ("vl: error: setup.cfg",)),
    ],
)
def test_wrong_use_is_explained_on_stderr(
    arguments: list[str],
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(word in err for word in words)
    assert err.count("\n") == 1 or "--help" in err  # tyro's has several lines


@pytest.mark.parametrize("position", [0, 1, 4])
def test_debug_anywhere_shows_the_traceback(
    position: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "none.json")
    arguments = ["evaluate", path, "--references", path]
    arguments.insert(position, "--debug")
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith(f"vl: error: {path}: No such file or directory\n")


def test_parsing_checks_no_files() -> None:
    flags, run = parse(["evaluate", "none.json", "--references", "none.txt"])
    assert flags.results == (Path("none.json"),)
    assert callable(run)
    for arguments, error in ((["evaluat"], ValueError), (["caption", "--no-flag"], SystemExit)):
        with pytest.raises(error):
            parse(arguments)


@pytest.mark.parametrize(
    ("end", "code", "stderr"),
    [
        ("some failed", 1, ""),
        ("interrupted", 130, "vl: interrupted\n"),
        ("two lines", 2, "vl: error: width is 3 expected 4\n"),
        ("no message", 2, "vl: error: ValueError\n"),
        ("too large", 2, OUT_OF_MEMORY),
        ("full", 2, OUT_OF_MEMORY),
        ("GPU full", 2, OUT_OF_MEMORY),
        ("disk", 2, f"{DISK_FULL}; free some space and run the same command again\n"),
        ("disk: step 5 is kept, --resume", 2, f"{DISK_FULL}; step 5 is kept, --resume\n"),
        ("disk: the outer: the inner", 2, f"{DISK_FULL}; the outer\n"),
    ],
)
@pytest.mark.usefixtures("tiny_command")
def test_exit_codes(end: str, code: int, stderr: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["end", "quickly", "--end", end]) == code
    assert capsys.readouterr() == ("", LOGGED + stderr)


@pytest.mark.usefixtures("tiny_command")
def test_bugs_are_raised() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        main(["end", "quickly", "--end", "bug"])


@pytest.mark.usefixtures("tiny_command")
def test_first_word_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["end", "--help"]) == 0
    out, err = capsys.readouterr()
    assert "  end quickly  A command that ends in a chosen way\n" in out
    assert "evaluate" not in out
    assert err == ""
    assert main(["end"]) == 2
    assert capsys.readouterr() == ("", out)
    assert main(["end", "slowly"]) == 2
    assert "end quickly" in capsys.readouterr().err


def test_logging_is_left_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    before = list(logging.getLogger().handlers)
    main(["--version"])
    assert logging.getLogger().handlers == before


def test_closed_pipe_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        result = subprocess.run(
            [sys.executable, "-m", "vl", "--help"],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": ""},  # the error must not wait for the exit
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (result.returncode, result.stderr) == (141, b"")


SWALLOWING = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)
import vl.commands
from vl.__main__ import COMMANDS, main
vl.commands.__path__.append(sys.argv[1])
COMMANDS["end quickly"] = ""
raise SystemExit(main(["end", "quickly", "--end", sys.argv[2]]))
"""
ENDS = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from vl.data.outputs import COVERAGE


@dataclass(frozen=True)
class Flags:
    end: str
    output: Annotated[Path, COVERAGE] = Path("out.tsv")


def run(flags: Flags) -> int:
    if flags.end == "import":
        try:
            import interrupted
        except BaseException:
            pass
        print("swallowed")
    elif flags.end == "import error":
        try:
            os.kill(os.getpid(), signal.SIGINT)
            while True:
                pass
        except KeyboardInterrupt:
            raise ImportError("another error")
    else:
        for number in range(100_000):
            print(number)
        flags.output.write_text("done")
    return 0
"""


@pytest.mark.parametrize("end", ["import", "import error"])
def test_an_interruption_is_never_swallowed(end: str, tmp_path: Path) -> None:
    """Libraries catch it in their imports, or make another error of it."""
    (tmp_path / "end_quickly.py").write_text(ENDS)
    (tmp_path / "interrupted.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True:\n    pass\n"
    )
    result = run_apart(tmp_path, end)
    assert (result.returncode, result.stdout) == (130, b"")
    assert result.stderr == b"vl: interrupted\n"
    assert not list(tmp_path.glob(".*"))  # no lock


def test_a_closed_stdout_stops_no_command_that_writes_a_file(tmp_path: Path) -> None:
    (tmp_path / "end_quickly.py").write_text(ENDS)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        result = run_apart(tmp_path, "print", stdout=closed)
    assert (result.returncode, result.stderr) == (0, b"")
    assert (tmp_path / "out.tsv").read_text() == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_behind_stdout_is_named(tmp_path: Path) -> None:
    (tmp_path / "end_quickly.py").write_text(ENDS)
    with Path("/dev/full").open("wb") as full:
        result = run_apart(tmp_path, "print", stdout=full)
    assert result.returncode == 2
    assert result.stderr.startswith(b"vl: error: standard output: No space left on device")
    assert result.stderr.count(b"\n") == 1


def run_apart(folder: Path, end: str, stdout: Any = subprocess.PIPE) -> CompletedProcess[bytes]:
    """Run the command ENDS in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", SWALLOWING, str(folder), end],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
