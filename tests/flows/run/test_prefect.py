"""The Prefect engine, without any network: states, artifacts, digests, failure. Signals are in test_deaths.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.exceptions import ParameterTypeError, SignatureMismatchError

from fabloom.flows.run.api import MOST_WORKERS
from fabloom.flows.run.prefect.settings import STARTUP_SECONDS
from fabloom.flows.run.result import RunResult
from fabloom.method import Options, StepResult
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import Plan, make_plan
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
many = ["images"] * 1001  # more than the form of a deployment takes: this run is planned already
first = fabloom.run("fade", store=sys.argv[1], engine="prefect", device="cpu", redo=many)
second = fabloom.run("fade", store=sys.argv[1], engine="prefect", device="cpu")
failed = fabloom.run("fade", store=sys.argv[1], engine="prefect", device="cpu", set=["steps.model.params.die=true"], check=False)
assert "torch" not in sys.modules, "the caller imported torch"

import prefect.server.api.server
from prefect import get_client
from prefect.states import Running
from fabloom.flows import run_pipeline
from fabloom.flows.run.prefect.aftermath import settle
from fabloom.flows.run.prefect.flow import perform, settle as hook
assert run_pipeline.name == "fabloom"

async def ask():
    async with get_client() as client:
        flows = sorted(await client.read_flow_runs(), key=lambda r: r.start_time)
        tasks = await client.read_task_runs()
        artifacts = await client.read_artifacts()
        names, logs = {t.id: t.name for t in tasks}, {}
        for line in await client.read_logs(limit=200):
            logs.setdefault(names.get(line.task_run_id, ""), []).append(line.message)
        found = await client.request("POST", "/events/filter", json={"filter": {"event": {"name": ["prefect.asset.materialization.succeeded"]}}})
        dying = await client.create_task_run(perform, flows[2].id, "dying", name="dying", state=Running())
        await asyncio.to_thread(hook, run_pipeline, flows[2], flows[2].state)
        living = (await client.read_task_run(dying.id)).state_name
        await asyncio.to_thread(settle, flows[2].id)
        return {
            "living": living,
            "settled": (await client.read_task_run(dying.id)).state_name,
            "logs": logs,
            "assets": [
                (e["resource"]["prefect.resource.id"], [r["prefect.resource.id"] for r in e["related"] if r["prefect.resource.role"] == "asset"])
                for e in found.json()["events"]
            ],
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
    assert dict(told["api"]["tasks"][2]) == {"images": "Reused", "model": "Failed", "offline": "Skipped", "report": "Skipped"}
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


def test_the_run_is_there_as_prefect_artifacts_under_keys_of_its_pipeline(told: dict[str, Any]) -> None:
    artifacts = {(kind, key): data for kind, key, data in told["api"]["artifacts"]}
    assert {key for _, key in artifacts} - {None} == {"fade-report", "fade-metrics", "fade-samples"}
    assert artifacts["image", "fade-samples"].startswith("data:image/png;base64,") and "file:" not in str(artifacts)
    rows = json.loads(artifacts["table", "fade-metrics"])
    assert [row["value"] for row in rows if row["metric"] == "codes"] == [told["report"]["codes"]]
    reports = [data for _, key, data in told["api"]["artifacts"] if key == "fade-report"]
    assert len(reports) == 3 and sum(str(told["store"] / "reports") in text for text in reports) == 2, "the third run has no page"


def test_what_the_steps_said_is_in_prefects_log_and_not_on_the_terminal(told: dict[str, Any]) -> None:
    lines = told["api"]["logs"]
    assert lines["images"].count("made 6 images") == 1
    made = [line for line in lines["images"] if line.startswith("ImageSet ")]
    assert ["reused: " in line for line in sorted(made)] == [False, True, True]
    assert any(line.startswith("metrics: weight ") and "codes" in line for line in lines["report"])
    assert "made 6 images" not in told["stderr"]


def test_what_was_made_is_an_asset_of_what_it_was_made_from_and_nothing_else_is(told: dict[str, Any]) -> None:
    keys = {step["name"]: step["key"] for step in told["runs"][0]}
    assets = [(name.rpartition("/")[2], sorted(one.rpartition("/")[2] for one in above)) for name, above in told["api"]["assets"]]
    above = {"images": [], "model": ["images"], "offline": ["model"], "report": ["model", "offline"]}
    assert sorted(assets) == sorted((keys[name], sorted(keys[one] for one in names)) for name, names in above.items())


def test_a_task_that_a_dead_process_left_is_shown_as_crashed(told: dict[str, Any]) -> None:
    assert told["api"]["settled"] == "Crashed"
    assert told["api"]["living"] == "Running", "the hook leaves a run to the process that performed it, which lives"


def test_the_form_of_a_deployment_has_a_plain_field_for_each_parameter_and_says_what_it_is() -> None:
    """Of a union or a dict Prefect's form makes what was not meant, or nothing at all."""
    from prefect.utilities.callables import parameter_schema

    from fabloom.flows import run_pipeline
    from fabloom.flows.run.prefect.order import Order

    schema = parameter_schema(run_pipeline.fn)
    assert schema.properties["workers"]["maximum"] == MOST_WORKERS
    assert list(schema.properties) == list(Order("p").parameters()) and schema.required == ["pipeline"]
    for name, field in schema.properties.items():
        assert field.get("type") in ("string", "integer", "number", "boolean", "array"), name
        assert field["description"] and not {"anyOf", "oneOf", "allOf", "$ref"} & field.keys(), name
    assert run_pipeline.validate_parameters({"pipeline": "fade", "seed": "7"})["seed"] == 7
    for wrong in ({"pipeline": ""}, {"pipeline": "fade", "device": "gpu"}, {"pipeline": "fade", "workers": 0}):
        with pytest.raises(ParameterTypeError, match=list(wrong)[-1]):
            run_pipeline.validate_parameters(wrong)
    with pytest.raises(SignatureMismatchError, match="devise"):
        run_pipeline.validate_parameters({"pipeline": "fade", "devise": "cpu"})


def test_a_flow_run_of_what_cannot_be_run_ends_as_failed_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fabloom.flows.run.prefect import session
    from fabloom.flows.run.prefect.order import Order

    monkeypatch.syspath_prepend(str(INSTALLED))
    for order, words in (
        (Order("fad"), "fad"),
        (Order("fade", redo=("modle",)), "no step 'modle'"),
        (Order("fade", overrides=("steps.model.params.stpes=3",)), "Did you mean 'steps'"),
    ):
        state: Any = session.run(replace(order, store=str(tmp_path / "store"), device="cpu"))
        assert state.is_failed() and words in state.message and "\n" not in state.message


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


def ended(steps: list[StepResult], page: Path) -> RunResult:
    """A run of a pipeline of which nothing matters but its name."""
    return RunResult(
        "line-pair-1", Plan(Pipeline.model_validate({"name": "Line_pair", "steps": {"r": {"task": "t.t"}}}), ()), steps, {}, page
    )


def test_a_report_that_was_skipped_is_not_published_in_place_of_one_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fabloom import Report, testing
    from fabloom.flows.run.prefect import artifacts
    from fabloom.running.engine import Engine

    store = LocalStore(tmp_path / "store")
    made = testing.write_artifact(store, testing.tiny_report)
    assert isinstance(made, Report)
    there = StepResult("first", "t.t", "Report", made.key, "ran", digest=made.digest)
    result = ended([there, StepResult("second", "t.t", "Report", "0" * 40, "skipped")], tmp_path / "page.html")
    published: list[tuple[str, Any]] = []
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda text, **named: published.append((named["key"], text)))
    monkeypatch.setattr(artifacts, "create_table_artifact", lambda rows, **named: published.append((named["key"], rows)))
    monkeypatch.setattr(artifacts, "create_link_artifact", lambda link, **named: published.append((named["key"], link)))
    get, read = store.get, list[str]()
    monkeypatch.setattr(store, "get", lambda key: read.append(key) or get(key))
    artifacts.publish(result, Engine(Registry.load(), store))
    assert read == [made.key], "once"
    (_, text), (_, rows) = published
    assert [key for key, _ in published] == ["line-pair-report", "line-pair-metrics"]
    assert "score" in text and "score" in str(rows) and f"`{tmp_path / 'page.html'}`" in text
    monkeypatch.setenv("FABLOOM_REPORT_URL", "https://reports.fab/night/")
    artifacts.publish(result, Engine(Registry.load(), store))
    assert published[-1] == ("line-pair-page", "https://reports.fab/night/page.html") and "page.html" not in published[2][1]


def test_artifacts_of_a_run_are_bounded_and_what_cannot_be_shown_costs_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import numpy as np

    from fabloom import Report, testing
    from fabloom.flows.run.prefect import artifacts
    from fabloom.running.engine import Engine

    def large(ctx: Any) -> Any:
        noise = np.random.default_rng(0).integers(0, 255, (6, 700, 700, 3), dtype=np.uint8)
        return Report.write(ctx, {f"m{i}": 1.0 for i in range(9000)}, pictures={f"p{i}": one for i, one in enumerate(noise)})

    store = LocalStore(tmp_path / "store")
    made = testing.write_artifact(store, large)
    result = ended([StepResult("r", "t.t", "Report", made.key, "ran", digest=made.digest)], tmp_path / "page.html")
    sizes: list[int] = []

    def refuse(rows: Any, **named: Any) -> None:
        sizes.append(len(json.dumps(rows)))
        raise ConnectionError("no http://user:secret@host any more")

    monkeypatch.setattr(artifacts, "create_table_artifact", refuse)
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda text, **named: sizes.append(len(text)))
    artifacts.publish(result, Engine(Registry.load(), store))
    assert len(sizes) == 2 and all(size < 200_000 for size in sizes) and sizes[0] > 100_000, "pictures while there is room"
    assert "metrics of line-pair-1 cannot be shown" in caplog.text and "secret" not in caplog.text


def test_a_step_is_shown_in_the_context_of_its_task_run_and_waits_for_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Prefect's client asks a server that has gone for a minute: the step's events must not wait behind that."""
    import contextvars
    import threading

    from fabloom.flows.run.prefect import observe
    from fabloom.flows.run.prefect.outage import Notice

    inside: contextvars.ContextVar[str] = contextvars.ContextVar("inside", default="nowhere")
    seen: list[Any] = []
    asked, gone = threading.Event(), threading.Event()

    def create(percent: float, description: str) -> str:
        seen.append((inside.get(), percent, description))
        asked.set()
        gone.wait()
        raise ConnectionError("no http://user:secret@host any more")

    for name in ("PROGRESS_PERIOD", "LOOK_PERIOD", "PATIENCE"):
        monkeypatch.setattr(observe, name, 0.01)
    monkeypatch.setattr(observe, "create_progress_artifact", create)
    token = inside.set("the task run")
    passed: list[Any] = []
    notice = Notice(0)
    mirror = observe.Mirror("step", tmp_path / "step.log", passed.append, notice)
    inside.reset(token)
    events = [{"event": "progress", "name": "main", "done": done, "total": 4, "unit": "step"} for done in (1, 2, 3)]
    thread = threading.Thread(target=lambda: [mirror(events[0]), asked.wait(), mirror(events[1]), mirror(events[2])])
    thread.start()  # an executor's thread knows no task run
    thread.join()
    mirror.close(StepResult("step", "t.t", "Model", "0" * 40, "ran"))
    assert passed == events and seen == [("the task run", 25.0, "step: main: 1 of 4 steps")] and notice.slow and not notice.told
    gone.set()
    for one in threading.enumerate():
        if one.name == "fabloom-mirror-step":
            one.join()
    assert notice.told


def test_a_server_that_was_away_for_a_moment_costs_no_more_than_that_moment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fabloom.flows.run.prefect import observe
    from fabloom.flows.run.prefect.outage import Notice

    answers: list[Any] = [ValueError("odd"), ConnectionError("away"), "artifact", "artifact"]
    shown: list[float] = []

    def create(percent: float, description: str) -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        shown.append(percent)
        return str(answer)

    for name in ("PROGRESS_PERIOD", "RETRY_PERIOD"):
        monkeypatch.setattr(observe, name, 0.0)
    monkeypatch.setattr(observe, "create_progress_artifact", create)
    notice = Notice(0)
    first, second = (observe.Mirror(name, tmp_path / "step.log", lambda event: None, notice) for name in ("first", "second"))
    for mirror, done in ((first, 1), (second, 2)):
        mirror._progress = {"event": "progress", "name": "main", "done": done, "total": 4, "unit": "step"}
    first._look()
    assert not notice.told, "no fault of the server"
    first._look()
    assert notice.told and notice.slow and not shown, "the end of a step does not wait meanwhile"
    first._look()
    second._look()
    assert shown == [25.0, 50.0] and not notice.slow
    monkeypatch.setattr(observe, "RETRY_PERIOD", 1e6)
    answers[:] = [ConnectionError("away"), "artifact"]
    third = observe.Mirror("third", tmp_path / "step.log", lambda event: None, notice)
    third._progress = second._progress
    third._look()
    third._look()
    assert len(answers) == 1, "it is not asked each time"


def test_prefects_own_lines_are_shown_where_a_level_is_chosen_wherever_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """prefect.toml and a profile choose as the environment does."""
    import logging

    from prefect.settings import Settings

    from fabloom.flows.run.prefect.settings import _shown

    monkeypatch.delenv("PREFECT_LOGGING_LEVEL", raising=False)
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "profiles.toml"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("prefect.settings.get_current_settings", Settings)
    line = logging.LogRecord("prefect.flow_runs", logging.INFO, "", 0, "said", (), None)
    assert not _shown(line)
    (tmp_path / "prefect.toml").write_text('[logging]\nlevel = "INFO"\n')
    assert _shown(line)


def test_progress_ends_at_100_and_lines_are_shown_as_they_come_but_never_too_many(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from fabloom.flows.run.prefect import observe
    from fabloom.flows.run.prefect.outage import Notice

    shown: list[float] = []
    monkeypatch.setattr(observe, "PROGRESS_PERIOD", 0.0)
    monkeypatch.setattr(observe, "LOOK_PERIOD", 0.01)
    monkeypatch.setattr(observe, "create_progress_artifact", lambda percent, **named: shown.append(percent))
    monkeypatch.setattr(observe, "update_progress_artifact", lambda artifact, percent, **named: shown.append(percent))
    log = tmp_path / "step.log"
    log.write_text("of an earlier run\n")
    mirror = observe.Mirror("step", log, lambda event: None, Notice(0))
    with caplog.at_level("INFO", "fabloom.step"), log.open("a") as file:
        file.write("  1%|#\r 50%|##\r100%|###\nhttp://user:secret@host is \x1b[31mred\nwithout an end")
        file.flush()
        mirror({"event": "progress", "name": "main", "done": 3, "total": 4, "unit": "step"})
        mirror({"event": "log", "message": f"two lines\nat http://user:secret@host/ in \x1b[31mred {'long' * 900}"})
        for number in range(5000):
            mirror({"event": "log", "message": f"line {number}"})
        log.unlink()  # as a commit does
        mirror.close(
            StepResult("step", "t.t", "Report", "1" * 40, "ran", digest="2" * 40, seconds=2.0, metrics={"iou": 0.5, "iou_ci": [0.4, 0.6]})
        )
    text = caplog.text
    assert shown[-1] == 100.0 and "earlier run" not in text
    assert "100%|###" in text and "50%" not in text and "secret" not in text and "\x1b" not in text and "without an end" in text
    assert "at http://host/ in" in text and "long" * 200 not in text and "two lines\n" in text
    assert "lines left out" in text and len(caplog.records) < 200 and "line 4999" in text
    assert "Report 111111111111 made in 2.0 s; digest 222222222222" in text and "metrics: iou 0.50 [0.40, 0.60]" in text


def test_a_step_that_was_stopped_is_cancelled_and_one_that_failed_is_not() -> None:
    from fabloom.errors import Interrupted, StepFailed
    from fabloom.flows.run.prefect.states import state_of, state_of_run
    from fabloom.running.execute import code_of

    states = {}
    for error in (Interrupted("stopped after step 5"), StepFailed("model", "no")):
        result = StepResult("model", "t.t", "Model", "0" * 40, "failed", error=str(error), exit_code=code_of(error))
        states[type(error)] = state_of(result)
        assert state_of_run(result).type == states[type(error)].type
        assert str(state_of_run(result).message).count("model") == 1, "no message says it twice"
    assert (states[Interrupted].name, states[Interrupted].message) == ("Cancelled", "stopped after step 5")
    assert states[StepFailed].is_failed()
    left_out = state_of(StepResult("model", "t.t", "Model", "0" * 40, "skipped", error="why"))
    assert (left_out.name, left_out.message) == ("Skipped", "why") and not left_out.is_cancelled(), (
        "no automation on what is cancelled fires"
    )


def test_a_lost_concurrency_slot_ends_no_run() -> None:
    """Prefect means to end a deployed run whose slot it could not renew, which it cannot while its server is gone."""
    import threading

    from prefect._internal.concurrency.cancellation import WatcherThreadCancelScope

    from fabloom.flows.run.prefect.outage import Notice, wait_for_steps

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
        wait_for_steps([first, second], notice)
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
    psutil.wait_procs([server], timeout=240)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
