"""The page of every method: one shape, tables that are what the code says, and a picture that the method really made."""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "methods"
SECTIONS = ["Equation", "Source", "Tasks", "Picture", "On your own images", "Departures", "Limits", "Defaults"]
REGISTRY = Registry.load()
METHODS = {name: m for name, m in REGISTRY.methods.items() if m.__module__.startswith("fabloom.plugins.")}
TASKS = {name: spec for name, spec in REGISTRY.tasks.items() if spec.method.name in METHODS}


Script = Callable[..., subprocess.CompletedProcess[str]]


def page(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text()


def sections(name: str) -> dict[str, str]:
    """Heading to text, of the headings of the second level."""
    parts = re.split(r"^## (.+)$", page(name), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def script(warm: Callable[..., subprocess.CompletedProcess[str]]) -> Script:
    """`script("generate.py", *words)` runs it."""
    return lambda name, *words: warm([FOLDER / name, *words])


def pair(folder: Path) -> None:
    """A folder with one image of each domain, named as the published ones."""
    folder.mkdir()
    for index, stem in enumerate(["no_defect", "bridge_defect"]):
        Image.effect_noise((96, 96), 20 + index).save(folder / f"{stem}.png")


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's table of pictures, and its pipelines."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("make_pictures")


def test_every_built_in_method_has_a_page_that_the_site_names_and_no_page_is_left_over() -> None:
    assert len(METHODS) >= 10
    assert {path.stem for path in FOLDER.glob("*.md")} == METHODS.keys()
    site = (ROOT / "mkdocs.yml").read_text()
    assert not [name for name in METHODS if f"methods/{name}.md" not in site]


@pytest.mark.parametrize("name", METHODS)
def test_a_page_has_the_one_shape(name: str) -> None:
    assert page(name).startswith(f"# {name}\n\n")
    found = sections(name)
    assert [title for title in found if title in SECTIONS] == SECTIONS, f"sections of {name}.md"
    assert re.search(r"```(?:math|text)\n(.*?)```", found["Equation"], re.S), f"{name}.md states no equation"
    assert re.search(r"\b(19|20)\d\d\b", found["Source"]), f"{name}.md names no dated source"
    assert "benchmarks/" in found["Limits"] or "python -m pytest" in found["Limits"], f"{name}.md cites no command for its figures"


@pytest.mark.parametrize("name", METHODS)
def test_a_page_names_every_task_with_its_inputs_and_has_its_table(name: str) -> None:
    found = sections(name)
    for spec in (s for s in TASKS.values() if s.method.name == name):
        row = next((line for line in found["Tasks"].splitlines() if line.startswith(f"| `{spec.name}` |")), None)
        assert row is not None, f"{name}.md: no row for the task {spec.name}"
        for port in spec.inputs:
            assert f"`{port}" in row, f"{name}.md: the row of {spec.name} leaves out its input {port}"
        assert spec.output.kind in row
        assert f"<!-- defaults: {spec.full_name} -->" in found["Defaults"], f"{name}.md has no table of {spec.full_name}"


@pytest.mark.parametrize("name", METHODS)
def test_a_page_shows_a_small_picture_and_says_how_it_was_made(name: str, pictures: Any) -> None:
    text = sections(name)["Picture"]
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+\.png)\)", text)
    assert f"pictures/{name}.png" in shown
    for link in shown:
        assert (FOLDER / link).stat().st_size < 150_000, f"{link} is too large for a page"
    made = pictures.PICTURES[name]
    assert f"(pictures/{made.pipeline}.yaml)" in text, f"the caption of {name}.md must link to its pipeline"
    pipeline = Pipeline.load(FOLDER / "pictures" / f"{made.pipeline}.yaml")
    assert f"seed {pipeline.seed}" in text
    for step in pipeline.steps.values():
        if step.task.startswith(f"{name}."):
            for key in ("steps", "count"):
                value = step.params.get(key)
                assert value is None or re.search(rf"\b{value}\b", text), f"the caption of {name}.md hides {key}: {value} of {step.task}"


@pytest.mark.parametrize("name", sorted(path.stem for path in (FOLDER / "pictures").glob("*.yaml")))
def test_the_pipelines_of_the_pictures_type_check_and_read_no_file(name: str, pictures: Any, store: LocalStore) -> None:
    assert name in {picture.pipeline for picture in pictures.PICTURES.values()}
    plan = make_plan(Pipeline.load(FOLDER / "pictures" / f"{name}.yaml"), REGISTRY, store)
    tasks = {step.spec.method.name for step in plan.steps}
    assert {method for method, picture in pictures.PICTURES.items() if picture.pipeline == name} <= tasks
    # a committed picture of somebody else's image would need their licence
    assert not [step.name for step in plan.steps if step.task == "images.load"], "a picture is made of simulated images alone"


@pytest.mark.parametrize("name", METHODS)
def test_the_pipeline_for_ones_own_images_can_be_planned(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: LocalStore
) -> None:
    monkeypatch.chdir(tmp_path)
    pair(tmp_path / "my-images")
    np.savez(tmp_path / "MixedWM38.npz", arr_0=np.ones((8, 52, 52), np.uint8), arr_1=np.eye(8, dtype=np.uint8))
    (tmp_path / "my-wafers").mkdir()
    (tmp_path / "my-wafers" / "overlay.csv").write_text("wafer,field,X,Y,x,y,dx,dy,dx_previous,dy_previous\n")
    (tmp_path / "my-wafers" / "wafers.csv").write_text("wafer,barcode,dose [mJ/cm2]\nW1,T01-C1|R0401A|L04|LOT1|W01,28\n")
    own = sections(name)["On your own images"]
    block = re.search(r"```yaml\n(.*?)```", own, re.S)
    assert block is not None, f"{name}.md shows no pipeline"
    (tmp_path / "mine.yaml").write_text(block[1])
    plan = make_plan(Pipeline.load(tmp_path / "mine.yaml"), REGISTRY, store)
    assert any(step.spec.method.name == name for step in plan.steps)
    assert "fabloom run" in own


def test_the_tables_of_defaults_are_what_the_code_says(script: Script) -> None:
    done = script("generate.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("old", "new"), [("| `5.0` |", "| `6.0` |"), ("<!-- defaults: ddpm.train -->", "<!-- defaults: ddpm.trian -->")])
def test_a_stale_table_and_a_misspelt_task_are_found(old: str, new: str, tmp_path: Path, script: Script) -> None:
    text = page("ddpm")
    assert old in text
    (tmp_path / "ddpm.md").write_text(text.replace(old, new, 1))
    done = script("generate.py", "--check", "--folder", tmp_path)
    assert done.returncode == 1
    assert "ddpm.md" in done.stderr


def test_published_values_come_from_presets_and_descriptions() -> None:
    rows = re.findall(r"^\| `(\S+)` \| `(.+?)` \| (.*?) \|", page("sinsemi"), re.M)
    assert ("lr", "0.002", "1e-4") in rows  # from the description
    assert ("window", "44", "null") in rows  # from the preset alone


def test_the_cheap_picture_is_what_the_script_draws(tmp_path: Path, script: Script) -> None:
    done = script("make_pictures.py", "line-pair", "--to", tmp_path)
    assert done.returncode == 0, done.stderr
    drawn, kept = (np.asarray(Image.open(folder / "line-pair.png"), float) for folder in (tmp_path, FOLDER / "pictures"))
    assert drawn.shape == kept.shape
    # other processors may round a grey level the other way; other images differ by their noise alone by several
    assert np.abs(drawn - kept).mean() < 0.5
    assert np.abs(drawn[::-1] - kept).mean() > 5


def test_an_unknown_picture_is_refused(script: Script) -> None:
    done = script("make_pictures.py", "line-pears")
    assert done.returncode == 2
    assert "line-pears" in done.stderr
