"""The order of the house: a package imports only from those above it, and nothing inside functions."""

import ast
from pathlib import Path

import pytest

import arriero

ROOT = Path(arriero.__file__).parent
ORDER = [
    "errors",
    "config",
    "artifacts",
    "metrics",
    "corpus",
    "dialogue",
    "taxonomy",
    "containers",
    "tokenizer",
    "model",
    "distributed",
    "data",
    "generation",
    "train",
    "preference",
    "reward",
    "rlhf",
    "safety",
    "eval",
    "report",
    "serve",
    "pipeline",
    "cli",
]
FILES = sorted(ROOT.rglob("*.py"))


def package_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_upwards(path: Path) -> None:
    own = package_of(path)
    if own == "__init__":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("arriero."):
            names = [node.module]
        if isinstance(node, ast.ImportFrom) and node.module == "arriero":
            names = [f"arriero.{alias.name}" for alias in node.names if not alias.name.startswith("_")]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("arriero.")]
        for name in names:
            other = name.split(".")[1]
            assert ORDER.index(other) <= ORDER.index(own), f"line {node.lineno}: {own} imports {name}"


@pytest.mark.parametrize(
    "path", [p for p in FILES if package_of(p) != "cli"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_no_imports_inside_functions(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inner, f"{node.name} imports at line {inner[0].lineno}"


def test_every_package_is_in_the_order() -> None:
    assert {package_of(path) for path in FILES} - {"__init__"} <= set(ORDER)
