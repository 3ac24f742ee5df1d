"""Take Prefect's server away in mid-run, and cancel deployed runs: is every step committed once, and is the end told as it was?

    python benchmarks/prefect_faults.py [--cases back-in-step,back-at-end,…] [--away 300] [--random 3] [--seed 1] [--json]

A real `prefect server start` on a free port of this machine, and a pipeline of four quick steps whose second one is held in the middle of
its training. While it is held, the server is killed with SIGKILL (`back-…`, `never`, `deployed-…`) or the run is stopped (`cancel`,
`stop`). Times are from the fault.

| case | what |
|---|---|
| back-in-step | the server is back after 20 s (or `--away` seconds), then the step goes on |
| back-at-end | the step goes on at once, the run ends while there is no server; it is back after 20 s |
| never | as before, and the server never comes back |
| deployed-back | as back-at-end, the run being one of a deployment with a concurrency limit, started by a worker; back after 150 s (or |
| | `--away` seconds: from 300 on its slot's lease ends meanwhile); then the next run is ordered |
| deployed-in-step | the same, but the step goes on 90 s after the server is back, which has forgotten the lease |
| cancel | a deployed run, `prefect flow-run cancel` |
| stop | a flow in a process of its own, whose group gets SIGTERM; the flow is not run by `fabloom run` but called as a deployment does |
| stop-away | the same, and the server goes for good while the command goes on from the checkpoint (what the test suite has time for) |
| all | the command and its server are ended by one SIGTERM to both: how long is the command's process there? |
| all-killed | the same, the server by SIGKILL |
| deployed-all | worker, deployed run and server are ended by one SIGTERM to all of them: how long are the run's processes there? |

`--random N` kills the server N times at a random moment of a run, for a random time. Waits are Prefect's own, so most of it is idle.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

INSTALLED = Path(__file__).parents[1] / "tests" / "installed"
STEPS = ["images", "model", "offline", "report"]
ENDED = ("Completed", "Failed", "Cancelled", "Crashed")
TRAINED = 40
"""Training steps; the run is held at an early one."""

OVERRIDES = [f"steps.model.params.steps={TRAINED}"]
FLOW = """
import sys
from fabloom.flows import run_pipeline
print(run_pipeline("fade", sys.argv[1], "cpu", overrides=sys.argv[2].split(","), checkpoint_seconds=3600.0))
"""


class Server:
    """A Prefect server in a folder of its own, that can be killed and started again at the same place."""

    def __init__(self, folder: Path, *, pages: bool = False) -> None:
        self.folder, self.pages = folder, pages
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.process: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        """The last one that was started."""

    def environment(self, **more: str) -> dict[str, str]:
        """Of who uses it."""
        known = {"PREFECT_API_URL": self.url, "PREFECT_HOME": str(self.folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        return {**os.environ, "PYTHONPATH": str(INSTALLED), "NO_PROXY": "*", "DO_NOT_TRACK": "1", **known, **more}

    def start(self) -> None:
        """Start it, and return when it answers."""
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        command += [] if self.pages else ["--no-ui"]
        asked = self.environment(PREFECT_UI_API_URL=self.url)  # its pages do not know its port otherwise
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=asked, stdout=log, stderr=log, start_new_session=True)
        wait_for(self.answers, "the server answers", 900, self.process)

    def answers(self) -> bool:
        try:
            return bool(self.ask("GET", "/health"))
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL, with everything that it started."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """What the API answers."""
        data = None if method == "GET" else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"}, method=method)
        for last in (False,) * 9 + (True,):
            try:
                with urllib.request.urlopen(request, timeout=180) as answer:
                    text = answer.read()
                break
            except urllib.error.HTTPError as error:
                if error.code != 503 or last:  # its SQLite is locked
                    raise
                time.sleep(1)
        return json.loads(text) if text else None

    def states(self) -> tuple[str, dict[str, str]]:
        """(state of the newest flow run, states of its tasks)."""
        flow = self.ask("POST", "/flow_runs/filter", sort="START_TIME_DESC", limit=1)[0]
        tasks = self.ask("POST", "/task_runs/filter", flow_runs={"id": {"any_": [flow["id"]]}})
        return flow["state_name"], {task["name"]: task["state_name"] for task in sorted(tasks, key=lambda t: t["expected_start_time"])}


def wait_for(true: Callable[[], Any], what: str, seconds: float, process: subprocess.Popen[Any] | None = None, every: float = 0.1) -> None:
    """Until it is true, looking every so many seconds. Raises RuntimeError where that takes longer, or where `process` ends before."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            raise RuntimeError(f"in vain: {what}")
        time.sleep(every)


@dataclass
class Outcome:
    """What became of a run."""

    case: str
    code: int = 0
    committed: int = 0
    problems: int = 0
    seconds: float = 0.0
    lines: list[str] = field(default_factory=list)
    flow: str = ""
    tasks: dict[str, str] = field(default_factory=dict)
    goes_on: str = ""
    """The step of the checkpoint that the next run went on from."""
    then: list[Any] = field(default_factory=list)
    """How a deployment's next run ended, and its slots in use after that."""
    sound: bool = False

    def judge(self, code: int, *, going_on: bool = False) -> Outcome:
        """Sound: that exit code, everything committed, nothing damaged, no traceback; of a run that was stopped, the next one went on."""
        whole = self.committed == len(STEPS) and not self.problems and "Traceback" not in "\n".join(self.lines)
        self.sound = whole and self.code == code and bool(self.goes_on) == going_on
        return self


class Run:
    """A run in a process group of its own, held in mid-training."""

    def __init__(self, server: Server, name: str, command: list[str], **environment: str) -> None:
        self.store, self.hold = server.folder / name, server.folder / f"{name}.hold"
        self.log = server.folder / f"{name}.log"
        with self.log.open("wb") as log:
            command = [part.replace("STORE", str(self.store)) for part in command]
            held = server.environment(FADE_HOLD=str(self.hold), **environment)
            self.process = subprocess.Popen(command, env=held, stdout=log, stderr=log, start_new_session=True)

    def until_held(self) -> None:
        wait_for(self.hold.exists, "the step is held", 900, self.process)

    def until_end(self) -> None:
        """Not held, unless it begins anew."""
        wait_for(lambda: self.hold.exists() or self.process.poll() is not None, "the run ends or is held", 900)
        self.hold.unlink(missing_ok=True)

    def end(self, seconds: float = 1800) -> int:
        return self.process.wait(seconds)

    def look(self, case: str, code: int, fault: float) -> Outcome:
        """What is there now."""
        from fabloom.storage.backends.local import LocalStore
        from fabloom.storage.verify import verify

        store = LocalStore(self.store)
        told = [line for line in self.log.read_text().splitlines() if line.strip()]
        return Outcome(case, code, len(list(store.keys())), len(verify(store).problems), round(time.monotonic() - fault, 1), told)


COMMAND = [
    str(Path(sys.executable).with_name("fabloom")), "run", "fade", "--store", "STORE", "--device", "cpu", "--set", OVERRIDES[0],
]  # fmt: skip


def outage(server: Server, case: str, *, back_after: float | None, in_step: bool = False) -> Outcome:
    """The server goes while a step trains."""
    run = Run(server, case, COMMAND)
    run.until_held()
    server.kill()
    fault = time.monotonic()
    if not in_step:
        run.hold.unlink()
    if back_after is not None:
        time.sleep(back_after)
        server.start()
    if in_step:
        run.hold.unlink()
    outcome = run.look(case, run.end(), fault)
    return (outcome if back_after is None else tell_states(server, outcome)).judge(0)


def tell_states(server: Server, outcome: Outcome) -> Outcome:
    """What Prefect says of the run, from a server that is started again where it never was."""
    if server.process is None:
        server.start()
    for _ in range(40):  # events take some seconds to become states
        outcome.flow, outcome.tasks = server.states()
        if outcome.flow != "Running" and set(outcome.tasks.values()) <= {"Completed", "Cancelled", "NotReady", "Skipped", "Reused"}:
            break
        time.sleep(0.25)
    return outcome


def deploy(server: Server, **more: Any) -> str:
    """A deployment for a process worker; its id."""
    if not server.ask("POST", "/work_pools/filter"):  # of an earlier case
        server.ask("POST", "/work_pools/", name="here", type="process")
    flow = server.ask("POST", "/flows/", name="fabloom")["id"]
    entry = "fabloom.flows.run.prefect.flow:run_pipeline"
    asked = {"name": "nightly", "flow_id": flow, "entrypoint": entry, "work_pool_name": "here", "enforce_parameter_schema": False, **more}
    return str(server.ask("POST", "/deployments/", **asked)["id"])


@contextlib.contextmanager
def worker(server: Server, name: str, hold: Path) -> Iterator[Path]:
    """A process worker for the pool; the file of what it prints."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "here", "--type", "process"]
    log = server.folder / f"{name}.log"
    asked = server.environment(FADE_HOLD=str(hold), PREFECT_WORKER_QUERY_SECONDS="2")
    with log.open("wb") as out:
        process = server.worker = subprocess.Popen(command, env=asked, stdout=out, stderr=out, start_new_session=True)
    try:
        yield log
    finally:  # it would wait for minutes to be asked for runs once more
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def order(server: Server, deployment: str, store: Path) -> str:
    """A run of the deployment; its id."""
    parameters = {"pipeline": "fade", "store": str(store), "device": "cpu", "overrides": OVERRIDES, "checkpoint_seconds": 3600.0}
    asked = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
    return str(server.ask("POST", f"/deployments/{deployment}/create_flow_run", **asked)["id"])


def state_of(server: Server, run: str) -> str:
    return str(server.ask("GET", f"/flow_runs/{run}")["state_name"])


def processes(run: str) -> dict[int, str]:
    """Living processes that have the run's id in their environment, and their commands."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if f"PREFECT__FLOW_RUN_ID={run}".encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:160]
            except OSError:
                continue
    return found


def look(store: Path, log: Path, case: str, fault: float) -> Outcome:
    """What is there of a run that has no process of ours."""
    from fabloom.storage.backends.local import LocalStore
    from fabloom.storage.verify import verify

    opened = LocalStore(store)
    seconds = round(time.monotonic() - fault, 1)
    return Outcome(case, 0, len(list(opened.keys())), len(verify(opened).problems), seconds, log.read_text().splitlines())


def deployed_back(server: Server, away: float, *, in_step: bool = False) -> Outcome:
    """The server goes while a deployed run with a concurrency slot trains."""
    case = "deployed-in-step" if in_step else "deployed-back"
    deployment = deploy(server, concurrency_limit=1, concurrency_options={"collision_strategy": "CANCEL_NEW"})
    store, hold = server.folder / case, server.folder / f"{case}.hold"
    with worker(server, case, hold) as log:
        run = order(server, deployment, store)
        wait_for(hold.exists, "the deployed step is held", 900)
        server.kill()
        fault = time.monotonic()
        if not in_step:
            hold.unlink()
        time.sleep(away)
        server.start()
        if in_step:
            time.sleep(90)
            hold.unlink()
        wait_for(lambda: state_of(server, run) in ENDED, "the run ends", 900)
        outcome = tell_states(server, look(store, log, case, fault))
        following = order(server, deployment, store)
        wait_for(lambda: state_of(server, following) in ENDED, "the next run ends", 900)
        limit = server.ask("GET", f"/deployments/{deployment}")["global_concurrency_limit"]
        outcome.then = [state_of(server, following), limit["active_slots"]]
    outcome.lines = [line for line in log.read_text().splitlines() if "cannot be told" in line or "failed to process item" in line]
    sound = outcome.judge(0).sound and outcome.flow == "Completed" and outcome.then == ["Completed", 0]
    outcome.sound = sound and len(outcome.lines) == 1
    return outcome


def cancel(server: Server) -> Outcome:
    """A deployed run is cancelled, and ordered again."""
    deployment = deploy(server)
    store, hold = server.folder / "cancel", server.folder / "cancel.hold"
    with worker(server, "cancel", hold) as log:
        run = order(server, deployment, store)
        wait_for(hold.exists, "the deployed step is held", 900)
        fault = time.monotonic()
        server.ask("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
        wait_for(lambda: state_of(server, run) == "Cancelled", "the run is cancelled", 600)
        outcome = tell_states(server, look(store, log, "cancel", fault))
        hold.unlink()
        outcome.goes_on = checkpointed(store)
        again = order(server, deployment, store)
        wait_for(lambda: hold.exists() or state_of(server, again) == "Completed", "the second run ends or is held", 900)
        if hold.exists():  # it began anew
            outcome.goes_on = ""
            hold.unlink()
        wait_for(lambda: state_of(server, again) == "Completed", "the second run ends", 900)
        after = look(store, log, "cancel", fault)
    outcome.lines = [line for line in after.lines if "Traceback" in line]
    outcome.committed, outcome.problems = after.committed, after.problems
    return outcome.judge(0, going_on=True)


def checkpointed(store: Path) -> str:
    """The step of the newest checkpoint, '' where none is there."""
    return max((path.name.split("-")[2] for path in store.glob("work/*/ckpt-main-*.pt")), default="").lstrip("0")


def stop(server: Server, *, away: bool = False) -> Outcome:
    """SIGTERM to the group of a flow that nobody but Prefect runs; then the command goes on, where asked without a server."""
    slow = [*OVERRIDES, "steps.model.params.pause=0.05"]
    run = Run(server, "stop", [sys.executable, "-c", FLOW, "STORE", ",".join(slow)])
    run.until_held()
    fault = time.monotonic()
    os.killpg(run.process.pid, signal.SIGTERM)
    code = run.end()
    outcome = tell_states(server, run.look("stop-away" if away else "stop", code, fault))
    outcome.goes_on = checkpointed(run.store)
    run.hold.unlink()
    again = Run(server, "stop", [*COMMAND, "--set", slow[1]])
    if away:
        wait_for(lambda: "model: started" in again.log.read_text(), "the step is started again", 900, again.process)
        server.kill()
    wait_for(lambda: run.hold.exists() or again.process.poll() is not None, "the second run ends or is held", 900)
    if run.hold.exists():  # it began anew
        outcome.goes_on = ""
        run.hold.unlink()
    after = again.look("again", again.end(), fault).judge(0)
    outcome.committed, outcome.problems = after.committed, after.problems
    outcome.lines += after.lines
    outcome.judge(-signal.SIGTERM, going_on=True)
    outcome.sound &= after.sound
    return outcome


def ended_together(server: Server, name: str, number: signal.Signals) -> Outcome:
    """The command gets SIGTERM in mid-training, and its server a signal in the same moment; then the command goes on."""
    run = Run(server, name, COMMAND)
    run.until_held()
    assert server.process is not None
    fault = time.monotonic()
    os.killpg(run.process.pid, signal.SIGTERM)
    os.killpg(server.process.pid, number)
    outcome = run.look(name, run.end(), fault)
    server.kill()
    server.start()
    outcome.goes_on = checkpointed(run.store)
    again = Run(server, name, COMMAND)
    again.until_end()
    after = again.look("again", again.end(), fault).judge(0)
    outcome.committed, outcome.problems = after.committed, after.problems
    outcome.judge(130, going_on=True)
    outcome.sound &= after.sound
    return outcome


def deployed_together(server: Server) -> Outcome:
    """Worker, run and server get SIGTERM at once."""
    deployment, name = deploy(server), "deployed-all"
    store, hold = server.folder / name, server.folder / f"{name}.hold"
    with worker(server, name, hold) as log:
        run = order(server, deployment, store)
        wait_for(hold.exists, "the deployed step is held", 900)
        assert server.process is not None
        fault = time.monotonic()
        ours = processes(run)
        assert server.worker is not None
        for pid in [server.process.pid, server.worker.pid, *ours]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not processes(run), "the run's processes end", 600)
        outcome = look(store, log, name, fault)
        outcome.goes_on = checkpointed(store)
    hold.unlink(missing_ok=True)
    server.kill()
    server.start()
    again = Run(server, name, COMMAND)
    again.until_end()
    after = again.look("again", again.end(), fault)
    outcome.committed, outcome.problems, outcome.lines = after.committed, after.problems, []
    return outcome.judge(0, going_on=True)


def any_moment(server: Server, number: int, chance: random.Random) -> Outcome:
    """The server goes at a random moment after the flow began, for a random time or for good."""
    slow = [*COMMAND, "--set", "steps.model.params.pause=0.1", "--set", "steps.offline.params.pause=0.5"]
    case = f"random-{number}"
    run = Run(server, case, slow)
    run.until_held()
    run.hold.unlink()
    time.sleep(chance.uniform(0, 8))
    server.kill()
    fault = time.monotonic()
    away = chance.choice([None, chance.uniform(0, 3), chance.uniform(3, 30)])
    if away is not None:
        time.sleep(away)
        server.start()
    return tell_states(server, run.look(case, run.end(), fault)).judge(0)


CASES: dict[str, Callable[[Server, float], Outcome]] = {
    "back-in-step": lambda server, away: outage(server, "back-in-step", back_after=away or 20, in_step=True),
    "back-at-end": lambda server, away: outage(server, "back-at-end", back_after=away or 20),
    "never": lambda server, _: outage(server, "never", back_after=None),
    "deployed-back": lambda server, away: deployed_back(server, away or 150),
    "deployed-in-step": lambda server, away: deployed_back(server, away or 150, in_step=True),
    "cancel": lambda server, _: cancel(server),
    "stop": lambda server, _: stop(server),
    "stop-away": lambda server, _: stop(server, away=True),
    "all": lambda server, _: ended_together(server, "all", signal.SIGTERM),
    "all-killed": lambda server, _: ended_together(server, "all-killed", signal.SIGKILL),
    "deployed-all": lambda server, _: deployed_together(server),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), help="which, comma-separated")
    parser.add_argument("--away", type=float, default=0.0, metavar="S", help="seconds that the server is away, in place of a case's own")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="also N outages at random moments")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    parser.add_argument("--keep", type=Path, help="a folder to keep logs and stores in")
    given = parser.parse_args()
    os.environ.setdefault("FABLOOM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chance = random.Random(given.seed)
    chosen = [CASES[name] for name in given.cases.split(",") if name]
    chosen += [lambda server, _, number=number: any_moment(server, number, chance) for number in range(given.random)]
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="fabloom-faults-") as folder:
        server = Server(given.keep or Path(folder))
        server.folder.mkdir(parents=True, exist_ok=True)
        try:
            for case in chosen:
                if server.process is None:
                    server.start()
                outcomes.append(case(server, given.away))
                if not given.json:
                    print(f"{outcomes[-1].case}: {outcomes[-1].seconds} s", file=sys.stderr, flush=True)
        finally:
            server.kill()
    sound = all(outcome.sound for outcome in outcomes)
    if given.json:
        print(json.dumps({"sound": sound, "outcomes": [asdict(outcome) for outcome in outcomes]}))
    else:
        print("\n| case | code | committed | flow | tasks | s | checkpoint | sound |\n|---|---|---|---|---|---|---|---|")
        for one in outcomes:
            tasks = ", ".join(f"{name} {state}" for name, state in one.tasks.items())
            told = [one.case, one.code, f"{one.committed} of {len(STEPS)}", one.flow, tasks, one.seconds, one.goes_on, one.sound]
            print("| " + " | ".join(map(str, told)) + " |")
        print(f"\n{'sound' if sound else 'BROKEN'}")
    sys.exit(not sound)


if __name__ == "__main__":
    main()
