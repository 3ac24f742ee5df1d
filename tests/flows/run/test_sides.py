"""What is compared: runs with reports, and where one has none, which to take instead."""

from __future__ import annotations

from typing import Any

import pytest

from fabloom.errors import UserError
from fabloom.flows.run.log import RunRecord
from fabloom.flows.run.sides import sides


def ran(name: str, kind: str) -> RunRecord:
    step = {"name": "last", "kind": kind, "status": "ran"}
    return RunRecord(name, {"name": name}, "2026-01-01T00:00:00Z", "done", 0, 1.0, [step], {})


def test_a_run_without_a_report_is_named_with_the_nearest_that_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    far, near, first, plain = ran("far", "Report"), ran("near", "Report"), ran("first", "Report"), ran("predict", "ImageSet")
    runs = [plain, ran("p2", "ImageSet"), near, first, far]
    monkeypatch.setattr("fabloom.flows.run.sides.side", lambda record, *_: record)
    for pair in ((plain, first), (first, plain)):
        with pytest.raises(UserError, match=r"run 'predict' \(done\) has no report.*nearest run that has one is number 3 .*'near'"):
            sides(*pair, runs, nothing, nothing)
    with pytest.raises(UserError, match=r"number 4 .*'first'"):  # not the run that it is held against
        sides(plain, near, runs, nothing, nothing)
    with pytest.raises(UserError, match="No other run has one"):
        sides(plain, near, [plain, near], nothing, nothing)
    with pytest.raises(UserError, match="No run has one"):
        sides(plain, plain, [plain], nothing, nothing)
