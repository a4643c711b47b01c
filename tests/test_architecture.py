"""The house: which folder may import which, and what no file of it may do.

The checks take a root, so that a small tree with a fault planted in it shows that each can fail.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("vl", "encoders", "decoders", "data")
ROOMS = ("scripts", *PACKAGES)
ARROWS = {
    "scripts": {"scripts", "vl", "encoders", "decoders", "data"},
    "vl": {"vl", "encoders", "decoders", "data"},
    "encoders": {"encoders", "data"},
    "decoders": {"decoders", "data"},
    "data": {"data"},
}
DOCSTRING_ONLY = ("data", "encoders", "decoders", "vl/metrics", "vl/commands")
CODE_ON_LOADING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
MOST_LINES = 400


class Import(NamedTuple):
    """One imported name, as far as it can be told without running anything."""

    name: str  # dotted, absolute
    line: int
    on_loading: bool  # not inside a function, nor for type checkers only


def wrong_arrows(root: Path) -> list[str]:
    """Imports against the arrows."""
    problems = []
    for path in files(root):
        allowed = ARROWS[path.relative_to(root).parts[0]]
        for found in imports(path, root):
            room = found.name.partition(".")[0]
            if room in (*ROOMS, "tests") and room not in allowed:
                problems.append(f"{place(path, root)}:{found.line} imports {found.name}")
    return problems


def circles(root: Path) -> list[str]:
    """Modules that need themselves in order to load."""
    edges = {
        module(path, root): {
            name
            for found in imports(path, root)
            if found.on_loading and (name := defined_in(found.name, root))
        }
        for path in files(root)
    }
    found: list[str] = []
    finished: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            found.append(" -> ".join([*trail[trail.index(name) :], name]))
        elif name not in finished:
            for following in sorted(edges.get(name, ())):
                visit(following, [*trail, name])
            finished.add(name)

    for name in sorted(edges):
        visit(name, [])
    return found


def talkative_packages(root: Path) -> list[str]:
    """An ``__init__.py`` that is missing, or holds more than its docstring."""
    problems = []
    for folder in DOCSTRING_ONLY:
        path = root / folder / "__init__.py"
        if not path.exists():
            problems.append(f"{folder}/__init__.py is missing")
        elif len(parse(path).body) > 1:
            problems.append(f"{folder}/__init__.py holds more than a docstring")
    return problems


def files_without_docstring(root: Path) -> list[str]:
    """Files that do not open by saying what they are."""
    return [place(path, root) for path in files(root) if not ast.get_docstring(parse(path))]


def unsafe_calls(root: Path) -> list[str]:
    """Ways for a file that is read, or for a string, to run as code."""
    problems = []
    for path in files(root, PACKAGES):
        for found in imports(path, root):
            first, _, rest = found.name.partition(".")
            if first in CODE_ON_LOADING and rest and not rest.endswith("Error"):
                problems.append(f"{place(path, root)}:{found.line} imports {found.name}")
            if found.name == "torch.load":
                problems.append(f"{place(path, root)}:{found.line} imports {found.name}")
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Attribute) and not node.attr.endswith("Error"):
                if ast.unparse(node.value) in CODE_ON_LOADING:
                    problems.append(f"{place(path, root)}:{node.lineno} uses {ast.unparse(node)}")
            elif isinstance(node, ast.alias) and node.asname and node.name in CODE_ON_LOADING:
                problems.append(f"{place(path, root)}:{node.lineno} renames {node.name}")
        for call in calls(path):
            name = ast.unparse(call.func)
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
            unsafe_load = name == "torch.load" and given.get("weights_only") != "True"
            if name in ("eval", "exec") or unsafe_load or given.get("allow_pickle") == "True":
                problems.append(f"{place(path, root)}:{call.lineno} calls {name}")
    return problems


def prints(root: Path) -> list[str]:
    """Calls of print() below the commands."""
    return [
        f"{place(path, root)}:{call.lineno} prints"
        for path in files(root, PACKAGES)
        if not place(path, root).startswith("vl/commands/")
        and place(path, root) != "vl/__main__.py"
        for call in calls(path)
        if ast.unparse(call.func) == "print"
    ]


def long_files(root: Path) -> list[str]:
    """Files that a second idea has moved into."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files(root)}
    return [f"{place(path, root)} has {n} lines" for path, n in lengths.items() if n > MOST_LINES]


def untyped_packages(root: Path) -> list[str]:
    """Packages whose types nobody else's checker would see."""
    return [package for package in PACKAGES if not (root / package / "py.typed").exists()]


CHECKS = (
    wrong_arrows,
    circles,
    talkative_packages,
    files_without_docstring,
    unsafe_calls,
    prints,
    long_files,
    untyped_packages,
)

# A file of the small tree, what is planted in it, the check that sees it and what it says.
FAULTS = [
    ("data/a.py", "import encoders.a", wrong_arrows, "data/a.py:2 imports encoders.a"),
    ("data/a.py", "def f():\n    import vl", wrong_arrows, "data/a.py:3 imports vl"),
    ("encoders/a.py", "from decoders import a", wrong_arrows, "encoders/a.py:2 imports decoders.a"),
    ("decoders/a.py", "from encoders.a import x", wrong_arrows, "imports encoders.a.x"),
    ("vl/a.py", "import scripts.a", wrong_arrows, "vl/a.py:2 imports scripts.a"),
    ("vl/a.py", "import tests.conftest", wrong_arrows, "vl/a.py:2 imports tests.conftest"),
    ("scripts/a.py", "from tests import x", wrong_arrows, "scripts/a.py:2 imports tests.x"),
    ("data/b.py", "from data import a\nfrom . import c", circles, "data.b -> data.c -> data.b"),
    ("data/c.py", "from .c import c", circles, "data.c -> data.c"),
    ("encoders/__init__.py", "x = 1", talkative_packages, "encoders/__init__.py holds more"),
    ("vl/metrics/__init__.py", None, talkative_packages, "vl/metrics/__init__.py is missing"),
    ("scripts/a.py", "", files_without_docstring, "scripts/a.py"),
    ("data/a.py", "from pickle import load", unsafe_calls, "data/a.py:2 imports pickle.load"),
    ("data/a.py", "import pickle\npickle.load(file)", unsafe_calls, ":3 uses pickle.load"),
    ("data/a.py", "import pickle as p", unsafe_calls, "data/a.py:2 renames pickle"),
    ("data/a.py", "torch.load(path)", unsafe_calls, "data/a.py:2 calls torch.load"),
    ("data/a.py", "torch.load(path, weights_only=False)", unsafe_calls, "calls torch.load"),
    ("data/a.py", "from torch import load", unsafe_calls, "data/a.py:2 imports torch.load"),
    ("data/a.py", "np.load(path, allow_pickle=True)", unsafe_calls, "data/a.py:2 calls np.load"),
    ("vl/__main__.py", "eval('1')", unsafe_calls, "vl/__main__.py:2 calls eval"),
    ("vl/metrics/a.py", "def f():\n    exec('1')", unsafe_calls, "vl/metrics/a.py:3 calls exec"),
    ("vl/metrics/a.py", "print(1)", prints, "vl/metrics/a.py:2 prints"),
    ("decoders/a.py", "\n" * 400, long_files, "decoders/a.py has 401 lines"),
    ("vl/py.typed", None, untyped_packages, "vl"),
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_house_stands(check: Callable[[Path], list[str]]) -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize("check", CHECKS)
def test_a_sound_tree_has_no_fault(check: Callable[[Path], list[str]], tmp_path: Path) -> None:
    build(tmp_path)
    assert check(tmp_path) == []


@pytest.mark.parametrize(("name", "fault", "check", "message"), FAULTS)
def test_a_planted_fault_is_seen(
    name: str,
    fault: str | None,
    check: Callable[[Path], list[str]],
    message: str,
    tmp_path: Path,
) -> None:
    build(tmp_path)
    path = tmp_path / name
    if fault is None:
        path.unlink()
    else:
        path.write_text(f'"""What it is."""\n{fault}' if fault else "", encoding="utf-8")
    problems = check(tmp_path)
    assert len(problems) == 1
    assert message in problems[0]


def test_the_house_is_looked_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in files(ROOT)} >= set(PACKAGES)
    assert any(
        found.name == "vl.data.files.write_text"
        for found in imports(ROOT / "vl/evaluation/read.py", ROOT)
    )


def build(root: Path) -> None:
    """A small tree in which nothing is wrong, though much nearly is."""
    texts = {
        "data/a.py": "import pickle\n\nfailure = pickle.UnpicklingError",
        "data/b.py": "from data import a",
        "data/c.py": "from . import b\nimport torch\n\ntorch.load(b, weights_only=True)",
        "encoders/a.py": "from data.a import x\n\nmodel.eval()",
        "decoders/a.py": "import data.a\n\nconsole.print(1)",
        "vl/a.py": "import encoders.a, decoders.a\n\ndef f():\n    from vl import b",
        "vl/b.py": "from typing import TYPE_CHECKING\nfrom vl.a import f\n"
        "if TYPE_CHECKING:\n    from vl import b",
        "vl/__main__.py": "from vl.commands import go\n\nprint(1)",
        "vl/commands/go.py": "from ..metrics.a import x\n\nprint(1)",
        "vl/metrics/a.py": "import data.b",
        "scripts/a.py": "import vl.a\nimport data.a\n\nprint(1)",
        **{f"{folder}/__init__.py": "" for folder in ("vl", *DOCSTRING_ONLY)},
    }
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""What it is."""\n{text}', encoding="utf-8")
    for package in PACKAGES:
        (root / package / "py.typed").touch()


def files(root: Path, rooms: tuple[str, ...] = ROOMS) -> list[Path]:
    """Every Python file of these rooms."""
    return [path for room in rooms for path in sorted((root / room).rglob("*.py"))]


def parse(path: Path) -> ast.Module:
    """The file as a tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, root: Path) -> str:
    """The file as a reader would name it."""
    return path.relative_to(root).as_posix()


def module(path: Path, root: Path) -> str:
    """The dotted name under which the file is imported."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def defined_in(name: str, root: Path) -> str | None:
    """The module of ours that an imported name is, or that defines it."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = root.joinpath(*parts[:end])
        if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
            return ".".join(parts[:end]) if parts[0] in ROOMS else None
    return None


def calls(path: Path) -> Iterator[ast.Call]:
    """Every call in a file."""
    return (node for node in ast.walk(parse(path)) if isinstance(node, ast.Call))


def imports(path: Path, root: Path) -> list[Import]:
    """Every import of a file, those inside functions too; relative ones made absolute."""
    package = module(path, root).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found: list[Import] = []

    def visit(node: ast.AST, on_loading: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(name.name, node.lineno, on_loading) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            names = (".".join([*base, name.name]) for name in node.names)
            found.extend(Import(name, node.lineno, on_loading) for name in names)
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        types_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, on_loading and not later and not types_only)

    visit(parse(path), True)
    return found
