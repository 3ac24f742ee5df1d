"""Kill a run with SIGKILL, again and again, and see whether anything ever breaks.

    python benchmarks/kill.py --kills 100 [--engine inline|processes|prefect] [--target group|caller|server|worker] [--seed 1] [--json]

A pipeline of four quick steps runs in a session of its own. At a random moment, half of them spread over the whole run and half
within 30 ms after a task has done its last piece of work, when the commit happens, somebody is killed: the whole process group, the caller
alone, the step server alone, or the worker alone. Then every committed artifact is hashed, the same run is started again, and so on until
it comes to its end; then from an empty store again. It must hold that

* nothing that is committed is ever damaged,
* no step that is committed ever starts again,
* the digests at the end are those of a run that nobody disturbed,
* nobody of a killed run is left, and a caller that lives on fails with the signal's name.

Runs are forked from this process, which has torch imported already, and so are the step server and Prefect's (tests/flows/run/victims.py),
since starting the interpreter would be most of the work. `processes` is what `prefect` does without Prefect around it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

TESTS = Path(__file__).parents[1] / "tests"
INSTALLED = TESTS / "installed"

PIPELINE: dict[str, Any] = {
    "name": "kill",
    "steps": {
        "images": {"task": "fade.make", "params": {"count": 64}},
        "model": {"task": "fade.train", "inputs": {"images": "images"}, "params": {"steps": 12, "pause": 0.02}},
        "offline": {"task": "fade.record", "inputs": {"teacher": "model"}, "params": {"count": 64, "pause": 0.03}},
        "report": {"task": "fade.score", "inputs": {"model": "model", "offline": "offline"}},
    },
}
COMMIT_SECONDS = 0.03


@dataclass
class Summary:
    """What the kills did."""

    kills: int = 0
    lives: int = 0
    whole_runs: int = 0
    found_damaged: int = 0
    started_again: int = 0
    wrong_digests: int = 0
    orphans: int = 0
    unnamed: int = 0
    leftovers: int = 0
    seconds: float = 0.0
    killed_in: Counter[str] = field(default_factory=Counter)
    unnamed_errors: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.found_damaged or self.started_again or self.wrong_digests or self.orphans or self.unnamed)


def live(store: str, engine: str, out: int) -> int:
    """One run, in this process; writes every event of interest as a JSON line to the descriptor `out`."""
    from fabloom.flows.run import api
    from fabloom.running.executors import ProcessExecutor

    def emit(event: dict[str, Any]) -> None:
        os.write(out, json.dumps({k: event[k] for k in ("event", "step", "done", "total") if k in event}).encode() + b"\n")

    executor = ProcessExecutor(["torch", "zarr"]) if engine == "processes" else None
    name: Any = "inline" if executor else engine
    how: dict[str, Any] = {"store": store, "engine": name, "device": "cpu", "checkpoint_seconds": 0.1, "emit": emit, "check": False}
    result = api.run(PIPELINE, executor=executor, **how)
    if executor:
        executor.close()
    bad = next((step.error for step in result.steps if step.status == "failed"), "")
    end = {"event": "end", "error": bad, "digests": {s.name: s.digest for s in result.steps}}
    os.write(out, json.dumps(end).encode() + b"\n")
    return result.exit_code


@dataclass
class Life:
    """A run that was started: its process, which leads a session, the descriptor of its events, and where its servers are noted."""

    pid: int
    reading: int
    notes: Path

    def members(self) -> list[int]:
        """Living processes of the run."""
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(pid) == self.pid and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    found.append(pid)
        return found

    def kill(self, target: str) -> bool:
        """SIGKILL to the target, if there is one at this moment."""
        victim = self.pid if target in ("group", "caller") else self._server()
        if victim and target == "worker":
            victim = self._worker(victim)
        with contextlib.suppress(ProcessLookupError):
            if victim:
                (os.killpg if target == "group" else os.kill)(victim, signal.SIGKILL)
                return True
        return False

    def _server(self) -> int:
        """The step server, 0 while there is none."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return next((int(line.split()[1]) for line in reversed(lines) if "server" in line), 0)

    def _worker(self, server: int) -> int:
        """Of the server's children the one that was not there from the beginning, which is the guard."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = sorted(psutil.Process(server).children(), key=lambda child: (child.create_time(), child.pid))
            return children[-1].pid if len(children) > 1 else 0
        return 0


def begin(store: Path, engine: str) -> Life:
    """Start a run in a session of its own."""
    reading, writing = os.pipe()
    notes = store.with_name("notes")
    notes.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(reading)
        code = 1
        try:
            if engine != "inline":
                import victims

                victims.refresh({**os.environ, "PREFECT_HOME": str(store.with_name("prefect"))})
                victims.fork_instead(notes, writing)
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, 2)
            code = live(str(store), engine, writing)
        finally:
            os._exit(code)
    os.close(writing)
    return Life(pid, reading, notes)


def watch(life: Life, target: str, moment: float | None, commit: int | None, chance: random.Random) -> tuple[list[dict[str, Any]], bool]:
    """Follow a run; kill the target after `moment` seconds, or shortly after the `commit`-th task has done its work. (events, killed)"""
    began, deadline = time.monotonic(), float("inf") if moment is None else time.monotonic() + moment
    events: list[dict[str, Any]] = []
    buffer = b""
    finished_tasks = 0
    killed = False
    while True:
        wait = max(0.0, min(deadline - time.monotonic(), 5.0))
        ready, _, _ = select.select([life.reading], [], [], wait)
        if time.monotonic() >= deadline and not killed:
            killed = life.kill(target)
            deadline = float("inf") if killed else time.monotonic() + 0.002
        if time.monotonic() - began > 300:
            raise TimeoutError("a run hangs")
        if not ready:
            continue
        piece = os.read(life.reading, 1 << 16)
        if not piece:
            break
        *lines, buffer = (buffer + piece).split(b"\n")
        for line in lines:
            event = json.loads(line)
            events.append(event)
            whole = event["event"] == "progress" and event["done"] >= event["total"]
            if whole or (event["event"] == "started" and event["step"] in ("images", "report")):
                finished_tasks += 1
                if finished_tasks == commit:
                    deadline = time.monotonic() + chance.uniform(0, COMMIT_SECONDS)
    os.close(life.reading)
    os.waitpid(life.pid, 0)
    return events, killed


def orphans(life: Life) -> int:
    """How many of a run outlive it: ten seconds are as good as for ever."""
    deadline = time.monotonic() + 10
    while (left := life.members()) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return len(left)


def torment(folder: Path, kills: int, engine: str, target: str, seed: int) -> Summary:
    """Kill runs until `kills` are done and the last run has come to its end."""
    from fabloom.storage.backends.local import LocalStore
    from fabloom.storage.verify import verify

    chance = random.Random(seed)
    summary = Summary()
    began = time.monotonic()
    started = time.monotonic()
    events, _ = watch(begin(folder / "undisturbed", engine), target, None, None, chance)
    length = time.monotonic() - started
    wanted = events[-1]["digests"]
    assert all(wanted.values()), f"the undisturbed run failed: {wanted}"
    store = folder / "killed"
    committed: set[str] = set()
    while True:
        last = summary.kills >= kills
        moment = None if last or chance.random() < 0.5 else chance.uniform(0, length)
        commit = None if last or moment is not None else chance.randint(1, 3)
        life = begin(store, engine)
        events, killed = watch(life, target, moment, commit, chance)
        summary.lives += 1
        summary.orphans += orphans(life)
        summary.started_again += len({e["step"] for e in events if e["event"] == "started"} & committed)
        opened = LocalStore(store)
        health = verify(opened)
        summary.found_damaged += len(health.problems)
        made = {opened.manifest(key)["preimage"]["task"] for key in opened.keys()}
        committed = {name for name, step in PIPELINE["steps"].items() if step["task"] in made}
        if killed:
            summary.kills += 1
            summary.killed_in[next((e["step"] for e in reversed(events) if "step" in e), "before the first step")] += 1
        end = events[-1] if events and events[-1]["event"] == "end" else None
        if end and end["error"]:
            if not (killed and "SIGKILL" in end["error"]):
                summary.unnamed += 1
                summary.unnamed_errors.append(end["error"])
        elif end:
            summary.whole_runs += 1
            summary.wrong_digests += end["digests"] != wanted
            summary.leftovers += len(health.leftovers)
            shutil.rmtree(store)
            committed = set()
            if last:
                break
        elif not killed:
            raise RuntimeError(f"a run ended by itself: {events[-3:]}")
    summary.seconds = time.monotonic() - began
    return summary


def preload(engine: str) -> None:
    """In memory before the first fork."""
    import torch._dynamo
    import zarr

    assert torch and zarr
    if engine == "prefect":
        from fabloom.flows.run.prefect.settings import prefer

        prefer()
        import prefect.server.api.server

        from fabloom.flows.run.prefect import calling

        assert calling and prefect


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--engine", choices=("inline", "processes", "prefect"), help="default: inline for the group, else processes")
    parser.add_argument("--target", choices=("group", "caller", "server", "worker"), default="group", help="who is killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    given = parser.parse_args()
    engine = given.engine or ("inline" if given.target == "group" else "processes")
    if engine == "inline" and given.target in ("server", "worker"):
        parser.error("an inline run has no step server and no worker")
    os.environ.setdefault("FABLOOM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path[:0] = [str(INSTALLED), str(TESTS / "flows" / "run")]
    # a step server that takes the place of a killed one is no fork of this process: it finds the method by itself
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(INSTALLED), os.environ.get("PYTHONPATH")]))
    preload(engine)
    with tempfile.TemporaryDirectory(prefix="fabloom-kill-") as folder:
        summary = torment(Path(folder), given.kills, engine, given.target, given.seed)
    if given.json:
        print(json.dumps({**vars(summary), "sound": summary.sound}))
    else:
        machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        print(f"\n{machine}, {engine}, {given.target}\n")
        print("| what | count |\n|---|---|")
        for name, value in vars(summary).items():
            shown = ", ".join(f"{k}: {v}" for k, v in value.most_common()) if isinstance(value, Counter) else value
            print(f"| {name.replace('_', ' ')} | {round(shown, 1) if isinstance(shown, float) else shown} |")
        print(f"\n{'sound' if summary.sound else 'BROKEN'}")
    sys.exit(not summary.sound)


if __name__ == "__main__":
    main()
