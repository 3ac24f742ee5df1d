"""Our executors against the kit that third parties get."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fabloom.kinds.store import Store
from fabloom.registry import Registry
from fabloom.running.executors import Executor, InlineExecutor, ProcessExecutor
from fabloom.testing import ExecutorConformance


class TestInline(ExecutorConformance):
    def make(self, registry: Registry, store: Store) -> Executor:
        return InlineExecutor(registry, store)


@pytest.fixture(scope="module")
def host() -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(["torch", "scipy.fft"])
    yield made
    made.close()


class TestProcesses(ExecutorConformance):
    """With one step server for all; that one is started and ended is in test_processes.py."""

    @pytest.fixture(autouse=True)
    def _lodge(self, host: ProcessExecutor, lodger: Callable[[ProcessExecutor], Executor]) -> None:
        self.lodge = lambda: lodger(host)

    def make(self, registry: Registry, store: Store) -> Executor:
        return self.lodge()
