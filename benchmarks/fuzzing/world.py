"""The world of a fuzzed case: a plugin with parameters of every type, and a store that holds a whole pipeline of it, made without torch."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REFUSED = frozenset({2})
DAMAGED = frozenset({0, 1, 2, 3})
ANY = frozenset({0, 2, 3})
"""Exit codes that are right for a case."""
MOST_SECONDS, MOST_BYTES, MOST_WAIT = 1.0, 200 << 20, 30.0
"""Of one case: CPU seconds, memory beyond what every case has, and seconds of sleep that are a hang."""
PLUGIN = '''
from typing import Any, Literal
import numpy as np
from pydantic import Field
from fabloom import Context, ImageSet, Method, Model, OfflineData, Params, Pipeline, Report, hookimpl, task
from fabloom.params import Source


class Inner(Params):
    depth: int = 1
    more: dict[str, int] = {}


class MakeParams(Params):
    count: int = Field(3, gt=0, le=64)
    share: float = Field(0.5, ge=0, le=1)
    title: str = "t"
    flag: bool = False
    choice: Literal["one", "two"] = "one"
    many: tuple[int, ...] = (1, 2)
    pair: tuple[int, float] = (1, 2.0)
    words: list[str] = ["x"]
    named: dict[str, float] = {}
    inner: Inner = Inner()
    maybe: int | None = None
    either: int | str = 1
    anything: Any = None
    file: Source | None = None


class Fuzz(Method):
    """Does next to nothing."""

    name = "fuzz"

    @task(version=1)
    def make(self, ctx: Context, params: MakeParams) -> ImageSet:
        """Grey images."""
        return ImageSet.write(ctx, np.zeros((params.count, 1, 8, 8), np.uint8))

    @task(version=1)
    def learn(self, ctx: Context, params: Params, *, images: ImageSet, others: list[ImageSet] | None = None) -> Model:
        """A weight."""
        ctx.staging.put("weight", np.ones(4, np.float32))
        ctx.staging.attrs.update({"config": {"inputs": 4}, "bfloat16": []})
        return Model(ctx.staging.as_reader())

    @task(version=1)
    def score(self, ctx: Context, params: Params, *, model: Model) -> Report:
        """A number."""
        return Report.write(ctx, {"x": 1.0})


PIPELINE = {"name": "fuzz", "description": "next to nothing", "steps": {
    "images": {"task": "fuzz.make"},
    "model": {"task": "fuzz.learn", "inputs": {"images": "images", "others": ["images"]}},
    "report": {"task": "fuzz.score", "inputs": {"model": "model"}},
}}


@hookimpl
def fabloom_methods():
    return [Fuzz]


@hookimpl
def fabloom_pipelines():
    return [Pipeline.model_validate(PIPELINE)]
'''


def nothing(here: Path) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Case:
    """What is tried: arguments of the command, or a call that gives an exit code, in a folder that was prepared.

    `codes` are the exit codes that are right; `heavy` says that it needs torch.
    """

    kind: str
    name: str
    arguments: tuple[str | bytes, ...]
    prepare: Callable[[Path], None] = nothing
    codes: frozenset[int] = frozenset({0, 2, 3})
    stdout: str = "file"
    stderr: str = "file"
    one_line: bool = True
    heavy: bool = False
    call: Callable[[], int] | None = None


@dataclass(frozen=True)
class World:
    """What every case finds: `template` holds the store `s`, files and folders; `site` the plugin; `keys` the artifacts by step."""

    template: Path
    site: Path
    keys: Mapping[str, str]
    heavy: bool = False
    formats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def made(cls, folder: Path, *, heavy: bool) -> World:
        """Write it, and load what cases would load again and again: with `heavy`, torch too."""
        site = folder / "site"
        info = site / "fuzz-1.0.dist-info"
        info.mkdir(parents=True)
        (site / "fuzz_plugin.py").write_text(PLUGIN)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fuzz\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[fabloom.plugins]\nfuzz = fuzz_plugin\n")
        sys.path.insert(0, str(site))
        template = folder / "template"
        template.mkdir()
        keys = filled(template / "s")
        furnished(template)
        preload(heavy)
        for words in (
            ("plan", "fuzz"),
            ("artifacts",),
            ("verify",),
            ("show", keys["report"]),
            ("run", "fuzz", "--engine", "inline"),
            ("--nope",),
        ):
            rehearsed(*words, "--store", str(template / "s"))
        shutil.rmtree(template / "s" / "reports")
        return cls(template, site, keys, heavy, formats_of(heavy))


COMMON = (
    "PIL.Image", "rich.console", "rich.live", "rich.table", "rich.text", "scipy.ndimage", "zarr", "fabloom.flows.cli.display",
    "fabloom.flows.cli.doctor", "fabloom.flows.cli.main", "fabloom.flows.export.job",
    "fabloom.flows.report.page", "fabloom.plugins.data.images", "fabloom.storage.gc", "fabloom.storage.verify",
)  # fmt: skip
HEAVY = ("torch", "safetensors.torch", "fabloom.running.execute")


def preload(heavy: bool) -> None:
    """Import what cases import, before the first fork, and build what is the same for all of them: commands and entry points."""
    for name in (*COMMON, *(HEAVY if heavy else ())):
        importlib.import_module(name)
    for module, name in (("typer.main", "get_command"), ("fabloom.registry.registry", "entry_points")):
        setattr(sys.modules[module], name, functools.cache(getattr(sys.modules[module], name)))
    for look in ("_torch", "_precision"):  # seconds of another process, and of no account here
        setattr(sys.modules["fabloom.flows.cli.doctor"], look, lambda: "not looked for")


def rehearsed(*words: str) -> None:
    """Run a command in this process, so that forks find in memory what a first time builds."""
    from fabloom.flows.cli.main import main

    kept, sys.argv = sys.argv, ["fabloom", *words]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main()
    sys.argv = kept


def formats_of(heavy: bool) -> dict[str, tuple[str, ...]]:
    """Formats of export by step, those of graphs left out, which take a minute."""
    model = ("zarr", "safetensors", "diffusers") if heavy else ("zarr",)
    return {"images": ("png", "imagefolder", "coco", "zarr"), "model": model, "report": ("json", "zarr")}


def filled(root: Path) -> dict[str, str]:
    """A store in which the pipeline `fuzz` is done, with a ref; every step's key by its name."""
    import numpy as np

    from fabloom.kinds import ImageSet, Metric, Report, Table
    from fabloom.planning.plan import make_plan
    from fabloom.registry import Registry
    from fabloom.storage.backends.local import LocalStore

    registry = Registry.load()
    store = LocalStore(root)
    plan = make_plan(registry.pipeline("fuzz"), registry, store)
    pixels = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8)
    masks = np.zeros((3, 8, 8), np.uint8)
    masks[1, 2:4, 2:5] = 1

    class Writing:
        def __init__(self, staging: Any) -> None:
            self.staging = staging

    for step in plan.steps:
        with store.lock(step.key, print, lambda: False):
            staged = store.stage(step.key)
            if step.name == "images":
                sources = {"source": np.arange(3, dtype=np.int32), "source_names": ["a.png", "b.png", "c.png"]}
                ImageSet.write(Writing(staged), pixels, masks=masks, **sources)
            elif step.name == "model":
                staged.put("weight", np.ones(4, np.float32))
                staged.attrs.update({"config": {"inputs": 4}, "bfloat16": []})
            else:
                table = Table(("name", "value"), (("x", 1.0),))
                Report.write(Writing(staged), {"x": Metric(1.0), "y": 2.0}, tables={"t": table}, pictures={"p": pixels[0, 0]}, notes=["n"])
            store.commit(staged, facts_of(step))
    keys = {step.name: step.key for step in plan.steps}
    store.refs.set("fuzz/champion", keys["model"], why="first")
    store.refs.set("fuzz/champion", keys["images"], why="second")  # what is exported by it needs no torch
    return keys


def facts_of(step: Any) -> dict[str, Any]:
    """What the engine notes of a step."""
    return {
        "kind": step.spec.output.kind, "preimage": dict(step.preimage), "plugin": step.spec.origin.plugin, "source": "0" * 40,
        "made_with": {"python": "3.11.7", "torch": "2.6.0", "platform": "linux-x86_64"}, "device": "cpu", "threads": 1,
        "precision": {"auto": {"used": "fp32", "why": "as asked"}}, "created": "2026-01-01T00:00:00Z", "seconds": 1.5,
        "curves": {"main": {"at": [0, 1], "values": {"loss": [1.0, 0.5]}}},
    }  # fmt: skip


def furnished(here: Path) -> None:
    """Files and folders of every sort, for arguments to name."""
    (here / "file").write_text("x")
    (here / "folder").mkdir()
    (here / "folder" / "inside").write_text("x")
    (here / "empty").mkdir()
    (here / "link").symlink_to("folder")
    (here / "dangling").symlink_to("nowhere")
    (here / "loop").symlink_to("loop")
    (here / "zero.yaml").symlink_to("/dev/zero")
    (here / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01" * 9)
    (here / "good.yaml").write_text("name: good\nsteps:\n  images: {task: fuzz.make}\n")


# ------------------------------------------------------------------------------------------------------------------------------ manifests


def forged(here: Path, key: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a manifest in the store `s` of a case and give it a right hash of itself again."""
    from fabloom.hashing import blake

    path = here / "s" / "objects" / key[:2] / key / "manifest.json"
    body = json.loads(path.read_bytes())
    body.pop("self")
    changed = change(body)
    body = body if changed is None else changed
    if isinstance(body, dict):
        body["self"] = blake(plain(body))
    path.write_bytes(plain(body))


def plain(value: Any) -> bytes:
    """Canonical JSON of anything, what has no canonical form included."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")


def reattributed(here: Path, key: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the attributes of an artifact, with right hashes up to the manifest."""
    from fabloom.hashing import blake
    from fabloom.storage.commit.manifest import tree_digest

    path = here / "s" / "objects" / key[:2] / key / "data.zarr" / "zarr.json"
    group = json.loads(path.read_bytes())
    changed = change(group["attributes"])
    if changed is not None:
        group["attributes"] = changed
    data = json.dumps(group).encode()
    path.write_bytes(data)

    def follow(body: dict[str, Any]) -> None:
        body["files"]["zarr.json"] = [len(data), blake(data)]
        body["digest"] = tree_digest({name: tuple(entry) for name, entry in body["files"].items()})

    forged(here, key, follow)


def spots(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in plain data."""
    found = [above] if above else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + list(itertools.chain.from_iterable(spots(item, (*above, name)) for name, item in items))


def manifest_of(world: World, step: str) -> dict[str, Any]:
    """The manifest of a step's artifact in the template."""
    key = world.keys[step]
    found: dict[str, Any] = json.loads((world.template / "s" / "objects" / key[:2] / key / "manifest.json").read_bytes())
    return found


def emptied(folder: Path) -> Path:
    """A new, empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def made_at(folder: Path, name: str | bytes, content: bytes = b"") -> None:
    """A file of an odd name; nothing where the file system takes none such."""
    with contextlib.suppress(OSError, ValueError):
        (folder / os.fsdecode(name)).write_bytes(content)
