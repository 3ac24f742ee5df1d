"""Prefect's task runner, whatever runs the steps."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from fabloom.errors import EnvironmentProblem

NEEDED = {"dask": "distributed", "ray": "ray"}
"""What is imported for a runner's executor."""


def make_runner(name: str, workers: int) -> TaskRunner[Any]:
    """Threads of this process, which wait for the executor that the name stands for. Raises EnvironmentProblem where it is not installed.

    One worker unless asked: two steps on the same cores are slower than one after the other. Prefect's own runners for dask and ray would
    take the flow's state to the workers, where neither a stop nor the exit code of a step gets through, and each would need the server.
    """
    if name in NEEDED and find_spec(NEEDED[name]) is None:
        raise EnvironmentProblem(f"--runner {name} needs an extra: pip install 'fabloom[{name}]'")
    return ThreadPoolTaskRunner(max_workers=workers)
