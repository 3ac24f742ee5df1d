"""The documents tell the truth: their Python runs, their commands exist and work, their tables name what is there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fabloom.hooks import Specs
from fabloom.pipeline import Pipeline
from fabloom.registry import Registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FABLOOM = [sys.executable, "-m", "fabloom.flows"]


def blocks(language: str) -> list[tuple[str, str]]:
    return [(page.name, code) for page in PAGES for code in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)]


def commands() -> list[str]:
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        found += [line.strip().removeprefix("$ ") for line in re.findall(r"^(?: {4}|\$ )(?:\$ )?fabloom .*$", text, re.M)]
    return sorted({line.split("  #")[0].strip() for line in found})


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "FABLOOM_STORE": str(folder / "store"), "FABLOOM_THREADS": "1", "COLUMNS": "200"}


def test_the_readme_example_is_the_example_file() -> None:
    shown = re.search(r"<!-- example: (\S+) -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert shown is not None
    assert (ROOT / shown[1]).read_text() == shown[2]


def test_python_blocks_run_in_order(tmp_path: Path) -> None:
    codes = [code for page, code in blocks("python") if "hookimpl" not in code and "Method" not in code]
    assert len(codes) >= 3
    # a page may go on with the store that an earlier one made
    codes.sort(key=lambda code: "fabloom.run(" not in code)
    for code in codes:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"


def test_yaml_blocks_are_pipelines(tmp_path: Path) -> None:
    found = [code for _, code in blocks("yaml") if code.lstrip().startswith("name:")]
    assert found
    for code in found:
        path = tmp_path / "pipeline.yaml"
        path.write_text(code)
        Pipeline.load(path)


@pytest.mark.parametrize("command", commands())
def test_commands_in_the_docs_are_accepted(command: str, tmp_path: Path) -> None:
    """`run` is checked as `plan`, which takes the same pipeline and settings; what needs an artifact gets one."""
    folder = tmp_path / "work"
    (folder / "FOLDER" / "clean").mkdir(parents=True)
    from PIL import Image

    for index in range(2):
        Image.effect_noise((32, 32), 20 + index).save(folder / "FOLDER" / "clean" / f"no_defect{index}.png")
    (folder / "my-images").symlink_to(folder / "FOLDER")
    words = shlex.split(command)[1:]
    if "KEY" in words:
        tiny = "name: t\nsteps: {i: {task: line-pair.simulate, params: {count: 2, size: 32}}}"
        (folder / "t.yaml").write_text(tiny)
        made = run(["run", "t.yaml", "--engine", "inline", "--json"], folder)
        assert made.returncode == 0, made.stderr
        words = [re.findall(r'"key": "(\w+)"', made.stdout)[0] if w == "KEY" else w for w in words]
    if words[0] == "run":
        words = ["plan", *words[1:]]
    words = ["one-step" if w == "PIPELINE" else w for w in words if w not in ("…",)]
    if "STEP" in words:
        words = words[: words.index("--redo")]
    done = run(words, folder)
    assert done.returncode == 0, done.stderr


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FABLOOM, *words], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)


def test_every_hook_is_documented() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text()
    for name in (n for n in vars(Specs) if n.startswith("fabloom_")):
        assert f"`{name}(" in text, f"docs/concepts.md does not tell of {name}"


def test_every_built_in_loads_and_every_pipeline_type_checks(tmp_path: Path) -> None:
    registry = Registry.load()
    assert not [p for p in registry.problems if p.origin.distribution == "fabloom"]
    assert {"one-step", "line-pair-real", "line-pair-real-gpu", "one-shot", "one-shot-leaderboard"} <= set(registry.pipeline_names())
