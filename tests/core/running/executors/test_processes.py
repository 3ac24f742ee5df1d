"""Steps in worker processes: equal to inline, survived by the caller. Signals from outside are in tests/flows/run/test_deaths.py."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fabloom.method import Options, PlannedStep, StepResult
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import Plan, make_plan
from fabloom.progress import Emit, silent
from fabloom.registry import Registry
from fabloom.running.engine import Engine, run_inline
from fabloom.running.execute import run_step
from fabloom.running.executors import processes as processes_module
from fabloom.running.executors.processes import ProcessExecutor
from fabloom.running.requests import request_of
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.verify import verify

INSTALLED = Path(__file__).parents[3] / "installed"
CPU = Options(device="cpu", checkpoint_seconds=0.05)


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(INSTALLED))
        patch.setenv("PYTHONPATH", str(INSTALLED))
        yield


@pytest.fixture(scope="module")
def registry(installed: None) -> Registry:
    return Registry.load()


@pytest.fixture(scope="module")
def processes(installed: None) -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(["torch", "torch._dynamo"])
    yield made
    made.close()


def fade(registry: Registry, store: LocalStore, **model: Any) -> Plan:
    return make_plan(
        registry.pipeline("fade").override([f"steps.model.params.{n}={json.dumps(v)}" for n, v in model.items()]), registry, store
    )


def submitted(executor: ProcessExecutor, step: PlannedStep, store: LocalStore, emit: Emit = silent) -> StepResult:
    return executor.submit(request_of(step, store, CPU), emit).result()


def isolated(plan: Plan, registry: Registry, store: LocalStore, processes: ProcessExecutor, **more: Any) -> list[StepResult]:
    return run_inline(plan, Engine(registry, store, CPU, executor=processes, **more))


def test_nothing_is_started_when_everything_is_reused(registry: Registry, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = fade(registry, store)
    for step in plan.steps:
        run_step(step, store, CPU)

    def refuse(*arguments: Any, **more: Any) -> None:
        raise AssertionError("a process was started")

    idle = ProcessExecutor(["torch"])
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert [r.status for r in isolated(plan, registry, store, idle)] == ["reused"] * 4
    idle.close()
    idle.close()


def test_an_isolated_step_gives_what_an_inline_one_gives(
    registry: Registry, store: LocalStore, tmp_path: Path, processes: ProcessExecutor
) -> None:
    events: list[dict[str, Any]] = []
    apart = isolated(fade(registry, store), registry, store, processes, emit=events.append)
    assert [r.status for r in apart] == ["ran"] * 4, [r.error for r in apart]
    other = LocalStore(tmp_path / "inline")
    here = [run_step(step, other, CPU) for step in fade(registry, other).steps]
    assert [(r.key, r.digest, r.metrics) for r in apart] == [(r.key, r.digest, r.metrics) for r in here]
    assert {"started", "progress", "log", "finished"} <= {e["event"] for e in events} and {e["step"] for e in events} == {
        "images",
        "model",
        "offline",
        "report",
    }
    assert not verify(store).problems and not verify(store).leftovers


def test_a_killed_step_goes_on_from_its_checkpoint_and_is_named_where_it_has_none(
    registry: Registry, store: LocalStore, processes: ProcessExecutor
) -> None:
    plan = fade(registry, store, die=True)
    died = run_inline(plan, Engine(registry, store, Options("cpu", 3600.0), executor=processes))
    assert [r.status for r in died] == ["ran", "failed", "skipped", "skipped"]
    assert "SIGKILL" in died[1].error and "out of memory" in died[1].error and (died[1].exit_code, died[1].signal) == (1, "SIGKILL")
    events: list[dict[str, Any]] = []
    plan = fade(registry, store, die=True, pause=0.02)
    assert [r.status for r in isolated(plan, registry, store, processes, emit=events.append)] == ["reused", "ran", "ran", "ran"]
    told = [e["message"] for e in events if e["event"] == "log" and e["step"] == "model"]
    at = next(line.rpartition("goes on from ")[2] for line in told if "was killed by SIGKILL. It is begun again, once" in line)
    assert at.startswith("step ") and f"going on from {at}" in told
    # the same steps without the death have another key, but what was learnt must be the same
    quiet = isolated(fade(registry, store, pause=0.02), registry, store, processes)
    whole = store.get(quiet[1].key).array("weight")[...]
    assert (store.get(plan.step("model").key).array("weight")[...] == whole).all()


def test_a_stop_ends_in_a_checkpoint_with_130_and_the_rerun_equals_the_whole(
    registry: Registry, store: LocalStore, tmp_path: Path, processes: ProcessExecutor, lodger: Callable[[ProcessExecutor], ProcessExecutor]
) -> None:
    to_stop = lodger(processes)  # a stopped executor starts nothing any more
    plan = fade(registry, store, pause=0.05)
    stopping = threading.Event()

    def emit(event: dict[str, Any]) -> None:
        if event["event"] == "progress" and event["step"] == "model" and event["done"] >= 3:
            stopping.set()

    stopped = isolated(plan, registry, store, to_stop, emit=emit, stop=stopping.is_set)
    to_stop.close()
    assert [r.status for r in stopped] == ["ran", "failed", "skipped", "skipped"] and stopped[1].exit_code == 130
    assert list(store.work(plan.step("model").key).glob("ckpt-main-*.pt"))
    again = isolated(plan, registry, store, processes)
    other = LocalStore(tmp_path / "whole")
    assert [r.digest for r in again] == [run_step(step, other, CPU).digest for step in fade(registry, other, pause=0.05).steps]


def test_errors_keep_their_code_on_the_way_back(registry: Registry, store: LocalStore, processes: ProcessExecutor, tmp_path: Path) -> None:
    content = {"name": "p", "steps": {"a": {"task": "images.load", "params": {"path": str(tmp_path / "pngs")}}}}
    (tmp_path / "pngs").mkdir()
    (tmp_path / "pngs" / "a.png").write_bytes(b"no picture")
    plan = make_plan(Pipeline.parse(content), registry, store)
    (bad,) = isolated(plan, registry, store, processes)
    assert bad.status == "failed" and bad.exit_code == 2 and "a.png" in bad.error
    plan = fade(registry, store)
    for room in ("staging", "work", "locks"):
        assert (store.root / room).is_dir()
    changed = plan.step("images").__class__(**{**plan.step("images").__dict__, "key": "0" * 40})
    (bad,) = isolated(Plan(plan.pipeline, (changed,)), registry, store, processes)
    assert bad.status == "failed" and "does not follow from what it asks" in bad.error


def test_a_server_that_dies_is_told_and_replaced(registry: Registry, store: LocalStore) -> None:
    mine = ProcessExecutor([])
    plan = fade(registry, store)
    first = submitted(mine, plan.step("images"), store)
    assert first.status == "ran"
    assert mine._server is not None
    mine._server.kill()
    mine._server.wait()
    assert submitted(mine, plan.step("images"), store).status == "reused"
    mine.close()
    broken = ProcessExecutor(["no_such_module_anywhere"])
    lost = submitted(broken, fade(registry, LocalStore(store.root.with_name("x"))).step("images"), store)
    assert lost.status == "failed" and "server" in lost.error
    broken.close()


def test_a_server_that_dies_as_it_is_handed_a_step_is_replaced(
    registry: Registry, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the worker's socket on its way: nobody has read the request, so the step was not begun."""
    mine, sent = ProcessExecutor([]), list[int]()

    def send(control: socket.socket, *more: Any) -> int:
        sent.append(real(control, *more))
        if len(sent) == 1:
            assert mine._server is not None
            mine._server.kill()
            mine._server.wait()
        return sent[-1]

    real = socket.send_fds
    monkeypatch.setattr(socket, "send_fds", send)
    assert submitted(mine, fade(registry, store).step("images"), store).status == "ran" and len(sent) == 2
    mine.close()


class Dying:
    """A server whose sockets are closed, and that the kernel has not buried yet: on a machine without a free core that takes a while."""

    def wait(self, timeout: float) -> int:
        if timeout < 60:
            raise subprocess.TimeoutExpired("server", timeout)
        return -9


def test_a_server_that_takes_long_to_die_is_named_all_the_same(registry: Registry, store: LocalStore) -> None:
    request = request_of(fade(registry, store).step("images"), store, CPU)
    told = processes_module._death(request, "the step server", processes_module._end(Dying()))  # type: ignore[arg-type]
    assert "the step server was killed by SIGKILL" in told


CALLER = """
import os, sys
from fabloom.running.engine import Engine, run_inline
from fabloom.method import Options
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.running.executors.processes import ProcessExecutor
from fabloom.flows.cli.stopping import StopRequest

stop = StopRequest()
registry, store = Registry.load(), LocalStore(sys.argv[1])
plan = make_plan(registry.pipeline("fade").override(sys.argv[2:]), registry, store)
processes = ProcessExecutor(os.environ.get("PRELOAD", "torch").split())
def emit(event):
    print(event["event"], event["step"], event.get("done", ""), flush=True)
results = run_inline(plan, Engine(registry, store, Options(device="cpu", checkpoint_seconds=0.0), emit, stop, processes))
processes.close()
sys.exit(max(r.exit_code for r in results))
"""


def call(store: LocalStore, *settings: str, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CALLER, str(store.root), *settings]
    environment = {**os.environ, **variables}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)


PATIENCE = 240.0
"""Seconds after which something never happens. What is waited for cannot come about by itself, so a busy machine changes nothing."""


def family(child: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(child.pid).children(recursive=True)


def wait_for(child: subprocess.Popen[str], done: Callable[[], bool]) -> None:
    """Wait until it is done; the child must not end before."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert child.poll() is None, "the caller ended too early"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def gone(others: list[psutil.Process]) -> bool:
    """Whether all of them end, or are dead and only not yet buried."""

    def alive(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    deadline = time.monotonic() + PATIENCE
    while any(map(alive, others)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(alive, others))


def test_a_caller_killed_while_the_server_still_imports_leaves_nobody(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = tmp_path / "held"
    (tmp_path / "endless.py").write_text(f"import pathlib, time\npathlib.Path({str(held)!r}).touch()\ntime.sleep(3600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    child = call(store, PRELOAD="endless")
    wait_for(child, held.exists)
    others = family(child)
    assert len(others) == 2, "the server and its guard"
    child.kill()
    child.wait()
    assert gone(others), "the import would never end by itself"
    assert not list(store.keys())


def test_two_callers_on_one_store_make_each_step_once(registry: Registry, store: LocalStore) -> None:
    settings = ["steps.model.params.pause=0.05", "steps.offline.params.pause=0.1"]
    children = [call(store, *settings) for _ in range(2)]
    told = [child.communicate(timeout=PATIENCE)[0].splitlines() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    started = sorted(line.split()[1] for lines in told for line in lines if line.startswith("started"))
    assert started == ["images", "model", "offline", "report"]
    health = verify(store)
    assert health.checked == 4 and not health.problems and not health.warnings and not health.leftovers
