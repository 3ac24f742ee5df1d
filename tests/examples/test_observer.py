"""examples/mlflow-observer, installed as its author ships it: MLflow sees the run, and the run does not see MLflow."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow")

EXAMPLE = Path(__file__).parents[2] / "examples" / "mlflow-observer"
PIPELINE = """
name: tiny
steps:
  images: {task: line-pair.simulate, params: {count: 6}}
  clean:  {task: line-pair.simulate, params: {count: 4, defect_share: 0.0}, seed: 1}
  labels: {task: reference-difference.label, inputs: {images: images, reference: clean}}
"""
COMMAND = """
import os, socket, sys
reached = []

def connect(self, address, real=socket.socket.connect):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        reached.append(address)
    return real(self, address)

socket.socket.connect = connect
from fabloom.flows.cli.main import main
try:
    main()
finally:
    print("told:", "mlflow" in sys.modules, reached, file=sys.stderr)
"""

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(install_example: Callable[[str], Path], tmp_path: Path, warm: Cli) -> Cli:
    """`cli("run", ..., observer=True, MLFLOW_TRACKING_URI=...)` runs fabloom and tells whether MLflow was imported and who was called."""
    site = install_example("mlflow-observer")
    (tmp_path / "tiny.yaml").write_text(PIPELINE)

    def call(*arguments: str, observer: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "FABLOOM_MLFLOW"))}
        environment = {**clean, **variables, "PYTHONPATH": str(site) if observer else ""}
        return warm(["-c", COMMAND, *arguments], env=environment, cwd=tmp_path)

    return call


def digests(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: (step["key"], step["digest"]) for name, step in json.loads(done.stdout)["steps"].items()}


def test_the_authors_own_tests_pass(install_example: Callable[[str], Path], tmp_path: Path, warm: Cli) -> None:
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests"), "--rootdir", str(EXAMPLE)]
    command += ["-c", str(EXAMPLE / "pyproject.toml"), "--basetemp", str(tmp_path / "theirs")]
    environment = {**os.environ, "PYTHONPATH": str(install_example("mlflow-observer")), "PYTHONDONTWRITEBYTECODE": "1"}
    done = warm(command, env=environment, cwd=tmp_path)
    assert done.returncode == 0 and " passed" in done.stdout and "skipped" not in done.stdout, done.stdout[-3000:] + done.stderr[-2000:]


def test_a_run_is_logged_by_default_to_a_folder_and_is_the_same_without(cli: Cli, tmp_path: Path) -> None:
    run = ("run", "tiny.yaml", "--engine", "inline", "--device", "cpu", "--json")
    plain = cli(*run, "--store", "plain", observer=False)
    assert "told: False []" in plain.stderr and not (tmp_path / "mlruns").exists()
    watched = cli(*run, "--store", "watched")
    assert digests(watched) == digests(plain)
    assert "told: True []" in watched.stderr, "MLflow wrote to the folder and called nobody: no telemetry"
    names = sorted(path.read_text() for path in tmp_path.glob("mlruns/*/*/tags/mlflow.runName"))
    assert names == ["clean", "images", "labels"]
    again = cli(*run, "--store", "watched")
    assert digests(again) == digests(plain) and "told: False []" in again.stderr, "a reused run does not even import MLflow"
    assert len(list(tmp_path.glob("mlruns/*/*/tags/mlflow.runName"))) == 3
    for light in (("--help",), ("plan", "tiny.yaml", "--store", "plain"), ("plugins",)):
        assert "told: False []" in cli(*light).stderr
    assert "fabloom-mlflow 0.1.0" in cli("plugins").stdout


def test_a_tracking_store_that_cannot_be_written_stops_nothing(cli: Cli) -> None:
    run = ("run", "tiny.yaml", "--engine", "inline", "--device", "cpu", "--json")
    plain = cli(*run, "--store", "plain", observer=False)
    bad = cli(*run, "--store", "bad", MLFLOW_TRACKING_URI="file:/proc/no-such-place")
    assert digests(bad) == digests(plain)
    assert "observer fabloom_step_finished of plugin fabloom-mlflow:mlflow failed" in bad.stderr
