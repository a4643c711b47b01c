"""Python files of a tree: their imports, calls and functions, without running them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

LINKS = ("data", "encoders", "decoders")  # folders beside vl, imported as vl.data, ...
FOLDERS = ("scripts", "vl", *LINKS)


class Import(NamedTuple):
    """An imported name."""

    name: str  # dotted, absolute
    line: int
    at_module_level: bool  # neither in a function, nor for type checkers only


def files(root: Path, folders: tuple[str, ...] = FOLDERS) -> list[Path]:
    """Every Python file of these folders; the links in vl are left out."""
    links = {root / "vl" / name for name in LINKS}
    return [
        path
        for folder in folders
        for path in sorted((root / folder).rglob("*.py"))
        if links.isdisjoint(path.parents)
    ]


@cache
def _parsed(path: Path, size: int, changed: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    status = path.stat()
    return _parsed(path, status.st_size, status.st_mtime_ns)


def place(path: Path, root: Path) -> str:
    """A path as in messages."""
    return path.relative_to(root).as_posix()


def module(path: Path, root: Path) -> str:
    """The dotted name by which a file is imported."""
    parts = path.relative_to(root).with_suffix("").parts
    parts = ("vl", *parts) if parts[0] in LINKS else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(name: str) -> str | None:
    """The package or module of vl that a dotted name belongs to, ``"scripts"``, or None."""
    parts = name.split(".")
    if parts[0] == "scripts":
        return "scripts"
    if parts[0] != "vl":
        return None
    return parts[1] if len(parts) > 1 and parts[1] != "__version__" else "vl"


def file_of(name: str, root: Path) -> str | None:
    """The module of vl or scripts that an imported name is, or that defines it."""
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        within = parts[1:end] if parts[:1] == ["vl"] and parts[1] in LINKS else parts[:end]
        path = root.joinpath(*within)
        if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
            return ".".join(parts[:end]) if parts[0] in ("vl", "scripts") else None
    return None


def graph(root: Path) -> dict[str, set[str]]:
    """The modules that each module imports at module level."""
    return {
        module(path, root): {
            name
            for found in imports(path, root)
            if found.at_module_level and (name := file_of(found.name, root))
        }
        for path in files(root)
    }


def calls(path: Path) -> Iterator[ast.Call]:
    """Every call in a file."""
    return (node for node in ast.walk(parse(path)) if isinstance(node, ast.Call))


def functions(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef, ast.ClassDef | None]]:
    """Every function, and the class whose method it is."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                yield child, node if isinstance(node, ast.ClassDef) else None


def imports(path: Path, root: Path) -> list[Import]:
    """Every import of a file, those inside functions too; relative ones made absolute."""
    package = module(path, root).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found: list[Import] = []

    def visit(node: ast.AST, at_module_level: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(name.name, node.lineno, at_module_level) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            names = (".".join([*base, name.name]) for name in node.names)
            found.extend(Import(name, node.lineno, at_module_level) for name in names)
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        types_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, at_module_level and not later and not types_only)

    visit(parse(path), True)
    return found
