"""What the site's build needs beyond its configuration: the package laid out as an importer sees it.

The folders core/, storage/, plugins/ and flows/ are the package `fabloom` only once installed, and mkdocstrings reads sources from
folders named like their packages. So a tree of links of that shape is made for the time of the build.
"""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority

ROOT = Path(__file__).resolve().parents[1]
_held: list[tempfile.TemporaryDirectory[str]] = []


def link_package(tree: Path) -> None:
    """Link the folders of pyproject's `package-dir` into `tree`, each subpackage inside its parent."""
    folders: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    (tree / "fabloom").mkdir()
    for package, folder in sorted(folders.items()):
        place = tree / package.replace(".", "/")
        if "." in package:
            place.symlink_to(ROOT / folder)
            continue
        for entry in (ROOT / folder).iterdir():
            (place / entry.name).symlink_to(entry)


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: Any) -> None:
    """Point mkdocstrings at the linked tree."""
    folder = tempfile.TemporaryDirectory(prefix="fabloom-docs-")
    _held.append(folder)
    link_package(Path(folder.name))
    config["plugins"]["mkdocstrings"].config.handlers["python"]["paths"] = [folder.name]


def on_post_build(config: Any) -> None:
    """Remove the linked tree."""
    while _held:
        _held.pop().cleanup()
