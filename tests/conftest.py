"""Fixtures: a real store in a temporary folder, and a way to run one task of a method on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fabloom import testing
from fabloom.kinds import Artifact
from fabloom.method import Method
from fabloom.params import Params
from fabloom.storage.backends.local import LocalStore

ROOT = Path(__file__).parents[1]
os.environ.setdefault("FABLOOM_THREADS", "1")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


RunTask = Callable[..., Artifact]


@pytest.fixture
def run_task(store: LocalStore) -> RunTask:
    """`run_task(MethodClass, "task", {params}, seed=0, **inputs)` gives the committed artifact; `store=` uses another store."""

    def run(method: type[Method], task: str, params: Params | dict[str, Any] | None = None, *, seed: int = 0, **inputs: Any) -> Artifact:
        stop = inputs.pop("stop", lambda: False)
        into = inputs.pop("store", store)
        return testing.run_task(into, method, task, params, seed=seed, inputs=inputs, stop=stop)

    return run


InstallExample = Callable[[str], Path]


@pytest.fixture(scope="session")
def install_example(tmp_path_factory: pytest.TempPathFactory) -> InstallExample:
    """`install_example("remote-store")` builds and installs that distribution of `examples/` (without its dependencies, which the
    extras bring) into a folder of its own, to be put on PYTHONPATH, and gives the folder."""
    installed: dict[str, Path] = {}

    def install(name: str) -> Path:
        if name not in installed:
            folder = tmp_path_factory.mktemp(name)
            source = folder / "source"  # a build leaves egg-info behind: not in the checkout
            shutil.copytree(ROOT / "examples" / name, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
            command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation"]
            command += ["--python", sys.executable, "--target", str(folder / "site"), str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            installed[name] = folder / "site"
        return installed[name]

    return install


def data_folder(variable: str) -> Path:
    """The folder an environment variable names; skips the test where it is unset."""
    text = os.environ.get(variable)
    if not text:
        pytest.skip(f"{variable} is not set")
    return Path(text)


@pytest.fixture
def data_dir() -> Path:
    return data_folder("FABLOOM_DATA_DIR")


@pytest.fixture
def weights_dir() -> Path:
    return data_folder("FABLOOM_WEIGHTS_DIR")
