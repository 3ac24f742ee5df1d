"""A short version of `benchmarks/faults.py`: kills, a full disk and a broken one before single system calls lose nothing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def syscalls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[object]:
    """The module, where the kernel can do what it asks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import syscalls

    try:
        syscalls.supervised(lambda: 0, tmp_path, lambda n, call, path: 0)
    except syscalls.Unavailable as error:
        pytest.skip(f"no seccomp user notification here: {error}")
    yield syscalls


def test_faults_before_single_calls_lose_nothing_and_the_next_run_heals(syscalls: object) -> None:
    command = [sys.executable, BENCHMARKS / "faults.py", "--points", "9", "--seed", str(os.getpid()), "--json"]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-4000:]
    summary = json.loads(done.stdout)
    assert done.returncode == 0 and summary["sound"], summary["broken"]
    assert summary["points"] == 9 and summary["calls"] > 500
    assert {code.partition(":")[0] for code in summary["codes"]} == {"kill", "enospc", "eio"}
    assert summary["done_by_itself"] < 9, "the faults reached nothing"


def test_a_fault_comes_before_its_call_also_in_a_thread_and_below_python(syscalls: object, tmp_path: Path) -> None:
    """The instrument itself: what it counts, and what the process that it holds sees."""
    import threading

    from syscalls import KILL, supervised

    def work() -> int:
        (tmp_path / "a").write_bytes(b"old")
        worker = threading.Thread(target=os.mkdir, args=(tmp_path / "b",))
        worker.start()
        worker.join()
        (tmp_path.parent / "elsewhere").write_bytes(b"")
        try:
            (tmp_path / "a").rename(tmp_path / "c")
        except OSError as error:
            return error.errno or 0
        return 0

    calls: list[tuple[str, str]] = []
    ending = supervised(work, tmp_path, lambda n, call, path: calls.append((call, path)) or 0)
    assert calls == [("openat", "a"), ("write", "a"), ("mkdir", "b"), ("rename", "a")]
    assert (ending.status, ending.calls, (tmp_path / "c").read_bytes()) == (0, 4, b"old")
    (tmp_path / "b").rmdir()
    ending = supervised(work, tmp_path, lambda n, call, path: errno.EIO if call == "rename" else 0)
    assert ending.status == errno.EIO and (tmp_path / "a").exists() and ending.faults == ["rename a: EIO"]
    (tmp_path / "b").rmdir()
    ending = supervised(work, tmp_path, lambda n, call, path: KILL if n == 3 else 0)
    assert ending.status == -9 and not (tmp_path / "b").exists()
