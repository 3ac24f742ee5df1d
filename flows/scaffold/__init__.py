"""`fabloom new plugin NAME`: a small, complete package to start from. `template/` is real code under the name `my-weave`."""

from __future__ import annotations

import importlib
import importlib.util
import keyword
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fabloom.errors import UserError
from fabloom.method.blame import method_module
from fabloom.registry import Registry

TEMPLATE = Path(__file__).parent / "template"
PLAIN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 40


def new_plugin(name: str, into: Path, registry: Registry) -> list[Path]:
    """Write the folder `into / name` whole, or not at all, and return its files.

    Raises UserError for a name that is no plain one, that a method or an importable module has already, or whose folder is there.
    """
    check_name(name, registry)
    target = into / name
    if target.exists() or target.is_symlink():
        raise UserError(f"'{target}' exists already; give another name, or move it away")
    try:
        with tempfile.TemporaryDirectory(dir=into, prefix=f".{name}-") as folder:
            made = Path(folder) / name
            for source in sorted(p for p in TEMPLATE.rglob("*") if p.is_file() and p.suffix not in (".pyc",)):
                file = made / renamed(source.relative_to(TEMPLATE).as_posix(), name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(renamed(source.read_text(), name))
            write_lock(made, name)
            made.rename(target)
    except OSError as error:
        raise UserError(f"cannot write '{target}': {error.strerror}. Go to a folder that you may write to.") from error
    return sorted(path for path in target.rglob("*") if path.is_file())


def check_name(name: str, registry: Registry) -> None:
    """Raise UserError unless the name can be a method, a distribution and, with underscores, a package."""
    package = name.replace("-", "_")
    if not PLAIN.fullmatch(name) or len(name) > LONGEST or keyword.iskeyword(package):
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")
        hint = f", for instance '{plain}'" if PLAIN.fullmatch(plain) and len(plain) <= LONGEST else ""
        raise UserError(f"'{name}' is no plugin name: small letters and digits in words joined by '-', at most {LONGEST}{hint}")
    if name in registry.origins or name in registry.methods:
        raise UserError(f"there is a method '{name}' already, from {registry.origins[name]}; take another name")
    if name in registry.pipeline_names():
        raise UserError(f"there is a pipeline '{name}' already; take another name")
    if importlib.util.find_spec(package) is not None:
        raise UserError(f"there is a Python package '{package}' already; take another name, or the two would hide each other")


def renamed(text: str, name: str) -> str:
    """The template's text under the new name, in each of its three spellings."""
    title = "".join(word.capitalize() for word in name.split("-"))
    return text.replace("my-weave", name).replace("my_weave", name.replace("-", "_")).replace("MyWeave", title)


def write_lock(folder: Path, name: str) -> None:
    """`tests/fabloom.lock` of the new package, which must be importable for it."""
    from fabloom.testing.method import lock

    with importable(folder / "src", package := name.replace("-", "_")):
        method = importlib.import_module(f"{package}.method")
        (found,) = importlib.import_module(package).fabloom_methods()
        assert found.__module__ == method.__name__
        lock.write(folder / "tests" / lock.NAME, name, lock.Locked.of(found, (method_module(found),)))


@contextmanager
def importable(folder: Path, package: str) -> Iterator[None]:
    """The package can be imported from `folder` inside, and is forgotten afterwards; nothing compiled is left there."""
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = kept
        for module in [m for m in sys.modules if m == package or m.startswith(f"{package}.")]:
            del sys.modules[module]
