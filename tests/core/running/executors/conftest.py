"""Executors that share one step server."""

from __future__ import annotations

from pathlib import Path
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


@pytest.fixture(scope="session")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of modules that nobody may import, named like some that every Python imports late; whoever does leaves a file `sprung`."""
    folder = tmp_path_factory.mktemp("trap")
    for module in ("socket", "pickle", "random", "tempfile", "numpy", "pydantic", "fabloom"):
        spring = f"open({str(folder / 'sprung')!r}, 'a').write({module!r} + chr(10))"
        (folder / f"{module}.py").write_text(f"{spring}\nraise ImportError('a trap')\n")
    return folder
