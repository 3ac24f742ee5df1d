"""examples/remote-store, installed as its author ships it: two machines, one remote, and a kill before the manifest is uploaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fabloom.storage.backends.local import LocalStore
from fabloom.storage.verify import verify

EXAMPLE = Path(__file__).parents[2] / "examples" / "remote-store"
PIPELINE = """
name: tiny
steps:
  images: {task: line-pair.simulate, params: {count: 6}}
  clean:  {task: line-pair.simulate, params: {count: 4, defect_share: 0.0}, seed: 1}
  labels: {task: reference-difference.label, inputs: {images: images, reference: clean}}
"""
KILLED = """
import os, signal, sys
from fabloom_remote_store.remote import Remote

def write(self, name, data):
    os.kill(os.getpid(), signal.SIGKILL)

Remote.write = write
import fabloom
fabloom.run(sys.argv[1], store=sys.argv[2], device="cpu")
"""

ISOLATED = """
import json, sys
from fabloom.running.engine import Engine, run_inline
from fabloom.execute import Options
from fabloom.pipeline import Pipeline
from fabloom.plan import make_plan
from fabloom.registry import Registry
from fabloom.running.executors.processes import ProcessExecutor

registry = Registry.load()
store = registry.open_store(sys.argv[2])
plan = make_plan(Pipeline.load(sys.argv[1]), registry, store)
processes = ProcessExecutor({module for step in plan.steps for module in step.spec.method.preload})
results = run_inline(plan, Engine(registry, store, Options(device="cpu"), executor=processes))
processes.close()
print(json.dumps({"steps": {r.name: r.as_dict() for r in results}}))
"""
"""Every step in a process of its own, which opens the store by its URL, as the default engine does; without Prefect's server."""

Machine = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def machine(install_example: Callable[[str], Path], tmp_path: Path, warm: Machine) -> Machine:
    """`machine("a", *arguments)` runs Python on machine a, which has a cache of its own and shares the remote `tmp_path/share`."""
    site = install_example("remote-store")
    (tmp_path / "tiny.yaml").write_text(PIPELINE)

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(site),
            "FABLOOM_REMOTE_CACHE": str(tmp_path / f"cache-{name}"),
            "FABLOOM_STORE": f"remote+file://{tmp_path}/share",
        }
        return warm(arguments, env=environment, cwd=tmp_path)

    return run


def asked(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def statuses(document: Any) -> dict[str, str]:
    return {name: step["status"] for name, step in document["steps"].items()}


def test_another_machine_reuses_everything(machine: Machine, tmp_path: Path) -> None:
    cli = ("-m", "fabloom.flows")
    (tmp_path / "isolated.py").write_text(ISOLATED)
    first = asked(machine("a", "isolated.py", "tiny.yaml", f"remote+file://{tmp_path}/share"))
    assert statuses(first) == {"images": "ran", "clean": "ran", "labels": "ran"}
    second = asked(machine("b", *cli, "run", "tiny.yaml", "--engine", "inline", "--device", "cpu", "--json"))
    assert statuses(second) == {"images": "reused", "clean": "reused", "labels": "reused"}
    assert [s["digest"] for s in second["steps"].values()] == [s["digest"] for s in first["steps"].values()]
    assert not list(tmp_path.glob("cache-b/*/objects/*/*")), "reused steps are answered by manifests alone"
    key = first["steps"]["labels"]["key"]
    assert asked(machine("b", *cli, "ref", "set", "lab/labels", key[:8], "--json")) == {"lab/labels": key}
    assert asked(machine("a", *cli, "show", "ref:lab/labels", "--json"))["key"] == key
    plain = LocalStore(tmp_path / "share")  # the remote has the layout of a store, and is a sound one
    health = verify(plain)
    assert (health.checked, health.problems, plain.refs.get("lab/labels")) == (3, {}, key)


def test_a_kill_before_the_manifest_is_uploaded_leaves_nothing_to_be_seen(machine: Machine, tmp_path: Path) -> None:
    share = tmp_path / "share"
    url = f"remote+file://{share}"
    (tmp_path / "killed.py").write_text(KILLED)
    assert machine("a", "killed.py", "tiny.yaml", url).returncode == -9
    assert list(share.rglob("zarr.json")) and not list(share.rglob("manifest.json")), "data is there, the artifact is not"
    cli = ("-m", "fabloom.flows")
    planned = asked(machine("b", *cli, "plan", "tiny.yaml", "--json"))
    assert {step["state"] for step in planned["steps"].values()} == {"run"} and asked(machine("b", *cli, "artifacts", "--json")) == []
    again = asked(machine("a", *cli, "run", "tiny.yaml", "--engine", "inline", "--device", "cpu", "--json"))
    assert list(statuses(again).values()) == ["reused", "ran", "ran"], "the killed step had only its upload missing"
    assert not verify(LocalStore(share)).problems


def test_damage_on_the_remote_fails_the_step_that_would_read_it(machine: Machine, tmp_path: Path) -> None:
    cli = ("-m", "fabloom.flows", "run", "tiny.yaml", "--engine", "inline", "--device", "cpu", "--json")
    first = asked(machine("a", *cli))
    key = first["steps"]["images"]["key"]
    victim = next((tmp_path / "share" / "objects").rglob(f"{key}/data.zarr/images/c/0/0/0/0"))
    victim.write_bytes(victim.read_bytes()[:-1])
    bad = machine("b", *cli, "--set", "steps.labels.seed=3")
    assert bad.returncode == 1 and statuses(json.loads(bad.stdout)) == {"images": "reused", "clean": "reused", "labels": "failed"}
    assert "is damaged" in bad.stderr and "--redo" in bad.stderr and not list(tmp_path.glob(f"cache-b/*/objects/*/{key}"))
    healed = asked(machine("b", *cli, "--set", "steps.labels.seed=3", "--redo", "images"))
    assert statuses(healed) == {"images": "ran", "clean": "reused", "labels": "ran"}
    assert healed["steps"]["images"]["digest"] == first["steps"]["images"]["digest"]


def test_listing_commands_import_no_file_system(install_example: Callable[[str], Path], tmp_path: Path) -> None:
    script = "import sys; from fabloom.registry import Registry; r = Registry.load(); assert not r.problems, r.problems\n"
    script += "assert [o for o in r.plugins if o.entry_point == 'remote-store'] and 'fsspec' not in sys.modules\n"
    environment = {**os.environ, "PYTHONPATH": str(install_example("remote-store"))}
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
