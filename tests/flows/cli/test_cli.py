"""The command line: every command, its JSON, its exit codes, and what it says about mistakes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fabloom.pipeline import Pipeline

INSTALLED = Path(__file__).parents[2] / "installed"
FADE_STEPS = ["images", "model", "offline", "report"]


pytestmark = pytest.mark.usefixtures("surroundings")
Cli = Callable[..., Any]
"""The fixture `cli` of conftest."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, warm: Callable[..., subprocess.CompletedProcess[str]]) -> tuple[Path, dict[str, Any]]:
    """A store that holds a whole run of `fade`, and the document that the run printed."""
    store = tmp_path_factory.mktemp("made") / "store"
    environment = {**os.environ, "PYTHONPATH": str(INSTALLED)}
    done = warm(["-m", "fabloom.flows", "run", "fade", "--engine", "inline", "--store", str(store), "--json"], env=environment)
    assert done.returncode == 0, done.stderr
    return store, json.loads(done.stdout)


@pytest.fixture
def pipeline(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of one `fade.make` step."""

    def write(text: str | None = None, **params: Any) -> Path:
        path = tmp_path / "p.yaml"
        content = {"name": "p", "steps": {"images": {"task": "fade.make", "params": params}}}
        path.write_text(text if text is not None else yaml.safe_dump(content))
        return path

    return write


# ------------------------------------------------------------------------------------------------------------------------------- help

COMMANDS = [
    [], ["run"], ["plan"], ["pipelines"], ["tasks"], ["plugins"], ["artifacts"], ["show"], ["lineage"], ["verify"], ["gc"], ["export"], ["predict"],
    ["runs"], ["report"], ["open"], ["compare"],
    ["ref"], ["ref", "set"], ["ref", "rollback"], ["ref", "list"], ["ref", "rename"], ["ref", "delete"], ["doctor"], ["deploy"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(cli: Cli, command: list[str]) -> None:
    done = cli(*command, "--help")
    assert done.code == 0 and not done.err and "Usage: fabloom" in done.out and len(done.out.split()) > 25
    if command and command != ["ref"]:
        assert "--store" in done.out and "--json" in done.out
    assert cli(*command, "-h").out == done.out


def test_no_argument_shows_the_help(cli: Cli) -> None:
    done = cli()
    assert done.code == 2 and "run" in done.out + done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "fade", "--enigne", "inline"], "--engine"), (["rnu", "fade"], "rnu"), (["run"], "PIPELINE"), (["plan", "fade", "--json=1"], "--json"),
        (["run", "fade", "--engine", "spark"], "inline"), (["run", "fade", "--seed", "x"], "integer"), (["run", "fade", "more"], "more"),
        (["run", "fade", "--checkpoint", "-1"], "checkpoint"), (["gc", "--older-than", "soon"], "--older-than"), (["ref", "st", "a", "b"], "st"),
        (["run", "fade", "--set"], "--set"), (["show"], "KEY"), (["export", "abc"], "DIR"), (["run", "fade", "--checkpoint", "nan"], "--checkpoint"),
        (["gc", "--older-than", "nan", "--unreferenced", "--yes"], "--older-than"), (["run", "fade", "--engine", "in\nline"], "inline"),
        (["ref", "a\nb"], "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_command_line_that_cannot_be_read_gives_one_line_and_2(cli: Cli, arguments: list[str], words: str) -> None:
    done = cli(*arguments)
    assert done.code == 2 and not done.out
    assert len(done.err.strip().splitlines()) == 1 and done.err.startswith("fabloom: ") and words in done.err and "--help" in done.err


# -------------------------------------------------------------------------------------------------------------------------------- run


def test_the_document_of_a_run(made: tuple[Path, dict[str, Any]], cli: Cli) -> None:
    store, first = made
    assert set(first) == {"run", "steps", "report", "report_path"}
    assert list(first["steps"]) == FADE_STEPS
    for step in first["steps"].values():
        assert set(step) == {"task", "kind", "key", "digest", "status", "seconds"} and step["status"] == "ran"
    assert set(first["report"]) == {"weight", "codes"} and Path(first["report_path"]).is_file()
    again = cli("run", "fade", "--engine", "inline", "--store", store, "--json")
    assert again.code == 0 and [s["status"] for s in again.json["steps"].values()] == ["reused"] * 4
    assert again.json["report"] == first["report"]
    for name, step in again.json["steps"].items():
        assert (step["key"], step["digest"]) == (first["steps"][name]["key"], first["steps"][name]["digest"])


def test_a_run_for_people_says_what_happened_on_stderr(made: tuple[Path, dict[str, Any]], cli: Cli) -> None:
    done = cli("run", "fade", "--engine", "inline", "--store", made[0])
    assert done.code == 0 and not done.out and "reused" in done.err and made[1]["report_path"] in done.err.replace("\n", "")


def test_seed_and_set_change_the_keys(cli: Cli, tmp_path: Path) -> None:
    def keys(*more: str) -> dict[str, str]:
        return {name: step["key"] for name, step in cli("plan", "fade", "--json", "--store", tmp_path / "s", *more).json["steps"].items()}

    plain = keys()
    assert keys("--seed", "0") == plain
    assert all(keys("--seed", "1")[name] != key for name, key in plain.items())
    longer = keys("--set", "steps.model.params.steps=21", "--set", "steps.model.params.pause=1e-4")
    assert longer["images"] == plain["images"] and all(longer[n] != plain[n] for n in FADE_STEPS[1:])
    assert keys("--set", "steps.model.seed=4")["model"] != plain["model"]
    assert keys("--set", "steps.model.params.pause=1e-4") == keys("--set", "steps.model.params.pause=0.0001")
    assert not list((tmp_path / "s" / "objects").iterdir()), "planning ran something"


def test_fabloom_store_is_the_default_and_store_wins(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("artifacts").code == 0 and not (tmp_path / ".fabloom").exists(), "who only looks makes nothing"
    assert cli("gc").code == 0 and (tmp_path / ".fabloom" / "store.json").is_file()
    monkeypatch.setenv("FABLOOM_STORE", str(tmp_path / "from-environment"))
    assert cli("gc").code == 0 and (tmp_path / "from-environment" / "store.json").is_file()
    assert cli("gc", "--store", "chosen").code == 0 and (tmp_path / "chosen" / "store.json").is_file()
    assert cli("gc", "--store", f"file://{tmp_path}/by-url").code == 0 and (tmp_path / "by-url" / "store.json").is_file()


def test_commands_that_look_change_nothing_in_the_store(made: tuple[Path, dict[str, Any]], cli: Cli, tmp_path: Path) -> None:
    store, key = made[0], made[1]["steps"]["images"]["key"]

    def state() -> list[tuple[str, int, int]]:
        return sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in [store, *store.rglob("*")])

    before = state()
    for command in looks(key, tmp_path):
        done = cli(*command, "--store", store)
        assert done.code == 0, (command, done.err)
        assert state() == before, command


def looks(key: str, out: Path) -> list[list[str]]:
    """Every command that only looks at a store, each once."""
    places = [str(out / name) for name in ("images", "zarr", "page.html", "both.html")]
    return [
        ["artifacts"], ["show", key], ["lineage", key], ["verify"], ["verify", key], ["export", key, places[0]],
        ["export", key, places[1], "--format", "zarr"], ["ref", "list"], ["runs"], ["report", "1", "--out", places[2]],
        ["compare", "1", "1", "--out", places[3]], ["plan", "fade"],
    ]  # fmt: skip


def test_a_store_that_may_not_be_written_can_be_looked_at(made: tuple[Path, dict[str, Any]], cli: Cli, tmp_path: Path) -> None:
    """On a disk that is mounted for reading; to change something there is refused in one line."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    key = made[1]["steps"]["images"]["key"]
    try:
        shutil.copytree(made[0], disk / "store")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for command in looks(key, tmp_path):
            done = cli(*command, "--store", disk / "store")
            assert done.code == 0, (command, done.err)
        for command in (["run", "fade", "--engine", "inline"], ["gc"], ["ref", "set", "a", key]):
            done = cli(*command, "--store", disk / "store")
            assert done.code == 3 and len(done.err.splitlines()) == 1 and "cannot be written" in done.err, (command, done.err)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_redo_names_a_step(made: tuple[Path, dict[str, Any]], cli: Cli) -> None:
    done = cli("run", "fade", "--engine", "inline", "--store", made[0], "--redo", "imagse")
    assert done.code == 2 and "Did you mean 'images'" in done.err
    done = cli("run", "fade", "--engine", "inline", "--store", made[0], "--redo", "images", "--json")
    assert [s["status"] for s in done.json["steps"].values()] == ["ran", "reused", "reused", "reused"]
    assert done.json["steps"]["images"]["digest"] == made[1]["steps"]["images"]["digest"]


PRINTING = """
import sys
import os
from fabloom import Context, Method, Params, Report, hookimpl, task

class Loud(Method):
    name = "loud"
    preload = ()

    @task(version=1)
    def speak(self, ctx: Context, params: Params) -> Report:
        '''Prints.'''
        print("printed by a task")
        os.write(1, b"written by a library\\n")
        os.system("echo echoed by a child")
        return Report.write(ctx, {"x": 1.0})

    @task(version=1)
    def fail(self, ctx: Context, params: Params) -> Report:
        '''Raises.'''
        raise RuntimeError("the laser is cold")

    @task(version=1)
    def full(self, ctx: Context, params: Params) -> Report:
        '''Raises.'''
        raise OSError(28, "No space left on device")

@hookimpl
def fabloom_methods():
    return [Loud]
"""


@pytest.fixture
def loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    site = tmp_path / "site"
    info = site / "loud-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "loud_plugin.py").write_text(PRINTING)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fabloom.plugins]\nloud = loud_plugin\n")
    monkeypatch.syspath_prepend(str(site))

    def write(task: str) -> Path:
        path = tmp_path / "loud.yaml"
        path.write_text(f"{{name: loud, steps: {{a: {{task: loud.{task}}}, b: {{task: loud.speak, seed: 1}}}}}}")
        return path

    return write


def test_stdout_is_one_document_whatever_a_task_prints(cli: Cli, loud: Callable[[str], Path]) -> None:
    done = cli("run", loud("speak"), "--engine", "inline", "--json")
    assert done.code == 0 and [s["status"] for s in done.json["steps"].values()] == ["ran", "ran"]
    for words in ("printed by a task", "written by a library", "echoed by a child"):
        assert words in done.err


@pytest.mark.parametrize(("task", "code", "words"), [("fail", 1, "the laser is cold (at loud_plugin.py"), ("full", 3, "No space left")])
def test_a_failed_step_gives_its_code_in_both_forms(cli: Cli, loud: Callable[[str], Path], task: str, code: int, words: str) -> None:
    done = cli("run", loud(task), "--engine", "inline", "--json")
    assert done.code == code and words in done.err
    assert [s["status"] for s in done.json["steps"].values()] == ["failed", "skipped"]
    assert words in done.json["steps"]["a"]["error"] and done.json["report"] == {} and done.json["report_path"] is None
    done = cli("run", loud(task), "--engine", "inline")
    assert done.code == code and not done.out and "laser" in done.err + "laser" and "Traceback" not in done.err


# ---------------------------------------------------------------------------------------------------------------- mistakes in pipelines

BAD_YAML = {
    "given twice": ("name: p\nsteps:\n  a: {task: fade.make}\n  a: {task: fade.make}\n", "'a' is given twice"),
    "tab": ("name: p\nsteps:\n\ta: {task: fade.make}\n", "be read as YAML"),
    "list": ("- name: p\n", "is a mapping"),
    "text": ("hello", "is a mapping"),
    "empty": ("", "is a mapping"),
    "no steps": ("name: p\nsteps: {}\n", "steps"),
    "no name": ("steps: {a: {task: fade.make}}\n", "name"),
    "bad name": ("name: ../p\nsteps: {a: {task: fade.make}}\n", "name"),
    "bad step": ("name: p\nsteps: {'a b': {task: fade.make}}\n", "a b"),
    "extra": ("name: p\nstep: {}\nsteps: {a: {task: fade.make}}\n", "Did you mean 'steps'"),
    "tag": ("name: !!python/object/apply:os.system [true]\nsteps: {}\n", "be read as YAML"),
    "seed": ("name: p\nseed: many\nsteps: {a: {task: fade.make}}\n", "seed"),
    "task": ("name: p\nsteps: {a: {task: fade.mkae}}\n", "steps.a.task: there is no task 'fade.mkae'. Did you mean 'fade.make'?"),
    "method": ("name: p\nsteps: {a: {task: fad.make}}\n", "Did you mean 'fade.make'"),
    "self": ("name: p\nsteps: {a: {task: fade.train, inputs: {images: a}}}\n", "cycle: a -> a"),
    "alias": ("name: p\nsteps: {a: {task: fade.make, params: &x {count: 2}}, b: {task: fade.make, params: *y}}\n", "be read as YAML"),
    "mapping key": ("name: p\nsteps: {a: {task: fade.make, params: {? [x] : 1}}}\n", ""),
}


@pytest.mark.parametrize("how", BAD_YAML)
def test_a_bad_pipeline_gives_one_error_and_2(cli: Cli, pipeline: Callable[..., Path], how: str, tmp_path: Path) -> None:
    text, words = BAD_YAML[how]
    for command in (["plan"], ["run", "--engine", "inline", "--json"]):
        done = cli(*command, pipeline(text), "--store", "s")
        assert done.code == 2 and not done.out, done
        assert done.err.startswith("fabloom: ") and words in done.err and "Traceback" not in done.err


def test_a_pipeline_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    assert "Did you mean 'one-step'" in cli("plan", "onestep").err
    for name in ("nothing.yaml", "some/where", str(tmp_path)):
        done = cli("plan", name)
        assert done.code == 2 and name in done.err
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert cli("plan", "binary.yaml").code == 2


def test_a_pipeline_of_an_odd_name(cli: Cli, pipeline: Callable[..., Path]) -> None:
    """A name that no file has, a device, a circle, and the name of a pipeline that its page could not be called."""
    Path("loop.yaml").symlink_to("loop.yaml")
    for name in ("x" * 300, "x/" * 3000, "/dev/zero", "loop.yaml", "a\nb", os.fsdecode(b"caf\xe9")):
        done = cli("plan", name, "--store", "s")
        assert done.code == 2 and not done.out and len(done.err.splitlines()) == 1 and done.err.startswith("fabloom: "), done
    with Path("large.yaml").open("wb") as file:  # of two bytes each, so that what is read of it could be taken for the whole
        file.write(b"name: p\nsteps: {a: {task: fade.make}}\n# " + "é".encode() * (9 << 20))
    assert "larger than the 16 MiB" in cli("plan", "large.yaml", "--store", "s").err
    for place in (f"name: {'p' * 101}\nsteps: {{a: {{task: fade.make}}}}", f"name: p\nsteps: {{{'s' * 101}: {{task: fade.make}}}}"):
        done = cli("plan", pipeline(place), "--store", "s")
        assert done.code == 2 and "100 characters" in done.err


@pytest.mark.parametrize("path", ["a\0b", "loop", "dangling", "x" * 300, "/dev/null"])
def test_a_source_that_is_none(cli: Cli, tmp_path: Path, path: str) -> None:
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("nowhere")
    (tmp_path / "load.yaml").write_text(f"name: load\nsteps:\n  images: {{task: images.load, params: {{path: {json.dumps(path)}}}}}\n")
    done = cli("plan", "load.yaml", "--store", "s")
    assert done.code == 2 and len(done.err.splitlines()) == 1 and "steps.images.params" in done.err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("steps." + "a." * 1000 + "b=1", "leads more than 64 deep"), (os.fsdecode(b"steps.caf\xe9.seed=3"), "there is nothing"),
        (os.fsdecode(b"steps.images.params.count=caf\xe9"), "is no text"), ("steps.images.params.clean=[*_ok*]", "goes in quotes"),
        ("steps", "steps.NAME.params"), ("=3", "cannot be set"), ("steps=", "cannot be set"), ("steps.imags.params.count=3", "Did you mean 'images'"),
        ("steps.images.params.cuont=3", "Did you mean 'count'"), ("steps.images.params.count=", "steps.images.params.count"),
        ("steps.images.params.count=-1", "greater than 0"), ("steps.images.params.count=[", "be read as YAML"),
        ("steps.images.params.count.x=3", "steps.images.params.count"), ("stpes.images.seed=3", "Did you mean 'steps'"),
        ("steps.images.task=fade.tarin", "Did you mean 'fade.train'"), ("steps.images.params.count=nan", "steps.images.params.count"),
        ("steps.images.params.count=.nan", "steps.images.params.count"), ("steps.images=3", "steps.images"),
    ],
)  # fmt: skip
def test_a_bad_override_says_how_to_write_it(cli: Cli, pipeline: Callable[..., Path], setting: str, words: str) -> None:
    done = cli("plan", pipeline(count=4), "--set", setting, "--store", "s")
    assert done.code == 2 and words in done.err and "Traceback" not in done.err and not done.out


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("1E5", 1e5), ("-2e3", -2e3), (".5", 0.5), ("1e4", 1e4), ("3", 3), ("'1e-4'", "1e-4")]
)
def test_numbers_in_yaml_are_numbers(text: str, value: object, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(f"name: p\nsteps: {{a: {{task: x.y, params: {{rate: {text}}}}}}}\n")
    for loaded in (Pipeline.load(tmp_path / "p.yaml"), Pipeline.load(tmp_path / "p.yaml").override([f"steps.a.params.rate={text}"])):
        got = loaded.steps["a"].params["rate"]
        assert got == value and type(got) is type(value)


# ------------------------------------------------------------------------------------------------------------------------ the machine


def test_a_device_that_is_not_there_stops_before_anything_runs(
    cli: Cli, pipeline: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = cli("run", pipeline(), "--engine", "inline", "--device", "cuda:7", "--store", "s", "--json")
    assert done.code == 3 and not done.out and "cuda:7" in done.err and "--device cpu" in done.err
    done = cli("run", pipeline(), "--engine", "inline", "--device", "gpu", "--store", "s")
    assert done.code == 2 and "cuda:N" in done.err
    assert cli("artifacts", "--store", "s", "--json").json == []


@pytest.mark.parametrize("value", ["abc", "0", "-2", "1.5"])
def test_a_thread_count_that_is_none(cli: Cli, pipeline: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FABLOOM_THREADS", value)
    done = cli("run", pipeline(), "--engine", "inline", "--store", "s")
    assert done.code == 3 and "FABLOOM_THREADS" in done.err and "Traceback" not in done.err


def test_stores_that_cannot_be_used(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "store.json").write_text('{"schema":9}')
    for place, code in (("file", 2), ("photos", 2), ("newer", 3), ("gs://bucket", 2)):
        for command in (["artifacts"], ["verify"], ["plan", "fade"], ["gc"], ["run", "fade", "--engine", "inline"], ["ref", "list"]):
            done = cli(*command, "--store", place, "--json")
            assert done.code == code and not done.out and done.err.startswith("fabloom: "), (place, command, done)


# ------------------------------------------------------------------------------------------------------------------ looking at things


def test_pipelines_tasks_and_plugins(cli: Cli) -> None:
    known = cli("pipelines", "--json").json
    assert {"fade", "one-step"} <= set(known) and known["fade"]["steps"]["images"]["task"] == "fade.make"
    assert "make, train, record, score" in cli("pipelines").out
    tasks = cli("tasks", "--json").json
    assert tasks["fade.train"]["inputs"] == {"images": "ImageSet"} and tasks["fade.train"]["output"] == "Model"
    assert tasks["fade.train"]["params"]["properties"]["steps"]["description"] == "Optimizer steps."
    assert set(cli("tasks", "fade", "--json").json) == {"fade.make", "fade.train", "fade.record", "fade.score"}
    assert set(cli("tasks", "fade.make", "--json").json) == {"fade.make"}
    shown = cli("tasks", "fade.train").out
    assert "learns the mean" in shown and "images: ImageSet" in shown and "Optimizer steps." in shown
    assert cli("tasks", "fade.tarin").code == 2
    plugins = cli("plugins", "--json").json
    assert {"entry_point": "fade", "distribution": "fade-plugin", "version": "1.0", "methods": ["fade"]} in plugins["plugins"]
    assert plugins["problems"] == []


def test_looking_at_artifacts(made: tuple[Path, dict[str, Any]], cli: Cli) -> None:
    store, run = made
    steps = run["steps"]
    listed = cli("artifacts", "--store", store, "--json").json
    assert {a["key"] for a in listed} == {s["key"] for s in steps.values()}
    assert [a["kind"] for a in cli("artifacts", "--kind", "Model", "--store", store, "--json").json] == ["Model"]
    assert "fade.record" in cli("artifacts", "--store", store).out
    shown = cli("show", steps["report"]["key"][:8], "--store", store, "--json").json
    assert shown["key"] == steps["report"]["key"] and shown["attrs"]["metrics"] == run["report"]
    model = cli("show", steps["model"]["key"], "--store", store).out
    assert "fade.train (version 1)" in model and "step     'model' of pipeline 'fade'" in model and re.search(r"inputs +64", model)
    assert re.search(r"curve    main\.loss: [\d.]+ at 0, [\d.]+ at 19", model) and re.search(r"\bsteps +20", model)
    report = cli("show", steps["report"]["key"], "--store", store).out
    assert re.search(rf"metric +value\n(.*\n)*weight +{run['report']['weight']:.3g}", report) and "{" not in report
    assert re.search(r"grey levels +\d+ to \d+, mean", cli("show", steps["images"]["key"], "--store", store).out)
    walked = cli("lineage", steps["report"]["key"], "--store", store, "--json").json
    assert set(walked) == {s["key"] for s in steps.values()}
    assert cli("lineage", steps["images"]["key"], "--store", store).out.count("fade.") == 1
    for command in ("show", "lineage", "verify"):
        done = cli(command, "deadbeef", "--store", store)
        assert done.code == 2 and "deadbeef" in done.err


def test_plan_tells_what_is_there(made: tuple[Path, dict[str, Any]], cli: Cli) -> None:
    plan = cli("plan", "fade", "--store", made[0], "--json", "--set", "steps.offline.params.count=8").json
    assert [(n, s["state"]) for n, s in plan["steps"].items()] == [
        ("images", "reuse"),
        ("model", "reuse"),
        ("offline", "run"),
        ("report", "run"),
    ]
    assert "2 of 4 steps would run" in cli("plan", "fade", "--store", made[0], "--set", "steps.offline.params.count=8").out
    assert "nothing would run" in cli("plan", "fade", "--store", made[0], "--strict").out


def test_refs(made: tuple[Path, dict[str, Any]], cli: Cli, pipeline: Callable[..., Path]) -> None:
    store, run = made
    first, second = run["steps"]["model"]["key"], run["steps"]["images"]["key"]
    assert cli("ref", "set", "fade/champion", first[:9], "--store", store, "--json").json == {"fade/champion": first}
    assert cli("ref", "set", "fade/champion", second, "--store", store).code == 0
    assert cli("ref", "list", "--store", store, "--json").json == {"fade/champion": second}
    assert cli("show", "fade/champion", "--store", store, "--json").json["key"] == second
    assert cli("ref", "rollback", "fade/champion", "--store", store, "--json").json == {"fade/champion": first}
    text = "{name: p, steps: {o: {task: fade.record, inputs: {teacher: 'ref:fade/champion'}}}}"
    assert cli("plan", pipeline(text), "--store", store, "--json").json["steps"]["o"]["key"] == run["steps"]["offline"]["key"]
    why = cli("ref", "set", "fade/champion", second, "--why", os.fsdecode(b"caf\xe9"), "--store", store)
    assert why.code == 2 and "not UTF-8" in why.err
    assert cli("ref", "hold", "fade/later", first, "--why", "not yet \x1b[31m", "--store", store).code == 0
    assert "\x1b" not in cli("ref", "log", "fade/later", "--store", store).out
    listed = cli("ref", "list", "--store", store, "--json")
    assert listed.code == 0 and set(listed.json) == {"fade/champion"}, "a key was only held back from the other"
    assert cli("show", "fade/later", "--store", store).code == cli("ref", "rollback", "fade/later", "--store", store).code == 2
    table = cli("ref", "list", "--store", store).out
    assert re.search(rf"fade/champion +{first[:12]} +{second[:12]}", table) and re.search(rf"fade/later +nothing yet +{first[:12]}", table)
    (store / "refs" / "torn.json").write_text("[" * 100_000)
    listed = cli("ref", "list", "--store", store, "--json")
    assert listed.code == 1 and listed.json == {"fade/champion": first} and "'torn' is damaged" in listed.err
    assert cli("show", "torn", "--store", store).code == 1
    (store / "refs" / "torn.json").unlink()
    for words in (["set", "x", first], ["hold", "x", first], ["unhold", "x", first], ["rollback", "x"]):
        assert cli("ref", *words, "--store", "mistyped/store").code == 2 and not Path("mistyped").exists()
    for command in (["set", "../x", first], ["set", "x", "deadbeef"], ["rollback", "nothing"], ["rollback", "fade/champion"]):
        done = cli("ref", *command, "--store", store)
        assert done.code == 2 and done.err.startswith("fabloom: ")


def test_a_ref_is_renamed_and_deleted_and_its_log_stays(made: tuple[Path, dict[str, Any]], cli: Cli) -> None:
    store, run = made
    first, second = run["steps"]["model"]["key"], run["steps"]["images"]["key"]
    for key in (first, second):
        assert cli("ref", "set", "old", key, "--store", store).code == 0
    assert "old is at" in (same := cli("ref", "set", "old", second, "--store", store)).out and "nothing was changed" in same.out
    assert cli("ref", "hold", "old", first, "--store", store).code == 0
    for words in (["delete", "old"], ["rename", "old", "new"]):
        held = cli("ref", *words, "--store", store)
        assert held.code == 2 and f"ref unhold old {first[:12]}" in held.err
    assert cli("ref", "unhold", "old", first, "--store", store).code == 0
    for words in (["delete", "old"], ["rename", "old", "new"]):
        moved = cli("ref", *words, "--expected", first, "--store", store)
        assert moved.code == 2 and "decide again" in moved.err
    assert cli("ref", "set", "taken", first, "--store", store).code == 0
    assert "there is a ref 'taken'" in cli("ref", "rename", "old", "taken", "--store", store).err
    assert cli("ref", "rename", "old", "new", "--expected", second, "--store", store, "--json").json == {"new": second}
    listed = cli("ref", "list", "--store", store, "--json").json
    assert listed["new"] == second and "old" not in listed and cli("show", "old", "--store", store).code == 2
    told = [entry["action"] for entry in cli("ref", "log", "old", "--store", store, "--json").json]
    assert told == ["set", "set", "hold", "unhold", "delete"]
    assert [e["action"] for e in cli("ref", "log", "new", "--store", store, "--json").json] == [*told[:-1], "rename"]
    assert cli("ref", "rollback", "new", "--no-hold", "--store", store, "--json").json == {"new": first}, "the log came along"
    alone = cli("ref", "rollback", "taken", "--store", store)
    assert alone.code == 2 and "set it to another" in alone.err
    again = cli("ref", "rollback", "new", "--store", store)
    assert again.code == 2 and "--to KEY" in again.err
    assert cli("ref", "delete", "new", "--why", "tidy", "--store", store).code == 0
    gone = cli("ref", "rollback", "new", "--store", store)
    assert gone.code == 2 and "was deleted" in gone.err and "tidy" in gone.err
    assert (
        cli("ref", "set", "new", first, "--store", store).code == 0 and "no earlier" in cli("ref", "rollback", "new", "--store", store).err
    )
    assert cli("verify", "--store", store, "--json").json["problems"] == {}
    for name in ("new", "taken"):
        assert cli("ref", "delete", name, "--store", store).code == 0


def test_export_writes_ordinary_files(made: tuple[Path, dict[str, Any]], cli: Cli, tmp_path: Path) -> None:
    store, run = made
    wanted = {"images": "images/000000.png", "model": "model.safetensors", "report": "metrics.json", "offline": "data.zarr/zarr.json"}
    for name, file in wanted.items():
        done = cli("export", run["steps"][name]["key"], tmp_path / name, "--store", store, "--json")
        assert file in done.json["files"] and (tmp_path / name / file).is_file() and "artifact.json" in done.json["files"]
    assert cli("export", run["steps"]["model"]["key"], tmp_path / "model", "--store", store).code == 2
    (tmp_path / "a-file").touch()
    assert cli("export", run["steps"]["model"]["key"], tmp_path / "a-file", "--store", store).code in (2, 3)


def test_verify_finds_damage_redo_heals_and_gc_sweeps(cli: Cli, pipeline: Callable[..., Path]) -> None:
    store = Path("s")
    run = cli("run", pipeline(), "--engine", "inline", "--store", store, "--json").json
    key = run["steps"]["images"]["key"]
    sound = cli("verify", "--store", store, "--json")
    assert sound.code == 0 and sound.json == {"checked": 1, "problems": {}, "leftovers": [], "warnings": [], "steps": {}}
    victim = store / "objects" / key[:2] / key / "data.zarr" / "images" / "c" / "0" / "0" / "0" / "0"
    victim.write_bytes(victim.read_bytes()[:-1])
    for arguments in ([], [key], [key[:7]]):
        bad = cli("verify", *arguments, "--store", store, "--json")
        assert bad.code == 1 and list(bad.json["problems"]) == [key]
    told = cli("verify", "--store", store).out.splitlines()
    assert (
        told[0].startswith(f"damaged {key[:12]}: ") and "step 'images' (fade.make)" in told[1] and "fabloom run p --redo images" in told[1]
    )
    assert cli("run", pipeline(), "--engine", "inline", "--store", store, "--redo", "images").code == 0
    assert cli("verify", "--store", store).code == 0
    text = "{name: p, steps: {i: {task: fade.make, params: {count: 7}}, o: {task: sinsemi.train, inputs: {images: i}}}}"
    assert cli("run", pipeline(text), "--engine", "inline", "--store", store).code in (1, 2)
    left = cli("verify", "--store", store)
    line = next(line for line in left.out.splitlines() if line.startswith("leftover"))
    assert (
        left.code == 0
        and "step 'o' of pipeline 'p' (sinsemi.train) failed: " in line
        and "fabloom gc" in line
        and "did not end" not in left.out
    )
    assert left.out.count("leftover") == 1 and cli("gc", "--store", store).code == 0
    (store / "work" / ("a" * 40)).mkdir()
    assert cli("verify", "--store", store).code == 0 and f"work/{'a' * 40}" in cli("verify", "--store", store).out
    assert len(cli("gc", "--store", store, "--json").json["removed"]) == 1
    listed = cli("gc", "--unreferenced", "--older-than", 0, "--store", store)
    assert f"would remove {key[:12]}" in listed.out and "--yes" in listed.out and cli("show", key, "--store", store).code == 0
    assert cli("gc", "--unreferenced", "--store", store, "--yes", "--json").json["artifacts"] == [], "it is younger than 30 days"
    assert cli("gc", "--unreferenced", "--older-than", 0, "--yes", "--store", store, "--json").json["artifacts_removed"] is True
    assert cli("show", key, "--store", store).code == 2 and not list((store / "staging").iterdir())


def test_a_damaged_input_fails_the_step_that_reads_it(cli: Cli, pipeline: Callable[..., Path]) -> None:
    text = "{name: p, steps: {images: {task: fade.make}, model: {task: fade.train, inputs: {images: images}}}}"
    key = cli("run", pipeline("{name: p, steps: {images: {task: fade.make}}}"), "--engine", "inline", "--json").json["steps"]["images"][
        "key"
    ]
    (Path(".fabloom") / "objects" / key[:2] / key / "data.zarr" / "images" / "zarr.json").write_text("{}")
    done = cli("run", pipeline(text), "--engine", "inline", "--json")
    assert done.code == 1 and done.json["steps"]["model"]["status"] == "failed" and "--redo" in done.json["steps"]["model"]["error"]
    assert [a["kind"] for a in cli("artifacts", "--json").json] == ["ImageSet"]
    manifest = Path(".fabloom") / "objects" / key[:2] / key / "manifest.json"
    manifest.write_text("{")
    assert cli("artifacts", "--json").json[0]["kind"] == "damaged"
    done = cli("run", pipeline(text), "--engine", "inline")
    assert done.code == 1 and "--redo" in done.err
    assert cli("show", key).code == 1 and "Traceback" not in cli("artifacts").err


def test_doctor(cli: Cli) -> None:
    done = cli("doctor", "--json")
    names = [c["name"] for c in done.json["checks"]]
    assert done.code == 0, done.json
    assert {"python", "torch", "prefect", "plugins", "store", "weights"} <= set(names)


def test_an_empty_listing_says_where_it_looked_and_a_kind_that_is_none_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert f"There is no artifact in {tmp_path / '.fabloom'}" in cli("artifacts").out
    assert "There is no artifact of kind Model" in cli("artifacts", "--kind", "Model").out
    done = cli("artifacts", "--kind", "Modle")
    assert done.code == 2 and "Did you mean 'Model'?" in done.err


def test_the_version_names_the_contract_that_plugins_are_written_for(cli: Cli) -> None:
    done = cli("--version")
    assert done.code == 0 and re.fullmatch(r"fabloom \d+\.\d+\.\d+ \(plugin contract 1\.\d+\)\n", done.out)


@pytest.mark.parametrize(("name", "settings", "words"), [
    ("notes.txt", [], "no images .*in it, only .txt"),
    ("a.png", ["steps.images.params.defect=['bridge*']"], r"defect pattern 'bridge\*' matches no file"),
])  # fmt: skip
def test_a_folder_without_the_images_is_refused_while_planning(
    cli: Cli, tmp_path: Path, name: str, settings: list[str], words: str
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / name).write_bytes(b"")
    (tmp_path / "load.yaml").write_text("name: load\nsteps:\n  images: {task: images.load, params: {path: pictures}}\n")
    given = [word for setting in settings for word in ("--set", setting)]
    for command in ("plan", "run"):
        done = cli(command, "load.yaml", *given)
        assert done.code == 2 and re.search(f"steps.images.params: .*{words}", done.err) and not done.out


def test_show_lists_the_first_of_many_arrays(cli: Cli, made: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    from fabloom.flows.cli import looking

    store, document = made
    model = document["steps"]["model"]["key"]
    shown = cli("show", "model", "--store", store).out  # by the step that made it
    assert f"Model {model}" in shown and "scores " in shown and "more; --json" not in shown
    assert "evaluations" in cli("show", "fade:model", "--store", store, "--json").json
    monkeypatch.setattr(looking, "SHOWN", 1)
    done = cli("show", model, "--store", store)
    assert "more; --json lists all of them" in done.out and done.code == 0


@pytest.mark.parametrize(("content", "ok", "words"), [
    (None, False, "is no folder. Make it, mend the variable, or unset it."), ("", True, "holds no weights"), ("a.pth", True, "holds a.pth"),
])  # fmt: skip
def test_the_doctor_looks_into_the_folder_of_weights(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, ok: bool, words: str
) -> None:
    from fabloom.flows.cli import doctor

    folder = tmp_path / "weights"
    monkeypatch.setattr(doctor, "_torch", lambda: "not looked for: it is of no account here and takes seconds")
    monkeypatch.setenv("FABLOOM_WEIGHTS_DIR", str(folder))
    if content is not None:
        folder.mkdir()
        if content:
            (folder / content).touch()
    (check,) = [c for c in cli("doctor", "--json").json["checks"] if c["name"] == "weights"]
    assert check["ok"] is ok and words in check["finding"]
