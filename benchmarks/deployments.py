"""Deployments on a real Prefect server with a real process worker: does each run once, is none lost for good, is the store sound?

    python benchmarks/deployments.py [--cases once,bucket,overlap,submitting,served,yaml] [--minutes 20] [--json]

| case | what |
|---|---|
| once | register twice: one deployment, one schedule; a worker runs it to Completed, with a secret of a block in its environment |
| bucket | the store is a bucket, whose keys are in a Secret block: the run has them, and no answer, file or other process has |
| doctor | a hasty zombie automation and none at all are told, and mended by `--fix`; a second look finds nothing |
| overlap | a run each minute, whose first one trains for longer than that: the second is Cancelled, the next one finds all of it there |
| submitting | the worker is killed while it starts a run: `doctor --server --fix` frees the slot, and the next run runs |
| served | `fabloom serve` gets SIGTERM in mid-training: the run is Cancelled at a checkpoint, the schedule is paused, nothing is left |
| line | a line's retraining, deployed with `--on-new-data`: Promoted, then NoChange |
| yaml | `prefect --no-prompt deploy --all` with the prefect.yaml that `fabloom deploy --write-yaml` wrote |

`--minutes N` adds a run each minute for N minutes, with an overlap and a worker that is killed while it starts a run and replaced.
Waits are Prefect's own (a worker asks every 10 s, the scheduler looks once a minute), so most of it is idle.
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
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from nights import PIPELINE, SPEC
from plant_bucket import BLOCK, PlantBucket, answers_with, files_with, holders
from plant_bucket import served as served_bucket
from prefect_faults import INSTALLED, Server, wait_for

NAME = "nightly"
FULL = f"fabloom/{NAME}"
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
SECRET = "hunter2-of-the-plant"
WEDGE = 150
"""Seconds for which a worker's death may hold the slot: the 120 s that a run has to begin, and the server's look at leases every 15 s."""


@dataclass
class Outcome:
    """What became of a case: what was seen, and whether all of it is as it should be."""

    case: str
    sound: bool = True
    seconds: float = 0.0
    seen: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def hold(self, name: str, value: Any, wanted: Callable[[Any], bool] | Any = True) -> None:
        """Note something seen, and whether it is what is wanted."""
        self.seen[name] = value
        if not (wanted(value) if callable(wanted) else value == wanted):
            self.sound = False
            self.wrong.append(name)


class Plant:
    """A server, a folder, workers, and what `fabloom` says of them."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.store = folder / "store"
        self.workers: list[subprocess.Popen[bytes]] = []

    def fabloom(self, *arguments: str, code: int = 0) -> Any:
        """The command's JSON document. Raises RuntimeError for another exit code."""
        command = [sys.executable, "-m", "fabloom.flows", *arguments, "--json"]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode != code:
            raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stderr[-2000:]} {done.stdout[-2000:]}")
        return json.loads(done.stdout)

    @property
    def hold(self) -> Path:
        """While it is there, a training waits; it is made when one begins, where runs are told to hold."""
        return self.folder / "hold"

    def environment(self, *, hold: bool = False) -> dict[str, str]:
        held = {"FADE_HOLD": str(self.hold)} if hold else {}
        own = {"OMP_NUM_THREADS": "1", "FABLOOM_STORE": str(self.store), "FABLOOM_WORK_DIR": str(self.folder / "work")}
        return self.server.environment(**own, **held)

    def deploy(self, *arguments: str) -> dict[str, Any]:
        done: dict[str, Any] = self.fabloom("deploy", "fade", "--name", NAME, "--device", "cpu", *arguments)
        return done

    def work(self, *arguments: str, hold: bool = False) -> subprocess.Popen[bytes]:
        """Start a worker of the pool, in a process group of its own; its runs' trainings hold if asked."""
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "fabloom", *arguments]
        with (self.folder / "worker.log").open("ab") as log:
            worker = subprocess.Popen(command, env=self.environment(hold=hold), stdout=log, stderr=log, start_new_session=True)
        self.workers.append(worker)
        return worker

    def rest(self) -> None:
        """Let the workers go."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.terminate()
        for worker in self.workers:
            worker.wait()
        self.workers.clear()

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """Of a deployment, that have begun, the first one first."""
        found = self.server.ask(
            "POST", "/flow_runs/filter", deployments={"id": {"any_": [deployment]}}, sort="EXPECTED_START_TIME_ASC", limit=200
        )
        return [run for run in found if run["state_type"] != "SCHEDULED"]

    def states(self, deployment: str) -> list[str]:
        return [run["state_name"] for run in self.runs(deployment)]

    def ended(self, deployment: str, count: int) -> bool:
        runs = self.runs(deployment)
        return sum(run["state_type"] in ENDED for run in runs) >= count

    def slots(self, deployment: str) -> int:
        return int(self.server.ask("GET", f"/deployments/{deployment}")["global_concurrency_limit"]["active_slots"])

    def damage(self) -> int:
        from fabloom.storage.backends.local import LocalStore
        from fabloom.storage.verify import verify

        return len(verify(LocalStore(self.store)).problems)

    def forget(self, deployment: str) -> None:
        """Take a deployment away, so that the next case begins anew."""
        self.server.ask("DELETE", f"/deployments/{deployment}")


def once(plant: Plant, outcome: Outcome) -> None:
    block = "import sys; from prefect.blocks.system import Secret; Secret(value=sys.argv[1]).save('plant', overwrite=True)"
    subprocess.run([sys.executable, "-c", block, SECRET], env=plant.environment(), check=True, capture_output=True)
    options = ("--cron", "0 2 * * *", "--secret", "PLANT_SECRET=plant", "--set", "steps.model.params.pause=0.3")
    first, second = plant.deploy(*options), plant.deploy(*options)
    outcome.hold("registered twice", first["id"] == second["id"] and (first["known"], second["known"]) == (False, True))
    outcome.hold("schedules", len(plant.server.ask("GET", f"/deployments/{first['id']}")["schedules"]), 1)
    plant.fabloom("deployments", "run", NAME)
    worker = plant.work("--run-once")
    seen: list[str] = []

    def over() -> bool:
        seen.extend(secrets_of_runs())
        return worker.poll() is not None

    wait_for(over, "the run ends", 600)
    row = plant.fabloom("deployments")[0]
    outcome.hold("last run", (row["name"], row["last"]), (FULL, "Completed"))
    outcome.hold("secret in the run's environment", SECRET in seen)
    told = subprocess.run(["grep", "-rlF", SECRET, str(plant.folder)], capture_output=True, text=True, check=False).stdout
    outcome.hold("files with the secret", told.split(), [])
    outcome.hold("slots", plant.slots(first["id"]), 0)
    outcome.hold("damage", plant.damage(), 0)
    plant.forget(first["id"])


def short(plant: Plant, outcome: Outcome) -> None:
    """What the test suite has time for: as `bucket` and `doctor`, with the commands' functions called in this process."""
    os.environ.update(plant.environment())
    with served_bucket() as place:
        _short(plant, outcome, place)


def _short(plant: Plant, outcome: Outcome, place: PlantBucket) -> None:
    from fabloom.flows.cli.server_health import examine_server
    from fabloom.flows.production import deploy, listing, pools, subject
    from fabloom.flows.production.when import When

    with place.visited():
        found = subject.read_subject(subject.Asked("fade", place.url, device="cpu"))
    outcome.hold("planned against the bucket", (found.unplanned, sorted(place.signed)), ("", ["VISITOR"]))
    wish = deploy.Wish(NAME, found, When(cron="0 2 * * *"), s3_block=BLOCK)
    outcome.hold("a block that is not there", refusal(wish), lambda told: f"has no Secret block '{BLOCK}'" in told)
    save_block(json.loads(place.block))
    outcome.hold("a block that is shown in plain", refusal(wish), lambda told: "is an object" in told and place.secret not in told)
    save_block(place.block)
    first, second = deploy.register(wish), deploy.register(wish)
    outcome.hold(
        "registered twice",
        (first.id == second.id, first.known, second.known, first.made_pool, second.made_pool),
        (True, False, True, True, False),
    )
    there = plant.server.ask("GET", f"/deployments/{first.id}")
    outcome.hold("schedules", len(there["schedules"]), 1)
    outcome.hold("seconds to begin", there["concurrency_options"]["grace_period_seconds"], deploy.START_SECONDS)
    for kind in pools.KINDS:
        made = plant.server.ask("POST", "/work_pools/", name=f"plant-{kind}", type=kind, base_job_template=pools.template(kind))
        outcome.hold(f"{kind} pool", made["type"], kind)
    before = {check.name: check for check in examine_server(fix=False)}
    outcome.hold("problems", sorted(name for name, check in before.items() if not check.ok), ["dead runs", "workers"])
    listing.start(NAME)
    carry_out(plant, outcome, place, first.id)
    after = {check.name: check for check in examine_server(fix=True)}
    outcome.hold("problems after", [name for name, check in after.items() if not check.ok], [])
    outcome.hold("automations", [one["trigger"]["within"] for one in plant.server.ask("POST", "/automations/filter")], [540.0])
    (row,) = listing.rows()
    outcome.hold("last run", (row.name, row.last), (FULL, "Completed"))
    outcome.hold("slots", row.running, 0)
    outcome.hold("damage", place.damage(), 0)


def save_block(value: Any) -> None:
    """In this process, which knows the server by its environment."""
    from prefect.blocks.system import Secret

    Secret(value=value).save(BLOCK, overwrite=True)


def refusal(wish: Any) -> str:
    """Why a deployment is not registered; '' where it was."""
    from fabloom.errors import UserError
    from fabloom.flows.production.deploy import register

    try:
        register(wish)
    except UserError as error:
        return str(error)
    return ""


def carry_out(plant: Plant, outcome: Outcome, place: PlantBucket, deployment: str) -> None:
    """Have a worker without any keys do the run that was asked for, and look for the block's secret everywhere meanwhile and afterwards."""
    worker, seen = plant.work("--run-once"), dict[str, bool]()

    def over() -> bool:
        seen.update(holders(place.secret))
        return worker.poll() is not None

    wait_for(over, "the run ends", 600)
    outcome.hold("requests of the run", sorted(place.signed - {"VISITOR"}), [place.key])
    outcome.hold("processes with the secret", seen, lambda found: found and all(found.values()))
    outcome.hold("answers with the secret", answers_with(plant.server.ask, deployment, place.secret), [])
    outcome.hold("files with the secret", files_with(plant.folder, place.secret), [])
    outcome.hold("objects with the secret", place.objects_with_the_secret(), [])


def bucket(plant: Plant, outcome: Outcome) -> None:
    with served_bucket() as place:
        block = "import os; from prefect.blocks.system import Secret; "
        block += f"Secret(value=os.environ['PLANT']).save('{BLOCK}', overwrite=True)"
        own = {**plant.environment(), "PLANT": place.block}
        subprocess.run([sys.executable, "-c", block], env=own, check=True, capture_output=True)
        options = ("--store", place.url, "--set", "steps.model.params.pause=0.3")
        made = plant.deploy(*options, "--s3-credentials", BLOCK)
        outcome.hold("not planned without keys", made["unplanned"], lambda why: "Check AWS_ACCESS_KEY_ID" in why or "reached" in why)
        plant.fabloom("deployments", "run", NAME)
        carry_out(plant, outcome, place, made["id"])
        outcome.hold("states", plant.states(made["id"]), ["Completed"])
        outcome.hold("damage", place.damage(), 0)
        plant.forget(made["id"])


def secrets_of_runs() -> Iterator[str]:
    """The variable in the environment of every process that carries a flow run out."""
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            found = place.read_bytes()
        except OSError:
            continue
        if b"PREFECT__FLOW_RUN_ID=" in found:
            yield from (part.partition(b"=")[2].decode() for part in found.split(b"\0") if part.startswith(b"PLANT_SECRET="))


def doctor(plant: Plant, outcome: Outcome) -> None:
    def told(*arguments: str, code: int) -> dict[str, Any]:
        return {check["name"]: check for check in plant.fabloom("doctor", "--server", *arguments, code=code)["checks"]}

    before = told(code=3)
    outcome.hold("no automation", before["dead runs"]["ok"], False)
    outcome.hold("others", [n for n, check in before.items() if not check["ok"] and n not in ("dead runs", "workers")], [])
    outcome.hold("mended", told("--fix", code=0)["dead runs"]["finding"], lambda line: "waits 540 s" in line)
    (ours,) = plant.server.ask("POST", "/automations/filter")
    hasty = {**ours, "trigger": {**ours["trigger"], "within": 90.0}, "name": "copied from a blog"}
    plant.server.ask("PUT", f"/automations/{ours['id']}", **{k: v for k, v in hasty.items() if k not in ("id", "created", "updated")})
    outcome.hold("hasty", told(code=3)["dead runs"]["finding"], lambda line: "90 s after a heartbeat" in line)
    told("--fix", code=0)
    (mended,) = plant.server.ask("POST", "/automations/filter")
    outcome.hold("slowed down", (mended["trigger"]["within"], mended["name"]), (540.0, "copied from a blog"))
    outcome.hold("then", told(code=0)["dead runs"]["ok"])


def overlap(plant: Plant, outcome: Outcome) -> None:
    made = plant.deploy("--cron", "* * * * *", "--set", "steps.images.params.count=7")
    plant.work(hold=True)
    lap(plant, made["id"])
    wait_for(lambda: plant.states(made["id"]).count("Completed") == 2, "the first and the next one end", 600)
    plant.fabloom("deployments", "pause", NAME)
    states = plant.states(made["id"])
    outcome.hold("states", states, lambda found: found[0] == "Completed" and found[1] == "Cancelled" and set(found) == {found[0], found[1]})
    plant.rest()
    outcome.hold("slots", plant.slots(made["id"]), 0)
    outcome.hold("damage", plant.damage(), 0)
    plant.forget(made["id"])


def lap(plant: Plant, deployment: str) -> None:
    """Hold a run in its training until the next one is due, and was refused."""
    wait_for(plant.hold.exists, "a run trains", 600)
    wait_for(lambda: "Cancelled" in plant.states(deployment), "the next one is refused", 300, every=1)
    plant.hold.unlink()


def submitting(plant: Plant, outcome: Outcome) -> None:
    made = plant.deploy()
    kill_while_submitting(plant, made["id"])
    outcome.hold("left", plant.states(made["id"]), ["Pending"])
    outcome.hold("slot held", plant.slots(made["id"]), 1)
    plant.fabloom("deployments", "run", NAME)
    worker = plant.work()
    wait_for(lambda: plant.ended(made["id"], 1), "the second run is refused", 300)
    outcome.hold("next one", plant.states(made["id"])[-1], "Cancelled")
    began = time.monotonic()
    wait_for(lambda: slots_finding(plant)["ok"] is False, "doctor sees it", 300)
    outcome.seen["finding"] = slots_finding(plant)["finding"]
    outcome.seen["seen after s"] = round(time.monotonic() - began)
    fixed = slots_finding(plant, fix=True)
    outcome.hold("mended", fixed["finding"], lambda told: "mended" in told)
    outcome.hold("slot freed", plant.slots(made["id"]), 0)
    plant.fabloom("deployments", "run", NAME)
    wait_for(lambda: plant.ended(made["id"], 3), "the third run ends", 600)
    outcome.hold("states", plant.states(made["id"]), ["Crashed", "Cancelled", "Completed"])
    worker.terminate()
    plant.rest()
    outcome.hold("slots", plant.slots(made["id"]), 0)
    outcome.hold("damage", plant.damage(), 0)
    plant.forget(made["id"])


def slots_finding(plant: Plant, *, fix: bool = False) -> dict[str, Any]:
    """What doctor says of slots."""
    return findings(plant, fix=fix)["slots"]


def findings(plant: Plant, *, fix: bool = False) -> dict[str, dict[str, Any]]:
    """What `fabloom doctor --server [--fix]` says of the server, without what it looks at besides."""
    code = (
        "import dataclasses, json; from fabloom.flows.run.prefect.settings import prefer; prefer()\n"
        "from fabloom.flows.cli.server_health import examine_server\n"
        f"print(json.dumps([dataclasses.asdict(check) for check in examine_server(fix={fix})]))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=plant.environment(), capture_output=True, text=True, check=True)
    return {check["name"]: check for check in json.loads(done.stdout)}


def kill_while_submitting(plant: Plant, deployment: str, *, ask: bool = True) -> None:
    """SIGKILL to a worker as soon as it has taken a run, with whatever it has started."""
    known = len(plant.runs(deployment))
    worker = plant.work()
    if ask:
        plant.fabloom("deployments", "run", NAME)
    wait_for(lambda: any(run["state_type"] == "PENDING" for run in plant.runs(deployment)[known:]), "a run is Pending", 300, every=0.2)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    plant.workers.remove(worker)


def served(plant: Plant, outcome: Outcome) -> None:
    options = ["--name", NAME, "--interval", "20s", "--device", "cpu", "--set", "steps.images.params.count=8"]
    command = [sys.executable, "-m", "fabloom.flows", "serve", "fade", *options]
    log = plant.folder / "serve.log"
    with log.open("wb") as file:
        serving = subprocess.Popen(command, env=plant.environment(hold=True), stdout=file, stderr=file, start_new_session=True)
    wait_for(plant.hold.exists, "a run trains", 600, serving)
    began = time.monotonic()
    serving.terminate()
    outcome.hold("exit", serving.wait(timeout=120), 0)
    outcome.seen["seconds to stop"] = round(time.monotonic() - began, 1)
    text = log.read_text()
    outcome.hold("stopped at a checkpoint", "stopped after step 5 of 20" in text)
    row = plant.fabloom("deployments")[0]
    outcome.hold("then", (row["state"], row["last"]), ("paused", "Cancelled"))
    left = subprocess.run(["pgrep", "-g", str(serving.pid)], capture_output=True, text=True, check=False).stdout.split()
    outcome.hold("processes left", left, [])
    outcome.hold("slots", row["running"], 0)


def yaml(plant: Plant, outcome: Outcome) -> None:
    file = plant.folder / "prefect.yaml"
    plant.fabloom("deploy", "fade", "--name", NAME, "--cron", "0 2 * * *", "--write-yaml", str(file))
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, env=plant.environment(), capture_output=True, text=True, check=False, cwd=plant.folder)
    outcome.hold("prefect deploy", done.returncode, 0)
    if done.returncode:
        outcome.seen["said"] = (done.stdout + done.stderr)[-1500:]
    (found,) = plant.server.ask("POST", "/deployments/filter")
    outcome.hold("entry point", found["entrypoint"], "fabloom.flows.run.prefect.flow:run_pipeline")
    outcome.hold(
        "limit", (found["global_concurrency_limit"]["limit"], found["concurrency_options"]["collision_strategy"]), (1, "CANCEL_NEW")
    )
    plant.fabloom("deployments", "run", NAME)
    plant.work("--run-once").wait()
    outcome.hold("states", plant.states(found["id"]), ["Completed"])
    plant.forget(found["id"])


def line(plant: Plant, outcome: Outcome) -> None:
    folder = plant.folder / "line"
    folder.mkdir()
    (folder / "pipeline.yaml").write_text(PIPELINE)
    spec = SPEC.replace("PIPELINE", "pipeline.yaml").replace("COUNT", "5")
    (folder / "retrain.yaml").write_text(f"{spec}settle: 0\nwatch: [pipeline.yaml]\n")
    asked = ("deploy", "retrain.yaml", "--folder", str(folder), "--on-new-data", "--interval", "1h")
    made = plant.fabloom(*asked)
    outcome.hold("name", made["name"], "fabloom retrain/nights")
    for night in ("first", "second"):
        plant.fabloom("deployments", "run", "nights")
        plant.work("--run-once").wait()
        outcome.seen[night] = plant.runs(made["id"])[-1]["state"]["message"]
    outcome.hold("states", plant.states(made["id"]), ["Promoted", "NoChange"])
    row = plant.fabloom("deployments")[0]
    outcome.hold("row", (row["subject"], row["schedule"], row["last"]), ("line:nights", "every 1h", "NoChange"))
    outcome.hold("slots", row["running"], 0)
    outcome.hold("damage", plant.damage(), 0)
    plant.forget(made["id"])


def minutes(plant: Plant, outcome: Outcome, count: int) -> None:
    """A run each minute, for so many minutes.

    The wedge is the time from the worker's death until the slot is free again. The next run is told apart from it: it waits for its minute,
    and for the worker to ask.
    """
    made = plant.deploy("--cron", "* * * * *", "--set", "steps.images.params.count=9")
    began = time.monotonic()
    plant.work(hold=True)
    lap(plant, made["id"])
    wait_for(lambda: "Completed" in plant.states(made["id"]), "the first one ends", 300, every=1)
    wait_for(lambda: 20 < time.time() % 60 < 45, "no run is due", 60, every=1)  # a worker that is told to end leaves what it has taken
    plant.rest()
    kill_while_submitting(plant, made["id"], ask=False)
    killed, at = time.monotonic(), time.time()
    plant.work()
    wait_for(lambda: not plant.slots(made["id"]), "the slot is free again", 900, every=1)
    outcome.hold("wedge s", round(time.monotonic() - killed), lambda seconds: seconds <= WEDGE)
    done = plant.states(made["id"]).count("Completed")
    wait_for(lambda: plant.states(made["id"]).count("Completed") > done, "a run runs again", 300, every=1)
    following = next(run for run in reversed(plant.runs(made["id"])) if run["state_name"] == "Completed")
    due, start, end = (since(following[name], at) for name in ("expected_start_time", "start_time", "end_time"))
    outcome.seen["next run, s after the kill"] = {"due": due, "begun": start, "ended": end}
    time.sleep(max(0.0, count * 60 - (time.monotonic() - began)))
    plant.fabloom("deployments", "pause", NAME)
    wait_for(lambda: not plant.slots(made["id"]), "the last run ends", 300, every=1)
    plant.rest()
    outcome.hold("left open", [run["state_name"] for run in plant.runs(made["id"]) if run["state_type"] not in ENDED], [])
    outcome.seen["states"] = dict(Counter(plant.states(made["id"])))
    outcome.seen["in order"] = "".join(state[:2] for state in plant.states(made["id"]))
    outcome.seen["crashed"] = [run["state"]["message"] for run in plant.runs(made["id"]) if run["state_type"] == "CRASHED"]
    outcome.hold("failed", outcome.seen["states"].get("Failed", 0), 0)
    outcome.hold("slots", plant.slots(made["id"]), 0)
    outcome.hold("damage", plant.damage(), 0)
    plant.forget(made["id"])


def since(moment: str, at: float) -> int:
    """Seconds from a time of ours to one of the server's."""
    return round(datetime.fromisoformat(moment).timestamp() - at)


CASES: dict[str, Callable[[Plant, Outcome], None]] = {
    "short": short, "once": once, "bucket": bucket,
    "doctor": doctor, "overlap": overlap, "submitting": submitting, "served": served, "yaml": yaml, "line": line,
}  # fmt: skip


@contextmanager
def plant() -> Iterator[Plant]:
    """With everything stopped at the end."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        server.start()
        made = Plant(server, Path(folder))
        try:
            yield made
        finally:
            for worker in made.workers:
                if worker.poll() is None:
                    os.killpg(worker.pid, signal.SIGKILL)
                    worker.wait()
            server.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(name for name in CASES if name != "short"))
    parser.add_argument("--minutes", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started by a shell with &: a worker of ours would not stop at SIGTERM
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path.insert(0, str(INSTALLED))
    todo: dict[str, Callable[[Plant, Outcome], None]] = {name: CASES[name] for name in given.cases.split(",") if name}
    if given.minutes:
        todo[f"{given.minutes} minutes"] = lambda place, outcome: minutes(place, outcome, given.minutes)
    outcomes = []
    with plant() as place:
        for name, case in todo.items():
            outcome, began = Outcome(name), time.monotonic()
            try:
                case(place, outcome)
            except RuntimeError as error:
                outcome.hold("error", str(error), "")
            outcome.seconds = round(time.monotonic() - began)
            outcomes.append(outcome)
            if not given.json:
                print(
                    f"{name}: {'sound' if outcome.sound else 'NOT SOUND ' + str(outcome.wrong)}, {outcome.seconds:.0f} s, {outcome.seen}",
                    flush=True,
                )
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = round(spent.ru_utime + spent.ru_stime)
    if given.json:
        print(json.dumps({"outcomes": [asdict(outcome) for outcome in outcomes], "cpu": cpu}))
    else:
        print(f"{cpu} CPU s of processes that have ended")
    return 0 if all(outcome.sound for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
