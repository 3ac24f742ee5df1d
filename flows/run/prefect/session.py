"""What happens inside a flow run: a Prefect task per step, requests on the edges, the store as the only cache."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from prefect.client.schemas import State
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Completed, Failed

from fabloom.errors import EnvironmentProblem, Interrupted
from fabloom.flows.run.api import finish, load_pipeline, open_store
from fabloom.flows.run.result import RunResult
from fabloom.method import Options, PlannedStep, StepRequest, StepResult
from fabloom.planning.plan import Plan, make_plan
from fabloom.progress import Emit
from fabloom.registry import Registry
from fabloom.running.course import Course
from fabloom.running.engine import Engine, prepare, skipped
from fabloom.running.executors import ProcessExecutor
from fabloom.running.requests import request_of, step_of

from .observe import ProgressArtifact, publish
from .outage import DEPLOYED_PATIENCE, TROUBLE, Notice, Unsent, answering, client_patience, leave_unanswered, wait_for_server
from .runners import make_runner
from .server import start_server


@dataclass
class Session:
    """What the tasks of one flow run share inside one process."""

    engine: Engine
    plan: Plan
    course: Course = field(init=False)
    """How the steps ended so far."""
    outcome: RunResult | None = None
    on_term: Any = None
    """The caller's handler of SIGTERM, which asks for a stop at the next checkpoint; Prefect's own aborts the flow where it is."""

    stop: threading.Event = field(default_factory=threading.Event)
    """Asks for a stop at the next checkpoint where there is no caller: a deployed flow, which its worker ends by SIGTERM."""

    began: bool = False
    """Whether Prefect has called the flow."""

    notice: Notice = field(default_factory=lambda: Notice(DEPLOYED_PATIENCE))
    """Says that Prefect does not answer."""

    def __post_init__(self) -> None:
        self.course = Course(keep_going=self.engine.keep_going)

    @property
    def results(self) -> dict[str, StepResult]:
        """Of the steps by name."""
        return self.course.results

    def perform(self, name: str, emit: Emit) -> StepResult:
        """Run or reuse a step, unless one has failed that ends the run, or that it needs."""
        step = self.plan.step(name)
        why = self.course.hindrance(step)
        result = skipped(step, why) if why else replace(self.engine, emit=emit).perform(step)
        self.course.add(result)
        return result

    def finish(self) -> RunResult:
        """What there is to tell at the end, once."""
        if self.outcome is None:
            self.outcome = finish(self.plan, [self.results[step.name] for step in self.plan.steps], self.engine.store)
        return self.outcome


_session: ContextVar[Session | None] = ContextVar("fabloom_session", default=None)


def perform(data: dict[str, Any]) -> State[Any]:
    """Run or reuse the requested step. In another process than the flow's (dask, ray) an engine for the request's store is made once."""
    request = StepRequest.from_dict(data)
    session = _session.get()
    if session is None:
        engine = _engine_of(request.store)
        return _state_of(replace(engine, options=request.options).perform(step_of(request, engine.registry)))
    return _state_of(session.perform(request.name, ProgressArtifact(request.name, session.engine.emit, session.notice)))


def _state_of(result: StepResult) -> State[Any]:
    if result.status == "skipped":
        return Cancelled(name="Skipped", message=result.error)
    if result.exit_code == Interrupted.exit_code:
        return Cancelled(message=result.error)
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
    keep_going = bool(given.pop("keep_going", False))
    chosen = Options(**{**given, "redo": tuple(given.get("redo", ()))})
    stop = threading.Event()
    engine = Engine(registry, store, chosen, stop=stop.is_set, executor=_executor_for(plan), keep_going=keep_going)
    session = Session(engine, plan, stop=stop)
    with store.pinned(plan.keys()):
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
    session.began = True
    with _handling(session.on_term):
        return _steps(session)


def _steps(session: Session) -> dict[str, Any] | State[Any]:
    from .flow import perform as task

    engine, plan = session.engine, session.plan
    futures: dict[str, Any] = {}
    try:
        for step in plan.steps:
            request = request_of(step, engine.store, engine.options).as_dict()
            named = task.with_options(name=step.name, task_run_name=step.name)
            futures[step.name] = named.submit(request, wait_for=[futures[n] for n in step.upstream], return_state=False)
        _wait(futures.values(), session.notice)
    except TerminationSignal:  # the worker's, at a cancel; Prefect knows why, and what to make of it. A second one ends the wait
        session.stop.set()
        _wait(futures.values(), session.notice)
        raise
    for step in plan.steps:
        if step.name not in session.results:
            found = _from_state(step, futures[step.name].state, engine)
            why = session.course.hindrance(step) if found.status == "skipped" else ""
            session.course.add(replace(found, error=why or found.error))
    result = session.finish()
    wait_for_server(session.notice, engine.stop)
    publish(result, engine)
    failure = session.course.failure
    if failure is None:
        return result.as_dict()
    ended = Cancelled if failure.exit_code == Interrupted.exit_code else Failed
    return ended(
        message=f"step '{failure.name}' {failure.outcome}: {failure.error}"
    )  # returned, where an exception would print its traceback


def _wait(futures: Iterable[Any], notice: Notice) -> None:
    """Wait for every step, whatever becomes of the slot that Prefect holds for a deployment with a limit.

    It is lost when the server has not answered for some minutes, and Prefect then means to end the run, so that no more of them run
    than allowed. But the server starts none while it is gone, and two runs never make one artifact twice.
    """
    for future in futures:
        while True:
            try:
                future.wait()
                break
            except asyncio.CancelledError:
                notice("its concurrency slot is lost")


def _from_state(step: PlannedStep, state: State[Any], engine: Engine) -> StepResult:
    """The result of a step that ran in another process, from its Prefect state and its manifest."""
    if state.is_completed() and engine.store.has(step.key):
        return StepResult.committed(step, "reused" if state.name == "Reused" else "ran", engine.store.manifest(step.key))
    if state.is_cancelled() and state.name != "Skipped":
        return StepResult.of(step, "failed", error=state.message or "", exit_code=Interrupted.exit_code)
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


def _end_alone(session: Session, error: BaseException) -> RunResult:
    """The rest of a run that Prefect gave up."""
    for step in session.plan.steps:
        if step.name not in session.results:
            session.perform(step.name, session.engine.emit)
    result = session.finish()
    leave_unanswered(error)
    return result


def run_prefect(plan: Plan, engine: Engine, runner: str, workers: int = 1) -> RunResult:
    """Run the plan as a Prefect flow from this process, with each step in a worker process of its own.

    A server that stops answering after the flow began costs what Prefect shows of the run. Raises EnvironmentProblem where it never began.
    """
    from .flow import run_pipeline

    session = Session(replace(engine, executor=_executor_for(plan)), plan, on_term=_own_handler(), notice=Notice(client_patience()))
    named = run_pipeline.with_options(flow_run_name=plan.pipeline.name, task_runner=make_runner(runner, workers))
    if not engine.stop():
        with answering():
            start_server()
    if engine.stop():  # asked while Prefect was loading: no flow for what will not run
        for step in plan.steps:
            session.perform(step.name, engine.emit)
        return session.finish()
    for handler in logging.getLogger().handlers:  # the terminal's; the lines still go to the server
        handler.addFilter(_untold)
    Unsent(session.notice).install()
    with _current(session), answering():
        try:
            state: State[Any] = named(plan.pipeline.model_dump(), return_state=True)
        except TROUBLE as error:
            if not session.began:
                raise
            return _end_alone(session, error)
        finally:
            session.notice.told = True
    missing = [step for step in plan.steps if step.name not in session.results]
    if missing:
        raise EnvironmentProblem(
            f"the Prefect flow ended as {state.name} before step '{missing[0].name}': {state.message}. "
            "Try --engine inline, or `fabloom doctor --server`."
        )
    return session.finish()
