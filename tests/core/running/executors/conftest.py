"""Executors that share one step server."""

from __future__ import annotations

from typing import Any

import pytest

from fabloom.running.executors import ProcessExecutor


class Lodger(ProcessExecutor):
    """One whose step server is another's: starting one takes more time than most tests. What is stopped or closed is the lodger alone."""

    def __init__(self, host: ProcessExecutor) -> None:
        super().__init__()
        self._host = host

    def _start(self) -> Any:
        return self._host._start()


@pytest.fixture(scope="session")
def lodger() -> type[Lodger]:
    """`lodger(host)` is an executor of its own with the server of `host`."""
    return Lodger
