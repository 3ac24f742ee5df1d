"""Prefect's task runners by name."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from fabloom.errors import EnvironmentProblem


def make_runner(name: str, workers: int, cluster: str = "") -> TaskRunner[Any]:
    """The Prefect task runner of that name. One worker unless asked: two steps on the same cores are slower than one after the other.

    With dask the tasks are threads of this process too, which wait for the executor: prefect-dask's own runner would take the flow's
    state to the workers, where neither a stop nor the exit code of a step gets through, and each would need the Prefect server.
    """
    if name == "dask" and find_spec("distributed") is None:
        raise EnvironmentProblem("--runner dask needs an extra: pip install 'fabloom[dask]'")
    if name != "ray":
        return ThreadPoolTaskRunner(max_workers=workers)
    try:
        from prefect_ray import RayTaskRunner

        ray: TaskRunner[Any] = RayTaskRunner(cluster or None, {} if cluster else {"num_cpus": workers, "include_dashboard": False})
        return ray
    except ImportError as error:
        raise EnvironmentProblem(f"--runner {name} needs an extra: pip install 'fabloom[{name}]' ({error})") from error
