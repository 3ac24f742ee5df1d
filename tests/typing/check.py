"""Strict mypy over the package as an importer sees it, and over what authors write: `plugin_author.py`, the template, the examples.

The five folders are one package only once installed, so they are linked into a tree of that shape first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def link_package(tree: Path) -> None:
    """Link every module to where pyproject's `package-dir` puts it."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = setup["package-dir"]
    for package in setup["packages"]:
        known = max((name for name in folders if package == name or package.startswith(f"{name}.")), key=len)
        source = ROOT / folders[known] / package[len(known) + 1 :].replace(".", "/")
        target = tree / package.replace(".", "/")
        target.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            if file.suffix in (".py", ".typed"):
                (target / file.name).symlink_to(file)


def authors() -> list[Path]:
    """Packages that a third party wrote, or might have."""
    roots = [ROOT / "flows" / "scaffold" / "template", *sorted((ROOT / "examples").iterdir())]
    return [package for root in roots for package in sorted((root / "src").glob("*")) if (package / "__init__.py").is_file()]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        link_package(tree)
        (tree / "plugin_author.py").symlink_to(ROOT / "tests" / "typing" / "plugin_author.py")
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
        command += ["-p", "fabloom", "-m", "plugin_author"]
        for package in authors():
            (tree / package.name).symlink_to(package)
            command += ["-p", package.name]
        return subprocess.run(command, cwd=tree, env={**os.environ, "MYPYPATH": str(tree)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
