"""What pytest finds wherever fabloom is installed: the option `--fabloom-lock` and fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fabloom.storage.backends.local import LocalStore
    from fabloom.testing.method.bench import Bench
    from fabloom.testing.store.memory import MemoryStore


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    group = parser.getgroup("fabloom", "fabloom's conformance kit")
    group.addoption(
        "--fabloom-lock",
        action="store_true",
        help="Write fabloom.lock beside the tests: each task's version and a hash of its method's source.",
    )


@pytest.fixture
def fabloom_store(tmp_path: Path) -> LocalStore:
    """An empty store in a temporary folder."""
    from fabloom.storage.backends.local import LocalStore

    return LocalStore(tmp_path / "store")


@pytest.fixture
def fabloom_memory_store() -> Iterator[MemoryStore]:
    """An empty store in memory."""
    from fabloom.testing.store.memory import MemoryStore

    yield MemoryStore()


@pytest.fixture(scope="class")
def fabloom_bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Where `MethodConformance` runs the tasks of its method, shared by the tests of a class."""
    from fabloom.testing.method.bench import Bench

    suite = request.cls()
    return Bench(suite.method, suite.task_params, suite.inputs, suite.seconds, tmp_path_factory.mktemp(suite.method.name))
