"""The sound store, what an undisturbed run gives, and copies of it to be damaged."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .looking import NOBODY, read

INSTALLED = Path(__file__).parents[2] / "tests" / "installed"
MAKE: dict[str, Any] = {
    "name": "make",
    "steps": {
        "load": {"task": "every.photos", "params": {"folder": "photos"}},
        "fields": {"task": "every.fields", "inputs": {"images": "load"}},
        "model": {"task": "every.model", "inputs": {"images": "load"}},
        "offline": {"task": "every.rows", "seed": 1},
    },
}
LAST = {"report": {"task": "every.report", "inputs": {"model": "model", "fields": "fields"}}}
REPORT = {"name": "report", "steps": {**MAKE["steps"], **LAST}}
WALK = {"name": "walk", "steps": {"walk": {"task": "every.walk"}}}
OTHER = {"name": "other", "steps": {"walk": {"task": "every.walk", "seed": 1}}}
RECORD = {"name": "record", "steps": {"record": {"task": "every.rows"}}}
PIPELINES = {one["name"]: one for one in (MAKE, REPORT, WALK, OTHER, RECORD)}


@dataclass
class Bench:
    """The sound store, what it must give, and where copies of it are damaged."""

    folder: Path
    registry: Any
    keys: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    marked: bool = False

    @property
    def sound(self) -> Path:
        return self.folder / "sound"

    @property
    def hurt(self) -> Path:
        return self.folder / "hurt"

    @property
    def outside(self) -> Path:
        return self.folder / "outside"

    def open(self, root: Path, *, read_only: bool = False) -> Any:
        return self.registry.open_store(str(root), read_only=read_only)

    def run(self, name: str, root: Path, **more: Any) -> Any:
        """One run of a pipeline, in this process."""
        from fabloom.flows.run import api

        return api.run(PIPELINES[name], store=root, registry=self.registry, device="cpu", check=False, **more)

    def copy(self) -> None:
        """A fresh copy, of links: no file of a store is changed in place but locks and journals."""
        for place in (self.hurt, self.outside):
            shutil.rmtree(place, ignore_errors=True)
        self.outside.mkdir()
        _link(self.sound, self.hurt)


def _link(source: Path, target: Path) -> None:
    target.mkdir()
    state = source.stat()
    os.chown(target, state.st_uid, state.st_gid)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _link(source / entry.name, target / entry.name)
            elif entry.name.endswith((".lock", ".jsonl", ".log")):
                shutil.copy2(entry.path, target / entry.name)
                os.chown(target / entry.name, state.st_uid, state.st_gid)
            else:
                os.link(entry.path, target / entry.name)


def prepare(folder: Path) -> Bench:
    """Make the sound store, and note what an undisturbed run gives."""
    from fabloom.planning.sources import TICK
    from fabloom.registry import Origin, Registry

    sys.path.insert(0, str(INSTALLED))
    try:
        from every_plugin import Every
    finally:
        sys.path.remove(str(INSTALLED))
    registry = Registry.load()
    registry._add_method(Every, Origin("every", "every", "1"))
    bench = Bench(folder, registry)
    photos = folder / "photos"
    photos.mkdir()
    chance = random.Random(7)
    for number in range(3):
        (photos / f"{number}.raw").write_bytes(chance.randbytes(2 * 64 * 64))
    newest = photos / "2.raw"
    MAKE["steps"]["load"]["params"]["folder"] = str(photos)
    for name, pipeline in PIPELINES.items():
        (folder / f"{name}.yaml").write_text(json.dumps(pipeline))
        whole = bench.run(name, folder / "whole")
        assert whole.exit_code == 0, [step.error for step in whole.steps]
        bench.digests |= {f"{name}/{step.name}": step.digest for step in whole.steps}
    _give_away(folder)
    while time.time_ns() < newest.stat().st_ctime_ns + TICK:  # what changed just now is not remembered, and could not be damaged
        time.sleep(0.1)
    _fill(bench)
    store = bench.open(bench.sound)
    for key in store.keys():
        bench.values[key] = read(store, key)[0]
    bench.marked = any("marks" in json.dumps(store.manifest(key)) for key in store.keys())
    _give_away(bench.sound)
    folder.chmod(0o755)
    return bench


def _give_away(folder: Path) -> None:
    """What root made belongs to `nobody`, as whom it is looked at where permissions count."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)


def _fill(bench: Bench) -> None:
    """What a store holds after some runs, of which two were stopped and one was killed."""
    from fabloom.storage.backends.local import LocalStore

    made = bench.run("report", bench.sound)
    bench.keys |= {step.name: step.key for step in made.steps}
    for name, polls in (("walk", (3, 2)), ("other", (3, 2)), ("record", (3,))):
        for most in polls:
            count = iter(range(1000))
            stopped = bench.run(name, bench.sound, stop=lambda most=most, count=count: next(count) >= most)
            assert stopped.exit_code == 130, stopped.steps
        bench.keys[name] = stopped.steps[0].key
    store = LocalStore(bench.sound)
    for name in ("champion", "line/champion"):
        for step in ("load", "model", "report"):
            store.refs.set(name, bench.keys[step], why="it is better")
    (store.work(bench.keys["load"])).mkdir()
    (store.work(bench.keys["load"]) / "differs.json").write_text('{"committed":"a","dropped":"b"}')
    (store.work(bench.keys["walk"]) / "step.log").write_text("a line\n")
    locks = bench.sound / "locks"
    for lock in (f"{bench.keys['record']}.lock", "gc.lock", "run-0123456789abcdef.lock", "../refs/.lock"):
        (locks / lock).write_text("4711")


def places(bench: Bench) -> dict[str, list[list[Path]]]:
    """Kind of file to families of files (relative to the store) that could be mistaken for each other."""
    root = bench.sound
    found: dict[str, list[list[Path]]] = {"manifest": [], "metadata": [], "data": []}
    for key in bench.values:
        folder = root / "objects" / key[:2] / key
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        found["manifest"].append([folder / "manifest.json"])
        found["metadata"].append([p for p in files if p.name == "zarr.json"])
        found["data"].append([p for p in files if p.name not in ("zarr.json", "manifest.json")])
    found["manifest"] = [[one for family in found["manifest"] for one in family]]
    record, walk = root / "work" / bench.keys["record"], root / "work" / bench.keys["walk"]
    found |= {
        "ref": [[root / "refs" / "champion.json", root / "refs" / "line" / "champion.json"]],
        "stamp": [[root / "store.json"]],
        "lock": [[root / "locks" / f"{bench.keys['record']}.lock"], [root / "locks" / "gc.lock"]],
        "pin": [[root / "locks" / "run-0123456789abcdef.lock"]],
        "ref lock": [[root / "refs" / ".lock"]],
        "sources": [[root / "work" / "sources.json"]],
        "journal": [[record / "journal.jsonl"]],
        "staged": [sorted(p for p in (root / "staging" / bench.keys["record"]).rglob("*") if p.is_file())],
        "note": [[record / "threads.json"], [walk / "threads.json"]],
        "mark": [[record / "source"], [walk / "source"]],
        "log": [[walk / "step.log"]],
        "differs": [[root / "work" / bench.keys["load"] / "differs.json"]],
        "page": [list((root / "reports").glob("*.html"))],
        "checkpoint": [sorted(walk.glob("ckpt-*.pt"))],
    }  # fmt: skip
    return {place: [[path.relative_to(root) for path in family] for family in families if family] for place, families in found.items()}
