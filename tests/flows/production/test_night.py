"""Nights of a line, through the command: what is promoted, what is not, and what is left behind."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fabloom.errors import UserError
from fabloom.flows.production import line as lines
from fabloom.flows.production.decision import Decision
from fabloom.flows.production.night import LONGEST, rehearse, retrain

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
    assert worse["outcome"] == "Rejected" and "score" in worse["reason"] and "does not lie above 0.01" in worse["reason"]
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


def test_nothing_is_kept_twice_and_nothing_runs_on_a_dry_run(line: Line) -> None:
    plan = line.night("--dry-run")
    assert plan["outcome"] is None and plan["steps"] == {"images": "run", "model": "run", "evaluation": "run"}
    assert line.store.refs.names() == ["unit/heldout"] and len([*line.store.keys()]) == 1
    line.night()
    kept = [*line.store.keys()]
    same = line.night("--dry-run", "--redo", "model")
    assert same["outcome"] == "NoChange" and {*same["steps"].values()} == {"not run"} and [*line.store.keys()] == kept
    assert line.night()["decision"] == line.night()["decision"] and len([*line.store.keys()]) == len(kept) + 1
    assert len(line.store.refs.log("unit/decision")) == 2, "a night in which nothing changed adds nothing"


def test_a_decision_reads_well_and_is_found_by_its_line(line: Line) -> None:
    line.night("--note", "after the new recipe")
    line.grey(140)
    line.night()
    line.grey(110)
    line.night()
    code, out, _ = line.command("show", "unit/decision")
    assert code == 0
    for told in ("Rejected: the champion stays", "does not lie above 0.01", "challenger minus champion", "ref:unit/heldout", "score"):
        assert told in out
    found = json.loads(line.command("drift", "unit", "--json")[1])
    assert [row["outcome"] for row in found["rows"]] == ["Promoted", "Promoted", "Rejected"] and found["metric"] == "score"
    assert found["rows"][2]["challenger"]["value"] < found["rows"][2]["champion"]["value"] == found["rows"][1]["challenger"]["value"]
    page = Path(found["page"]).read_text()
    assert "polyline" in page and "does not lie above 0.01" in page and "http" not in page.replace("http-equiv", "")
    assert "Promoted" in line.command("drift", "unit")[1]
    assert line.command("drift", "unti")[0] == 2
    code, _, err = line.command("drift", "unit", "--out", "data")
    assert code == 2 and "'data' is a folder" in err


def test_a_night_has_a_page_that_leads_with_its_outcome(line: Line, tmp_path: Path) -> None:
    line.night()
    line.grey(110)
    line.write(gate=[{"metric": "score", "better": "up", "by": 0.01}, {"metric": "false_alarms", "better": "down", "no_worse_than": 0.1}])
    line.night("--note", "5 > 4 & all that")
    kept = line.store.refs.get("unit/decision")
    told = json.loads(line.command("report", "unit", "--json")[1])
    assert (told["line"], told["decision"], told["outcome"]) == ("unit", kept, "Rejected")
    page = Path(told["page"]).read_text()
    assert page.index("Rejected</h1>") < page.index("the evaluation has no false_alarms") < page.index("<svg") < page.index("<table")
    assert "wanted: above 0.01" in page and 'class="bar refused"' not in page and 'class="bar passed"' in page
    assert "5 &gt; 4 &amp; all that" in page and "ref:unit/heldout" in page and kept in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    for name in ("unit/decision", "ref:unit/decision", kept[:12], kept):
        code, out, _ = line.command("report", name, "-o", "page.html")
        assert code == 0 and Path(out.strip()).read_text() == page
    before = len([*line.store.pages.glob("decision-*")])
    first = next(iter(line.store.refs.history("unit/decision")))
    assert "Promoted</h1>" in Path(line.command("report", first)[1].strip()).read_text()
    assert len([*line.store.pages.glob("decision-*")]) == before + 1


def test_what_has_no_page_of_a_night_says_why(line: Line) -> None:
    code, _, err = line.command("report", "unti/decision")
    assert code == 2 and "has had no night" in err
    line.night()
    for name, words in (
        ("unti/decision", "line 'unti' has had no night in"),
        ("unti/decision", "Lines with nights: unit."),
        ("nothing", "there is no run 'nothing'"),
        ("nothing", "Lines with nights: unit."),
        ("unit/champion", "is no decision but Model"),
        (line.store.refs.get("unit/heldout")[:12], "is no decision but ImageSet"),
    ):
        code, out, err = line.command("report", name)
        assert code == 2 and not out and len(err.strip().splitlines()) == 1 and words in err, err
    line.store.set_aside(line.store.refs.get("unit/decision"))
    assert "not in" in line.command("report", "unit")[2]


@pytest.mark.parametrize(
    ("first", "outcome", "ran"),
    [("reject", "Rejected", False), ({"score": 0.3}, "Promoted", True), ({"score": 0.385}, "Rejected", True), ({"dice": 0}, "Rejected", True)],
)  # fmt: skip
def test_the_first_night_goes_by_its_policy(line: Line, first: Any, outcome: str, ran: bool) -> None:
    line.content["first"] = first
    done = retrain(line.spec, line.how())
    assert (done.outcome, done.run is not None) == (outcome, ran) and ("unit/champion" in line.store.refs.names()) == (
        outcome == "Promoted"
    )


def test_another_held_out_set_scores_both_anew(line: Line) -> None:
    line.night()
    line.grey(90)
    first = line.night()
    other = line.store.put(line.store.get(line.store.resolve("ref:unit/heldout")))
    found = line.store.get(other.key)
    from fabloom.kinds import ImageSet

    line.store.refs.set("unit/heldout", line.store.put(ImageSet.from_arrays(found.images[:7])).key)
    again = line.night()
    assert (
        again["outcome"] == first["outcome"] == "Rejected" and again["test"] != first["test"] and again["evaluation"] != first["evaluation"]
    )
    assert again["run"]["steps"]["model"]["status"] == "reused" and again["run"]["steps"]["evaluation"]["status"] == "ran"
    assert "From night 3 on the held-out set is" in line.command("drift", "unit")[1]


def test_a_champion_that_moves_meanwhile_supersedes_the_night(line: Line) -> None:
    line.night()
    line.grey(120)
    other = line.store.resolve("ref:unit/heldout")

    def meddling(event: Any) -> None:
        if event["event"] == "finished" and event["step"] == "evaluation":
            line.store.refs.set("unit/champion", other, why="by hand")

    done = retrain(line.spec, line.how(emit=meddling))
    assert done.outcome == "Superseded" and "any more" in done.record.reason and done.exit_code == 0
    assert line.store.refs.get("unit/champion") == other and line.store.get(done.decision).record.outcome == "Superseded"
    assert "set by hand" in line.command("drift", "unit")[1]


def test_the_same_challenger_promoted_elsewhere_meanwhile_is_no_loss(line: Line) -> None:
    line.night()
    line.grey(120)
    challenger = rehearse(line.spec, line.how())["challenger"]

    def elsewhere(event: Any) -> None:
        if event["event"] == "finished" and event["step"] == "evaluation":
            line.store.refs.set("unit/champion", challenger, why="decision of another machine")

    done = retrain(line.spec, line.how(emit=elsewhere))
    assert (done.outcome, done.exit_code) == ("NoChange", 0) and "while this night ran" in done.record.reason
    assert all(one["passed"] for one in done.record.gate), "its own evidence is kept"
    assert [entry.key for entry in line.store.refs.log("unit/champion")].count(challenger) == 1, "promoted once"
    assert line.store.refs.get("unit/decision") == done.decision and line.night()["outcome"] == "NoChange"


def test_a_first_champion_that_somebody_else_sets_meanwhile_stays(line: Line) -> None:
    other = line.store.resolve("ref:unit/heldout")

    def meddling(event: Any) -> None:
        if event["event"] == "finished" and event["step"] == "evaluation":
            line.store.refs.set("unit/champion", other)

    assert retrain(line.spec, line.how(emit=meddling)).outcome == "Superseded" and line.store.refs.get("unit/champion") == other


def test_failed_and_stopped_nights_say_so_and_change_nothing(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.night()
    line.grey(120)
    before = line.champion_file()
    monkeypatch.setenv("RIVAL_FAIL", "1")
    code, out, err = line.command("retrain", "retrain.yaml", "--engine", "inline", "--json")
    told = json.loads(out)
    assert (code, told["outcome"]) == (1, "Failed") and "the training broke" in told["reason"] and "the training broke" in err
    monkeypatch.delenv("RIVAL_FAIL")
    done = retrain(line.spec, line.how(stop=lambda: True))
    assert (done.outcome, done.exit_code) == ("Stopped", 130) and line.champion_file() == before
    assert line.night()["outcome"] == "Promoted"


def test_what_does_not_fit_together_is_told_before_anything_runs(line: Line) -> None:
    line.night()
    evaluate = line.content["evaluate"]
    for changes, told in (
        ({"challenger": "modle"}, "Did you mean 'model'?"),
        ({"challenger": "images"}, "expects Model"),
        ({"evaluate": {**evaluate, "test": "held"}}, "is no step of pipeline"),
        ({"evaluate": {**evaluate, "test": "ref:unit/hold"}}, "Did you mean"),
        ({"evaluate": {**evaluate, "task": "rival.train"}}, "has no input of that name"),
        ({"evaluate": {**evaluate, "params": {"source": 3}}}, "Did you mean 'sources'?"),
        ({"check": {"step": "model"}}, "only an ImageSet"),
        ({"check": {"step": "imagse"}}, "Did you mean 'images'?"),
        ({"evaluate": {**evaluate, "task": "rival.evaluat"}}, "evaluate.task: there is no task"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            retrain(type(line.spec).parse({**line.content, **changes}), line.how())
        assert told in str(caught.value)
    for way in (retrain, rehearse):
        with pytest.raises(UserError, match="modle"):
            way(line.spec, line.how(redo=["modle"]))
    assert len(line.store.refs.log("unit/decision")) == 1


def test_the_log_of_the_champion_names_the_very_decision_that_is_kept(line: Line) -> None:
    """Also where its reason has to be cut: one night is one artifact."""
    gate = [{"metric": "score", "better": "up", "by": 0.01}] * 20
    line.write(gate=gate)
    line.night()
    line.grey(120)
    before = len([*line.store.keys()])
    promoted = line.night()
    assert promoted["outcome"] == "Promoted" and len(promoted["reason"]) == LONGEST
    why = line.store.refs.log("unit/champion")[-1].why
    assert why.split()[1].rstrip(":") == promoted["decision"] and why.endswith("…")
    assert len([*line.store.keys()]) == before + 4, "images, model, evaluation, decision"


def test_a_line_is_one_nights_and_a_killed_one_holds_nothing(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.night()
    line.grey(120)
    before, hold = line.champion_file(), line.folder / "hold"
    hold.touch()
    environment = {**os.environ, "RIVAL_HOLD": str(hold), "PYTHONPATH": os.pathsep.join(sys.path[:2])}
    command = [sys.executable, "-m", "fabloom.flows", "retrain", "retrain.yaml", "--engine", "inline"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        wait_for(lambda: (line.folder / "hold.reached").exists() or other.poll() is not None)
        second = line.night()
        assert second["outcome"] == "Skipped" and f"process {other.pid} on " in second["reason"] and "pipeline.yaml" in second["reason"]
        assert second["decision"] == ""
        other.send_signal(signal.SIGKILL)
    assert line.champion_file() == before
    assert line.night()["outcome"] == "Promoted"
    assert line.command("verify")[0] == 0


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("where", ["keep", "note_down"])
def test_a_kill_around_the_promotion_leaves_old_or_new(line: Line, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    first = line.night()
    line.grey(120)
    killed = {"keep": lambda *given: lines_keep(*given) and (_ for _ in ()).throw(KeyboardInterrupt), "note_down": interrupt}
    lines_keep = lines.keep
    with monkeypatch.context() as patch:
        patch.setattr(lines, where, killed[where])
        with pytest.raises(KeyboardInterrupt):
            retrain(line.spec, line.how())
    moved = line.store.refs.get("unit/champion") != first["challenger"]
    assert moved == (where == "note_down")
    assert line.night()["outcome"] == ("NoChange" if moved else "Promoted")
    outcomes = [record.outcome for _, record in lines.decisions(line.store, "unit")]
    assert outcomes == ["Promoted", "Promoted", "NoChange"][: 3 if moved else 2], "what was decided is noted down by the next night"


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
