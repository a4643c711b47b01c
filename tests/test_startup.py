"""Start-up: help, flag errors and missing inputs import none of the heavy libraries."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from vl.__main__ import COMMANDS, load

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "torchvision", "gensim", "matplotlib", "pandas", "scipy", "sklearn", "timm")
PROGRAM = f"""
import sys
from vl.__main__ import main
code = main(sys.argv[1:])
print("imported:", *[name for name in {HEAVY} if name in sys.modules])
raise SystemExit(code)
"""


def imports_of(*arguments: str) -> tuple[int, list[str], str]:
    """The exit code of a command line, the heavy libraries it has imported, and its stderr."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout, result.stderr
    return result.returncode, result.stdout.splitlines()[-1].split()[1:], result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["none"]])
def test_main_imports_no_heavy_library(arguments: list[str]) -> None:
    code, libraries, _ = imports_of(*arguments)
    assert (code, libraries) == (2 if arguments == ["none"] else 0, [])


@pytest.mark.parametrize(("flag", "expected"), [("--help", 0), ("--no-such-flag", 2)])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_flag_errors_import_no_heavy_library(name: str, flag: str, expected: int) -> None:
    code, libraries, stderr = imports_of(*name.split(), flag)
    assert (code, libraries) == (expected, []), stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_missing_inputs_import_no_heavy_library(name: str, tmp_path: Path) -> None:
    """Required flags, and the weights, are a path that does not exist."""
    missing = str(tmp_path / "missing")
    flags_type, _ = load(name)
    hints = get_type_hints(flags_type, include_extras=True)
    arguments = []
    for field in dataclasses.fields(flags_type):
        required = dataclasses.MISSING in (field.default, field.default_factory)
        required = required and field.default is field.default_factory
        if required and "_Positional" in repr(hints[field.name]):
            arguments.append(missing)
        elif required or field.name == "weights":
            arguments += [f"--{field.name.replace('_', '-')}", missing]
    if not arguments or name == "draw-world":
        pytest.skip("needs no input")
    code, libraries, stderr = imports_of(*name.split(), *arguments)
    assert (code, libraries) == (2, []), stderr
