"""Prefect's task runners by name."""

from __future__ import annotations

from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from fabloom.errors import EnvironmentProblem


def make_runner(name: str, workers: int) -> TaskRunner[Any]:
    """The Prefect task runner of that name. One worker unless asked: two steps on the same cores are slower than one after the other."""
    if name == "threads":
        return ThreadPoolTaskRunner(max_workers=workers)
    try:
        if name == "dask":
            from prefect_dask import DaskTaskRunner

            dask: TaskRunner[Any] = DaskTaskRunner(cluster_kwargs={"n_workers": workers, "threads_per_worker": 1})
            return dask
        from prefect_ray import RayTaskRunner

        ray: TaskRunner[Any] = RayTaskRunner()
        return ray
    except ImportError as error:
        raise EnvironmentProblem(f"--runner {name} needs an extra: pip install 'fabloom[{name}]' ({error})") from error
