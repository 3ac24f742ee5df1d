"""Steps on dask workers: a cluster of two that is running already, and one of the executor's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from fabloom.errors import EnvironmentProblem, UserError
from fabloom.kinds.store import Store
from fabloom.registry import Registry
from fabloom.running.executors import Executor
from fabloom.running.executors.dask import DaskExecutor
from fabloom.running.requests import request_of
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import ExecutorConformance
from fabloom.testing.executor.conformance import CPU, ignore, simulate, wait

distributed = pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

PRELOAD = ["torch", "scipy.fft"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        host="127.0.0.1", n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=40, memory_limit=0
    ) as made:
        yield made


class Guest(DaskExecutor):
    """One that the kit's fixture does not close, so that the workers' step servers serve the next test too."""

    def close(self) -> None:
        if self._stopped or self._client is None:
            super().close()


class TestRunningCluster(ExecutorConformance):
    """Two workers of a cluster that is running already."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _shared(cls, cluster: Any) -> Iterator[None]:
        cls.address, cls.guest = cluster.scheduler_address, Guest(2, cluster.scheduler_address, PRELOAD)
        yield
        DaskExecutor.close(cls.guest)

    def make(self, registry: Registry, store: Store) -> Executor:
        if self.guest._stopped:
            type(self).guest = Guest(2, self.address, PRELOAD)
        return self.guest


def test_own_workers_share_the_cores_lead_their_own_groups_and_end(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step to a worker that computes with its share, and nobody is left."""
    monkeypatch.setenv("FABLOOM_THREADS", "2")
    step = simulate(Registry.load(), store, count=4).steps[0]
    executor = DaskExecutor(2)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    try:
        assert wait(executor.submit(request_of(step, store, CPU), ignore)).status == "ran"
        assert store.manifest(step.key)["threads"] == 1
        started = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
        workers = executor._client.run(os.getpgrp).values()
        assert len(set(workers)) == 2 and os.getpgrp() not in workers, "a Ctrl-C in the terminal does not reach them"
        held = [psutil.Process(), *started]
        ports = {one.laddr.ip for process in held for one in process.net_connections() if one.status == psutil.CONN_LISTEN}
        assert ports == {"127.0.0.1"}
    finally:
        executor.close()
    _, alive = psutil.wait_procs([child for child in started if "resource_tracker" not in _command(child)], timeout=30)
    assert alive == []


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_what_cannot_be_reached_is_refused_with_what_to_do(store: LocalStore, cluster: Any, tmp_path: Path) -> None:
    """A cluster that is not there, a store in this process, a folder that is on this machine alone."""
    request = request_of(simulate(Registry.load(), store, count=4).steps[0], store, CPU)
    with pytest.raises(UserError, match="memory of this process"):
        DaskExecutor(2).submit(replace(request, store="memory"), ignore)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(EnvironmentProblem, match=r"tcp://127\.0\.0\.1:9 cannot be used"):
        patch.setattr("fabloom.running.executors.dask.PATIENCE", 1)
        DaskExecutor(2, "tcp://127.0.0.1:9").submit(request, ignore)
    executor = DaskExecutor(2, cluster.scheduler_address)
    refused = wait(executor.submit(replace(request, store=str(tmp_path / "elsewhere")), ignore))
    executor.close()
    assert refused.exit_code == EnvironmentProblem.exit_code and "a store that all of them reach" in refused.error
    assert not (tmp_path / "elsewhere").exists()
