"""The site builds strictly without a network, its pages ask for nothing from elsewhere, and its reference is what the code says."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

import fabloom
import fabloom.testing
from fabloom.flows.cli.main import app
from fabloom.hooks import Specs
from fabloom.kinds import BUILTIN_KINDS
from fabloom.registry import Registry

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
BUILD = """
import socket, sys

def refuse(*args, **kwargs):
    raise OSError("the site's build asked for a network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli

cli(["build", "--strict", "--site-dir", sys.argv[1]])
"""
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "embed": "src", "audio": "src", "video": "src", "object": "data"}
"""Attributes through which a page loads something by itself; a plain link is no such thing."""


def build(folder: Path, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BUILD, str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=config or ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Loads(HTMLParser):
    """Collects the addresses that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and (given.get("rel") or "") not in ("canonical", "prev", "next", "alternate"):
            self.found.append(given.get("href") or "")
        elif tag in LOADS and given.get(LOADS[tag]):
            self.found.append(given[LOADS[tag]] or "")
        self.found += re.findall(r"url\(['\"]?([^)'\"]+)", given.get("style") or "")


def loaded(text: str) -> list[str]:
    parser = Loads()
    parser.feed(text)
    return parser.found


def foreign(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in ("http", "https", "ws", "wss")


def pages(nav: Any) -> Iterator[str]:
    """Every file that the navigation names."""
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from pages(value) if isinstance(value, list) else [value]


class ConfigLoader(yaml.SafeLoader):
    """Reads mkdocs.yml; MkDocs' own tags stand for paths and are left as text."""


ConfigLoader.add_constructor("!relative", lambda loader, node: str(node.value))


def navigation() -> list[str]:
    return list(pages(yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=ConfigLoader)["nav"]))


def test_no_page_loads_anything_from_elsewhere_and_what_it_loads_is_there(site: Path) -> None:
    seen = 0
    for page in site.rglob("*.html"):
        for address in loaded(page.read_text()):
            assert not foreign(address), f"{page.relative_to(site)} loads {address}"
            if not address.startswith("data:") and page.name != "404.html":  # which has absolute addresses
                seen += 1
                assert (page.parent / unquote(urlsplit(address).path)).resolve().is_file(), f"{page.relative_to(site)}: {address}"
    assert seen > 100


def test_no_stylesheet_loads_anything_from_elsewhere(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = sheet.read_text()
        found = re.findall(r"url\(['\"]?([^)'\"]+)", text) + re.findall(r"@import\s+['\"]([^'\"]+)", text)
        assert not [address for address in found if foreign(address)], sheet.name


def test_the_check_of_addresses_sees_what_it_must() -> None:
    page = """<link rel="stylesheet" href="//fonts.example/a.css"><script src="https://cdn.example/a.js"></script>
    <img src="http://example/a.png"><p style="background: url('https://example/b.png')"><a href="https://example/">a plain link</a>"""
    assert [foreign(address) for address in loaded(page)] == [True] * 4
    assert not foreign("assets/site.css")


def test_equations_are_typeset_and_one_that_cannot_be_stops_the_build(site: Path) -> None:
    blocks = {page: page.read_text().count("```math\n") for page in DOCS.rglob("*.md")}
    assert sum(map(bool, blocks.values())) >= 8
    for page, count in blocks.items():
        made = (site / page.relative_to(DOCS)).with_suffix(".html").read_text()
        assert made.count("<math ") == count and not re.search(r"\\begin|\\text", made.partition("</article>")[0].partition("<article")[2])
    typeset = runpy.run_path(str(DOCS / "hooks.py"))["typeset"]
    assert "<msqrt>" in typeset(r"\sqrt{x}", "math", "math", {}, None)
    with pytest.raises(Exception, match="oddness"):
        typeset(r"\oddness{x}", "math", "math", {}, None)


def test_every_page_of_the_navigation_is_built_and_every_page_is_in_it(site: Path) -> None:
    named = navigation()
    assert len(named) == len(set(named))
    for page in named:
        assert (site / page).with_suffix(".html").is_file(), page
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "examples" / "notebooks").glob("*.ipynb")}
    assert written | notebooks == set(named) and len(notebooks) >= 3
    page = (site / "notebooks" / "own-images.html").read_text()
    assert "open_store" in page and "<h1" in page and "Here the images are drawn" in page


def test_the_search_index_knows_the_reference(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    places = {entry["location"] for entry in index["docs"]}
    assert "reference/cli.html#fabloom-run" in places
    assert any("fabloom.Context" in place for place in places)
    assert (site / "search" / "search_index.js").is_file()  # what a page opened as a file searches
    assert "assets/iframe-worker.js" in (site / "index.html").read_text()


def test_what_authors_call_is_on_the_built_page(site: Path) -> None:
    """A member that mkdocstrings does not find is left out without a warning, an inherited one for instance."""
    page = (site / "reference" / "api.html").read_text()
    for name in ("Context.loop", "Context.log", "Context.progress", "Context.device", "Context.generator", "Messenger.log", "Messenger.progress",
                 "Method.check", "Method.prepare", "Method.networks", "RunResult.exit_code", "ImageSet.from_arrays", "ImageSet.write", "Model.state"):  # fmt: skip
        assert f'id="fabloom.{name}"' in page, name


def test_a_strict_build_fails_on_a_broken_link(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "pyproject.toml", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("benchmarks", "examples", "core", "storage", "plugins", "flows"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    with (tmp_path / "docs" / "why.md").open("a") as page:
        page.write("\n[nowhere](no-such-page.md)\n")
    done = build(tmp_path / "site", tmp_path)
    assert done.returncode != 0
    assert "no-such-page.md" in done.stdout + done.stderr


# the reference


Generate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def generate(warm: Generate) -> Generate:
    """Runs docs/generate.py; `before` is code that runs first, to spoil something."""

    def run(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
        script = f"import runpy, sys\n{before}\nsys.argv = {['generate.py', *arguments]!r}\nrunpy.run_path({str(DOCS / 'generate.py')!r}, run_name='__main__')"
        return warm(["-c", script], cwd=ROOT)

    return run


def test_the_reference_is_what_the_code_says(generate: Generate) -> None:
    done = generate("--check")
    assert done.returncode == 0, f"run `python docs/generate.py`\n{done.stdout[:4000]}\n{done.stderr}"


def test_the_check_fails_with_a_diff_where_a_page_is_not_up_to_date(tmp_path: Path, generate: Generate) -> None:
    for folder in ("reference", "drawings"):
        shutil.copytree(DOCS / folder, tmp_path / folder)
    page = tmp_path / "reference" / "hooks.md"
    page.write_text(page.read_text().replace("fabloom_step_started", "fabloom_step_begun"))
    (tmp_path / "drawings" / "way.svg").unlink()
    done = generate("--check", "--folder", str(tmp_path))
    assert done.returncode == 1
    assert "-## fabloom_step_begun\n" in done.stdout
    assert "+## fabloom_step_started\n" in done.stdout
    assert "reference/hooks.md" in done.stderr
    assert "drawings/way.svg" in done.stderr
    assert "reference/kinds.md" not in done.stderr


UNDESCRIBED = {
    "hook fabloom_dyed": """
from fabloom.hooks import Specs
def fabloom_dyed(self): pass
Specs.fabloom_dyed = fabloom_dyed
""",
    "fabloom dye": """
from fabloom.flows.cli.main import app
@app.command()
def dye(): pass
""",
    "option --shade": """
from fabloom.flows.cli.main import app
@app.command()
def dye(shade: str = "blue"):
    "Dye an artifact."
""",
    "ImageSet.dyed": """
from fabloom.artifacts import ImageSet
ImageSet.dyed = property(lambda self: 1)
""",
    "FABLOOM_DYE": """
import tempfile, pathlib, os
from unittest import mock
real = pathlib.Path.read_text
mock.patch.object(pathlib.Path, "read_text", lambda self, *a, **k: real(self, *a, **k) + ("FABLOOM_DYE" if self.name == "device.py" else "")).start()
""",
}


@pytest.mark.parametrize("what", UNDESCRIBED)
def test_what_is_not_described_fails_the_check(what: str, generate: Generate) -> None:
    done = generate("--check", before=UNDESCRIBED[what])
    assert done.returncode == 1
    assert what in done.stderr, done.stderr


def section(page: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", (REFERENCE / page).read_text(), re.M | re.S)
    assert found is not None, f"{page} has no section '{heading}'"
    return found[1]


def test_every_command_and_option_that_help_shows_is_in_the_reference() -> None:
    """Read from the command's own help, not through what the page is written with."""
    runner = CliRunner(env={"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"})

    def names(words: list[str]) -> list[str]:
        text = runner.invoke(app, [*words, "--help"]).stdout
        part = text[text.index("Commands") :] if "Commands" in text else ""
        return re.findall(r"^[│|\s]+([a-z][a-z-]*)\s{2,}", part, re.M)

    done = subprocess.run([sys.executable, "-m", "fabloom.flows", "--help"], capture_output=True, text=True, check=True)
    assert all(f" {name} " in done.stdout for name in names([]))
    assert len(re.findall(r"^\W+[a-z]+ {2,}\w", done.stdout[done.stdout.index("Commands") :], re.M)) == len(names([]))
    before = (ROOT / "docs/reference/cli.md").read_text().partition("\n## ")[0]
    own = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", runner.invoke(app, ["--help"]).stdout.partition("Commands")[0]))
    assert {"--version", "--help"} <= own and all(option in before for option in own)
    seen = 0
    for name in names([]):
        for words in [[name, inner] for inner in names([name])] or [[name]]:
            text = section("cli.md", f"fabloom {' '.join(words)}")
            options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", runner.invoke(app, [*words, "--help"]).stdout)) - {"--help"}
            # serve has no document to print at its end; deployments are of a server, whatever store they use
            wanted = {"serve": {"--store"}, "deployments": {"--json"}}.get(words[0], {"--store", "--json"})
            assert wanted <= options, words
            missing = {option for option in options if option not in text}
            assert not missing, f"fabloom {' '.join(words)}: {missing}"
            seen += 1
    assert seen >= 15


def test_every_hook_with_its_arguments_is_in_the_reference() -> None:
    for name, function in vars(Specs).items():
        if name.startswith("fabloom_"):
            text = section("hooks.md", name)
            for argument in [a for a in function.__code__.co_varnames[: function.__code__.co_argcount] if a != "self"]:
                assert f"{argument}: " in text
            assert " ".join((function.__doc__ or "").split()) in " ".join(text.split())


def test_every_kind_and_task_is_in_the_reference() -> None:
    for kind in BUILTIN_KINDS:
        section("kinds.md", kind.kind)
    text = (REFERENCE / "tasks.md").read_text()
    own = [name for name, spec in Registry.load().tasks.items() if spec.method.__module__.startswith("fabloom.")]
    assert len(own) >= 15
    for name in own:
        assert f"### {name}\n" in text


def test_the_python_page_shows_exactly_the_public_names() -> None:
    text = (REFERENCE / "api.md").read_text()
    for package in (fabloom, fabloom.testing):
        shown = re.findall(rf"^::: {re.escape(package.__name__)}\.(\w+)$", text, re.M)
        assert sorted(shown) == sorted(package.__all__)


def test_the_schema_takes_the_ready_pipelines_and_refuses_a_misspelt_parameter() -> None:
    schema = json.loads((REFERENCE / "pipeline.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator(schema)
    files = sorted((ROOT / "flows" / "pipelines").glob("*.yaml"))
    assert files
    for file in files:
        assert not list(checker.iter_errors(yaml.safe_load(file.read_text()))), file.name
    steps = {"images": {"task": "line-pair.simulate", "params": {"count": 2}}}
    assert checker.is_valid({"name": "t", "steps": steps})
    assert checker.is_valid({"name": "t", "steps": {"images": {"task": "my-weave.train", "params": {"anything": 1}}}})
    for wrong in ({"cuont": 2}, {"count": "two"}, {"count": 0}):
        assert not checker.is_valid({"name": "t", "steps": {"images": {**steps["images"], "params": wrong}}}), wrong
    assert not checker.is_valid({"name": "t", "steps": {"images": {**steps["images"], "inputs": {"image": "images"}}}})


def test_every_drawing_is_shown_and_takes_its_colours_from_the_page() -> None:
    text = "".join(page.read_text() for page in DOCS.rglob("*.md"))
    drawings = sorted((DOCS / "drawings").glob("*.svg"))
    assert drawings
    for drawing in drawings:
        assert f'--8<-- "drawings/{drawing.name}"' in text, drawing.name
        for element in ET.fromstring(drawing.read_text()).iter():
            assert not {"fill", "stroke", "style"} & set(element.attrib), drawing.name
