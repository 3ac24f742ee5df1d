"""Our executors against the kit that third parties get."""

from __future__ import annotations

from fabloom.kinds.store import Store
from fabloom.registry import Registry
from fabloom.running.executors import Executor, InlineExecutor, ProcessExecutor
from fabloom.testing import ExecutorConformance


class TestInline(ExecutorConformance):
    def make(self, registry: Registry, store: Store) -> Executor:
        return InlineExecutor(registry, store)


class TestProcesses(ExecutorConformance):
    def make(self, registry: Registry, store: Store) -> Executor:
        return ProcessExecutor(["torch"])
