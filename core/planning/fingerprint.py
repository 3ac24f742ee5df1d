"""A hash of source code that formatting, comments and docstrings do not change: was a method altered without a version bump?

It covers the method's package and, from module to module, what these import of the same top-level package: absolutely, relatively,
inside functions; not what stands under `TYPE_CHECKING`, which never runs, nor what is imported by a computed name. A third party's
whole package can count in this way, of fabloom's own what `modules.COMPUTING` names. `plan --strict`, checkpoints and the conformance
kit's lock all use this one hash.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

from fabloom.hashing import blake, canonical_json

from .modules import Import, followed, modules_in, source_file, source_paths

__all__ = ["source_fingerprint", "source_paths", "sources"]

OMITTED = {"ctx", "kind", "type_comment", "type_ignores", "type_params"}
"""Fields of the syntax tree that say nothing, or that not every Python version has."""
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def source_fingerprint(*modules: str) -> str:
    """blake2b of the syntax trees of these modules and of what they import; '' where they have none (a frozen or compiled module)."""
    trees = {name: _read(file.read_bytes())[0] for name, file in sources(*modules).items()}
    return blake(canonical_json(trees)) if trees else ""


def sources(*modules: str) -> dict[str, Path]:
    """The files that the fingerprint covers, by module."""
    found: dict[str, Path] = {}
    todo = {name: file for module in modules for name, file in modules_in(module).items()}
    while todo:
        name, file = todo.popitem()
        found[name] = file
        for one in _read(file.read_bytes())[1]:
            for other in followed(name, file, one):
                if other not in found and (path := source_file(other)) is not None:
                    todo[other] = path
    return found


@lru_cache(maxsize=1024)
def _read(source: bytes) -> tuple[str, tuple[Import, ...]]:
    """(hash of the tree, imports that can run) of a file. What it holds is the cache's key: no file is read twice, none is mistaken."""
    reader = _Reader()
    reader.read(ast.parse(source))
    return blake("\n".join(reader.words).encode()), tuple(dict.fromkeys(reader.imports))


class _Reader:
    """One walk over a tree: its nodes and values as words without what is empty, so that all Python versions agree, and its imports."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.imports: list[Import] = []

    def read(self, node: ast.AST, *, runs: bool = True) -> None:
        """Note a node and all below it; `runs` is False under TYPE_CHECKING."""
        if runs:
            self._note_imports(node)
        self.words.append(f"({type(node).__name__}")
        for name in _fields(type(node).__name__):
            value = getattr(node, name, None)
            if name == "body" and isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                value = node.body[1:]
            if value is None or value == []:
                continue
            self.words.append(name)
            below = runs and not (name == "body" and _is_typing(node))
            if isinstance(value, list):
                self.words.append("[")
                for item in value:
                    self._value(item, below)
                self.words.append("]")
            else:
                self._value(value, below)
        self.words.append(")")

    def _value(self, value: object, runs: bool) -> None:
        if isinstance(value, ast.AST):
            self.read(value, runs=runs)
        else:
            self.words.append(f"{type(value).__name__} {value!r}")

    def _note_imports(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            self.imports += [(0, alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            self.imports += [(node.level, node.module or "", alias.name) for alias in node.names]


@lru_cache
def _fields(kind: str) -> tuple[str, ...]:
    return tuple(name for name in getattr(ast, kind)._fields if name not in OMITTED)


def _is_typing(node: ast.AST) -> bool:
    """Whether a node is `if TYPE_CHECKING:`."""
    test = node.test if isinstance(node, ast.If) else None
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING")
