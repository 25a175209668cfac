"""The standard library's docstrings, read through `ast`: nothing is imported.

One `ModuleDocs` per module: its docstring and every public function, class and method that has one.
"""

import ast
import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from arriero.data.stdlib import SourceFile


class ItemKind(StrEnum):
    MODULE = "module"
    FUNCTION = "function"
    CLASS = "class"
    METHOD = "method"


@dataclass(frozen=True)
class DocItem:
    """A documented thing. `name` is dotted and public; `signature` is "" for a class."""

    module: str
    name: str
    kind: ItemKind
    signature: str
    doc: str


@dataclass(frozen=True)
class ModuleDocs:
    """What one file documents; `doc` is "" for a module without docstring."""

    module: str
    relative: str
    doc: str
    items: tuple[DocItem, ...]

    @property
    def text(self) -> str:
        """One reference document: the module's docstring, then each signature with its docstring below it."""
        parts = [self.module, self.doc] if self.doc else [self.module]
        for item in self.items:
            label = "class " if item.kind is ItemKind.CLASS else ""
            body = "\n".join(f"    {line}".rstrip() for line in item.doc.splitlines())
            parts.append(f"{label}{item.name}{item.signature}\n{body}")
        return "\n\n".join(parts) + "\n"


def read_docs(file: SourceFile) -> ModuleDocs:
    """The documentation in one file of the library."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in the library's own sources
        tree = ast.parse(file.read())
    items = tuple(_items(tree, file.module)) if is_public(file.module) else ()
    return ModuleDocs(file.module, file.relative, _doc(tree), items)


def is_public(module: str) -> bool:
    return not any(part.startswith("_") for part in module.split("."))


def _doc(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return inspect.cleandoc(ast.get_docstring(node, clean=False) or "").strip()


def _exported(tree: ast.Module) -> set[str] | None:
    """The names in a literal `__all__`, or None."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            try:
                return {str(name) for name in ast.literal_eval(node.value)}
            except (ValueError, TypeError):
                return None
    return None


def _items(tree: ast.Module, module: str) -> Iterator[DocItem]:
    exported = _exported(tree)
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or (exported is not None and node.name not in exported):
            continue
        name = f"{module}.{node.name}"
        if isinstance(node, ast.ClassDef):
            if doc := _doc(node):
                yield DocItem(module, name, ItemKind.CLASS, "", doc)
            for inner in node.body:
                if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) or inner.name.startswith("_"):
                    continue
                if doc := _doc(inner):
                    yield DocItem(module, f"{name}.{inner.name}", ItemKind.METHOD, _signature(inner), doc)
        elif doc := _doc(node):
            yield DocItem(module, name, ItemKind.FUNCTION, _signature(node), doc)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return f"({ast.unparse(node.args)})"
