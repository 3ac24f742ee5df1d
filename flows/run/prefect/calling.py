"""A run from this process as a Prefect flow: a server that answers, a session for the flow's body, and the rest where Prefect gives up."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from typing import Any

from prefect.client.schemas import State
from prefect.context import FlowRunContext

from fabloom.errors import EnvironmentProblem
from fabloom.flows.run.result import RunResult
from fabloom.planning.plan import Plan
from fabloom.running.engine import Engine
from fabloom.running.parts import Crew

from .ending import leave_unanswered
from .order import Order, executor_for
from .outage import TROUBLE, Notice, answering, client_patience
from .runners import make_runner
from .server import start_server
from .session import Session, carry_out, current
from .settings import quiet


def run_prefect(plan: Plan, engine: Engine, runner: str, workers: int = 1, cluster: str = "") -> RunResult:
    """Run the plan as a Prefect flow from this process, with each step in a worker process of its own.

    Called inside a flow run, the steps are tasks of that one.
    A server that stops answering after the flow began costs what Prefect shows of the run. Raises EnvironmentProblem where it never began.
    """
    from .flow import run_pipeline

    order = Order.of(plan, engine, runner, workers, cluster)
    make_runner(runner, workers)  # raises where it is not installed
    if FlowRunContext.get() is not None:
        return _within(plan, engine, order)
    engine = replace(engine, executor=executor_for(plan, order), crew=Crew(order.workers))
    session = Session(engine, plan, order, on_term=_own_handler(), notice=Notice(client_patience()))
    # a deployed run keeps the name that it is ordered under; its bounds are those of a form, and this run is planned already
    named = run_pipeline.with_options(flow_run_name=plan.pipeline.name, validate_parameters=False)
    quiet()
    if not engine.stop():
        with answering():
            start_server()
    if engine.stop():  # asked while Prefect was loading: no flow for what will not run
        for step in plan.steps:
            session.perform(step.name, engine.emit)
        return session.finish()
    with current(session), answering():
        try:
            state: State[Any] = named(**order.parameters(), return_state=True)
        except TROUBLE as error:
            if not session.began:
                raise
            return _end_alone(session, error)
        finally:
            session.notice.told = True
            session.ending.close()
    missing = [step for step in plan.steps if step.name not in session.results]
    if missing:
        raise EnvironmentProblem(
            f"the Prefect flow ended as {state.name} before step '{missing[0].name}': {state.message}. "
            "Try --engine inline, or `fabloom doctor --server`."
        )
    return session.finish()


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


def _within(plan: Plan, engine: Engine, order: Order) -> RunResult:
    """The plan in the flow run that this is called in, which a worker may end by SIGTERM."""
    stop, asked = threading.Event(), engine.stop
    engine = replace(engine, executor=executor_for(plan, order), crew=Crew(order.workers), stop=lambda: asked() or stop.is_set())
    with current(Session(engine, plan, order, stop=stop)) as session, session.ending:
        carry_out(session)
    return session.finish()
