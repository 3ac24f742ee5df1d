"""Looking at a method's source without running it: pickles, and heavy imports at module level."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from fabloom.planning.fingerprint import source_paths

PICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
HEAVY = ("torch", "prefect", "diffusers", "zarr")
PROBE = """
import json, sys
import {module}
print(json.dumps([sorted({{n.partition(".")[0] for n in sys.modules}} & {heavy!r}), sorted(n for n in sys.modules if n in {own!r})]))
"""


def pickling(modules: tuple[str, ...]) -> list[str]:
    """`file:line what` of every import of a pickler, `weights_only=False` and `allow_pickle=True`."""
    return [f"{file}:{line} {what}" for file, line, what in _search(modules, _pickles)]


def _pickles(node: ast.AST) -> str:
    if isinstance(node, ast.Import | ast.ImportFrom):
        for name in _imported(node):
            if name in PICKLERS:
                return f"import {name}"
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            given = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if (keyword.arg, given) in (("weights_only", False), ("allow_pickle", True)):
                return f"{keyword.arg}={given!r}"
    return ""


def heavy_imports(module: str, modules: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """What importing `module` in a fresh Python loads of `HEAVY`, and the lines of the package that may be the cause."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    own = {name for package in modules for name in _names(package)}
    code = PROBE.format(module=module, heavy=set(HEAVY), own=own)
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return [done.stderr.strip().splitlines()[-1]], []
    loaded, imported = json.loads(done.stdout.splitlines()[-1])
    return loaded, [f"{file}:{line} {what}" for file, line, what in _search(tuple(imported), _heavy, module_level=True)] if loaded else []


def _names(package: str) -> list[str]:
    """The modules of a package by name, itself first."""
    files = [relative.removesuffix(".py").replace("/", ".") for relative, _ in source_paths(package)]
    return [package, *(f"{package}.{name}".removesuffix(".__init__") for name in files)]


def _heavy(node: ast.AST) -> str:
    if isinstance(node, ast.Import | ast.ImportFrom):
        for name in _imported(node):
            if name in (*HEAVY, "torchvision", "lpips", "segmentation_models_pytorch"):
                return f"import {name}"
    return ""


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Top-level packages that an import names; none for a relative one."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    return [] if node.level else [(node.module or "").partition(".")[0]]


def _search(modules: tuple[str, ...], found: Callable[[ast.AST], str], *, module_level: bool = False) -> Iterator[tuple[str, int, str]]:
    """(file, line, what) of every node for which `found` says something."""
    for name in modules:
        for relative, file in source_paths(name):
            if module_level and relative not in ("__init__.py", f"{name.rpartition('.')[2]}.py"):
                continue  # the other modules of a package count where they are imported themselves
            todo: list[ast.AST] = [ast.parse(file.read_bytes())]
            while todo:
                node = todo.pop()
                if what := found(node):
                    yield relative, getattr(node, "lineno", 0), what
                inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                typing_only = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
                if not (module_level and (inside or typing_only)):
                    todo.extend(reversed(list(ast.iter_child_nodes(node))))
