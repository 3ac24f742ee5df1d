"""The flow and the task that Prefect sees, as shims: their bodies are plain functions of `session`.

A decorated function is pickled by value, with every global it names; a shim that imports what it calls stays small.
Prefect makes a deployment's form of the flow's signature and of the `Args` in its docstring. So the parameters are flat scalars and lists
of text: for a dict the form has no editor, and of a union it makes what was not meant.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from pydantic import Field

Text = Annotated[str, Field(max_length=2000)]
Names = Annotated[list[Text], Field(max_length=1000)]


@task(cache_policy=NO_CACHE, persist_result=False, log_prints=False)
def perform(request: dict[str, Any]) -> State[Any]:
    """Run or reuse one step, given as a `StepRequest`; gives its key."""
    from fabloom.flows.run.prefect import session

    return session.perform(request)


def settle(flow: Any, flow_run: Any, state: State[Any]) -> None:
    """Prefect's hook after a crash. Its worker runs it where the flow's process is dead; a living one tells its end itself."""
    from fabloom.flows.run.prefect import aftermath

    if flow_run.id not in aftermath.performed:
        aftermath.settle(flow_run.id)


WHAT = "Run a pipeline of fabloom: reuse what is in the store, make the rest."


@flow(name="fabloom", description=WHAT, on_crashed=[settle], persist_result=False, log_prints=False)
def run_pipeline(
    pipeline: Annotated[Text, Field(min_length=1)],
    store: Text = "",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    seed: Annotated[int, Field(ge=-1)] = -1,
    overrides: Names = [],  # noqa: B006 nobody changes it, and of None the form would make a union
    redo: Names = [],  # noqa: B006
    keep_going: bool = False,
    workers: Annotated[int, Field(ge=1, le=64)] = 1,
    runner: Literal["threads", "dask", "ray"] = "threads",
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0,
    note: Text = "",
    cluster: Text = "",
) -> dict[str, Any] | State[Any]:
    """Run a pipeline of fabloom: reuse what is in the store, make the rest. Gives what `fabloom run --json` prints.

    Args:
        pipeline: A registered name, as in `fabloom pipelines`, or the path of a YAML file on the machine that runs it.
        store: Folder or URL of the artifacts. Empty: FABLOOM_STORE of the machine that runs it, else ./.fabloom there.
        device: Where steps compute. auto takes a GPU that is free, where there is one.
        seed: Seed of the whole pipeline. -1: the pipeline's own.
        overrides: Settings one by one, as in `steps.teacher.params.steps=200`.
        redo: Names of steps that are made again although their artifacts are there.
        keep_going: After a failure, run the steps that do not need the failed one.
        workers: Steps at the same time. With 1 no two overlap.
        runner: Where they run: in processes that threads of this flow wait for, or by workers of dask or ray.
        checkpoint_seconds: Seconds between two checkpoints inside a step.
        note: Why this run is made; it is logged, and stands in the run's artifacts.
        cluster: Address of a running cluster for runner dask or ray, as in tcp://host:8786. Empty: workers are started for this run.
    """
    from fabloom.flows.run.prefect import order, session

    return session.run(
        order.Order(
            pipeline, store, device, seed, tuple(overrides), tuple(redo), keep_going, workers, runner, checkpoint_seconds, note, cluster
        )
    )  # fmt: skip
