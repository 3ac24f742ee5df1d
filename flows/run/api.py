"""The Python door: `fabloom.run` and `fabloom.open_store`, and the one place where registry, store and engine meet."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fabloom.errors import EnvironmentProblem, UserError, did_you_mean
from fabloom.hashing import blake
from fabloom.method import Options, StepResult
from fabloom.pipeline import Pipeline
from fabloom.planning.expectation import expectations, told
from fabloom.planning.plan import Plan, make_plan
from fabloom.progress import Emit, silent
from fabloom.registry import Registry
from fabloom.running.device import check_device
from fabloom.running.engine import Engine, prepare, run_inline
from fabloom.running.threads import threads

from .log import record
from .result import RunResult

if TYPE_CHECKING:
    from fabloom.kinds.store import Store
    from fabloom.running.executors import Executor

EngineName = Literal["prefect", "inline"]
RunnerName = Literal["threads", "dask", "ray"]
DEFAULT_STORE = ".fabloom"


def open_store(url: str | Path | None = None, registry: Registry | None = None, *, read_only: bool = False) -> Store:
    """Open the store at `url` (default: FABLOOM_STORE, else ./.fabloom), making it where nothing is there.

    With `read_only` nothing is made or changed, and nothing need be writable; UserError where no store is there.
    Raises UserError for a folder that holds something else, EnvironmentProblem for one that cannot be written.
    """
    place = str(url or os.environ.get("FABLOOM_STORE") or DEFAULT_STORE)
    store: Store = (registry or Registry.load()).open_store(place, read_only=read_only)
    return store


def load_pipeline(pipeline: Pipeline | str | Path | dict[str, Any], registry: Registry) -> Pipeline:
    """A pipeline from its object, plain data, registered name or path."""
    if isinstance(pipeline, Pipeline):
        return pipeline
    if isinstance(pipeline, dict):
        return Pipeline.parse(pipeline)
    return registry.pipeline(str(pipeline))


def run_name(plan: Plan) -> str:
    """Name of a run: the pipeline and a hash of all its keys, so that the same work has the same page."""
    return f"{plan.pipeline.name}-{blake(''.join(s.name + s.key for s in plan.steps).encode())[:10]}"


def run(
    pipeline: Pipeline | str | Path | dict[str, Any],
    *,
    store: Store | str | Path | None = None,
    engine: EngineName = "inline",
    executor: Executor | None = None,
    set: Sequence[str] = (),
    seed: int | None = None,
    device: str = "auto",
    redo: Sequence[str] = (),
    runner: RunnerName = "threads",
    checkpoint_seconds: float = 30.0,
    emit: Emit = silent,
    stop: Callable[[], bool] = lambda: False,
    registry: Registry | None = None,
) -> RunResult:
    """Run a pipeline: reuse what is committed, make the rest, render the report page.

    `engine="inline"` goes through the plan in this process, and runs each step here or where `executor` does (it is not closed);
    `"prefect"` runs a Prefect flow with each step in a worker process.
    Raises UserError for a pipeline that does not type-check; a step's failure is in the result, see `exit_code`.
    """
    registry = registry or Registry.load()
    opened = open_store(store, registry) if store is None or isinstance(store, str | Path) else store
    plan = make_plan(load_pipeline(pipeline, registry).override(set, seed), registry, opened)
    for name in redo:
        plan.step(name)
    if engine not in ("inline", "prefect"):
        raise UserError(f"engine '{engine}' is not known.{did_you_mean(engine, ('inline', 'prefect'))}")
    if any(not opened.has(step.key) or step.name in redo for step in plan.steps):
        check_device(device)
    if executor is not None and engine != "inline":
        raise UserError("an executor is used by engine 'inline' alone; leave one of both out")
    performer = Engine(registry, opened, Options(device, checkpoint_seconds, tuple(redo)), emit, stop, executor)
    with opened.pinned(plan.keys()):
        return _perform(plan, performer, engine, runner)


def _perform(plan: Plan, performer: Engine, engine: EngineName, runner: RunnerName) -> RunResult:
    """What is pinned stays until here is left."""
    prepare(plan, performer)
    _tell(plan, performer)
    if engine == "inline":
        return finish(plan, run_inline(plan, performer), performer.store)
    performer.emit({"event": "log", "message": "starting Prefect; --engine inline does without it and starts at once"})
    from fabloom.flows.run.prefect.settings import prefer

    prefer()
    try:
        from fabloom.flows.run.prefect.session import run_prefect
    except ValueError as error:  # pydantic's, of a setting that Prefect reads as it is imported
        told = " ".join(str(error).split())[:300]
        raise EnvironmentProblem(f"Prefect's settings (PREFECT_…) are not valid: {told}. Mend them, or use --engine inline.") from error
    return run_prefect(plan, performer, runner)


def _tell(plan: Plan, engine: Engine) -> None:
    """Say how long the whole is expected to take, where earlier runs of this store know it."""
    waiting = [step for step in plan.steps if step.name in engine.options.redo or not engine.store.has(step.key)]
    total = told(expectations(waiting, engine.store, threads()).values())
    if total:
        engine.emit({"event": "log", "message": f"expected by earlier runs: {total}"})


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
    return RunResult(name, plan, results, reports[-1].metrics if reports else {}, page)
