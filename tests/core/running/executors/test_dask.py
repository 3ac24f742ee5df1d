"""Steps on two dask workers: the executor's own, and as a cluster that is running already."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import psutil
import pytest

from fabloom.errors import EnvironmentProblem, UserError
from fabloom.kinds.store import Store
from fabloom.method import StepResult
from fabloom.registry import Registry
from fabloom.running.executors import Executor
from fabloom.running.executors.dask import DaskExecutor
from fabloom.running.requests import request_of
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import ExecutorConformance
from fabloom.testing.executor.conformance import CPU, ignore, simulate, wait

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

from fabloom.running.executors.lodging import Lodging  # imports dask

PRELOAD = ["torch", "scipy.fft"]


@pytest.fixture(scope="module")
def own(trap: Path) -> Iterator[DaskExecutor]:
    """With two workers of its own, which the other tests take for a cluster that is running already; begun in a folder of traps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FABLOOM_THREADS", "2")
        patch.chdir(trap)
        made = DaskExecutor(2)
        made._connected()
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(own: DaskExecutor) -> str:
    assert own._cluster is not None
    return str(own._cluster.scheduler_address)


class Guest(DaskExecutor):
    """One that the kit's fixture does not close, so that the workers' step servers serve the next test too."""

    def close(self) -> None:
        if self._stopped or self._client is None:
            super().close()


class TestRunningCluster(ExecutorConformance):
    """Two workers of a cluster that is running already."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _shared(cls, address: str) -> Iterator[None]:
        cls.address, cls.guest = address, Guest(2, address, PRELOAD)
        yield
        DaskExecutor.close(cls.guest)

    def make(self, registry: Registry, store: Store) -> Executor:
        if self.guest._stopped:
            type(self).guest = Guest(2, self.address, PRELOAD)
        return self.guest


def test_what_cannot_be_reached_is_refused_with_what_to_do(store: LocalStore, address: str, tmp_path: Path) -> None:
    """A cluster that is not there, a store in this process, a folder that is on this machine alone."""
    request = request_of(simulate(Registry.load(), store, count=4).steps[0], store, CPU)
    with pytest.raises(UserError, match="memory of this process"):
        DaskExecutor(2).submit(replace(request, store="memory"), ignore)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(EnvironmentProblem, match=r"tcp://127\.0\.0\.1:9 cannot be used"):
        patch.setattr("fabloom.running.executors.dask.PATIENCE", 1)
        DaskExecutor(2, "tcp://127.0.0.1:9").submit(request, ignore)
    executor = DaskExecutor(2, address)
    refused = wait(executor.submit(replace(request, store=str(tmp_path / "elsewhere")), ignore))
    executor.close()
    assert refused.exit_code == EnvironmentProblem.exit_code and "a store that all of them reach" in refused.error
    assert not (tmp_path / "elsewhere").exists()


class Unready:
    """Stands for dask's client: `faults` says what the next ones cannot do."""

    faults: ClassVar[list[str]] = []

    def __init__(self, *_: Any, **__: Any) -> None:
        self.fault = self.faults.pop(0) if self.faults else ""
        if self.fault == "connect":
            raise OSError("no answer")

    def register_plugin(self, *_: Any, **__: Any) -> None:
        if self.fault == "register":
            raise OSError("no room")

    def submit(self, work: Any, request: dict[str, Any], *_: Any, **__: Any) -> Future[Any]:
        remote = Future[Any]()
        remote.set_result(StepResult(request["name"], "t.t", "Model", "0" * 40, "ran").as_dict())
        return remote

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def test_what_could_not_be_connected_leaves_no_cluster_and_the_next_step_runs(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr("distributed.LocalCluster", lambda **_: SimpleNamespace(close=lambda: ended.append(1)))
    monkeypatch.setattr("distributed.Client", Unready)
    monkeypatch.setattr(Unready, "faults", ["connect", "register"])
    request = request_of(simulate(Registry.load(), store, count=4).steps[0], store, CPU)
    executor = DaskExecutor(2)
    for number in (1, 2):
        with pytest.raises(EnvironmentProblem, match="cannot be used"):
            executor.submit(request, ignore)
        assert len(ended) == number, "the cluster was started already"
    assert executor.submit(request, ignore).result(timeout=30).status == "ran"
    executor.close()
    assert len(ended) == 3


def test_a_worker_that_dies_costs_no_step_and_none_is_left_in_the_end(
    own: DaskExecutor, store: LocalStore, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask gives the step to the other worker. Each has its share of the cores and a process group of its own, and imports nothing of the
    folder that it is begun in."""
    monkeypatch.chdir(trap)
    safe = os.environ.get("PYTHONSAFEPATH")
    before = set(psutil.Process().children(recursive=True))  # servers that other tests share
    step = simulate(Registry.load(), store, count=200).steps[0]
    client = own._connected()
    groups = set(client.run(os.getpgrp).values())
    assert len(groups) == 2 and os.getpgrp() not in groups, "a Ctrl-C in the terminal does not reach them"
    killed: list[int] = []

    def kill_once(event: Any) -> None:
        if event["event"] == "progress" and not killed:
            address = next(where for where, what in client.processing().items() if what)
            killed.append(client.run(os.getpid, workers=[address])[address])
            os.kill(killed[0], signal.SIGKILL)

    result = wait(own.submit(request_of(step, store, CPU), kill_once))
    assert killed and result.status == "ran", result.error
    assert store.manifest(step.key)["threads"] == 1
    assert own._cluster is not None and not (trap / "sprung").exists()
    assert {nanny.pre_spawn_env["PYTHONSAFEPATH"] for nanny in own._cluster.workers.values()} == {"1"}, "as dask begins those anew that die"
    children = set(psutil.Process().children(recursive=True)) - before
    started = [child for child in children if "resource_tracker" not in _command(child)]
    ports = {one.laddr.ip for process in [psutil.Process(), *started] for one in _connections(process) if one.status == psutil.CONN_LISTEN}
    assert ports == {"127.0.0.1"}
    own.close()
    assert started and psutil.wait_procs(started, timeout=30)[1] == []
    assert os.environ.get("PYTHONSAFEPATH") == safe, "and what this process starts afterwards is not touched"


@pytest.mark.parametrize("own", [True, False])
def test_a_worker_of_ours_leads_a_process_group_whenever_dask_begins_it_and_one_of_others_is_left_in_its_own(own: bool) -> None:
    child = os.fork()
    if child == 0:
        Lodging("name", (), own=own).setup(SimpleNamespace(plugins={}))
        os._exit(os.getpgrp() == os.getpid())
    assert bool(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) is own


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _connections(process: psutil.Process) -> list[Any]:
    try:
        return list(process.net_connections())
    except psutil.Error:
        return []
