"""The flow and the task that Prefect sees, as shims: their bodies are plain functions of `session`.

A decorated function is pickled by value for dask and ray, with every global it names; a shim that imports what it calls stays small.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State


@task(cache_policy=NO_CACHE, persist_result=False, log_prints=False)
def perform(request: dict[str, Any]) -> State[Any]:
    """Run or reuse one step, given as a `StepRequest`; gives its key."""
    from fabloom.flows.run.prefect import session

    return session.perform(request)


@flow(name="fabloom", validate_parameters=False, persist_result=False, log_prints=False)
def run_pipeline(
    pipeline: dict[str, Any] | str, overrides: list[str] | None = None, options: dict[str, Any] | None = None
) -> dict[str, Any] | State[Any]:
    """Run a pipeline (plain data, a registered name or a path) with `--set` overrides; the flow that deployments point at.

    `options`: store (URL), seed, device, redo (list of step names), checkpoint_seconds, keep_going.
    Returns what `fabloom run --json` prints.
    """
    from fabloom.flows.run.prefect import session

    return session.run(pipeline, overrides, options)
