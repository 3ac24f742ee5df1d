"""Nights of a line, through the command: what is promoted, what is not, and what is left behind."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

from fabloom.flows.production.decision import Decision

if TYPE_CHECKING:
    from conftest import Line
else:
    Line = Any


def used() -> float:
    """CPU seconds of this process."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def test_three_nights_and_a_rollback(line: Line) -> None:
    first = line.night()
    assert (first["outcome"], first["champion"]) == ("Promoted", "") and "no champion" in first["reason"]
    line.grey(120)
    better = line.night()
    assert better["outcome"] == "Promoted" and better["champion"] == first["challenger"]
    assert line.store.refs.get("unit/champion") == better["challenger"] != first["challenger"]
    assert [(one["metric"], one["passed"]) for one in better["gate"]] == [("score", True)] and better["gate"][0]["interval"][0] > 0.01
    before, began = line.champion_file(), used()
    same = line.night()
    assert used() - began < 5 and same["outcome"] == "NoChange" and same["run"] is None
    line.grey(90)
    worse = line.night()
    assert worse["outcome"] == "Rejected" and "score" in worse["reason"] and "not above 0.01" in worse["reason"]
    assert line.champion_file() == before, "a night that rejects does not touch the ref"
    line.grey(120)
    assert line.command("ref", "rollback", "unit/champion", "--why", "false alarms")[0] == 0
    held = line.night()
    assert held["outcome"] == "Held" and "false alarms" in held["reason"] and held["run"] is None
    assert line.store.refs.get("unit/champion") == first["challenger"]
    line.grey(130)
    assert line.night()["outcome"] == "Promoted", "new data may be promoted again"
    log = line.store.refs.log("unit/champion")[-1]
    assert log.why.startswith("decision ") and line.store.resolve(log.why.split()[1].rstrip(":")) == line.store.refs.get("unit/decision")
    nights = [line.store.get(key) for key in line.store.refs.history("unit/decision")]
    assert [isinstance(one, Decision) and one.record.outcome for one in nights] == [
        "Promoted", "Promoted", "NoChange", "Rejected", "Held", "Promoted"
    ]  # fmt: skip
