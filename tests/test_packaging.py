"""Packaging: a wheel and an sdist install one top-level name, beside a user's own data.py."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USER_PROGRAM = """
import data, decoders, encoders  # the user's
import vl, vl.data.world.outlines, vl.encoders.response_norm
from pathlib import Path
assert data.MINE and decoders.MINE and encoders.MINE
package = Path(vl.__file__).parent
assert (package / "py.typed").is_file()
assert list(package.glob("demo/templates/*")) and list(package.glob("evaluation/templates/*"))
print(package)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, so that building leaves nothing in the checkout."""
    names = ("vl", "data", "encoders", "decoders", "setup.cfg", "pyproject.toml", "README.md")
    copy = tmp_path_factory.mktemp("source")
    for name in (*names, "LICENSE"):
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def build(source: Path, kind: str, folder: Path) -> Path:
    """Build a ``"wheel"`` or an ``"sdist"`` with the setuptools that is installed."""
    program = f"from setuptools import build_meta; build_meta.build_{kind}({str(folder)!r})"
    folder.mkdir()
    run(sys.executable, "-c", program, cwd=source)
    (path,) = folder.iterdir()
    return path


def run(*command: str | Path, cwd: Path, python_path: str = "") -> str:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": python_path, "HOME": str(cwd)}
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_installed_package_is_one_name_beside_the_users_modules(
    kind: str, source: Path, tmp_path: Path
) -> None:
    if shutil.which("pip", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("pip is not installed")
    package = build(source, kind, tmp_path / "dist")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    run(*pip, "--no-build-isolation", "--target", str(site), str(package), cwd=tmp_path)
    assert [path.name for path in site.iterdir() if path.suffix != ".dist-info"] in (
        ["vl"],
        ["vl", "bin"],
        ["bin", "vl"],
    )
    (metadata,) = site.glob("*.dist-info")
    assert (metadata / "top_level.txt").read_text().split() == ["vl"]
    text = (metadata / "METADATA").read_text(encoding="utf-8")
    for field in ("Description-Content-Type: text/markdown", "Project-URL:", "Classifier:"):
        assert field in text
    user = tmp_path / "user"
    for name in ("data.py", "encoders/__init__.py", "decoders/__init__.py"):
        (user / name).parent.mkdir(parents=True, exist_ok=True)
        (user / name).write_text("MINE = True\n")
    (user / "program.py").write_text(USER_PROGRAM)
    stdout = run(sys.executable, "program.py", cwd=user, python_path=str(site))
    assert Path(stdout.strip()) == site / "vl"
