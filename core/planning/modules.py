"""Where modules lie, and which of their own distribution they import, read from the source: nothing is imported for it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

COMPUTING = ("fabloom.plugins", "fabloom.storage.format.quantise")
"""What counts of fabloom itself: the methods, their shared blocks, and the quantiser whose codes a student learns from.

The engine (kinds, method, params, planning, running, the store, errors, …) does not: it hands data through, and what it writes is held
to schemas, digests and versions of its own. Counting it would start every training over with every release.
"""

Import = tuple[int, str, str]
"""(level, module, name) of `from module import name` with that many dots; name is '' for `import module`."""


def spec_of(name: str) -> ModuleSpec | None:
    """The spec of a module that is loaded or can be found, without importing it or what it lies in."""
    if name in sys.modules:
        loaded: ModuleSpec | None = getattr(sys.modules[name], "__spec__", None)
        return loaded
    parent = name.rpartition(".")[0]
    if not parent:
        try:
            return importlib.util.find_spec(name)  # a top-level name: nothing is imported
        except (ImportError, ValueError):
            return None
    above = spec_of(parent)
    if above is None or above.submodule_search_locations is None:
        return None
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        found: ModuleSpec | None = find(name, above.submodule_search_locations) if find is not None else None
        if found is not None:
            return found
    return None


def source_file(name: str) -> Path | None:
    """The `.py` of a module, a package's `__init__.py`; None for what has no source."""
    spec = spec_of(name)
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.origin.endswith(".py") else None


def source_paths(module: str) -> list[tuple[str, Path]]:
    """(relative name, path) of a module's file, or of every `.py` of a package, sorted."""
    file, spec = source_file(module), spec_of(module)
    if file is None or spec is None:
        return []
    if spec.submodule_search_locations is None:
        return [(file.name, file)]
    return sorted((path.relative_to(file.parent).as_posix(), path) for path in file.parent.rglob("*.py"))


def modules_in(module: str) -> dict[str, Path]:
    """A module, or every module of a package, by its full name."""
    paths = source_paths(module)
    if len(paths) == 1 and paths[0][0] != "__init__.py":
        return {module: paths[0][1]}
    return {f"{module}.{relative.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__"): path for relative, path in paths}


def followed(name: str, file: Path, found: Import) -> Iterator[str]:
    """The modules of the same top-level package that an import in module `name` (its file is `file`) computes with.

    `from package import name` means the module `package.name` where there is one, else the package's own `__init__`. An `__init__` that
    is merely passed on the way to a module does not count: it says what a distribution brings.
    """
    level, module, member = found
    if level:
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        above = package.rsplit(".", level - 1)[0] if level > 1 else package
        module = f"{above}.{module}" if module else above
    top = name.partition(".")[0]
    if module.partition(".")[0] != top:
        return
    inner = f"{module}.{member}"
    if member and counts(inner) and source_file(inner) is not None:
        yield inner
    elif counts(module) and source_file(module) is not None:
        yield module


def counts(module: str) -> bool:
    """Whether a module can alter what a method computes; all that is not fabloom's can."""
    return module.partition(".")[0] != "fabloom" or any(module == one or module.startswith(f"{one}.") for one in COMPUTING)
