"""An executor of somebody else's: a class in a test, handed to `fabloom.run`; no file of fabloom's knows it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import fabloom
from fabloom.errors import UserError
from fabloom.kinds.store import Store
from fabloom.method import StepRequest, StepResult
from fabloom.progress import Emit
from fabloom.registry import Registry
from fabloom.running.executors import Executor, InlineExecutor
from fabloom.testing import ExecutorConformance

PIPELINE = {"name": "tiny", "steps": {"images": {"task": "line-pair.simulate", "params": {"count": 4, "size": 32}}}}


class Pooled:
    """Steps in threads of this process."""

    def __init__(self, registry: Registry, store: Store) -> None:
        self.asked: list[str] = []
        self._inner = InlineExecutor(registry, store)
        self._pool = ThreadPoolExecutor(2)

    def submit(self, request: StepRequest, emit: Emit) -> Future[StepResult]:
        self.asked.append(request.key)
        return self._pool.submit(lambda: self._inner.submit(request, emit).result())

    def stop(self) -> None:
        self._inner.stop()

    def close(self) -> None:
        self._pool.shutdown()


class TestPooled(ExecutorConformance):
    def make(self, registry: Registry, store: Store) -> Executor:
        return Pooled(registry, store)


@pytest.fixture
def pooled(tmp_path: Path) -> Iterator[tuple[Pooled, Store]]:
    registry = Registry.load()
    store = registry.open_store(str(tmp_path / "store"))
    executor = Pooled(registry, store)
    yield executor, store
    executor.close()


def test_a_run_hands_its_steps_to_it_and_keeps_what_is_done_from_it(pooled: tuple[Pooled, Store]) -> None:
    executor, store = pooled
    first, second = (fabloom.run(PIPELINE, store=store, executor=executor, device="cpu").steps[0] for _ in range(2))
    assert (first.status, second.status) == ("ran", "reused") and executor.asked == [first.key]
    with pytest.raises(UserError, match="inline"):
        fabloom.run(PIPELINE, store=store, executor=executor, engine="prefect")
