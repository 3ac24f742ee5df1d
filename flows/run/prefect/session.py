"""What happens inside a flow run: a Prefect task per step, requests on the edges, the store as the only cache."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import signal
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from prefect.client.schemas import State
from prefect.exceptions import PrefectException
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Completed, Failed

from fabloom.errors import EnvironmentProblem
from fabloom.flows.run.api import finish, load_pipeline, open_store
from fabloom.flows.run.result import RunResult
from fabloom.method import Options, PlannedStep, StepRequest, StepResult
from fabloom.planning.plan import Plan, make_plan
from fabloom.registry import Registry
from fabloom.running.engine import Engine, prepare, skipped
from fabloom.running.executors import ProcessExecutor
from fabloom.running.requests import request_of, step_of

from .observe import ProgressArtifact, publish
from .runners import make_runner
from .server import start_server


@dataclass
class Session:
    """What the tasks of one flow run share inside one process."""

    engine: Engine
    plan: Plan
    results: dict[str, StepResult] = field(default_factory=dict)
    outcome: RunResult | None = None
    on_term: Any = None
    """The caller's handler of SIGTERM, which asks for a stop at the next checkpoint; Prefect's own aborts the flow where it is."""

    def failure(self) -> StepResult | None:
        """The first step that failed."""
        return next((r for r in self.results.values() if r.status == "failed"), None)


_session: ContextVar[Session | None] = ContextVar("fabloom_session", default=None)


def perform(data: dict[str, Any]) -> State[Any]:
    """Run or reuse the requested step. In another process than the flow's (dask, ray) an engine for the request's store is made once."""
    request = StepRequest.from_dict(data)
    session = _session.get()
    if session is None:
        engine = _engine_of(request.store)
        return _state_of(replace(engine, options=request.options).perform(step_of(request, engine.registry)))
    failure = session.failure()
    if failure is not None:
        session.results[request.name] = skipped(session.plan.step(request.name), f"step '{failure.name}' failed")
        return Cancelled(name="Skipped", message=session.results[request.name].error)
    engine = replace(session.engine, emit=ProgressArtifact(request.name, session.engine.emit))
    result = engine.perform(session.plan.step(request.name))
    session.results[request.name] = result
    return _state_of(result)


def _state_of(result: StepResult) -> State[Any]:
    if result.status == "failed":
        return Failed(message=result.error)
    return Completed(name="Reused" if result.status == "reused" else "Completed", data=result.key)


@functools.cache
def _engine_of(store: str) -> Engine:
    """The engine of a worker process; its step server ends with the process."""
    registry = Registry.load()
    return Engine(registry, open_store(store, registry), executor=ProcessExecutor())


def _executor_for(plan: Plan) -> ProcessExecutor:
    return ProcessExecutor({module for step in plan.steps for module in step.spec.method.preload})


def run(
    pipeline: dict[str, Any] | str, overrides: list[str] | None = None, options: dict[str, Any] | None = None
) -> dict[str, Any] | State[Any]:
    """The body of the flow: in the session that called it, or, in a deployment, in one of its own."""
    session = _session.get()
    if session is not None:
        return _run(session)
    given = dict(options or {})
    registry = Registry.load()
    built = load_pipeline(pipeline, registry).override(overrides or [], given.pop("seed", None))
    store = open_store(given.pop("store", None), registry)
    plan = make_plan(built, registry, store)
    chosen = Options(**{**given, "redo": tuple(given.get("redo", ()))})
    session = Session(Engine(registry, store, chosen, executor=_executor_for(plan)), plan)
    with store.pinned(step.key for step in plan.steps):
        prepare(session.plan, session.engine)
        with _current(session):
            return _run(session)


@contextlib.contextmanager
def _current(session: Session) -> Iterator[None]:
    """Make the session current, and end its worker processes afterwards."""
    token = _session.set(session)
    try:
        yield
    finally:
        _session.reset(token)
        if session.engine.executor is not None:
            session.engine.executor.close()


@contextlib.contextmanager
def _handling(handler: Any) -> Iterator[None]:
    """Handle SIGTERM as the caller does, which Prefect has replaced for the time of the flow."""
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(session: Session) -> dict[str, Any] | State[Any]:
    """The flow's body."""
    with _handling(session.on_term):
        return _steps(session)


def _steps(session: Session) -> dict[str, Any] | State[Any]:
    from .flow import perform as task

    engine, plan = session.engine, session.plan
    futures: dict[str, Any] = {}
    for step in plan.steps:
        request = request_of(step, engine.store, engine.options).as_dict()
        named = task.with_options(name=step.name, task_run_name=step.name)
        futures[step.name] = named.submit(request, wait_for=[futures[n] for n in step.upstream], return_state=False)
    for step in plan.steps:
        futures[step.name].wait()
        if step.name not in session.results:
            session.results[step.name] = _from_state(step, futures[step.name].state, engine)
    session.outcome = result = finish(plan, [session.results[step.name] for step in plan.steps], engine.store)
    publish(result, engine)
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


def _untold(record: logging.LogRecord) -> bool:
    """Whether a line of Prefect's says what fabloom's own display does not: how a step ended is told there, once and with what to do."""
    return not record.getMessage().startswith(("Finished in state", "Task run failed with state"))


def _own_handler() -> Any:
    """What this process does at SIGTERM, where somebody chose it."""
    found = signal.getsignal(signal.SIGTERM)
    return found if callable(found) else None


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """What a server that does not start or answer raises, as one line that says what to do."""
    try:
        yield
    except (httpx.HTTPError, RuntimeError, OSError, PrefectException) as error:
        where = get_current_settings().api.url or "its own server, which a run starts"
        told = " ".join(str(error).split())[:300] or type(error).__name__
        raise EnvironmentProblem(
            f"Prefect does not answer at {shown(where)}: {told}. "
            "Unset PREFECT_API_URL to let the run start a server, or use --engine inline."
        ) from error


def shown(url: str) -> str:
    """A URL without the user and password that may be in it."""
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def run_prefect(plan: Plan, engine: Engine, runner: str, workers: int = 1) -> RunResult:
    """Run the plan as a Prefect flow from this process, with each step in a worker process of its own."""
    from .flow import run_pipeline

    session = Session(replace(engine, executor=_executor_for(plan)), plan, on_term=_own_handler())
    named = run_pipeline.with_options(flow_run_name=plan.pipeline.name, task_runner=make_runner(runner, workers))
    with _answering():
        start_server()
    for handler in logging.getLogger().handlers:  # the terminal's; the lines still go to the server
        handler.addFilter(_untold)
    with _current(session), _answering():
        state: State[Any] = named(plan.pipeline.model_dump(), return_state=True)
    missing = [step for step in plan.steps if step.name not in session.results]
    if missing:
        raise EnvironmentProblem(
            f"the Prefect flow ended as {state.name} before step '{missing[0].name}': {state.message}. "
            "Try --engine inline, or `fabloom doctor --server`."
        )
    return session.outcome or finish(plan, [session.results[step.name] for step in plan.steps], engine.store)
