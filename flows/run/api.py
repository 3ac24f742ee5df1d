"""The Python door: `fabloom.run` and `fabloom.open_store`, and the one place where registry, store and engine meet."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from fabloom.errors import EnvironmentProblem, UserError, did_you_mean
from fabloom.frames import door
from fabloom.hashing import blake
from fabloom.method import Options, StepResult
from fabloom.pipeline import Pipeline
from fabloom.planning.expectation import expectations, told
from fabloom.planning.outlines import outlines, room
from fabloom.planning.plan import Plan, make_plan
from fabloom.progress import Emit, silent
from fabloom.registry import Registry
from fabloom.registry.address import check_address
from fabloom.running.device import check_device
from fabloom.running.engine import Engine, prepare, run_inline
from fabloom.running.threads import threads

from .given import Given, in_place_of, stored_inputs
from .log import record
from .result import RunResult

if TYPE_CHECKING:
    from fabloom.kinds.store import Store
    from fabloom.running.executors import Executor

EngineName = Literal["prefect", "inline"]
RunnerName = Literal["threads", "dask", "ray"]
DEFAULT_STORE = ".fabloom"
MOST_WORKERS = 64
"""Steps at the same time; the form of a deployment and `--workers` have the same bound."""


@door
def open_store(url: str | Path | None = None, registry: Registry | None = None, *, read_only: bool = False) -> Store:
    """Open the store at `url` (default: FABLOOM_STORE, else ./.fabloom), making it where nothing is there.

    With `read_only` nothing is made or changed, and nothing need be writable; UserError where no store is there.
    Raises UserError for a folder that holds something else, EnvironmentProblem for one that cannot be written.
    """
    place = str(url or os.environ.get("FABLOOM_STORE") or DEFAULT_STORE)
    store: Store = (registry or Registry.load()).open_store(place, read_only=read_only)
    return store


def load_pipeline(
    pipeline: Pipeline | str | Path | dict[str, Any], registry: Registry, params: Mapping[str, Any] = MappingProxyType({})
) -> Pipeline:
    """A pipeline from its object, plain data, registered name or path; `params` are those of a name that takes some."""
    if not isinstance(pipeline, Pipeline | dict):
        return registry.pipeline(str(pipeline), params)
    if params:
        raise UserError("params belong to a registered pipeline that takes some, and this one is given whole")
    return pipeline if isinstance(pipeline, Pipeline) else Pipeline.parse(pipeline)


def run_name(plan: Plan) -> str:
    """Name of a run: the pipeline and a hash of all its keys, so that the same work has the same page."""
    return f"{plan.pipeline.name}-{blake(''.join(s.name + s.key for s in plan.steps).encode())[:10]}"


@door
def run(
    pipeline: Pipeline | str | Path | dict[str, Any],
    *,
    store: Store | str | Path | None = None,
    engine: EngineName = "inline",
    executor: Executor | None = None,
    params: Mapping[str, Any] = MappingProxyType({}),
    set: Sequence[str] = (),
    seed: int | None = None,
    device: str = "auto",
    redo: Sequence[str] = (),
    runner: RunnerName = "threads",
    workers: int = 1,
    cluster: str = "",
    checkpoint_seconds: float = 30.0,
    emit: Emit = silent,
    stop: Callable[[], bool] = lambda: False,
    registry: Registry | None = None,
    inputs: Mapping[str, Given] | None = None,
    keep_going: bool = False,
    check: bool = True,
) -> RunResult:
    """Run a pipeline: reuse what is committed, make the rest, render the report page. `result["step"]` is a step's artifact.

    * `pipeline`: a registered name, the path of a YAML file, a `Pipeline`, or its plain data, in which inputs of a step may also be
      artifacts, arrays, and folders of images as a `Path`.
    * `inputs`: what stands in for steps of these names: an artifact (in memory or of any store), an array uint8 [N,C,H,W] of images, a
      folder of images, `ref:NAME` or `key:HEX`. Steps that only a replaced one needed are left out.
    * `store`: its place, or an open one; by default FABLOOM_STORE, else `./.fabloom`.
    * `params`: of a registered pipeline that takes some, as `worth-it` (`fabloom pipelines NAME` lists them).
    * `set`: overrides as of `--set`, as in `["steps.model.params.steps=200"]`. `seed`: of the whole pipeline.
    * `engine`: "inline" goes through the plan in this process, and runs each step here or where `executor` does (it is not closed);
      "prefect" runs a Prefect flow with each step in a process of its own, `workers` of them at the same time.
    * `runner`: where "prefect" has those processes: "threads" on this machine, "dask" and "ray" in workers, `workers` new ones here or
      those of the running `cluster`, an address as `tcp://host:8786`. New ones need `if __name__ == "__main__":` in a script.
    * `device`: auto, cpu, cuda, cuda:N or mps. It must be there where anything runs.
    * `redo`: names of steps that are made again although their artifacts are there.
    * `keep_going`: after a failure, steps that do not need the failed one run all the same.
    * `checkpoint_seconds`: between two checkpoints inside a step.
    * `emit`: is called with each event (`fabloom.progress`), from any thread. `stop`: is asked often; once it gives True, running steps
      stop at their next checkpoint, and none starts.
    * `registry`: the plugins, where they are loaded already.
    * `check`: False gives the result of a run that failed or was stopped back, see its `exit_code`.

    Raises UserError for a pipeline that does not type-check, before anything runs, and RunFailed, with the result in it, where a step
    failed or was stopped.
    """
    registry = registry or Registry.load()
    opened = open_store(store, registry) if store is None or isinstance(store, str | Path) else store
    if isinstance(pipeline, dict):
        pipeline = stored_inputs(pipeline, opened)
    built, keys = in_place_of(load_pipeline(pipeline, registry, params), inputs or {}, opened)
    plan = make_plan(built.override(set, seed, registry.fields), registry, opened)
    for name in redo:
        plan.step(name)
    if engine not in ("inline", "prefect"):
        raise UserError(f"engine '{engine}' is not known.{did_you_mean(engine, ('inline', 'prefect'))}")
    check_workers(engine, runner, workers, cluster)
    check_device(device, present=any(not opened.has(step.key) or step.name in redo for step in plan.steps))
    if executor is not None and engine != "inline":
        raise UserError("an executor is used by engine 'inline' alone; leave one of both out")
    performer = Engine(registry, opened, Options(device, checkpoint_seconds, tuple(redo)), emit, stop, executor, keep_going)
    with opened.pinned(plan.keys()):
        result = replace(_perform(plan, performer, engine, runner, workers, cluster), given=keys)
    if check:
        result.check()
    return result


def check_workers(engine: str, runner: str, workers: int, cluster: str) -> None:
    """Raises UserError for workers that the engine or the runner does not have."""
    if not 1 <= workers <= MOST_WORKERS:
        raise UserError(f"workers is {workers}; give a whole number from 1 to {MOST_WORKERS}")
    check_address(cluster, "cluster")
    if engine == "inline" and (workers > 1 or cluster):
        raise UserError("engine 'inline' takes one step at a time in this process; workers and a cluster are of engine 'prefect'")
    if cluster and runner == "threads":
        raise UserError(f"cluster '{cluster}' needs the runner that it belongs to: dask or ray")


def _perform(plan: Plan, performer: Engine, engine: EngineName, runner: RunnerName, workers: int, cluster: str) -> RunResult:
    """What is pinned stays until here is left."""
    prepare(plan, performer)
    _tell(plan, performer)
    if engine == "inline":
        return finish(plan, run_inline(plan, performer), performer.store)
    if "prefect" not in sys.modules:  # else a flow is at work already
        performer.emit({"event": "log", "message": "starting Prefect; --engine inline does without it and starts at once"})
    from fabloom.flows.run.prefect.settings import prefer

    prefer()
    try:
        from fabloom.flows.run.prefect.calling import run_prefect
    except ValueError as error:  # pydantic's, of a setting that Prefect reads as it is imported
        told = " ".join(str(error).split())[:300]
        raise EnvironmentProblem(f"Prefect's settings (PREFECT_…) are not valid: {told}. Mend them, or use --engine inline.") from error
    return run_prefect(plan, performer, runner, workers, cluster)


def _tell(plan: Plan, engine: Engine) -> None:
    """Say how long the whole is expected to take, where earlier runs of this store know it, and how much it will write."""
    waiting = [step for step in plan.steps if step.name in engine.options.redo or not engine.store.has(step.key)]
    outlined = outlines(waiting, engine.store)  # what is reused is not even fetched
    total = told(expectations(waiting, engine.store, threads(), outlined).values())
    if total:
        engine.emit({"event": "log", "message": f"expected by earlier runs: {total}"})
    for line in room(waiting, outlined, engine.store):
        engine.emit({"event": "log", "message": line})


def finish(plan: Plan, results: list[StepResult], store: Any) -> RunResult:
    """The results as one object, noted in the store's list of runs, with the report page rendered where something ran."""
    reports = [r for r in results if r.kind == "Report" and r.status in ("ran", "reused")]
    name = run_name(plan)
    record(name, plan, results, store)
    page: Path | None = None
    if reports:
        page = store.pages / f"{name}.html"
        if not page.is_file() or any(r.status == "ran" for r in results):
            from fabloom.flows.report.page import write_page

            write_page(page, plan, results, store)
    return RunResult(name, plan, results, reports[-1].metrics if reports else {}, page, store)
