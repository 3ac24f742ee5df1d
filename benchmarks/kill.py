"""Kill a run with SIGKILL, again and again, and see whether anything ever breaks.

    python benchmarks/kill.py --kills 100 [--engine inline|prefect] [--seed 1] [--json]

A pipeline of four quick steps runs in a process group of its own. At a random moment, half of them spread over the whole run and half
within 30 ms after a task has done its last piece of work, when the commit happens, the whole group is killed. Then every committed
artifact is hashed, the same run is started again, and so on until it comes to its end; then from an empty store again. It must hold that

* nothing that is committed is ever damaged,
* no step that is committed ever starts again,
* the digests at the end are those of a run that nobody disturbed.

Inline runs are forked from this process, which has torch imported already, since starting the interpreter would be most of the work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INSTALLED = Path(__file__).parents[1] / "tests" / "installed"
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
    leftovers: int = 0
    seconds: float = 0.0
    killed_in: Counter[str] = field(default_factory=Counter)

    @property
    def sound(self) -> bool:
        return not (self.found_damaged or self.started_again or self.wrong_digests)


def live(store: str, engine: str, out: int) -> int:
    """One run, in this process; writes every event of interest as a JSON line to the descriptor `out`."""
    from fabloom.flows.run import api

    def emit(event: dict[str, Any]) -> None:
        os.write(out, json.dumps({k: event[k] for k in ("event", "step", "done", "total") if k in event}).encode() + b"\n")

    result = api.run(PIPELINE, store=store, engine=engine, device="cpu", checkpoint_seconds=0.1, emit=emit)
    os.write(out, json.dumps({"event": "end", "digests": {s.name: s.digest for s in result.steps}}).encode() + b"\n")
    return result.exit_code


def begin(store: Path, engine: str) -> tuple[int, int]:
    """Start a run in a new process group: (pid, descriptor of its events)."""
    reading, writing = os.pipe()
    if engine == "prefect":
        environment = {**os.environ, "PREFECT_HOME": str(store.with_name("prefect")), "PYTHONPATH": str(INSTALLED)}
        command = [sys.executable, __file__, "--live", str(store), str(writing)]
        child = subprocess.Popen(
            command, env=environment, pass_fds=[writing], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        pid = child.pid
    else:
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os.close(reading)
            code = 1
            try:
                code = live(str(store), engine, writing)
            finally:
                os._exit(code)
        os.setpgid(pid, pid)  # here too: a kill may come before the child has done anything
    os.close(writing)
    return pid, reading


def watch(pid: int, reading: int, moment: float | None, commit: int | None, chance: random.Random) -> tuple[list[dict[str, Any]], bool]:
    """Follow a run; kill its group after `moment` seconds, or shortly after the `commit`-th task has done its work. (events, killed)"""
    began, deadline = time.monotonic(), float("inf") if moment is None else time.monotonic() + moment
    events: list[dict[str, Any]] = []
    buffer = b""
    finished_tasks = 0
    killed = False
    while True:
        wait = max(0.0, min(deadline - time.monotonic(), 5.0))
        ready, _, _ = select.select([reading], [], [], wait)
        if not ready and time.monotonic() >= deadline and not killed:
            os.killpg(pid, signal.SIGKILL)
            killed, deadline = True, float("inf")
        if time.monotonic() - began > 300:
            raise TimeoutError("a run hangs")
        if not ready:
            continue
        piece = os.read(reading, 1 << 16)
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
    os.close(reading)
    os.waitpid(pid, 0)
    return events, killed


def torment(folder: Path, kills: int, engine: str, seed: int) -> Summary:
    """Kill runs until `kills` are done and the last run has come to its end."""
    from fabloom.storage.backends.local import LocalStore
    from fabloom.storage.verify import verify

    chance = random.Random(seed)
    summary = Summary()
    began = time.monotonic()
    started = time.monotonic()
    events, _ = watch(*begin(folder / "undisturbed", engine), None, None, chance)
    length = time.monotonic() - started
    wanted = events[-1]["digests"]
    assert all(wanted.values()), f"the undisturbed run failed: {wanted}"
    store = folder / "killed"
    committed: set[str] = set()
    while True:
        last = summary.kills >= kills
        moment = None if last or chance.random() < 0.5 else chance.uniform(0, length)
        commit = None if last or moment is not None else chance.randint(1, 3)
        events, killed = watch(*begin(store, engine), moment, commit, chance)
        summary.lives += 1
        summary.started_again += len({e["step"] for e in events if e["event"] == "started"} & committed)
        opened = LocalStore(store)
        health = verify(opened)
        summary.found_damaged += len(health.problems)
        made = {opened.manifest(key)["preimage"]["task"] for key in opened.keys()}
        committed = {name for name, step in PIPELINE["steps"].items() if step["task"] in made}
        if killed:
            summary.kills += 1
            summary.killed_in[next((e["step"] for e in reversed(events) if "step" in e), "before the first step")] += 1
        if events and events[-1]["event"] == "end":
            summary.whole_runs += 1
            summary.wrong_digests += events[-1]["digests"] != wanted
            summary.leftovers += len(health.leftovers)
            shutil.rmtree(store)
            committed = set()
            if last:
                break
        elif not killed:
            raise RuntimeError(f"a run ended by itself: {events[-3:]}")
    summary.seconds = time.monotonic() - began
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--engine", choices=("inline", "prefect"), default="inline")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--live", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("FABLOOM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(INSTALLED))
    if given.live:
        sys.exit(live(given.live[0], "prefect", int(given.live[1])))
    if given.engine == "inline":
        import torch._dynamo
        import zarr

        assert torch and zarr  # in memory before the first fork
    with tempfile.TemporaryDirectory(prefix="fabloom-kill-") as folder:
        summary = torment(Path(folder), given.kills, given.engine, given.seed)
    if given.json:
        print(json.dumps({**vars(summary), "sound": summary.sound}))
    else:
        print(
            f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {given.engine}\n"
        )
        print("| what | count |\n|---|---|")
        for name, value in vars(summary).items():
            shown = ", ".join(f"{k}: {v}" for k, v in value.most_common()) if isinstance(value, Counter) else value
            print(f"| {name.replace('_', ' ')} | {round(shown, 1) if isinstance(shown, float) else shown} |")
        print(f"\n{'sound' if summary.sound else 'BROKEN'}")
    sys.exit(not summary.sound)


if __name__ == "__main__":
    main()
