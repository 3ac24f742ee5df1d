"""`fabloom new plugin`: what it writes is whole, works as it is, and is refused with one clear line where it cannot be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fabloom.errors import UserError
from fabloom.flows.scaffold import TEMPLATE, new_plugin
from fabloom.registry import Origin, Registry

Start = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def fabloom(warm: Start) -> Start:
    """`fabloom(folder, *arguments, **variables)` is the command in that folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FABLOOM", "PYTHONPATH", "PYTEST"))}
    clean |= {"OMP_NUM_THREADS": "1", "FABLOOM_THREADS": "1"}
    return lambda folder, *arguments, **variables: warm(["-m", "fabloom.flows", *arguments], cwd=folder, env={**clean, **variables})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, fabloom: Start) -> Path:
    folder = tmp_path_factory.mktemp("work")
    done = fabloom(folder, "new", "plugin", "deep-loom")
    assert done.returncode == 0, done.stderr
    assert "pip install -e '.[test]'" in done.stdout and "fabloom run deep-loom" in done.stdout
    return folder / "deep-loom"


@pytest.fixture(scope="module")
def site(written: Path, install_example: Callable[[Path], Path]) -> Path:
    """The written plugin, built and installed into a folder of its own."""
    return install_example(written)


def test_it_has_every_file_of_the_template_under_its_own_name(written: Path) -> None:
    def names(root: Path) -> set[str]:
        return {
            p.relative_to(root).as_posix()
            for p in root.rglob("*")
            if p.is_file() and "__pycache__" not in p.parts and "egg-info" not in str(p)
        }

    wanted = {name.replace("my_weave", "deep_loom").replace("my-weave", "deep-loom") for name in names(TEMPLATE)}
    assert {n for n in names(written) if not n.startswith("build/")} == wanted | {"tests/fabloom.lock"}
    for file in written.rglob("*.[pty]*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert "weave" not in file.read_text().lower(), file


def test_its_pipeline_runs_and_learns(site: Path, tmp_path: Path, fabloom: Start) -> None:
    small = ("--set", "steps.model.params.steps=5", "--set", "steps.images.params.count=6", "--set", "steps.samples.params.count=2")
    done = fabloom(tmp_path, "run", "deep-loom", *small, "--engine", "inline", "--device", "cpu", PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    listed = fabloom(tmp_path, "plugins", PYTHONPATH=str(site))
    assert "deep-loom 0.1.0" in listed.stdout and "problem" not in listed.stdout
    assert "deep-loom.sample" in fabloom(tmp_path, "tasks", "deep-loom", PYTHONPATH=str(site)).stdout


def test_it_would_enter_the_leaderboard(site: Path, tmp_path: Path, fabloom: Start) -> None:
    done = fabloom(tmp_path, "pipelines", "--json", PYTHONPATH=str(site))
    assert "deep-loom.train" in done.stdout and "deep-loom.train" not in fabloom(tmp_path, "pipelines", "--json").stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Deep Loom", "for instance 'deep-loom'"),
        ("../evil", "for instance 'evil'"),
        ("", "no plugin name"),
        ("class", "no plugin name"),
        ("x" * 41, "at most 40"),
        ("line-pair", "there is a method 'line-pair' already, from fabloom"),
        ("one-step", "there is a pipeline 'one-step' already"),
        ("torch", "there is a Python package 'torch' already"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        new_plugin(name, tmp_path, Registry.load())
    assert not list(tmp_path.iterdir()) and not (tmp_path.parent / "evil").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, fabloom: Start) -> None:
    (tmp_path / "deep-loom").mkdir()
    (tmp_path / "deep-loom" / "mine.txt").write_text("mine")
    done = fabloom(tmp_path, "new", "plugin", "deep-loom")
    assert done.returncode == 2 and "exists already" in done.stderr
    assert [p.name for p in (tmp_path / "deep-loom").iterdir()] == ["mine.txt"]


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fabloom.flows.scaffold.write_lock", full)
    with pytest.raises(UserError, match="No space left"):
        new_plugin("deep-loom", tmp_path, Registry())
    assert not list(tmp_path.iterdir())


def test_a_registered_name_is_told_with_who_has_it(tmp_path: Path) -> None:
    registry = Registry()
    registry.origins["deep-loom"] = Origin("loom", "loom-dist", "2.0")
    with pytest.raises(UserError, match=r"from loom-dist 2\.0"):
        new_plugin("deep-loom", tmp_path, registry)
