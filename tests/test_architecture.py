"""Architecture: which package imports which, and how large folders, files and functions may be.

The checks take a root, so that a small tree with a planted fault shows that each of them can fail.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import networkx
import pytest

from tests.helpers.source_tree import (
    FOLDERS,
    LINKS,
    calls,
    files,
    functions,
    graph,
    imports,
    module,
    package_of,
    parse,
    place,
)

ROOT = Path(__file__).resolve().parents[1]

# From top to bottom: a package imports itself and what is below it. Packages of one layer do not
# import each other, but for the modules of SUPPORT.
SUPPORT = ("bundle", "devices", "streams", "terminal", "inputs", "sheets")
LAYERS = (
    ("scripts",),
    ("__main__",),
    ("commands",),
    ("demo",),
    ("attacks",),
    ("captioning", "labelling"),
    ("evaluation",),
    ("metrics",),
    ("search",),
    ("encoding",),
    ("training",),
    SUPPORT,
    ("encoders", "decoders"),
    ("data",),
    ("version",),
)
CODE_ON_LOADING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
MAX_CHAIN = 10  # modules
MAX_ENTRIES = 20  # of vl, beside the links
MAX_FILES = 16  # in a folder, but vl/commands
MIN_LINES, MAX_LINES = 20, 400  # of a file
MAX_FUNCTION_LINES = 80
MAX_PARAMETERS = 8
MAY_BE_SHORT = ("__init__.py", "version.py", "data/errors.py")
FORBIDDEN_WORDS = re.compile(
    r"\b(odds|surprise|handicap|told|judgement|judge_of|agreed|summed|borrowed_from"
    r"|train_what_answers|own_words?)\b"
)


def wrong_arrows(root: Path) -> list[str]:
    """Imports of a package above, beside, or outside of vl."""
    layer_of = {package: index for index, layer in enumerate(LAYERS) for package in layer}
    problems = []
    for path in files(root):
        package = package_of(module(path, root))
        if package == "vl":  # vl/__init__.py imports public names when they are used
            continue
        for found in imports(path, root):
            target = package_of(found.name)
            if found.name.partition(".")[0] == "tests":
                target = "tests"
            elif (
                target is None
                or target == package
                or target == "vl"
                or (package in SUPPORT and target in SUPPORT)
            ):
                continue
            above = target not in layer_of or layer_of[target] <= layer_of[package]
            if above or (target == "commands" and package != "__main__"):
                problems.append(f"{place(path, root)}:{found.line} imports {found.name}")
    return problems


def wrong_spelling(root: Path) -> list[str]:
    """Imports of data, encoders or decoders other than as parts of vl."""
    return [
        f"{place(path, root)}:{found.line} imports {found.name}, not vl.{found.name}"
        for path in files(root)
        for found in imports(path, root)
        if found.name.partition(".")[0] in LINKS
    ]


def cycles(root: Path) -> list[str]:
    """Modules that import themselves through others at module level."""
    found = networkx.simple_cycles(networkx.DiGraph(graph(root)))
    return [" -> ".join([*names, names[0]]) for names in found]


def long_chains(root: Path) -> list[str]:
    """The longest chain of imports at module level, if it is too long."""
    chain = networkx.dag_longest_path(networkx.DiGraph(graph(root))) if not cycles(root) else []
    return [f"{len(chain)} modules: {' -> '.join(chain)}"] if len(chain) > MAX_CHAIN else []


def crowded_folders(root: Path) -> list[str]:
    """Folders with too many entries."""
    entries = {path.name for path in (root / "vl").iterdir()} - {"__pycache__", *LINKS}
    problems = [f"vl has {len(entries)} entries"] if len(entries) > MAX_ENTRIES else []
    for folder in sorted({path.parent for path in files(root)}):
        count = len(list(folder.glob("*.py")))
        if count > MAX_FILES and folder != root / "vl/commands":
            problems.append(f"{place(folder, root)} has {count} files")
    return problems


def wrong_file_sizes(root: Path) -> list[str]:
    """Files with a second idea, or with none."""
    problems = []
    for path in files(root, (*FOLDERS, "tests")):
        name = place(path, root)
        if name.startswith("tests/fixtures/"):
            continue
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > MAX_LINES or (count < MIN_LINES and not name.endswith(MAY_BE_SHORT)):
            problems.append(f"{name} has {count} lines")
    return problems


def large_functions(root: Path) -> list[str]:
    """Functions that are too long or take too many parameters; constructors of models may."""
    problems = []
    for path in files(root, (*FOLDERS, "tests")):
        for function, owner in functions(parse(path)):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            arguments = function.args
            names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            count = len([name for name in names if name.arg not in ("self", "cls")])
            model = owner is not None and any(
                ast.unparse(base).endswith("Module") for base in owner.bases
            )
            where = f"{place(path, root)}:{function.lineno} {function.name}"
            if lines > MAX_FUNCTION_LINES:
                problems.append(f"{where} has {lines} lines")
            if count > MAX_PARAMETERS and not (model and function.name == "__init__"):
                problems.append(f"{where} has {count} parameters")
    return problems


def forbidden_words(root: Path) -> list[str]:
    """Words for which the field has better ones."""
    return [
        f"{place(path, root)}:{number} says {match[0]}"
        for path in files(root)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in FORBIDDEN_WORDS.finditer(line)
    ]


def code_in_packages(root: Path) -> list[str]:
    """An ``__init__.py`` that is missing or holds more than its docstring; vl's is the API."""
    problems = []
    for folder in sorted({path.parent for path in files(root, ("vl", *LINKS))} - {root / "vl"}):
        path = folder / "__init__.py"
        if not path.exists():
            problems.append(f"{place(path, root)} is missing")
        elif len(parse(path).body) > 1:
            problems.append(f"{place(path, root)} holds more than a docstring")
    return problems


def files_without_docstring(root: Path) -> list[str]:
    """Files that do not say what they are."""
    return [place(path, root) for path in files(root) if not ast.get_docstring(parse(path))]


def unsafe_calls(root: Path) -> list[str]:
    """Ways for a file or a string to run as code."""
    problems = []
    for path in files(root, ("vl", *LINKS)):
        for found in imports(path, root):
            first, _, rest = found.name.partition(".")
            unpickles = first in CODE_ON_LOADING and rest and not rest.endswith("Error")
            if unpickles or found.name == "torch.load":
                problems.append(f"{place(path, root)}:{found.line} imports {found.name}")
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Attribute) and not node.attr.endswith("Error"):
                if ast.unparse(node.value) in CODE_ON_LOADING:
                    problems.append(f"{place(path, root)}:{node.lineno} uses {ast.unparse(node)}")
            elif isinstance(node, ast.alias) and node.asname and node.name in CODE_ON_LOADING:
                problems.append(f"{place(path, root)}:{node.lineno} renames {node.name}")
        for call in calls(path):
            name = ast.unparse(call.func)
            keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
            unsafe_load = name == "torch.load" and keywords.get("weights_only") != "True"
            if name in ("eval", "exec") or unsafe_load or keywords.get("allow_pickle") == "True":
                problems.append(f"{place(path, root)}:{call.lineno} calls {name}")
    return problems


def prints(root: Path) -> list[str]:
    """Calls of print() outside of the commands and the terminal."""
    return [
        f"{place(path, root)}:{call.lineno} prints"
        for path in files(root, ("vl", *LINKS))
        if package_of(module(path, root)) not in ("commands", "__main__", "terminal")
        for call in calls(path)
        if ast.unparse(call.func) == "print"
    ]


CHECKS = (
    wrong_arrows,
    wrong_spelling,
    cycles,
    long_chains,
    crowded_folders,
    wrong_file_sizes,
    large_functions,
    forbidden_words,
    code_in_packages,
    files_without_docstring,
    unsafe_calls,
    prints,
)

_PARAMETERS = ", ".join("abcdefghi")
# A file of the small tree, what is planted in it, the check that must find it, and what it says.
FAULTS = [
    ("data/a.py", "import vl.encoders.a", wrong_arrows, "data/a.py:2 imports vl.encoders.a"),
    ("data/a.py", "def f():\n    import vl.bundle", wrong_arrows, "data/a.py:3 imports vl.bundle"),
    ("encoders/a.py", "from vl.decoders import a", wrong_arrows, "imports vl.decoders.a"),
    ("vl/bundle.py", "import scripts.a", wrong_arrows, "vl/bundle.py:2 imports scripts.a"),
    ("vl/bundle.py", "import tests.conftest", wrong_arrows, "imports tests.conftest"),
    ("vl/metrics/a.py", "import vl.search.a\nimport vl.evaluation", wrong_arrows, "evaluation"),
    ("vl/captioning/a.py", "import vl.labelling.a", wrong_arrows, "imports vl.labelling.a"),
    ("vl/nowhere/a.py", "import vl.data.a", code_in_packages, "vl/nowhere/__init__.py is missing"),
    ("scripts/a.py", "from data.a import x", wrong_spelling, "imports data.a.x, not vl.data"),
    ("scripts/a.py", "import vl.commands.go", wrong_arrows, "scripts/a.py:2 imports"),
    ("data/b.py", "from vl.data import a\nfrom . import c", cycles, "vl.data.b -> vl.data.c"),
    ("scripts/a.py", "import vl.chain.m0", long_chains, "11 modules: scripts.a -> vl.chain.m0"),
    ("vl/crowd/__init__.py", "", crowded_folders, "vl/crowd has 17 files"),
    ("vl/one_more.py", "", crowded_folders, "vl has 21 entries"),
    ("decoders/a.py", "\n" * MAX_LINES, wrong_file_sizes, "decoders/a.py has"),
    ("tests/test_a.py", "x = 1", wrong_file_sizes, "tests/test_a.py has 2 lines"),
    ("vl/bundle.py", "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES, large_functions, "2 f has"),
    ("vl/bundle.py", f"def f({_PARAMETERS}): ...", large_functions, "f has 9 parameters"),
    ("vl/bundle.py", f"class A:\n    def __init__(self, {_PARAMETERS}): ...", large_functions, "9"),
    ("vl/bundle.py", "told = 1", forbidden_words, "vl/bundle.py:2 says told"),
    ("encoders/__init__.py", "x = 1", code_in_packages, "encoders/__init__.py holds more"),
    ("vl/metrics/__init__.py", None, code_in_packages, "vl/metrics/__init__.py is missing"),
    ("scripts/a.py", "", files_without_docstring, "scripts/a.py"),
    ("data/a.py", "from pickle import load", unsafe_calls, "data/a.py:2 imports pickle.load"),
    ("data/a.py", "import pickle\npickle.load(file)", unsafe_calls, ":3 uses pickle.load"),
    ("data/a.py", "import pickle as p", unsafe_calls, "data/a.py:2 renames pickle"),
    ("data/a.py", "torch.load(path)", unsafe_calls, "data/a.py:2 calls torch.load"),
    ("data/a.py", "from torch import load", unsafe_calls, "data/a.py:2 imports torch.load"),
    ("data/a.py", "np.load(path, allow_pickle=True)", unsafe_calls, "data/a.py:2 calls np.load"),
    ("vl/metrics/a.py", "def f():\n    exec('1')", unsafe_calls, "vl/metrics/a.py:3 calls exec"),
    ("vl/metrics/a.py", "print(1)", prints, "vl/metrics/a.py:2 prints"),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_architecture(check: Callable[[Path], list[str]]) -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_sound_tree_has_no_fault(check: Callable[[Path], list[str]], tmp_path: Path) -> None:
    build(tmp_path)
    if check is not wrong_file_sizes:  # the files of the small tree are short
        assert check(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "fault", "check", "message"), FAULTS, ids=[str(index) for index in range(len(FAULTS))]
)
def test_planted_fault_is_found(
    name: str,
    fault: str | None,
    check: Callable[[Path], list[str]],
    message: str,
    tmp_path: Path,
) -> None:
    build(tmp_path)
    if check is long_chains:
        for index in range(MAX_CHAIN):
            write(tmp_path / f"vl/chain/m{index}.py", f"import vl.chain.m{index + 1}")
    if check is crowded_folders:
        for index in range(16 if "crowd" in name else 11):
            write((tmp_path / name).with_name(f"m{index}.py"), "")
    path = tmp_path / name
    if fault is None:
        path.unlink()
    else:
        write(path, fault)
        if check is files_without_docstring:
            path.write_text("")
    assert any(message in problem for problem in check(tmp_path))


def test_all_folders_are_checked() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in files(ROOT)} == set(FOLDERS)
    names = [found.name for found in imports(ROOT / "vl/training/checkpoint.py", ROOT)]
    assert "vl.data.errors.FormatError" in names


def write(path: Path, text: str) -> None:
    """Write a file with a docstring."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'"""What it is."""\n{text}', encoding="utf-8")


def build(root: Path) -> None:
    """A small tree with no fault, though much nearly is one."""
    texts = {
        "data/a.py": "import pickle\n\nfailure = pickle.UnpicklingError",
        "data/b.py": "from vl.data import a",
        "data/c.py": "from . import b\nimport torch\n\ntorch.load(b, weights_only=True)",
        "encoders/a.py": "from vl.data.a import x\n\nmodel.eval()",
        "decoders/a.py": f"import vl.data.a\n\nclass A(nn.Module):\n"
        f"    def __init__(self, {_PARAMETERS}): ...\n\nconsole.print(1)",
        "vl/bundle.py": "import vl.encoders.a, vl.decoders.a\ndef f():\n    from vl import devices",
        "vl/devices.py": "from typing import TYPE_CHECKING\nfrom vl.bundle import f\n"
        "if TYPE_CHECKING:\n    from vl import bundle",
        "vl/__main__.py": "from vl.commands import go\n\nprint(1)",
        "vl/commands/go.py": "from ..metrics.a import x\n\nprint(1)",
        "vl/metrics/a.py": "import vl.data.b",
        "vl/captioning/a.py": "import vl.metrics.a",
        "vl/labelling/a.py": "import vl.search.a",
        "vl/search/a.py": "",
        "scripts/a.py": "import vl.bundle\nimport vl.data.a\n\nprint(1)",
        "vl/__init__.py": "",
        **{f"{name}/__init__.py": "" for name in LINKS},
        **{
            f"vl/{name}/__init__.py": ""
            for name in ("commands", "metrics", "captioning", "labelling", "search")
        },
    }
    for name, text in texts.items():
        write(root / name, text)
