"""Fixtures: a real store in a temporary folder, and a way to run one task of a method on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fabloom.artifacts import Artifact
from fabloom.execute import Options, run_step
from fabloom.keys import SCHEMA, artifact_key, canonical_params, step_seed
from fabloom.method import Method, read_tasks
from fabloom.params import Params
from fabloom.plan import PlannedStep
from fabloom.storage.store import Store

os.environ.setdefault("FABLOOM_THREADS", "1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def plan_one(store: Store, method: type[Method], task: str, params: Params | dict[str, Any], seed: int = 0, **inputs: Any) -> PlannedStep:
    """A step of its own, without a pipeline."""
    spec = read_tasks(method)[task]
    checked = spec.params.model_validate(params if isinstance(params, dict) else params.model_dump())
    keys = {port: [a.key for a in given] if isinstance(given, list) else given.key for port, given in inputs.items() if given is not None}
    preimage = {
        "schema": SCHEMA,
        "task": spec.full_name,
        "version": spec.version,
        "params": canonical_params(checked, store.hasher),
        "seed": step_seed(0, seed, spec.full_name),
        "inputs": keys,
    }
    return PlannedStep(task, spec, checked, keys, (), preimage["seed"], artifact_key(preimage), preimage)


RunTask = Callable[..., Artifact]


@pytest.fixture
def run_task(store: Store) -> RunTask:
    """`run_task(MethodClass, "task", {params}, seed=0, **inputs)` gives the committed artifact; `store=` uses another store."""

    def run(method: type[Method], task: str, params: Params | dict[str, Any] | None = None, *, seed: int = 0, **inputs: Any) -> Artifact:
        stop = inputs.pop("stop", lambda: False)
        into = inputs.pop("store", store)
        step = plan_one(into, method, task, params if params is not None else {}, seed, **inputs)
        run_step(step, into, Options(device="cpu"), stop=stop)
        return into.get(step.key)

    return run


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
