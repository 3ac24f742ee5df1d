"""Plugins of every sort of brokenness, as they lie in site-packages: named, and harmful to nobody but those who need them."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fabloom
from fabloom.errors import PipelineError, PluginError
from fabloom.flows.cli.main import main
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry, entry_points
from fabloom.registry.discovery import can_wait
from fabloom.storage.backends.local import LocalStore

GOOD = """
from fabloom import Context, Method, Params, Pipeline, Report, hookimpl, task

class Toy(Method):
    name = "{name}"
    api = "{api}"

    @task(version=1)
    def {task}(self, ctx: Context, params: Params) -> {output}:
        '''A toy.'''

@hookimpl
def fabloom_methods():
    return [Toy]
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install("name", source, version)` puts a plugin of one module into a folder on the path, as an installer would."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def add(name: str, source: str, version: str = "1.0", module: str = "") -> None:
        module = module or f"plugin_{name}_{tmp_path.name.replace('-', '_')}"
        (site / f"{module}.py").write_text(source)
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[fabloom.plugins]\n{name} = {module}\n")

    return add


def good(name: str = "toy", api: str = ">=1,<2", task: str = "make", output: str = "Report") -> str:
    return GOOD.format(name=name, api=api, task=task, output=output)


BROKEN = {
    "import": ("import no_such_module_anywhere", "cannot be imported: ModuleNotFoundError"),
    "syntax": ("def (", "SyntaxError"),
    "raises": ("raise RuntimeError('licence expired')", "licence expired"),
    "exits": ("import sys; sys.exit('go away')", "SystemExit: go away"),
    "name": ("from fabloom import NoSuchName", "NoSuchName"),
    "hook": ("from fabloom import hookimpl\n@hookimpl\ndef fabloom_metods(): return []", "fabloom_metods"),
    "rubbish": ("from fabloom import hookimpl\n@hookimpl\ndef fabloom_methods(): return 5", "must return a list, not int"),
    "text": ("from fabloom import hookimpl\n@hookimpl\ndef fabloom_methods(): return 'Toy'", "must return a list, not str"),
    "raising hook": ("from fabloom import hookimpl\n@hookimpl\ndef fabloom_methods(): raise KeyError('x')", "KeyError"),
    "no method": ("from fabloom import hookimpl\n@hookimpl\ndef fabloom_methods(): return [int]", "no Method subclass"),
    "instance": (good().replace("[Toy]", "[Toy()]"), "without parentheses"),
    "old api": (good(api=">=0.1,<1"), "wants contract version >=0.1,<1, this fabloom has 1.2"),
    "no range": (good(api="one"), "no version range"),
    "signature": (good(task="sample"), "def Toy.sample("),
    "annotation": (good(output="int"), "def Toy.make("),
    "unresolved": (good(output="'Nothing'"), "cannot be resolved"),
    "unmarked": ("def fabloom_methods(): return []", "fabloom_methods lacks its mark; write @hookimpl"),
    "unmarked and misspelt": ("def fabloom_method(): return []", "Did you mean 'fabloom_methods'?"),
    "argument": ("from fabloom import hookimpl\n@hookimpl\ndef fabloom_open_store(uri): return None", "uri"),
    "undeclared kind": (
        good(output="Curve").replace("class Toy", "from fabloom import Artifact\nclass Curve(Artifact): pass\n\nclass Toy"),
        "Curve is declared by no plugin; return it from the hook fabloom_kinds",
    ),
    "kind of another name": (
        good(output="Report").replace("class Toy", "from fabloom import Artifact\nclass Report(Artifact): pass\n\nclass Toy"),
        "is another class than the kind of that name",
    ),
    "kind that is taken": (
        "from fabloom import hookimpl, Artifact\nclass Model(Artifact): pass\n@hookimpl\ndef fabloom_kinds(): return [Model]",
        "kind 'Model' is claimed by both fabloom and broken 1.0",
    ),
    "kind that is none": ("from fabloom import hookimpl\n@hookimpl\ndef fabloom_kinds(): return [int]", "no subclass of fabloom.Artifact"),
    "lambda": ("from fabloom import hookimpl\n@hookimpl\ndef fabloom_pipelines(): return [7]", "no Pipeline, path or named function"),
    "no task": (good().replace("@task(version=1)", ""), "has no task"),
    "version": (good().replace("version=1", "version=0"), "whole number from 1"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_plugin_is_named_with_its_cause_and_bricks_nothing(install: Install, capsys: pytest.CaptureFixture[str], how: str) -> None:
    source, words = BROKEN[how]
    install("broken", source)
    install("sound", good("sound"))
    registry = Registry.load()
    (problem,) = registry.problems
    assert words in problem.cause and problem.fix
    assert (problem.origin.entry_point, problem.origin.distribution, problem.origin.version) == ("broken", "broken", "1.0")
    assert "sound.make" in registry.tasks and "line-pair.simulate" in registry.tasks and "one-step" in registry.pipeline_names()
    assert "broken 1.0 (entry point 'broken')" in str(problem)


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["fabloom", *arguments])
    for look in ("_torch", "_precision"):  # processes of their own, which take seconds and are of no account here
        monkeypatch.setattr(f"fabloom.flows.cli.doctor.{look}", lambda: "not looked at")
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_every_command_works_beside_a_broken_plugin_and_only_its_pipeline_fails(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install("broken", "print('hello'); import no_such_module_anywhere")
    monkeypatch.setenv("FABLOOM_STORE", str(tmp_path / "store"))
    for command in ("pipelines", "tasks", "artifacts", "verify", "plugins"):
        assert run_main(monkeypatch, command, "--json") == 0, command
        shown = json.loads(capsys.readouterr().out)
    assert shown["problems"][0]["distribution"] == "broken" and "no_such_module_anywhere" in shown["problems"][0]["cause"]
    assert run_main(monkeypatch, "plugins") == 0 and "problem: broken 1.0" in capsys.readouterr().out
    file = tmp_path / "p.yaml"
    file.write_text("{name: p, steps: {a: {task: broken.make}}}")
    assert run_main(monkeypatch, "plan", str(file)) == 3
    assert "no_such_module_anywhere" in capsys.readouterr().err
    assert run_main(monkeypatch, "doctor", "--json") == 3
    assert any(c["name"] == "plugin broken" and not c["ok"] for c in json.loads(capsys.readouterr().out)["checks"])


def test_two_plugins_of_one_method_are_both_named_and_only_who_needs_them_fails(install: Install, tmp_path: Path) -> None:
    install("first-maker", good("toy"), "1.1", "maker_one")
    install("second-maker", good("toy"), "2.2", "maker_two")
    install("sound", good("sound"))
    registry = Registry.load()
    store = LocalStore(tmp_path / "store")
    make_plan(Pipeline.parse({"name": "p", "steps": {"a": {"task": "sound.make"}}}), registry, store)
    with pytest.raises(PluginError, match=r"first-maker 1\.1 .*second-maker 2\.2") as caught:
        make_plan(Pipeline.parse({"name": "p", "steps": {"a": {"task": "toy.make"}}}), registry, store)
    assert caught.value.exit_code == 3 and "FABLOOM_PLUGINS" in str(caught.value)


def test_a_plugin_cannot_take_the_name_of_a_built_in_method_in_silence(install: Install, tmp_path: Path) -> None:
    install("aaa", good("line-pair"))
    registry = Registry.load()
    (problem,) = registry.problems
    assert "fabloom" in problem.cause and "aaa 1.0" in problem.cause and problem.fix == "Give the method of aaa another name"
    store = LocalStore(tmp_path / "store")
    assert make_plan(registry.pipeline("one-step"), registry, store).steps, "what comes with fabloom goes on working"
    assert "line-pair.simulate" in registry.tasks and "line-pair.make" not in registry.tasks


def test_fabloom_plugins_chooses_what_loads(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("one", good("one"))
    install("two", good("two"))
    install("bad", "raise RuntimeError")
    found = {}
    for text in ("one", " one , two ", "", "bad", "nothing"):
        monkeypatch.setenv("FABLOOM_PLUGINS", text)
        registry = Registry.load()
        assert "line-pair" in registry.methods, "what fabloom itself brings is always there"
        found[text] = ({"one", "two"} & set(registry.methods), len(registry.problems))
    assert found == {"one": ({"one"}, 0), " one , two ": ({"one", "two"}, 0), "": (set(), 0), "bad": (set(), 1), "nothing": (set(), 1)}


def test_a_misspelt_task_in_a_pipeline_says_the_nearest_and_that_plugins_are_missing(install: Install) -> None:
    install("bad", "raise RuntimeError")
    registry = Registry.load()
    with pytest.raises(PipelineError, match=r"Did you mean 'line-pair\.simulate'.*1 plugins could not be loaded"):
        registry.task("line-pair.simluate")


def test_pipelines_come_as_objects_files_and_callables(install: Install, tmp_path: Path) -> None:
    (tmp_path / "from-file.yaml").write_text("{name: from-file, steps: {a: {task: toy.make}}}")
    hook = f"""
@hookimpl
def fabloom_pipelines():
    def all_methods(registry):
        return Pipeline.model_validate({{"name": "all-methods", "steps": {{n: {{"task": f"{{n}}.make"}} for n in registry.methods if n == "toy"}}}})
    return [Pipeline.model_validate({{"name": "object", "steps": {{"a": {{"task": "toy.make"}}}}}}), {str(tmp_path / "from-file.yaml")!r}, all_methods, 5]
"""
    install("toy", good() + hook)
    registry = Registry.load()
    for name in ("object", "from-file", "all-methods"):
        assert registry.pipeline(name).name == name
    assert "toy" in registry.pipeline("all-methods").steps
    (problem,) = registry.problems
    assert "5" in problem.cause


def test_a_kind_of_a_plugin_and_a_store_of_a_plugin(install: Install, tmp_path: Path) -> None:
    source = (
        good(output="Curve").replace("class Toy", "from fabloom import Artifact\nclass Curve(Artifact): pass\n\nclass Toy")
        + """
@hookimpl
def fabloom_kinds():
    return [Curve]

@hookimpl
def fabloom_open_store(url):
    if url.startswith("toy://"):
        from fabloom.storage.backends.local import LocalStore
        return LocalStore(url.removeprefix("toy://"))
"""
    )
    install("toy", source)
    registry = Registry.load()
    assert not registry.problems and registry.tasks["toy.make"].output.kind == "Curve"
    store: Any = registry.open_store(f"toy://{tmp_path}/s")
    assert store.root == tmp_path / "s" and "Curve" in store.kinds
    with pytest.raises(Exception, match="no plugin can open the store 'gs://x'"):
        registry.open_store("gs://x")


def test_a_missing_dependency_is_named_with_who_should_have_brought_it(install: Install) -> None:
    install("broken", "import no_such_module_anywhere")
    (problem,) = Registry.load().problems
    assert "no_such_module_anywhere" in problem.fix and "dependencies of broken" in problem.fix


PIPELINES = """
from fabloom import hookimpl

def raising(registry):
    raise RuntimeError("no table of tools")

def rubbish(registry):
    return {{"name": "rubbish"}}

@hookimpl
def fabloom_pipelines():
    return [raising, rubbish, "{missing}"]
"""


def test_a_pipeline_that_cannot_be_built_harms_only_who_asks_for_it(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install("broken", PIPELINES.format(missing=tmp_path / "lost.yaml"))
    registry = Registry.load()
    for name, words in (("raising", "no table of tools"), ("rubbish", "gives dict, no Pipeline")):
        with pytest.raises(PluginError, match=f"pipeline '{name}' of broken 1.0.*{words}"):
            registry.pipeline(name)
    assert run_main(monkeypatch, "pipelines") == 0
    listed = capsys.readouterr().out
    assert "cannot be read: pipeline 'raising' of broken 1.0" in listed and "one-step" in listed
    (problem,) = registry.problems
    assert "lost.yaml" in problem.cause and problem.names == ("lost",)
    monkeypatch.setenv("FABLOOM_STORE", str(tmp_path / "store"))
    assert run_main(monkeypatch, "doctor", "--json") == 3
    checks = {c["name"]: c["finding"] for c in json.loads(capsys.readouterr().out)["checks"] if not c["ok"]}
    assert "no table of tools" in checks["pipeline raising"] and "no Pipeline" in checks["pipeline rubbish"] and "plugin broken" in checks


def test_a_mistake_in_a_pipeline_file_is_told_with_file_and_place(install: Install, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("{name: wrong, steps: {a: {task: toy.make, parms: {}}}}")
    with pytest.raises(PipelineError, match=r"wrong\.yaml: steps\.a\.parms") as caught:
        Registry.load().pipeline(str(file))
    assert caught.value.path == "steps.a.parms"


def test_a_pipeline_of_a_plugin_that_is_broken_names_the_plugin(install: Install) -> None:
    install("weave", "raise RuntimeError('licence expired')")
    registry = Registry.load()
    with pytest.raises(PluginError, match="licence expired") as caught:
        registry.pipeline("weave")
    assert caught.value.exit_code == 3
    with pytest.raises(PipelineError, match="1 plugins could not be loaded"):
        registry.pipeline("weaver-of-nothing")


STORES = """
from fabloom import hookimpl

@hookimpl(tryfirst=True)
def fabloom_open_store(url):
    if url.startswith("raise://"):
        raise RuntimeError("no such bucket")
    if url.startswith("rubbish://"):
        return object()
"""


def test_a_store_that_fails_or_is_none_names_its_plugin_and_local_stores_open_still(install: Install, tmp_path: Path) -> None:
    install("broken", STORES)
    registry = Registry.load()
    assert registry.open_store(str(tmp_path / "s")).root == tmp_path / "s"
    with pytest.raises(PluginError, match="broken:broken cannot open 'raise://x': RuntimeError: no such bucket"):
        registry.open_store("raise://x")
    with pytest.raises(PluginError, match="gives object for 'rubbish://x', which is no store: it lacks kinds"):
        registry.open_store("rubbish://x")


def test_the_doctor_tells_of_a_name_in_fabloom_plugins_that_nothing_brings(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install("one", good("one"))
    monkeypatch.setenv("FABLOOM_STORE", str(tmp_path / "store"))
    found = {}
    for text in ("one", "oen,one"):
        monkeypatch.setenv("FABLOOM_PLUGINS", text)
        run_main(monkeypatch, "doctor", "--json")
        (found[text],) = [c for c in json.loads(capsys.readouterr().out)["checks"] if c["name"] == "FABLOOM_PLUGINS"]
    assert found["one"]["ok"] and not found["oen,one"]["ok"] and "oen" in found["oen,one"]["finding"]


def test_a_run_tells_of_plugins_that_cannot_be_used(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An observer whose hook is misspelt would otherwise be silent for weeks."""
    install("tracker", "from fabloom import hookimpl\n\n@hookimpl\ndef fabloom_step_finish(step, result):\n    pass\n")
    (tmp_path / "tiny.yaml").write_text("name: t\nsteps:\n  i: {task: line-pair.simulate, params: {count: 2, size: 32}}\n")
    given = (str(tmp_path / "tiny.yaml"), "--store", str(tmp_path / "store"))
    for command in (("plan", *given), ("run", *given, "--engine", "inline", "--device", "cpu", "--json")):
        assert run_main(monkeypatch, *command) == 0
        told = capsys.readouterr()
        assert told.err.startswith("plugin problem: tracker") and "fabloom_step_finish" in told.err
        assert "plugin problem" not in told.out
    monkeypatch.setenv("FABLOOM_PLUGINS", "trakcer")
    assert run_main(monkeypatch, "plan", *given) == 0
    assert "entry point 'trakcer'): nothing that is installed brings it. Did you mean 'tracker'?" in capsys.readouterr().err


OBSERVER = """
from fabloom import hookimpl

@hookimpl
def fabloom_step_started(step):
    step.inputs["images"] = "0" * 40
    step.preimage["params"]["count"] = 1
    object.__setattr__(step.params, "count", 1)
    raise SystemExit("enough")

@hookimpl
def fabloom_step_finished(step, result, manifest):
    manifest["digest"] = manifest["curves"] = "0"
    result.metrics["score"] = 1.0
    object.__setattr__(result, "status", "failed")
    object.__setattr__(result, "exit_code", 1)
    raise RuntimeError("tracker is down")

@hookimpl(wrapper=True)
def fabloom_open_store(url):
    yield
    return "another store"
"""


def test_an_observer_can_neither_alter_what_it_sees_nor_stop_the_run(install: Install, tmp_path: Path) -> None:
    pipeline = {
        "name": "p",
        "steps": {
            "images": {"task": "line-pair.simulate", "params": {"count": 4, "size": 32}},
            "more": {"task": "images.augment", "params": {"count": 3}, "inputs": {"images": "images"}},
        },
    }
    alone = fabloom.run(pipeline, store=tmp_path / "alone", device="cpu")
    install("meddler", OBSERVER)
    observed = fabloom.run(pipeline, store=tmp_path / "observed", device="cpu")
    assert [s.status for s in observed.steps] == ["ran", "ran"] and observed.exit_code == 0
    assert [(s.key, s.digest, s.metrics) for s in observed.steps] == [(s.key, s.digest, s.metrics) for s in alone.steps]


FAILING = """
from fabloom import Context, Method, Params, Report, hookimpl, task
from pydantic import field_validator

class Odd(Params):
    count: int = 1

    @field_validator("count")
    @classmethod
    def _odd(cls, value):
        return 1 // (value % 2) and value

class Toy(Method):
    name = "toy"

    @classmethod
    def check(cls, step, upstream):
        if step.params.count > 2:
            raise KeyError("no such table")

    @task(version=1)
    def make(self, ctx: Context, params: Odd) -> Report:
        pass

@hookimpl
def fabloom_methods():
    return [Toy]
"""


@pytest.mark.parametrize(("count", "words"), [(2, "ZeroDivisionError"), (3, "KeyError: 'no such table'")])
def test_a_method_that_fails_while_planning_is_named(install: Install, tmp_path: Path, count: int, words: str) -> None:
    install("toy", FAILING)
    registry, store = Registry.load(), LocalStore(tmp_path / "store")
    good = Pipeline.parse({"name": "p", "steps": {"a": {"task": "toy.make", "params": {"count": 1}}}})
    assert make_plan(good, registry, store).steps
    with pytest.raises(PluginError, match=f"steps.a.*Toy fails while planning: {words}"):
        make_plan(good.override([f"steps.a.params.count={count}"], None), registry, store)


LAZY = """
import json, sys
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry, entry_points
from fabloom.registry.discovery import can_wait
from fabloom.storage.backends.local import LocalStore

def imported():
    return sorted(name for name in sys.modules if name.startswith("fabloom.plugins.") and name.endswith(".method"))

registry = Registry.load()
told = [imported()]
make_plan(Pipeline.parse({"name": "p", "steps": {"a": {"task": "line-pair.simulate"}}}), registry, LocalStore(sys.argv[1]))
told.append(imported())
registry.tasks
told.append(imported())
print(json.dumps(told))
"""


def test_of_our_own_methods_only_those_that_are_named_are_imported(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LAZY, str(tmp_path / "store")], capture_output=True, text=True, check=True)
    found, planned, listed = json.loads(done.stdout)
    assert found == [] and planned == ["fabloom.plugins.data.line_pair.method"] and len(listed) >= 10


def test_what_waits_is_a_method_of_its_entry_points_name_and_nothing_else() -> None:
    """A kind, an observer, a store or a pipeline must be there unasked."""
    registry = Registry.load()
    waiting = {point.name: point for origin, point in entry_points().items() if can_wait(origin, point)}
    assert len(waiting) >= 10
    for name, point in waiting.items():
        hooks = {hook for hook in vars(point.load()) if hook.startswith("fabloom_")}
        assert hooks == {"fabloom_methods"}, name
        assert registry.origins[name].entry_point == name


@pytest.fixture
def broken_sinsemi(monkeypatch: pytest.MonkeyPatch) -> None:
    """fabloom as it is installed, but for one built-in method whose module cannot be imported."""
    points = {
        origin: importlib.metadata.EntryPoint(point.name, "fabloom.plugins.no_such_room", point.group) if point.name == "sinsemi" else point
        for origin, point in entry_points().items()
    }
    monkeypatch.setattr("fabloom.registry.registry.entry_points", lambda: points)


def test_a_broken_built_in_method_takes_only_itself_away(broken_sinsemi: None, tmp_path: Path) -> None:
    registry, store = Registry.load(), LocalStore(tmp_path / "store")
    assert make_plan(registry.pipeline("one-step"), registry, store).steps and not registry.noticed
    with pytest.raises(PluginError, match=r"'sinsemi\.train' needs a plugin that cannot be used.*no_such_room") as caught:
        registry.task("sinsemi.train")
    assert caught.value.exit_code == 3
    with pytest.raises(PipelineError, match=r"Did you mean 'sinsemi\.train'\? 1 plugins could not be loaded"):
        registry.task("sinsmi.train")
    (problem,) = registry.problems
    assert problem.origin.distribution == "fabloom" and problem.names == ("sinsemi",)
    installed = {name for name, origin in Registry.load().origins.items() if origin.distribution == "fabloom"}
    assert "sinddm" in installed and "sinsemi" not in installed and len(installed) >= 9


def test_a_method_is_asked_for_from_several_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes second waits for who imports: a worker with threads shares one registry."""
    registry = Registry.load()
    admit, together = registry._admit, threading.Barrier(2, timeout=240)

    def slowly(found: Any) -> None:
        together.wait()
        admit(found)

    monkeypatch.setattr(registry, "_admit", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(registry.task, "sinsemi.train")
        second = pool.submit(lambda: (together.wait(), registry.task("sinsemi.train"))[1])
        assert first.result(240) is second.result(240)
