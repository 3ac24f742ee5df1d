"""The Prefect engine, without any network: states, artifacts, digests, failure. Signals are in test_deaths.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from fabloom.flows.run.prefect.settings import STARTUP_SECONDS
from fabloom.method import Options
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry
from fabloom.running.execute import run_step
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.verify import verify

INSTALLED = Path(__file__).parents[2] / "installed"

TWICE = """
import asyncio, json, os, socket, sys
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
import fabloom
assert not any(name.partition(".")[0] in ("prefect", "torch", "zarr") for name in sys.modules)
first = fabloom.run("fade", store=sys.argv[1], engine="prefect", device="cpu")
second = fabloom.run("fade", store=sys.argv[1], engine="prefect", device="cpu")
failed = fabloom.run("fade", store=sys.argv[1], engine="prefect", device="cpu", set=["steps.model.params.die=true"], check=False)
assert "torch" not in sys.modules, "the caller imported torch"

import prefect.server.api.server
from prefect import get_client
from fabloom.flows import run_pipeline
assert run_pipeline.name == "fabloom"

async def ask():
    async with get_client() as client:
        flows = sorted(await client.read_flow_runs(), key=lambda r: r.start_time)
        tasks = await client.read_task_runs()
        artifacts = await client.read_artifacts()
        return {
            "flows": [(f.name, f.state.name) for f in flows],
            "tasks": [[(t.name, t.state.name) for t in sorted(tasks, key=lambda t: t.start_time or t.expected_start_time) if t.flow_run_id == f.id] for f in flows],
            "artifacts": [(a.type, a.key, a.data) for a in artifacts],
        }

def outside():
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=1).close()
    except OSError as error:
        return type(error).__name__ + str(error.errno)
    return "reached"

runs = [[s.as_dict() for s in r.steps] for r in (first, second, failed)]
print(json.dumps({"runs": runs, "codes": [r.exit_code for r in (first, second, failed)], "report": first.report,
                  "api": asyncio.run(ask()), "outside": outside()}))
"""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(INSTALLED), "PREFECT_HOME": str(folder / "prefect"), "NO_PROXY": "*"}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What three runs in one process without a network say: a whole one, one that reuses it, and one with a step that dies.

    The folder that it is called in holds modules that nobody may import.
    """
    folder = tmp_path_factory.mktemp("prefect")
    evil = folder / "evil"
    evil.mkdir()
    for module in ("numpy", "random", "prefect", "uvicorn", "sqlite3"):
        (evil / f"{module}.py").write_text(f"open({str(folder / 'executed')!r}, 'a').write({module!r})\nraise SystemExit(7)\n")
    (folder / "twice.py").write_text(TWICE)
    command = [sys.executable, str(folder / "twice.py"), str(folder / "store")]
    probe = ["unshare", "-n", "sh", "-c", "ip link set lo up || ifconfig lo up"]
    cut = shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    if cut:
        command = ["unshare", "-n", "sh", "-c", '(ip link set lo up || ifconfig lo up) 2>/dev/null; exec "$@"', "sh", *command]
    done = subprocess.run(command, cwd=evil, env=environment(folder), capture_output=True, text=True, check=False, timeout=1100)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "store": folder / "store", "cut": cut, "stderr": done.stderr, "executed": folder / "executed"}


def test_the_flow_runs_and_a_second_run_is_reused_in_name_too(told: dict[str, Any]) -> None:
    assert told["codes"] == [0, 0, 1]
    assert [[s["status"] for s in run] for run in told["runs"]] == [["ran"] * 4, ["reused"] * 4, ["reused", "failed", "skipped", "skipped"]]
    assert told["api"]["flows"] == [["fade", "Completed"], ["fade", "Completed"], ["fade", "Failed"]]
    names = ["images", "model", "offline", "report"]
    assert told["api"]["tasks"][0] == [[name, "Completed"] for name in names]
    assert told["api"]["tasks"][1] == [[name, "Reused"] for name in names]
    assert dict(told["api"]["tasks"][2]) == {"images": "Reused", "model": "Failed", "offline": "NotReady", "report": "NotReady"}
    assert "SIGKILL" in told["runs"][2][1]["error"]


def test_digests_are_those_of_the_inline_engine(told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(INSTALLED))
    registry, store = Registry.load(), LocalStore(tmp_path / "inline")
    plan = make_plan(registry.pipeline("fade"), registry, store)
    inline = [run_step(step, store, Options(device="cpu")) for step in plan.steps]
    assert [(r.key, r.digest) for r in inline] == [(s["key"], s["digest"]) for s in told["runs"][0]]
    assert not verify(LocalStore(told["store"])).problems


def test_prefects_terminal_lines_do_not_repeat_what_the_result_says(told: dict[str, Any]) -> None:
    assert told["codes"][2] != 0, "the third run failed"
    assert "Finished in state" not in told["stderr"] and "NoneType: None" not in told["stderr"]


def test_neither_prefects_server_nor_ours_imports_from_the_working_folder(told: dict[str, Any]) -> None:
    assert told["codes"] == [0, 0, 1] and not told["executed"].exists()


def test_the_report_is_there_as_prefect_artifacts(told: dict[str, Any]) -> None:
    artifacts = {(kind, key): data for kind, key, data in told["api"]["artifacts"]}
    assert ("markdown", "fabloom-report") in artifacts
    assert any("fade-" in str(data) for (kind, key), data in artifacts.items() if key == "fabloom-page")
    assert f"{told['report']['codes']}"[:2] in str(artifacts["markdown", "fabloom-report"]).replace(",", "").replace(" ", "")


def test_no_network_is_needed(told: dict[str, Any]) -> None:
    if not told["cut"]:
        pytest.skip("cutting the network off needs root and unshare")
    assert told["outside"] != "reached"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"PREFECT_API_URL": "http://user:secret@127.0.0.1:9/api"}, "Prefect does not answer at http://127.0.0.1:9/api"),
        ({"PREFECT_CLIENT_MAX_RETRIES": "many"}, "Prefect's settings (PREFECT_…) are not valid"),
    ],
)
def test_a_server_that_is_not_there_and_a_misspelt_setting_are_one_line_and_3(
    tmp_path: Path, variables: dict[str, str], words: str
) -> None:
    command = [sys.executable, "-m", "fabloom.flows", "run", "fade", "--store", str(tmp_path / "store"), "--device", "cpu", "--json"]
    done = subprocess.run(command, env={**environment(tmp_path), **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("fabloom: ") and words in last and "secret" not in done.stderr + done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize(("chosen", "wanted"), [(None, STARTUP_SECONDS), (7, 7)])
def test_the_server_gets_time_to_start_unless_the_user_says_how_much(
    monkeypatch: pytest.MonkeyPatch, chosen: int | None, wanted: int
) -> None:
    """Also where Prefect was imported before fabloom, as here: a loaded machine needs more than Prefect's 20 s."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS as SETTING
    from prefect.settings import temporary_settings

    from fabloom.flows.run.prefect import server

    seen: list[int] = []

    def start(started: Any, timeout: int | None = None) -> None:
        seen.append(timeout or SETTING.value())

    monkeypatch.setattr(SubprocessASGIServer, "_instances", {})
    monkeypatch.setattr(SubprocessASGIServer, "start", start)
    monkeypatch.setattr(server, "determine_server_type", lambda: server.ServerType.EPHEMERAL)
    with temporary_settings({} if chosen is None else {SETTING: chosen}):
        server.start_server()
    assert seen == [wanted]


def test_a_report_that_was_skipped_is_not_published_in_place_of_one_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fabloom import Report, testing
    from fabloom.flows.run.prefect import observe
    from fabloom.flows.run.result import RunResult
    from fabloom.method import StepResult
    from fabloom.running.engine import Engine

    store = LocalStore(tmp_path / "store")
    made = testing.write_artifact(store, testing.tiny_report)
    assert isinstance(made, Report)
    there = StepResult("first", "t.t", "Report", made.key, "ran", digest=made.digest)
    plan: Any = None
    result = RunResult("r", plan, [there, StepResult("second", "t.t", "Report", "0" * 40, "skipped")], {}, tmp_path / "page.html")
    published: list[str] = []
    monkeypatch.setattr(observe, "create_markdown_artifact", lambda text, **named: published.append(text))
    monkeypatch.setattr(observe, "create_link_artifact", lambda link, **named: published.append(link))
    observe.publish(result, Engine(Registry.load(), store))
    assert len(published) == 2 and "score" in published[0]


def test_progress_is_mirrored_in_the_context_of_its_task_run_and_costs_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's client asks a server that has gone for a minute: the step's events must not wait behind that."""
    import contextvars
    import threading

    from fabloom.flows.run.prefect import observe

    inside: contextvars.ContextVar[str] = contextvars.ContextVar("inside", default="nowhere")
    seen: list[Any] = []
    asked, gone = threading.Event(), threading.Event()

    def create(percent: float, description: str) -> str:
        seen.append((inside.get(), percent))
        asked.set()
        gone.wait()
        raise ConnectionError("no http://user:secret@host any more")

    warned: list[str] = []
    monkeypatch.setattr(observe, "PROGRESS_PERIOD", 0.0)
    monkeypatch.setattr(observe, "create_progress_artifact", create)
    token = inside.set("the task run")
    passed: list[Any] = []
    mirror = observe.ProgressArtifact("step", passed.append, warned.append)
    inside.reset(token)
    events = [{"event": "progress", "name": "main", "done": done, "total": 4} for done in (1, 2, 3)]
    thread = threading.Thread(target=lambda: [mirror(event) for event in events])  # an executor's thread knows no task run
    thread.start()
    thread.join()
    asked.wait()
    assert passed == events and seen == [("the task run", 25.0)], "the second and third were passed on while the first is being mirrored"
    gone.set()
    for one in threading.enumerate():
        if one.name == "fabloom-mirror-step":
            one.join()
    assert warned == ["no http://host any more"]


def test_a_step_that_was_stopped_is_cancelled_and_one_that_failed_is_not() -> None:
    from fabloom.errors import Interrupted, StepFailed
    from fabloom.flows.run.prefect.session import _state_of
    from fabloom.method import StepResult
    from fabloom.running.execute import code_of

    states = {}
    for error in (Interrupted("stopped after step 5"), StepFailed("model", "no")):
        states[type(error)] = _state_of(StepResult("model", "t.t", "Model", "0" * 40, "failed", error=str(error), exit_code=code_of(error)))
    assert (states[Interrupted].name, states[Interrupted].message) == ("Cancelled", "stopped after step 5")
    assert states[StepFailed].is_failed()


def test_a_lost_concurrency_slot_ends_no_run() -> None:
    """Prefect means to end a deployed run whose slot it could not renew, which it cannot while its server is gone."""
    import threading

    from prefect._internal.concurrency.cancellation import WatcherThreadCancelScope

    from fabloom.flows.run.prefect.outage import Notice
    from fabloom.flows.run.prefect.session import _wait

    class Step:
        def __init__(self) -> None:
            self.waited_for, self.done = threading.Event(), threading.Event()

        def wait(self) -> None:
            self.waited_for.set()
            while not self.done.wait(0.01):
                pass

    first, second = Step(), Step()
    with WatcherThreadCancelScope() as scope:

        def lose() -> None:
            first.waited_for.wait()
            first.waited_for.clear()
            scope.cancel()
            first.waited_for.wait()  # again, after what Prefect threw
            first.done.set()
            second.done.set()

        thread = threading.Thread(target=lose)
        thread.start()
        notice = Notice(0)
        _wait([first, second], notice)
        thread.join()
    assert scope.cancelled() and second.done.is_set() and notice.told


def test_prefects_server_ends_with_its_caller_also_while_it_is_starting() -> None:
    """Its first seconds are its imports: a caller that is killed then must not leave it for ever."""
    code = (
        "from fabloom.flows.run.prefect.server import _apart\n"
        "from prefect.server.api import server\n"
        "with _apart():\n"
        "    started = server.subprocess.Popen(['sleep', '600'])\n"
        "    print(started.pid, flush=True)\n"
        "    import time; time.sleep(600)\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert caller.stdout is not None
    server = psutil.Process(int(caller.stdout.readline()))
    assert server.is_running() and os.getpgid(server.pid) != os.getpgid(caller.pid)
    os.killpg(caller.pid, signal.SIGKILL)
    caller.wait()
    psutil.wait_procs([server], timeout=60)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
