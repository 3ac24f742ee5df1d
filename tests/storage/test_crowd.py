"""A short version of `benchmarks/crowd.py`: promotions that meet, and runs beside collectors, verifiers and readers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fabloom.storage import refs


@pytest.fixture(scope="module")
def crowd() -> ModuleType:
    spec = importlib.util.spec_from_file_location("crowd", Path(__file__).parents[2] / "benchmarks" / "crowd.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["crowd"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("how", ["threads", "equal ids", "id 1 each"])
def test_promotions_that_meet_are_all_in_the_log_and_one_wins_each_round(crowd: Any, how: str, tmp_path: Path) -> None:
    if how == "id 1 each" and not crowd.may_unshare():
        how = "processes"
    found = crowd.promotions(tmp_path / "p", how, 4, 5)
    assert not crowd.faults(found), found
    assert (found["promotions"], found["winners"]) == (20, 5) and found["looks"] > 0


def test_the_count_of_promotions_can_fail(crowd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refs.LocalRefs, "alone", lambda self: crowd.contextlib.nullcontext())
    assert {"lost", "winners_wrong"} & set(crowd.faults(crowd.promotions(tmp_path / "p", "threads", 4, 5)))


def test_runs_collectors_verifiers_and_readers_do_not_disturb_each_other(crowd: Any, tmp_path: Path) -> None:
    found = crowd.together(tmp_path / "r", 4, 8, 1)
    assert not crowd.faults(found), found
    assert found["runs"] == 8 and found["steps_made"] > 0 and found["verifications"] > 0 and found["cleanings"] > 0
