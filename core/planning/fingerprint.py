"""A hash of source code that formatting, comments and docstrings do not change: was a method altered without a version bump?"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

from fabloom.hashing import blake, canonical_json

OMITTED = {"ctx", "kind", "type_comment", "type_ignores", "type_params"}
"""Fields of the syntax tree that say nothing, or that not every Python version has."""


def source_fingerprint(*modules: str) -> str:
    """blake2b of the syntax trees of these modules' files; '' where they have none (a frozen or compiled module)."""
    trees = {}
    for name in modules:
        for relative, file in source_paths(name):
            trees[f"{name}/{relative}"] = _plain(_without_docstrings(ast.parse(file.read_bytes())))
    return blake(canonical_json(trees)) if trees else ""


def source_paths(module: str) -> list[tuple[str, Path]]:
    """(relative name, path) of a module's file, or of every `.py` of a package, sorted."""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # ValueError: a script that was run as __main__
        return []
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        return []
    file = Path(found.origin)
    if found.submodule_search_locations is None:
        return [(file.name, file)]
    return sorted((path.relative_to(file.parent).as_posix(), path) for path in file.parent.rglob("*.py"))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def _plain(node: ast.AST) -> list[object]:
    """The tree as JSON: type, then its fields without what is empty, so that all Python versions agree."""
    return [type(node).__name__, *([name, _value(value)] for name, value in _fields(node))]


def _fields(node: ast.AST) -> Iterable[tuple[str, object]]:
    def given() -> Iterator[tuple[str, object]]:
        for name, value in ast.iter_fields(node):
            if name not in OMITTED and value is not None and value != []:
                yield name, value

    return given()


def _value(value: object) -> object:
    if isinstance(value, ast.AST):
        return _plain(value)
    if isinstance(value, list):
        return [_value(item) for item in value]
    return f"{type(value).__name__} {value!r}"
