"""A short version of `benchmarks/prefect_faults.py`: a deployed run is stopped, and Prefect's server goes while the next one goes on."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.states import Cancelled

from fabloom.errors import EnvironmentProblem
from fabloom.flows.run.log import listed

FAULTS = Path(__file__).parents[3] / "benchmarks" / "prefect_faults.py"


def test_a_stopped_flow_leaves_its_checkpoint_and_a_run_without_a_server_ends_well() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PREFECT_CLIENT_MAX_RETRIES": "0"}  # a minute of patience otherwise
    command = [sys.executable, FAULTS, "--cases", "stop-away", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-4000:]
    (outcome,) = json.loads(done.stdout)["outcomes"]
    lines = "\n".join(outcome["lines"])
    command_lines = outcome["lines"][outcome["lines"].index("images: reused") :]
    assert outcome["tasks"]["model"] == "Cancelled" and outcome["flow"] == "Crashed", outcome
    assert outcome["goes_on"] == "5" and "model: going on from step 5 of 'main'" in command_lines, outcome
    assert outcome["committed"] == 4 and not outcome["problems"], outcome
    assert "Traceback" not in lines and "the step server" not in lines and "EventsWorker" not in lines, lines
    told = [line for line in outcome["lines"] if "could not be told how the run ended" in line]
    assert len(told) == 1, lines
    assert len([line for line in command_lines if "WARNING" in line or "ERROR" in line]) <= 2, lines
    assert done.returncode == 0, done.stderr[-4000:]


def test_a_deployed_flow_refuses_a_store_with_a_password_in_its_url() -> None:
    """The URL is in the parameters of the deployment then, where nothing can be done about it any more but say so."""
    from fabloom.flows.run.prefect.order import Order
    from fabloom.flows.run.prefect.session import run

    state: Any = run(Order("one-step", store="demo://user:hunter2Xy@host/x", device="cpu"))
    assert state.is_failed() and "holds a password" in state.message and "hunter2Xy" not in state.message


def test_a_password_of_prefects_server_is_in_no_message() -> None:
    from fabloom.flows.run.prefect.outage import answering

    with pytest.raises(EnvironmentProblem, match="http://host/api/flows") as caught, answering():
        raise RuntimeError("404 for url\n'http://user:hunter2Xy@host/api/flows'")
    assert "hunter2Xy" not in str(caught.value)


STUCK = """
import asyncio, threading
from prefect.logging.handlers import APILogWorker
from fabloom.flows.run.prefect import ending

sending = threading.Event()

async def never(self, lines):
    sending.set()
    await asyncio.sleep(36_000)

APILogWorker._handle_batch = never
ending.LAST_PATIENCE = 0.01

def begin():
    sending.clear()
    sender = APILogWorker.instance()
    for _ in range(2):
        sender.send({"line": "x" * 1_000_000})  # a batch is full
    assert sending.wait(200)
    return sender

first = begin()
ending.leave_unanswered(RuntimeError("gone"))
while first._done_event is None or not first._done_event.is_set():
    pass
begin()
with ending.hurrying():
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES
    assert PREFECT_CLIENT_MAX_RETRIES.value() == 1
print("at its end")
"""


def test_a_process_that_was_stopped_ends_while_prefect_still_tries_to_send_lines(tmp_path: Path) -> None:
    """Once where the run was told of it, and once where the server went later still, so that Prefect finds out at the process's exit."""
    known = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path), "PREFECT_CLIENT_MAX_RETRIES": "5"}
    done = subprocess.run([sys.executable, "-c", STUCK], env=known, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, "at its end\n"), done.stderr


def test_an_outage_quiets_prefects_own_handler_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """It cannot send its lines then, and would print that with a traceback for each of them."""
    from prefect.logging.handlers import APILogHandler

    from fabloom.flows.run.prefect.outage import Notice

    logger, handlers = logging.getLogger("fabloom.test.outage"), (APILogHandler(), logging.StreamHandler())
    for handler in handlers:
        logger.addHandler(handler)
    try:
        Notice(0)("gone")
        shown = []
        for handler in handlers:
            try:
                raise RuntimeError("the service is stopped")
            except RuntimeError:
                handler.handleError(logging.LogRecord("x", logging.INFO, "", 0, "said", (), None))
            shown.append(capsys.readouterr().err)
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
    assert shown[0] == "" and "the service is stopped" in shown[1] and logging.raiseExceptions


def ended() -> Future[None]:
    """What Prefect's future wraps, of a task that is over."""
    future = Future[None]()
    future.set_result(None)
    return future


def test_a_run_that_is_ended_while_its_steps_are_submitted_is_noted_as_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.exceptions import TerminationSignal

    from fabloom.flows.run.prefect import session
    from fabloom.flows.run.prefect.order import Order

    class Ended:
        """A runner whose flow is told to end after its first step was submitted, and stopped."""

        def __init__(self, *_: Any) -> None:
            self.submitted = 0

        def __enter__(self) -> Ended:
            return self

        def __exit__(self, *_: object) -> None: ...

        def submit(self, *_: Any, **__: Any) -> Any:
            self.submitted += 1
            if self.submitted > 1:
                raise TerminationSignal(signal=signal.SIGTERM)
            return SimpleNamespace(wait=lambda: None, state=Cancelled(message="stopped"), wrapped_future=ended())

    order = Order("one-step", store=str(tmp_path / "store"), device="cpu")
    stop = threading.Event()
    plan, engine = order.planned(stop)
    monkeypatch.setattr(session, "make_runner", Ended)
    flow = session.Session(engine, plan, order, stop=stop)
    with pytest.raises(TerminationSignal):
        session._steps(flow)
    (run,), _ = listed(engine.store)
    assert (run.outcome, run.exit_code) == ("stopped", 130)
    assert [step["status"] for step in run.steps] == ["stopped"] + ["skipped"] * (len(plan.steps) - 1)
    assert f"stopped in step '{plan.steps[0].name}'" in run.steps[-1]["error"]
    early = session.Session(engine, plan, order, stop=stop)
    session._complete(early, {})
    assert early.finish().exit_code == 130, "before the first step was submitted"


def test_a_slot_that_is_lost_while_a_run_tells_its_end_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage Prefect notices the lost slot in the second in which the run tells its server that it has made everything."""
    from prefect._internal.concurrency.cancellation import WatcherThreadCancelScope

    from fabloom.flows.run.prefect import session
    from fabloom.flows.run.prefect.order import Order

    class Done:
        def __init__(self, *_: Any) -> None: ...

        def __enter__(self) -> Done:
            return self

        def __exit__(self, *_: object) -> None: ...

        def submit(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(wait=lambda: None, state=Cancelled(message="stopped"), wrapped_future=ended())

    plan, engine = Order("one-step", store=str(tmp_path / "store"), device="cpu").planned(threading.Event())
    flow = session.Session(engine, plan, Order("one-step"))
    monkeypatch.setattr(session, "make_runner", Done)
    monkeypatch.setattr(session, "publish", lambda *_: None)
    with WatcherThreadCancelScope() as scope:
        losing = threading.Thread(target=scope.cancel, daemon=True)

        def lose(*_: Any) -> None:
            losing.start()
            losing.join(0.3)  # what Prefect throws would arrive meanwhile

        monkeypatch.setattr(session, "wait_for_server", lose)
        state: Any = session._steps(flow)
    assert state.is_cancelled() and losing.is_alive()
    flow.ending.close()
    losing.join()
    assert scope.cancelled()
