"""One generic Prefect flow for every pipeline: a Prefect task per step, keys on the edges, the store as the only cache."""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.base import ServerType, determine_server_type
from prefect.client.schemas import State
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from fabloom.errors import EnvironmentProblem
from fabloom.flows.run.api import finish, load_pipeline, open_store
from fabloom.flows.run.result import RunResult
from fabloom.method import Options, PlannedStep, StepResult
from fabloom.planning.plan import Plan, make_plan
from fabloom.progress import Emit, Event
from fabloom.registry import Registry
from fabloom.running.engine import Engine, prepare, skipped
from fabloom.running.executors.processes import StepProcesses

PROGRESS_PERIOD = 5.0


@dataclass
class Session:
    """What the tasks of one flow run share inside one process."""

    engine: Engine
    plan: Plan
    results: dict[str, StepResult] = field(default_factory=dict)
    outcome: RunResult | None = None

    def failure(self) -> StepResult | None:
        """The first step that failed."""
        return next((r for r in self.results.values() if r.status == "failed"), None)


_session: ContextVar[Session | None] = ContextVar("fabloom_session", default=None)


class ProgressArtifact:
    """Mirrors a step's progress as a Prefect progress artifact, at most every few seconds: each update is a database write."""

    def __init__(self, name: str, emit: Emit) -> None:
        self._name, self._emit = name, emit
        self._id: UUID | None = None
        self._sent = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Pass the event on, and update the artifact when it is due."""
        self._emit(event)
        if event["event"] != "progress" or time.monotonic() - self._sent < PROGRESS_PERIOD:
            return
        self._sent = time.monotonic()
        percent = 100.0 * event["done"] / max(event["total"], 1)
        if self._id is None:
            created: Any = create_progress_artifact(percent, description=f"{self._name}: {event['name']}")
            self._id = created
        else:
            update_progress_artifact(self._id, percent)


@task(cache_policy=NO_CACHE, persist_result=False, log_prints=False)
def perform(name: str, pipeline: dict[str, Any], store: str, options: dict[str, Any]) -> State[Any]:
    """Run or reuse one step; gives its key. In another process (dask, ray) the session is built anew from plain data."""
    session = _session.get()
    if session is None:
        session = _build(pipeline, store, options)
    step = session.plan.step(name)
    failure = session.failure()
    if failure is not None:
        session.results[name] = skipped(step, f"step '{failure.name}' failed")
        return Cancelled(name="Skipped", message=session.results[name].error)
    engine = replace(session.engine, emit=ProgressArtifact(name, session.engine.emit))
    result = engine.perform(step)
    session.results[name] = result
    if result.status == "failed":
        return Failed(message=result.error)
    return Completed(name="Reused" if result.status == "reused" else "Completed", data=result.key)


def _build(pipeline: dict[str, Any], store: str, options: dict[str, Any]) -> Session:
    registry = Registry.load()
    opened = open_store(store, registry)
    plan = make_plan(load_pipeline(pipeline, registry), registry, opened)
    processes = StepProcesses({m for step in plan.steps for m in step.spec.method.preload})
    chosen = Options(**{**options, "redo": tuple(options["redo"])})
    return Session(Engine(registry, opened, chosen, processes=processes), plan)


@flow(name="fabloom", validate_parameters=False, persist_result=False, log_prints=False)
def run_pipeline(
    pipeline: dict[str, Any] | str, overrides: list[str] | None = None, options: dict[str, Any] | None = None
) -> dict[str, Any] | State[Any]:
    """Run a pipeline (plain data, a registered name or a path) with `--set` overrides; the flow that deployments point at.

    `options`: store (URL), seed, device, redo (list of step names), checkpoint_seconds. Returns what `fabloom run --json` prints.
    """
    session = _session.get()
    if session is None:
        given = dict(options or {})
        registry = Registry.load()
        built = load_pipeline(pipeline, registry).override(overrides or [], given.pop("seed", None))
        store = open_store(given.pop("store", None), registry)
        session = _build(built.model_dump(), store.url, {"redo": (), **given})
        prepare(session.plan, session.engine)
        with _closing(session):
            return _run(session)
    return _run(session)


class _closing:  # noqa: N801  reads like contextlib.closing
    """Make the session current, and end its worker processes afterwards."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        self._token = _session.set(self._session)

    def __exit__(self, *error: object) -> None:
        _session.reset(self._token)
        if self._session.engine.processes is not None:
            self._session.engine.processes.close()


def _run(session: Session) -> dict[str, Any] | State[Any]:
    engine, plan = session.engine, session.plan
    plain = plan.pipeline.model_dump()
    options = {"device": engine.options.device, "checkpoint_seconds": engine.options.checkpoint_seconds, "redo": list(engine.options.redo)}
    futures: dict[str, Any] = {}
    for step in plan.steps:
        named = perform.with_options(name=step.name, task_run_name=step.name)
        futures[step.name] = named.submit(
            step.name, plain, engine.store.url, options, wait_for=[futures[n] for n in step.upstream], return_state=False
        )
    for step in plan.steps:
        futures[step.name].wait()
        if step.name not in session.results:
            session.results[step.name] = _from_state(step, futures[step.name].state, engine)
    session.outcome = result = finish(plan, [session.results[step.name] for step in plan.steps], engine.store)
    _publish(result, engine)
    failure = session.failure()
    if failure is not None:  # a returned state, where an exception would print its traceback
        return Failed(message=f"step '{failure.name}' failed: {failure.error}")
    return result.as_dict()


def _from_state(step: PlannedStep, state: State[Any], engine: Engine) -> StepResult:
    """The result of a step that ran in another process, from its Prefect state and its manifest."""
    if state.is_completed() and engine.store.has(step.key):
        return StepResult.committed(step, "reused" if state.name == "Reused" else "ran", engine.store.manifest(step.key))
    if state.is_failed() or state.is_crashed():
        return StepResult.of(step, "failed", error=state.message or state.name or "", exit_code=1)
    return skipped(step, state.message or "an upstream step failed")


def _publish(result: RunResult, engine: Engine) -> None:
    """The last report as Prefect artifacts: numbers, tables and pictures as markdown, and a link to the page."""
    from fabloom.flows.report.page import markdown_summary, png_data_uri

    if result.report_path is None:
        return
    report: Any = engine.store.get(next(r.key for r in reversed(result.steps) if r.kind == "Report" and r.status in ("ran", "reused")))
    pictures = [f"### {title}\n![{title}]({png_data_uri(pixels)})" for title, pixels in report.pictures.items()]
    text = "\n\n".join([markdown_summary(report.metrics, report.tables), *pictures])
    create_markdown_artifact(text, key="fabloom-report", description=f"Report of {result.run}")
    create_link_artifact(result.report_path.as_uri(), link_text=result.run, key="fabloom-page")


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


def _start_server() -> None:
    """Start Prefect's own server, where one is needed: deaf to Ctrl-C, and gone when this process is.

    The terminal sends SIGINT to every process of the group, but the flow has yet to tell the server how the run was stopped; a blocked
    signal stays blocked in a child. Prefect stops the server at a regular exit only, so a shell waits for the pipe that this process
    holds to close, and ends the server then.
    """
    if determine_server_type() is not ServerType.EPHEMERAL:
        return
    from prefect.server.api.server import SubprocessASGIServer

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        server: Any = SubprocessASGIServer()
        server.start()
        if not hasattr(server, "watchdog"):
            watch = ["/bin/sh", "-c", 'read -r _; kill "$0" 2>/dev/null', str(server.server_process.pid)]
            server.watchdog = subprocess.Popen(watch, stdin=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _untold(record: logging.LogRecord) -> bool:
    """Whether a line of Prefect's says what fabloom's own display does not: how a step ended is told there, once and with what to do."""
    return not record.getMessage().startswith(("Finished in state", "Task run failed with state"))


def run_prefect(plan: Plan, engine: Engine, runner: str, workers: int = 1) -> RunResult:
    """Run the plan as a Prefect flow from this process, with each step in a worker process of its own."""
    engine = replace(engine, processes=StepProcesses({m for step in plan.steps for m in step.spec.method.preload}))
    session = Session(engine, plan)
    named = run_pipeline.with_options(flow_run_name=plan.pipeline.name, task_runner=make_runner(runner, workers))
    _start_server()
    for handler in logging.getLogger().handlers:  # the terminal's; the lines still go to the server
        handler.addFilter(_untold)
    with _closing(session):
        state: State[Any] = named(plan.pipeline.model_dump(), return_state=True)
    missing = [step for step in plan.steps if step.name not in session.results]
    if missing:
        raise EnvironmentProblem(
            f"the Prefect flow ended as {state.name} before step '{missing[0].name}': {state.message}. "
            "Try --engine inline, or `fabloom doctor --server`."
        )
    return session.outcome or finish(plan, [session.results[step.name] for step in plan.steps], engine.store)
