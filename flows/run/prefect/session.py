"""What happens inside a flow run: a Prefect task per step, requests on the edges, the store as the only cache."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from prefect import allow_failure
from prefect._internal.concurrency.cancellation import shield
from prefect.client.schemas import State
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.logging import get_run_logger
from prefect.states import Failed

from fabloom.errors import FabloomError, Interrupted, PluginError
from fabloom.flows.run.api import finish
from fabloom.flows.run.result import RunResult
from fabloom.method import PlannedStep, StepRequest, StepResult
from fabloom.planning.plan import Plan
from fabloom.progress import Emit, Event
from fabloom.registry.address import without_secrets
from fabloom.running.course import Course
from fabloom.running.engine import Engine, prepare, skipped
from fabloom.running.execute import LOG, failed
from fabloom.running.parts import Crew
from fabloom.running.requests import request_of

from . import aftermath, assets
from .artifacts import publish
from .credentials import lent
from .ending import KEPT, handling, hurrying
from .observe import Mirror
from .order import Order, executor_for
from .outage import DEPLOYED_PATIENCE, Notice, Unsent, despite_lost_slot, wait_for_server, wait_for_steps
from .runners import make_runner
from .scheduling import submit_as_ready
from .states import result_of, state_of, state_of_run


@dataclass
class Session:
    """What the tasks of one flow run share inside one process."""

    engine: Engine
    plan: Plan
    order: Order
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

    ending: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What holds from the end of the steps to that of the flow, which Prefect still has to tell its server."""

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
    """Run or reuse the requested step, in a thread of the flow's process, which waits for the executor."""
    request = StepRequest.from_dict(data)
    session = _session.get()
    if session is None:
        raise PluginError("fabloom's task was called outside of its flow; call run_pipeline")
    mirror = Mirror(request.name, session.engine.store.work(request.key) / LOG, session.engine.emit, session.notice)
    result = session.perform(request.name, mirror)
    mirror.close(result)
    state = state_of(result)
    with contextlib.suppress(Exception):  # what is shown must not cost what was made
        assets.tell(request, result, state)
    return state


def run(order: Order) -> dict[str, Any] | State[Any]:
    """The body of the flow: in the session that called it, or, in a deployment, in one of its own.

    What cannot be run ends as Failed, with one line that says why.
    """
    session = _session.get()
    if session is not None:
        return carry_out(session)
    aftermath.settle_unbegun()
    try:
        with lent():
            return _alone(order)
    except FabloomError as error:
        return Failed(message=without_secrets(str(error)))


def _alone(order: Order) -> dict[str, Any] | State[Any]:
    """The body of a deployed flow, which nobody has planned."""
    stop = threading.Event()
    plan, engine = order.planned(stop)
    with engine.store.pinned(plan.keys()):
        prepare(plan, replace(engine, emit=_told))
        engine = replace(engine, executor=executor_for(plan, order), crew=Crew(order.workers))
        with current(Session(engine, plan, order, stop=stop)) as session:
            KEPT.append(session.ending)
            return carry_out(session)


def _told(event: Event) -> None:
    """Of what is done before the steps: a line of the flow's."""
    if event["event"] == "log":
        _say(str(event["message"]))


def _say(line: str) -> None:
    with contextlib.suppress(Exception):  # not called by Prefect, or its logging fails
        get_run_logger().info(line)


@contextlib.contextmanager
def current(session: Session) -> Iterator[Session]:
    """Make the session current, have it told where Prefect cannot be, and end its worker processes afterwards."""
    Unsent(session.notice).install()
    token = _session.set(session)
    try:
        yield session
    finally:
        _session.reset(token)
        if session.engine.executor is not None:
            session.engine.executor.close()


def carry_out(session: Session) -> dict[str, Any] | State[Any]:
    """The flow's body."""
    session.began = True
    context: Any = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        aftermath.performed.add(context.flow_run.id)
    with handling(session.on_term):
        return _steps(session)


def _steps(session: Session) -> dict[str, Any] | State[Any]:
    engine, plan = session.engine, session.plan
    waiting = sum(step.name in engine.options.redo or not engine.store.has(step.key) for step in plan.steps)
    _say(f"{plan.pipeline.name}: {waiting} of {len(plan.steps)} steps are to be made in {engine.store.url}, the rest is there")
    if session.order.note:
        _say(f"note: {session.order.note}")
    with make_runner(session.order.runner, session.order.workers) as runner:
        futures: dict[str, Any] = {}
        try:
            _submit(session, runner, futures)
            wait_for_steps(futures.values(), session.notice)
        except TerminationSignal:  # the worker's, at a cancel; Prefect knows why, and what to make of it. A second one ends the wait
            session.stop.set()
            wait_for_steps(futures.values(), session.notice)
            with contextlib.suppress(Exception):  # for `fabloom runs`; what Prefect makes of the run is more urgent
                _complete(session, futures)
                session.finish()
            session.ending.enter_context(hurrying())
            raise
        session.ending.enter_context(shield())  # a slot that is lost now ends no run that has made everything
        _complete(session, futures)
    result = session.finish()
    if engine.stop():
        session.ending.enter_context(hurrying())
    wait_for_server(session.notice, engine.stop)
    publish(result, engine, session.order.note)
    failure = session.course.failure
    return result.as_dict() if failure is None else state_of_run(failure)


def _complete(session: Session, futures: dict[str, Any]) -> None:
    """Add what became of steps whose task Prefect ended, or that a stop kept from being submitted."""
    for step in session.plan.steps:
        if step.name in session.results:
            continue
        future = futures.get(step.name)
        if future is None:
            found = failed(step, Interrupted(f"step '{step.name}' was not begun: a stop was asked for"))
        else:
            found = result_of(step, future.state, session.engine)
        why = session.course.hindrance(step) if future is None or found.status == "skipped" else ""
        session.course.add(skipped(step, why) if why else found)


def _submit(session: Session, runner: Any, futures: dict[str, Any]) -> None:
    """Give every step to the runner, in its turn. `Course` says which of them do not begin, and why."""
    from .flow import perform as task

    engine = session.engine

    def submit(step: PlannedStep) -> Any:
        above = [futures[name] for name in step.upstream]
        parameters = {"request": request_of(step, engine.store, engine.options).as_dict()}
        wait_for = [allow_failure(future) for future in above]
        named = task.with_options(name=step.task, task_run_name=step.name)
        return runner.submit(named, parameters, wait_for=wait_for)

    despite_lost_slot(lambda: submit_as_ready(session.plan.steps, futures, submit, session.order.workers), session.notice)
