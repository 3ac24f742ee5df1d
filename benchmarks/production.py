"""A deployed run on a real Prefect server, worker and process pool: is it shown as it is, and does it end as it must?

    python benchmarks/production.py [--cases killed,overlap,cancel,flow-killed,typo] [--json] [--keep DIR]

| case | what |
|---|---|
| killed | with workers=1 a step's process gets SIGKILL in mid-training: begun again once, from its checkpoint, with equal digests |
| | also: no two steps overlap; Prefect's pages show log, progress, metrics, picture |
| overlap | the control of that: with workers=2 two steps do overlap |
| cancel | the run is cancelled in mid-training: no task Failed, a checkpoint newer than the cancel, no process of the run after 30 s |
| flow-killed | the flow's process gets SIGKILL in mid-training: who of the run is there after 30 s, and what state it is in |
| typo | a parameter that is none, a step that is none, a store that cannot be: Failed, with one line |

Held in mid-training by a file, as in `prefect_faults.py`. CPU seconds of the whole are told; waits are Prefect's own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from prefect_faults import Server, processes, state_of, wait_for, worker

ENTRY = "fabloom.flows.run.prefect.flow:run_pipeline"
POOL = "here"
WEAVE = """
name: weave
steps:
  images: {task: fade.make}
  model: {task: fade.train, inputs: {images: images}, params: {steps: 40, pause: 0.25}}
  other: {task: fade.train, inputs: {images: images}, params: {steps: 30, pause: 0.05}}
  offline: {task: fade.record, inputs: {teacher: model}}
  report: {task: fade.score, inputs: {model: model, offline: offline}}
  scans: {task: line-pair.simulate, params: {count: 24}}
"""
QUICK = ["steps.model.params.pause=0", "steps.other.params.pause=0"]
DEPLOY = """
import sys
from prefect.deployments.runner import EntrypointType
from fabloom.flows import run_pipeline
name, pool = sys.argv[1:]
made = run_pipeline.to_deployment(
    name, entrypoint_type=EntrypointType.MODULE_PATH, work_pool_name=pool, parameters={"pipeline": "fade"}
)
print(made.apply())
"""


@dataclass
class Finding:
    """What was seen in a case, and what of it is wrong."""

    case: str
    seconds: float = 0.0
    seen: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def check(self, true: bool, what: str) -> None:
        """Note what is not true."""
        if not true:
            self.wrong.append(what)


@dataclass
class Place:
    """A server with a deployment, and a worker at it."""

    server: Server
    deployment: str
    hold: Path
    pipeline: Path

    def order(self, folder: Path, **parameters: Any) -> str:
        """A run of the deployment with a store in that folder; its id."""
        asked = {"pipeline": str(self.pipeline), "store": str(folder), "device": "cpu", "checkpoint_seconds": 0.2, **parameters}
        body = {"parameters": asked, "state": {"type": "SCHEDULED"}}
        return str(self.server.ask("POST", f"/deployments/{self.deployment}/create_flow_run", **body)["id"])

    def ended(self, run: str) -> bool:
        return state_of(self.server, run) in ("Completed", "Failed", "Cancelled", "Crashed")

    def held(self, other: int = 0) -> int:
        """The process that is held in mid-training, another one than `other`."""
        wait_for(lambda: self.hold.exists() and int(self.hold.read_text().split()[0]) != other, "a step is held", 1800)
        return int(self.hold.read_text().split()[0])

    def tasks(self, run: str) -> dict[str, dict[str, Any]]:
        """Task runs by name."""
        found = self.server.ask("POST", "/task_runs/filter", flow_runs={"id": {"any_": [run]}})
        return {task["name"]: task for task in found}

    def logs(self, run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.ask(
            "POST", "/logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC", limit=200
        )
        return found

    def artifacts(self, run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.ask("POST", "/artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
        return found


def overlapping(tasks: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of task runs that were at work at the same time."""
    spans = [(name, *(datetime.fromisoformat(task[end]) for end in ("start_time", "end_time"))) for name, task in tasks.items()]
    ordered = sorted(spans, key=lambda span: span[1])
    return [(a[0], b[0]) for i, a in enumerate(ordered) for b in ordered[i + 1 :] if b[1] < a[2]]


def digests(store: Path) -> dict[str, str]:
    from fabloom.storage.backends.local import LocalStore

    opened = LocalStore(store, read_only=True)
    return {opened.manifest(key)["step"]: opened.manifest(key)["digest"] for key in opened.keys()}


def undisturbed(place: Place) -> dict[str, str]:
    """Digests of a run that nobody kills, without waits and without Prefect."""
    store = place.server.folder / "undisturbed"
    command = [str(Path(sys.executable).with_name("fabloom")), "run", str(place.pipeline), "--store", str(store), "--engine", "inline"]
    sets = [word for setting in QUICK for word in ("--set", setting)]
    subprocess.run([*command, "--device", "cpu", *sets], env=place.server.environment(), check=True, capture_output=True)
    return digests(store)


def killed(place: Place) -> Finding:
    """SIGKILL to the step's process."""
    finding, store = Finding("killed"), place.server.folder / "killed"
    began = time.monotonic()
    run = place.order(store, note="a note")
    first = place.held()
    os.kill(first, signal.SIGKILL)
    place.held(first)
    place.hold.unlink()
    place.held()  # of the other training
    place.hold.unlink()
    wait_for(lambda: place.ended(run), "the run ends", 1800)
    finding.seconds = round(time.monotonic() - began, 1)
    time.sleep(5)  # Prefect sends its log every two seconds, and events become states
    tasks, logs = place.tasks(run), place.logs(run)
    of_model = [line["message"] for line in logs if line["task_run_id"] == tasks["model"]["id"]]
    finding.seen = {
        "state": state_of(place.server, run),
        "tasks": {name: task["state_name"] for name, task in tasks.items()},
        "model": of_model,
    }
    finding.check(finding.seen["state"] == "Completed", "the run is not Completed")
    finding.check(digests(store) == undisturbed(place), "digests differ from those of a run that nobody killed")
    finding.check(
        any("was killed by SIGKILL. It is begun again, once, and goes on from step" in line for line in of_model), "no line tells of it"
    )
    finding.check(any(line.startswith("going on from step") for line in of_model), "it did not go on from its checkpoint")
    finding.check(not overlapping(tasks), f"with workers=1 steps overlap: {overlapping(tasks)}")
    finding.check(len([line for line in logs if line["message"] == "note: a note"]) == 1, "the note is not in the log")
    shown(place, run, finding)
    return finding


def shown(place: Place, run: str, finding: Finding) -> None:
    """What the pages of a run show."""
    artifacts, lines = place.artifacts(run), [line["message"] for line in place.logs(run)]
    finding.seen["artifacts"] = [(one["type"], one["key"], len(str(one["data"]))) for one in artifacts]
    finding.check({one["key"] for one in artifacts} == {None, "weave-report", "weave-metrics", "weave-samples"}, "artifacts are missing")
    finding.check(all(one["data"] == 100 for one in artifacts if one["type"] == "progress"), "progress does not end at 100")
    finding.check(all(len(str(one["data"])) < 200_000 for one in artifacts), "an artifact is too large")
    finding.check("file:" not in str(artifacts), "there is a link to a file")
    finding.check(any(line.startswith("metrics: weight") for line in lines), "no line has the metrics")


def overlap(place: Place) -> Finding:
    """Two workers."""
    finding = Finding("overlap")
    began = time.monotonic()
    run = place.order(place.server.folder / "overlap", workers=2)
    done: set[int] = set()
    while not place.ended(run):
        if place.hold.exists() and (pid := int(place.hold.read_text().split()[0])) not in done:
            done.add(pid)
            place.hold.unlink()
        time.sleep(0.05)
    finding.seconds = round(time.monotonic() - began, 1)
    time.sleep(5)
    finding.seen = {"state": state_of(place.server, run), "overlapping": overlapping(place.tasks(run))}
    finding.check(bool(finding.seen["overlapping"]) and finding.seen["state"] == "Completed", "no two steps overlap")
    return finding


def cancel(place: Place) -> Finding:
    """Cancelled by the API, as by the button and the command."""
    finding, store = Finding("cancel"), place.server.folder / "cancel"
    run = place.order(store, checkpoint_seconds=3600.0)
    place.held()
    fault, at = time.monotonic(), time.time()
    place.server.ask("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    gone = left_after(run, 30)
    place.hold.unlink(missing_ok=True)
    wait_for(lambda: place.ended(run), "the run is cancelled", 600)
    finding.seconds = round(time.monotonic() - fault, 1)
    time.sleep(5)
    saved = [path.stat().st_mtime for path in store.glob("work/*/ckpt-main-*.pt")]
    states = {name: task["state_name"] for name, task in place.tasks(run).items()}
    finding.seen = {"state": state_of(place.server, run), "tasks": states, "gone after s": gone[0], "left": gone[1]}
    finding.check(finding.seen["state"] == "Cancelled", "it is not Cancelled")
    finding.check("Failed" not in states.values(), "a task is Failed")
    finding.check(bool(saved) and max(saved) > at, "no checkpoint is newer than the cancel")
    finding.check(not gone[1], "processes of the run are left after 30 s")
    return finding


def left_after(run: str, seconds: float) -> tuple[float, dict[int, str]]:
    """(seconds until no process of the run is left, those that are left after so many)."""
    began = time.monotonic()
    while (left := processes(run)) and time.monotonic() - began < seconds:
        time.sleep(0.2)
    return round(time.monotonic() - began, 1), left


def flow_killed(place: Place) -> Finding:
    """SIGKILL to the process of the flow."""
    finding = Finding("flow-killed")
    run = place.order(place.server.folder / "flow-killed")
    place.held()
    mine = processes(run)
    flows = [pid for pid, command in mine.items() if "executors.server" not in command]
    fault = time.monotonic()
    for pid in flows:
        os.kill(pid, signal.SIGKILL)
    first = {}
    while time.monotonic() - fault < 30:
        for pid, command in processes(run).items():
            first.setdefault(pid, command)
        time.sleep(0.2)
    left = processes(run)
    wait_for(lambda: place.ended(run), "the run ends", 600)
    finding.seconds = round(time.monotonic() - fault, 1)
    gone = left_after(run, 300)
    finding.seen = {
        "before": mine, "killed": flows, "since": {pid: c for pid, c in first.items() if pid not in mine}, "left after 30 s": left,
        "gone after s": round(time.monotonic() - fault, 1), "state": state_of(place.server, run),
        "tasks": {name: task["state_name"] for name, task in place.tasks(run).items()}, "never": gone[1],
    }  # fmt: skip
    finding.check(finding.seen["state"] == "Crashed", "it is not Crashed")
    finding.check("Running" not in finding.seen["tasks"].values(), "a task is shown as Running")
    finding.check(not left, "processes of the run are left after 30 s")
    place.hold.unlink(missing_ok=True)
    return finding


def typo(place: Place) -> Finding:
    """What cannot be run."""
    finding = Finding("typo")
    began = time.monotonic()
    wanted = {"devise": "Function expects parameters", "redo": "no step 'modle'", "store": "password"}
    asked: dict[str, dict[str, Any]] = {"devise": {"devise": "cpu"}, "redo": {"redo": ["modle"]}, "store": {"store": "s3://u:p@h/x"}}
    runs = {name: place.order(place.server.folder / "typo", **parameters) for name, parameters in asked.items()}
    wait_for(lambda: all(place.ended(run) for run in runs.values()), "the runs end", 1800)
    for name, run in runs.items():
        state = place.server.ask("GET", f"/flow_runs/{run}")["state"]
        finding.seen[name] = state["message"]
        finding.check(state["type"] == "FAILED" and wanted[name] in state["message"], f"{name}: {state['type']}")
    finding.seconds = round(time.monotonic() - began, 1)
    return finding


CASES: dict[str, Callable[[Place], Finding]] = {
    "killed": killed, "overlap": overlap, "cancel": cancel, "flow-killed": flow_killed, "typo": typo,
}  # fmt: skip


@contextmanager
def place_in(folder: Path, *, pages: bool) -> Iterator[Place]:
    """A server, where asked with its pages, a deployment and a worker, which end with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    server, hold, pipeline = Server(folder, pages=pages), folder / "hold", folder / "weave.yaml"
    pipeline.write_text(WEAVE)
    try:
        server.start()
        server.ask("POST", "/work_pools/", name=POOL, type="process")
        made = subprocess.run(
            [sys.executable, "-c", DEPLOY, "nightly", POOL], env=server.environment(), check=True, stdout=subprocess.PIPE, text=True
        )
        with worker(server, "worker", hold):
            yield Place(server, made.stdout.split()[-1], hold, pipeline)
    finally:
        server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), help="which, comma-separated")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--keep", type=Path, help="a folder to keep logs and stores in")
    given = parser.parse_args()
    os.environ.setdefault("FABLOOM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    findings = []
    with tempfile.TemporaryDirectory(prefix="fabloom-production-") as folder, place_in(given.keep or Path(folder)) as place:
        for name in given.cases.split(","):
            findings.append(CASES[name](place))
            print(f"{name}: {findings[-1].seconds} s, {findings[-1].wrong or 'sound'}", file=sys.stderr, flush=True)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    if given.json:
        print(json.dumps({"findings": [asdict(one) for one in findings], "cpu": round(spent.ru_utime + spent.ru_stime, 1)}))
    else:
        for one in findings:
            print(f"\n{one.case}: {one.seconds} s, {', '.join(one.wrong) or 'sound'}")
            for what, seen in one.seen.items():
                print(f"    {what}: {seen}")
        print(f"\n{spent.ru_utime + spent.ru_stime:.0f} CPU s of processes that have ended")
    sys.exit(any(one.wrong for one in findings))


if __name__ == "__main__":
    main()
