"""A short version of `benchmarks/two_hosts.py`: two hosts, imitated by namespaces, on one folder."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def two_hosts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("two_hosts", Path(__file__).parents[2] / "benchmarks" / "two_hosts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["two_hosts"] = module
    spec.loader.exec_module(module)
    return module


def test_two_hosts_on_one_folder_see_each_others_locks_lines_and_pins(two_hosts: Any, tmp_path: Path) -> None:
    refused = two_hosts.allowed()
    if refused:
        pytest.skip(f"no namespaces here: {refused}")
    found = two_hosts.folder(tmp_path, 3)
    first, second = found["who"]
    assert (first["host"], second["host"]) == ("host-a", "host-b") and first["pid"] == second["pid"] == 1
    assert found["the other's loopback"] == "ConnectionRefusedError"
    assert found["key held by a, asked by b"].startswith("waited") and found["key after a died"].startswith("held")
    assert found["line held by a, asked by b"] == "process 1 on host-a, run 'nightly'" and found["line after a died"].startswith("held")
    assert found["promotions against one champion, as both were told"] == {"moved won": 3} and sum(found["in the log, by"].values()) == 3
    assert found["one step asked by both at once"] == [["ran", "reused"]] * 3 and found["equal digests"]
    assert all("not to be seen from here" in line for line in found["told meanwhile"]), "its number is that of another process here"
    assert found["b's collector takes"] == {"what a's run pins": False, "what nobody needs": True}
    assert found["b's collector takes, after a died, what a's run pinned"]
    assert found["a's three blocks of 512 rows, b goes on at row"] == 3 * 512
