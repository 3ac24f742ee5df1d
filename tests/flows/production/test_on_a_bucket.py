"""Nights of one line on two machines whose store is a bucket: no lock holds the line for both, the refs alone decide."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fabloom.flows.production.night import Night, retrain
from fabloom.storage.backends.objects.store import ObjectStore

if TYPE_CHECKING:
    from conftest import Line
else:
    Line = Any


@pytest.fixture
def place(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FABLOOM_WORK_DIR", str(tmp_path / "work"))
    return f"s3://lab/{secrets.token_hex(4)}"


def test_of_two_machines_nights_one_promotes_and_gc_meanwhile_takes_nothing_of_either(line: Line, place: str) -> None:
    first = line.night()
    line.grey(120)
    other = ObjectStore(place, line.registry.kinds, work=line.folder / "theirs")
    theirs: list[Night] = []
    removed: list[str] = []

    def emit(event: dict[str, Any]) -> None:
        if event["event"] == "started" and event.get("step") == "evaluation" and not theirs:
            theirs.append(retrain(line.spec, replace(line.how(), store=other)))
            removed.extend(other.upkeep.collect(-1)[0])

    ours = retrain(line.spec, line.how(emit=emit))
    assert (first["outcome"], theirs[0].outcome, ours.outcome) == ("Promoted", "Promoted", "NoChange")
    assert "nothing is left to change" in ours.record.reason, "the very same challenger: nobody lost"
    log = line.store.refs.log("unit/champion")
    assert [entry.key for entry in log] == [first["challenger"], ours.record.challenger] and theirs[0].decision in log[-1].why
    assert line.store.refs.get("unit/champion") == theirs[0].record.challenger == ours.record.challenger != first["challenger"]
    assert ours.run is not None and removed and not {step.key for step in ours.run.steps} & {*removed}
    assert not other.upkeep.verify().problems and line.night()["outcome"] == "NoChange"
    other.upkeep.collect(-1)
    assert {ours.decision, theirs[0].decision, first["decision"]} < {*other.keys()}, "what a line decided is kept for good"
