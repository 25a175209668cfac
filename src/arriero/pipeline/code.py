"""The digest of the code that a stage runs: its module and every module of this package that it imports.

Comments, docstrings and layout do not count: a mended sentence must not make hours of work stale.
"""

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "arriero"


@functools.cache
def _source(module: str) -> Path | None:
    """The file of a module of this package, found without importing it."""
    root = importlib.util.find_spec(PACKAGE)
    assert root is not None
    assert root.submodule_search_locations
    place = Path(root.submodule_search_locations[0]).joinpath(*module.split(".")[1:])
    for candidate in (place.with_suffix(".py"), place / "__init__.py"):
        if candidate.is_file() and module != PACKAGE:
            return candidate
    return None


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def _imports(tree: ast.Module) -> Iterator[str]:
    """Names of this package's modules that `tree` imports, with the packages that hold them."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE:
                yield from (".".join(parts[:n]) for n in range(2, len(parts) + 1))


def _without_docstrings(tree: ast.Module) -> str:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(n.body[0]) for n in ast.walk(tree) if isinstance(n, kinds) and ast.get_docstring(n) is not None}

    class Strip(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
            return None if id(node) in docstrings else node

    return ast.dump(Strip().visit(tree))


def modules_of(module: str) -> list[str]:
    """`module` and every module of this package that it imports, directly or not; sorted."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in found or path is None:
            continue
        found.add(name)
        waiting.extend(_imports(_tree(path)))
    return sorted(found)


@functools.cache
def _module_digest(path: Path) -> str:
    return hashlib.sha256(_without_docstrings(ast.parse(path.read_bytes())).encode()).hexdigest()


@functools.cache
def code_digest(module: str) -> str:
    """SHA-256 over the modules of `modules_of`."""
    total = hashlib.sha256()
    for name in modules_of(module):
        path = _source(name)
        assert path is not None
        total.update(f"{name}\0{_module_digest(path)}\n".encode())
    return total.hexdigest()
