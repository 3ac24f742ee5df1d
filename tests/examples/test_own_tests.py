"""The tests that authors ship beside their distributions: those of the examples, and those of a plugin fresh from the template.

All installed together, and asked in one run: the conformance kit starts two Pythons with torch in memory, which it then starts once.
`mlflow-observer`, which would log all that the others do, is asked alone (test_observer.py).
"""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from fabloom.flows.scaffold import new_plugin
from fabloom.registry import Registry

SHIPPED = {"deeppcb": 40, "edge-metric": 25, "line-edges": 35, "pcb-screening": 6, "remote-store": 40, "deep-loom": 25}
"""Tests that each has at least."""


@pytest.fixture(scope="module")
def results(
    install_example: Callable[[str | Path], Path],
    warm: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, str]]:
    """Distribution -> test -> what is wrong with it, '' where nothing is."""
    folder = tmp_path_factory.mktemp("shipped")
    new_plugin("deep-loom", folder, Registry.load())
    sites = {name: install_example(folder / name if name == "deep-loom" else name) for name in SHIPPED}
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", sites["deeppcb"].parents[1]]
    words += ["--junit-xml", folder / "results.xml", *(site.parent / "source" / "tests" for site in sites.values())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sites.values())), "FABLOOM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = warm(words, cwd=folder, env=environment)
    assert (folder / "results.xml").is_file(), done.stdout[-3000:] + done.stderr[-2000:]
    found: dict[str, dict[str, str]] = {name: {} for name in SHIPPED}
    for case in ET.parse(folder / "results.xml").iter("testcase"):
        wrong = [f"{child.tag}: {child.get('message')}\n{child.text}" for child in case if child.tag in ("failure", "error", "skipped")]
        at = next(name for name, site in sites.items() if (case.get("classname") or "").startswith(f"{site.parent.name}."))
        found[at][f"{case.get('classname')}.{case.get('name')}"] = "\n".join(wrong)
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_passes_its_own_tests(name: str, results: dict[str, dict[str, str]]) -> None:
    assert not {test: wrong for test, wrong in results[name].items() if wrong and "has no task 'sample'" not in wrong}
    assert len(results[name]) >= SHIPPED[name], "and they are all there"
