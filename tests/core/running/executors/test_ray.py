"""Steps on two workers of ray, by the kit for executors."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fabloom.errors import EnvironmentProblem, UserError
from fabloom.kinds.store import Store
from fabloom.progress import Event
from fabloom.registry import Registry
from fabloom.running.executors import Executor
from fabloom.running.executors.ray import RayExecutor
from fabloom.running.requests import request_of
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import ExecutorConformance
from fabloom.testing.executor.conformance import CPU, ignore, simulate, wait

pytest.importorskip("ray", reason="the extra 'ray' is not installed")

PRELOAD = ["torch", "scipy.fft"]


class Guest(RayExecutor):
    """One that the kit's fixture does not close, so that the workers' step servers serve the next test too."""

    def close(self) -> None:
        if self._stopped or not self._actors:
            super().close()


class TestRay(ExecutorConformance):
    """Two workers of its own."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _shared(cls) -> Iterator[None]:
        cls.guest = Guest(2, preload=PRELOAD)
        yield
        RayExecutor.close(cls.guest)

    def make(self, registry: Registry, store: Store) -> Executor:
        if self.guest._stopped:
            type(self).guest = Guest(2, preload=PRELOAD)
        return self.guest


def test_what_cannot_be_reached_is_refused_with_what_to_do(store: LocalStore) -> None:
    request = request_of(simulate(Registry.load(), store, count=4).steps[0], store, CPU)
    with pytest.raises(UserError, match="memory of this process"):
        RayExecutor(2).submit(replace(request, store="memory"), ignore)
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9"):
        with pytest.raises(EnvironmentProblem, match=rf"{address} cannot be used: ConnectionRefused"):
            RayExecutor(2, address).submit(request, ignore)


def test_a_worker_that_dies_gives_its_step_to_another_and_nothing_is_left(
    store: LocalStore, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only worker: ray starts it again. Neither imports what lies in the folder of the run."""
    monkeypatch.chdir(trap)
    executor = RayExecutor(1, preload=PRELOAD)
    before = signal.getsignal(signal.SIGTERM)
    killed: list[psutil.Process] = []

    def kill(event: Event) -> None:
        if event["event"] == "progress" and event["done"] > 0 and not killed:
            servers = [one for one in family() if "fabloom.running.executors.server" in one.cmdline()]
            killed.append(servers[0].parent())
            killed[0].kill()

    try:
        step = simulate(Registry.load(), store, count=600).steps[0]
        result = wait(executor.submit(request_of(step, store, CPU), kill))
        assert killed and result.status == "ran" and store.has(step.key), result.error
        assert signal.getsignal(signal.SIGTERM) is before and not (trap / "sprung").exists()
        mine = family()
    finally:
        executor.close()
    gone, alive = psutil.wait_procs(mine, timeout=5)
    assert gone and not alive


def family() -> list[psutil.Process]:
    """What this process started, and what that did."""
    return psutil.Process().children(recursive=True)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")
