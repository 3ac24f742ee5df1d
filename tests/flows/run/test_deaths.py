"""Every signal to every process of a run: what `fabloom run` ends with, what is left, and that the same command goes on.

`DEATHS` is the table. Each line is tested with each of its signals, and docs/concepts/resume.md shows the same lines.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from fabloom import locks
from fabloom.method import PlannedStep
from fabloom.planning.plan import Plan, make_plan
from fabloom.registry import Registry
from fabloom.running.parts import parts_of
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.verify import verify

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / "installed"
PAGE = HERE.parents[2] / "docs" / "concepts" / "resume.md"
PATIENCE = 240.0
"""Seconds after which something never happens. What is waited for cannot come about by itself, so a busy machine changes nothing."""

STOPPING = "INT, TERM, HUP"
HELD_AT = 4
"""Steps of the loop that are behind a step of `fade.train` where it is held; a checkpoint is written after each."""
PIPELINE = """
name: deaths
steps:
  images: {task: fade.make}
  model: {task: fade.train, inputs: {images: images}, params: {steps: 8}}
  offline: {task: fade.record, inputs: {teacher: model}, params: {count: 48}}
"""
STARTS = (0, 24)
"""First row of each part of `offline` on two workers. Each part has three blocks of eight rows and is held before its second one."""


@dataclass(frozen=True)
class Death:
    """A line of the table: who gets which signals under which engine, and what comes of it, in the words of the page."""

    engine: str
    target: str
    signals: str
    code: str
    step: str
    children: str
    left: str
    again: str

    def cells(self) -> list[str]:
        return list(vars(self).values())


STOPPED = ("130", "stops at its next checkpoint")
KILLED = ("137", "dies")
FAILED = ("1", "fails, naming the signal")
AGAIN = ("0", "is begun again once, from its last checkpoint, and committed")
UNTOUCHED = ("0", "runs on and is committed")
THAT = ("that checkpoint", "goes on from it")
LAST = ("the last checkpoint, locks that nobody holds", "goes on from it")
NOTHING = ("nothing", "reuses all of it")
WITH_IT = "end with it"
PARTS = "prefect, in parts"
"""A step in two parts, each in a worker of its own."""
ROWS, ROWS_AND_LOCKS, A_PART = "the rows of each part", "the rows of each part, locks that nobody holds", "its rows, and the other part"
ON = "goes on from them"

DEATHS = [
    Death("inline", "caller", STOPPING, *STOPPED, "stay", *THAT),
    Death("inline", "caller", "KILL", *KILLED, "stay, without the lock", *LAST),
    Death("inline", "process group", STOPPING, *STOPPED, "get it too", *THAT),
    Death("inline", "process group", "KILL", *KILLED, "get it too", *LAST),
    Death("prefect", "caller", STOPPING, *STOPPED, WITH_IT, *THAT),
    Death("prefect", "caller", "KILL", *KILLED, WITH_IT, *LAST),
    Death("prefect", "process group", STOPPING, *STOPPED, WITH_IT, *THAT),
    Death("prefect", "process group", "KILL", *KILLED, WITH_IT, *LAST),
    Death("prefect", "step server", STOPPING, *UNTOUCHED, WITH_IT, *NOTHING),
    Death("prefect", "step server", "KILL", *FAILED, WITH_IT, *LAST),
    Death("prefect", "worker", STOPPING, *STOPPED, WITH_IT, *THAT),
    Death("prefect", "worker", "KILL", *AGAIN, WITH_IT, *NOTHING),
    Death("prefect", "Prefect's own server", f"{STOPPING}, KILL", *UNTOUCHED, WITH_IT, *NOTHING),
    Death("prefect", "a server elsewhere", f"{STOPPING}, KILL", *UNTOUCHED, WITH_IT, *NOTHING),
]  # fmt: skip
IN_PARTS = [
    Death(PARTS, "caller", STOPPING, "130", "each part stops after its row block", WITH_IT, ROWS, ON),
    Death(PARTS, "caller", "KILL", *KILLED, WITH_IT, ROWS_AND_LOCKS, ON),
    Death(PARTS, "step server", STOPPING, *UNTOUCHED, WITH_IT, *NOTHING),
    Death(PARTS, "step server", "KILL", *FAILED, WITH_IT, ROWS_AND_LOCKS, ON),
    Death(PARTS, "a part's worker", STOPPING, "130", "the part stops after its row block, the other is made", WITH_IT, A_PART, ON),
    Death(PARTS, "a part's worker", "KILL", "0", "the part is begun again once, from its rows, and all is committed", WITH_IT, *NOTHING),
]


def cases(rows: list[Death]) -> list[Any]:
    return [pytest.param(row, number, id=f"{row.engine}, {row.target}, {number}") for row in rows for number in row.signals.split(", ")]


def test_the_page_shows_this_table_and_no_case_is_left_out() -> None:
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    shown = [line for line in lines if len(line) == len(DEATHS[0].cells()) and line[0] in ("inline", "prefect", PARTS)]
    assert shown == [row.cells() for row in (*DEATHS, *IN_PARTS)]
    targets = {
        "inline": {"caller", "process group"},
        "prefect": {"caller", "process group", "step server", "worker", "Prefect's own server", "a server elsewhere"},
        PARTS: {"caller", "step server", "a part's worker"},
    }
    wanted = sorted((e, t, s) for e, names in targets.items() for t in names for s in ("INT", "TERM", "HUP", "KILL"))
    assert sorted((row.engine, row.target, number) for row in (*DEATHS, *IN_PARTS) for number in row.signals.split(", ")) == wanted


class Victims:
    """Runs of the command, forked from a process that has everything in memory."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            **os.environ, "PYTHONPATH": str(INSTALLED), "PREFECT_HOME": str(folder / "prefect"), "NO_PROXY": "*", "OMP_NUM_THREADS": "1",
            "FABLOOM_THREADS": "1", "PREFECT_CLIENT_MAX_RETRIES": "0", "COLUMNS": "200",
        }  # fmt: skip
        self.environment.pop("PREFECT_API_URL", None)
        command = [sys.executable, str(HERE / "victims.py")]
        self._server = subprocess.Popen(command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **wanted: Any) -> int:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(wanted) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def prefect(self) -> tuple[int, str]:
        """A Prefect server elsewhere: its process id and URL."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        pid = self.ask(port=port, env={**self.environment, "PREFECT__SERVER_EPHEMERAL": "1"})  # without schedules and their like
        url = f"http://127.0.0.1:{port}/api"
        wait_for(lambda: _answers(port))
        return pid, url

    def close(self) -> None:
        self._server.communicate()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass
class Run:
    """One run of the pipeline by the command, in a folder of its own."""

    victims: Victims
    folder: Path
    engine: str
    pid: int = 0
    over: bool = False

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def held(self) -> Path:
        return self.folder / "held"

    @property
    def told(self) -> str:
        return (self.folder / "err").read_text()

    def start(self, *more: str, **variables: str) -> None:
        for name in ("out", "err", "notes", "held"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "p.yaml").write_text(PIPELINE)
        arguments = ["run", str(self.folder / "p.yaml"), "--engine", self.engine, "--store", str(self.store)]
        arguments += ["--device", "cpu", "--checkpoint", "0", *more]
        places, self.over = {name: str(self.folder / name) for name in ("out", "err", "notes")}, False
        self.pid = self.victims.ask(arguments=arguments, env={**self.victims.environment, **variables}, **places)

    def wait(self) -> int:
        wait_for(lambda: not alive(self.pid))
        status = self.victims.ask(wait=self.pid)
        self.over = True
        return status

    def at_work(self) -> dict[str, int]:
        """Process ids once the step is held in mid-training."""
        wait_for(lambda: self.held.exists() or not alive(self.pid))
        assert self.held.exists(), self.told
        worker, child = map(int, self.held.read_text().split())
        return {"caller": self.pid, "worker": worker, "child": child, **self.servers()}

    def parts_at_work(self) -> list[tuple[int, int]]:
        """Process ids of the worker of each part, and of its child, once all of them are held."""
        places = [self.held.with_name(f"held-{first}") for first in STARTS]
        wait_for(lambda: all(place.exists() for place in places) or not alive(self.pid))
        assert all(place.exists() for place in places), self.told
        return [(int(worker), int(child)) for worker, child in (place.read_text().split() for place in places)]

    def servers(self) -> dict[str, int]:
        """Process ids of what was started for it."""
        found = dict[str, int]()
        names = {"uvicorn": "Prefect's own server", "fabloom.running.executors.server": "step server"}
        notes = self.folder / "notes"
        for line in notes.read_text().splitlines() if notes.exists() else ():
            module, pid = line.split()
            found[names[module]] = int(pid)
        return found


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, "it would never come about by itself"
        time.sleep(0.03)


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victims]:
    made = Victims(tmp_path_factory.mktemp("victims"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def elsewhere(victims: Victims) -> Iterator[str]:
    """URL of a Prefect server that nobody kills. It makes the database that all of them use, one after another."""
    pid, url = victims.prefect()
    victims.environment["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] = "false"
    yield url
    os.kill(pid, signal.SIGKILL)
    victims.ask(wait=pid)


@pytest.fixture(scope="module")
def whole(victims: Victims, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run that nobody kills."""
    run = Run(victims, tmp_path_factory.mktemp("undisturbed"), "inline")
    run.start()
    assert run.wait() == 0, run.told
    return run.store


@pytest.fixture(scope="module")
def undisturbed(whole: Path) -> dict[str, str]:
    """Digest of each of its steps."""
    return digests(whole)


def digests(store: Path) -> dict[str, str]:
    opened = LocalStore(store, read_only=True)
    return {key: opened.manifest(key)["digest"] for key in opened.keys()}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(INSTALLED))
        registry, folder = Registry.load(), tmp_path_factory.mktemp("plan")
        (folder / "p.yaml").write_text(PIPELINE)
        return make_plan(registry.pipeline(str(folder / "p.yaml")), registry, LocalStore(folder / "store"))


def strike(row: Death, number: str, found: dict[str, int]) -> None:
    """Send the signal; where it is to end a server that the step needs not, wait for that, and let the step go on."""
    what = signal.Signals[f"SIG{number}"]
    if row.target == "process group":
        os.killpg(found["caller"], what)
    else:
        os.kill(found[row.target], what)
    if "Prefect" in row.target or "elsewhere" in row.target:
        wait_for(lambda: not alive(found[row.target]))


def check_words(row: Death, number: str, told: str) -> None:
    """What the caller showed, where it lived to do so: what happened and what to do, in one line."""
    assert "Traceback" not in told, told
    if row.code == "130":
        assert "worker" in row.target or "Stopping at the next checkpoint" in told
        assert re.search(r"stopped after step 5 of 8 of 'main'\. Run the same command again to go on\.", told), told
        assert told.endswith("fabloom: stopped. Run the same command again to go on.\n"), told
    if row.target == "worker" and row.code == "0":
        (line,) = [line for line in told.splitlines() if "was killed by" in line]
        assert f"SIG{number}. It is begun again, once, and goes on from step {HELD_AT} of 'main'" in line
        assert f"going on from step {HELD_AT} of 'main'" in told and "model: ran" in told
    if row.code == "1":
        (line,) = [line for line in told.splitlines() if line.startswith("step 'model' failed")]
        assert f"the step server was killed by SIG{number}" in line and "Run again to go on from its last checkpoint." in line
    assert ("could not be told how the run ended" in told) == ("erver" in row.target and row.target != "step server"), told


def members(session: int) -> set[int]:
    """Living processes of a session: a run's own, whatever groups they lead."""
    found = set()
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == session and alive(pid):
                found.add(pid)
    return found


def check_children(row: Death, found: dict[str, int]) -> None:
    """Nobody of the run is left, but for what an inline step started in a process that is not there any more."""
    stays = {found["child"]} if row.children.startswith("stay") else set()
    wait_for(lambda: members(found["caller"]) <= stays)
    assert members(found["caller"]) == stays


def check_left(row: Death, store: Path, plan: Plan) -> None:
    opened, key = LocalStore(store), plan.step("model").key
    health = verify(opened)
    assert not health.problems and not [path for path in (store / "locks").iterdir() if locks.is_held(path)]
    saved = [int(path.name.split("-")[2]) for path in opened.work(key).glob("ckpt-main-*.pt")]
    at = {THAT[0]: HELD_AT + 1, LAST[0]: HELD_AT, NOTHING[0]: 0}[row.left]
    assert max(saved, default=0) == at
    assert any(name.startswith("locks/") for name in health.leftovers) == ("locks" in row.left)
    assert bool(health.leftovers) == (row.left != "nothing")


def check_again(row: Death, run: Run, undisturbed: dict[str, str]) -> None:
    run.start(FABLOOM_NO_PREFECT="1")
    assert run.wait() == 0, run.told
    gone_on = re.search(r"going on from step (\d+) of 'main'", run.told)
    wanted = {THAT: HELD_AT + 1, LAST: HELD_AT, NOTHING: None}[row.left, row.again]
    assert (gone_on and int(gone_on[1])) == wanted and "waiting" not in run.told, run.told
    statuses = dict(re.findall(r"^(images|model|offline): (ran|reused)", run.told, re.M))
    assert statuses == {"images": "reused", **dict.fromkeys(("model", "offline"), "reused" if wanted is None else "ran")}
    health = verify(LocalStore(run.store))
    assert digests(run.store) == undisturbed and not health.problems and not health.leftovers


@pytest.mark.parametrize(("row", "number"), cases(DEATHS))
def test_a_death(
    row: Death, number: str, victims: Victims, undisturbed: dict[str, str], plan: Plan, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    variables, server = {"FADE_HOLD": str(tmp_path / "held"), "FADE_CHILD": "1"}, 0
    if row.target in ("step server", "worker"):
        variables["FABLOOM_NO_PREFECT"] = "1"
    elif row.engine == "prefect":
        url = request.getfixturevalue("elsewhere")
        if row.target == "a server elsewhere":
            server, url = victims.prefect()
        if row.target != "Prefect's own server" and (row.target == "a server elsewhere" or number != "KILL"):
            variables["PREFECT_API_URL"] = url  # a server of their own is to go with those that are killed, and costs seconds
    run = Run(victims, tmp_path, row.engine)
    run.start(**variables)
    found = {**run.at_work(), "a server elsewhere": server}
    try:
        strike(row, number, found)
        if row.target == "worker" and row.code == "0":  # the next one is held as well
            wait_for(lambda: not alive(run.pid) or run.held.read_text().split()[0] != str(found["worker"]))
        if row.code == "0":
            run.held.unlink()
        status = run.wait()
        assert (status if status >= 0 else 128 - status) == int(row.code), run.told  # as a shell shows it
        check_words(row, number, run.told)
        check_children(row, found)
        check_left(row, run.store, plan)
        check_again(row, run, undisturbed)
    finally:
        for pid in (found["child"], *([] if run.over else [run.pid]), *([server] if server else [])):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if server:
            victims.ask(wait=server)


BLOCKS = {ROWS: [2, 2], ROWS_AND_LOCKS: [1, 1], A_PART: [2, 3], NOTHING[0]: [3, 3]}
"""Row blocks of each part that are there afterwards, by what is left. Three are the whole part, or the step's artifact."""


def check_left_of_parts(row: Death, store: LocalStore, step: PlannedStep) -> None:
    health = verify(store)
    assert not health.problems and not [path for path in (store.root / "locks").iterdir() if locks.is_held(path)]
    assert any(name.startswith("locks/") for name in health.leftovers) == ("locks" in row.left)
    assert bool(health.leftovers) == (row.left != "nothing")
    if row.left == "nothing":
        assert store.has(step.key)
        return
    written = []
    for part in parts_of(step, store, 2):
        journals = store.work(part.key).glob("*.jsonl")
        written.append(3 if store.has(part.key) else len(next(journals).read_text().splitlines()) - 1)
    assert written == BLOCKS[row.left]


@pytest.mark.parametrize(("row", "number"), cases(IN_PARTS))
def test_a_death_of_a_step_in_parts(
    row: Death, number: str, victims: Victims, whole: Path, undisturbed: dict[str, str], plan: Plan, tmp_path: Path
) -> None:
    """Everything but this step is there before."""
    run, step = Run(victims, tmp_path, "prefect"), plan.step("offline")
    shutil.copytree(whole, run.store)
    shutil.rmtree(LocalStore(run.store).folder(step.key))
    run.start("--workers", "2", FADE_HOLD=str(run.held), FADE_CHILD="1", FABLOOM_NO_PREFECT="1")
    parts = run.parts_at_work()
    found = {"caller": run.pid, "a part's worker": parts[0][0], **run.servers()}
    places = [run.held.with_name(f"held-{first}") for first in STARTS]
    try:
        os.kill(found[row.target], signal.Signals[f"SIG{number}"])
        if row.target == "a part's worker" and number == "KILL":  # the next one is held as well
            wait_for(lambda: not alive(run.pid) or places[0].read_text().split()[0] != str(parts[0][0]))
        for place in places[1:] if row.left == A_PART else places if row.left == "nothing" else []:
            place.unlink()
        status = run.wait()
        assert (status if status >= 0 else 128 - status) == int(row.code), run.told
        check_words_of_parts(row, number, run.told)
        wait_for(lambda: not members(run.pid))
        check_left_of_parts(row, LocalStore(run.store), step)
        check_goes_on(row, run, step, undisturbed)
    finally:
        for pid in [child for _, child in parts] + ([] if run.over else [run.pid]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def check_words_of_parts(row: Death, number: str, told: str) -> None:
    assert "Traceback" not in told, told
    if row.code == "130":
        assert "worker" in row.target or "Stopping at the next checkpoint" in told
        assert re.search(r"stopped after \d+ of 48 rows, in 2 parts\. Run the same command again to go on\.", told), told
    if row.target == "a part's worker" and row.code == "0":
        assert "part 1 of 2: its process was killed by SIGKILL. It is begun again, once, and goes on from the rows that are written" in told
    if row.code == "1":
        assert f"the step server was killed by SIG{number}" in told, told


def check_goes_on(row: Death, run: Run, step: PlannedStep, undisturbed: dict[str, str]) -> None:
    """Blocks that were there are those of the artifact: files of one disk under another name."""
    again = time.time_ns()
    run.start("--workers", "2", FABLOOM_NO_PREFECT="1")
    assert run.wait() == 0, run.told
    statuses = dict(re.findall(r"^(images|model|offline): (ran|reused)", run.told, re.M))
    assert statuses == {"images": "reused", "model": "reused", "offline": "reused" if row.left == "nothing" else "ran"}
    store = LocalStore(run.store)
    health, shards = verify(store), store.folder(step.key) / "data.zarr" / "r_chunks" / "c"
    assert digests(run.store) == undisturbed and not health.problems and not health.leftovers
    files = [next(path for path in (shards / str(at)).rglob("0") if path.is_file()) for at in range(6)]
    old = [file.stat().st_mtime_ns < again for file in files]
    assert [sum(old[:3]), sum(old[3:])] == BLOCKS[row.left]


def logged(url: str) -> bool:
    """Whether the server has lines of a run."""
    request = urllib.request.Request(f"{url}/logs/filter", b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bool(json.loads(answer.read()))


@pytest.mark.parametrize("number", ["TERM", "KILL"])
def test_a_caller_and_its_server_that_are_ended_at_once(
    number: str, victims: Victims, elsewhere: str, undisturbed: dict[str, str], plan: Plan, tmp_path: Path
) -> None:
    """As by a shutdown of the machine: the caller is at an end at its next checkpoint, however long Prefect's client would ask again."""
    server, url = victims.prefect()
    run = Run(victims, tmp_path, "prefect")
    run.start(FADE_HOLD=str(tmp_path / "held"), PREFECT_API_URL=url, PREFECT_CLIENT_MAX_RETRIES="12")  # for more than two hours
    found = run.at_work()
    wait_for(lambda: logged(url))  # before, a client takes no answer for an answer
    try:
        os.kill(run.pid, signal.SIGTERM)
        os.kill(server, signal.Signals[f"SIG{number}"])
        assert run.wait() == 130, run.told
        row = Death("prefect", "caller", number, *STOPPED, WITH_IT, *THAT)
        assert "Traceback" not in run.told and re.search(r"stopped after step 5 of 8 of 'main'", run.told), run.told
        check_children(row, found)
        check_left(row, run.store, plan)
        check_again(row, run, undisturbed)
    finally:
        for pid in ([] if run.over else [run.pid]) + [server]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        victims.ask(wait=server)
