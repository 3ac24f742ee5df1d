"""What the site's build needs beyond its configuration: the package laid out as an importer sees it, and equations typeset.

The folders core/, storage/, plugins/ and flows/ are the package `fabloom` only once installed, and mkdocstrings reads sources from
folders named like their packages. So a tree of links of that shape is made for the time of the build.

The notebooks of examples/notebooks become pages, their cells as text and code: nothing is run, the tests do that.

Blocks of LaTeX that are fenced as `math` become MathML, which browsers draw by themselves: no script, no font from elsewhere. On GitHub
the same blocks are typeset too.
"""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

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
    """Point mkdocstrings at the linked tree, and superfences at what typesets equations."""
    folder = tempfile.TemporaryDirectory(prefix="fabloom-docs-")
    _held.append(folder)
    link_package(Path(folder.name))
    config["plugins"]["mkdocstrings"].config.handlers["python"]["paths"] = [folder.name]
    config["mdx_configs"].setdefault("pymdownx.superfences", {})["custom_fences"] = [{"name": "math", "class": "math", "format": typeset}]


def on_files(files: Any, config: Any) -> None:
    """Add a page for each notebook."""
    for notebook in sorted((ROOT / "examples" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=page_of(notebook)))


def page_of(notebook: Path) -> str:
    """A notebook's cells as Markdown, with a line that says where the file is."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    told = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
    title, _, rest = told[0][0].partition("\n")
    blocks = [f"```python\n{text}\n```" if kind == "code" else text for text, kind in told[1:] if text.strip()]
    where = f"*The notebook is `examples/notebooks/{notebook.name}` of the repository; it is run by the tests.*"
    return "\n\n".join([title, rest.strip(), where, *blocks]) + "\n"


def typeset(source: str, language: str, css_class: str, options: Any, md: Any, **more: Any) -> str:
    """A block of LaTeX as MathML. Raises PluginError for a command that is not known, which would be shown as it is written."""
    made = convert(source.strip(), display="block")
    if unknown := re.search(r"\\\w+", made):
        raise PluginError(f"docs: the equation holds {unknown[0]}, which latex2mathml does not know:\n{source}")
    return f'<div class="{css_class}">{made}</div>'


def on_post_build(config: Any) -> None:
    """Remove the linked tree."""
    while _held:
        _held.pop().cleanup()
