"""Damage every kind of file of a store, in every way, and see whether it is found where the documentation says.

    python benchmarks/damage.py --cases 2000 --checkpoints 500 [--seed 1] [--json]

A store is made that holds an artifact of every kind, refs, a page, a memory of sources, what dead runs leave (a recording with its
journal, a training with two checkpoints, locks, a pin). Each case copies it, damages one file, and looks: what does reading say, what
`verify`, do all other artifacts still give their values, do the commands end with a line and a code; then the pipeline is run again,
with `--redo` where that is what the page promises, and must end with the digests of an undisturbed run.

`PROMISES` is the table of docs/concepts/store.md. The checkpoint cases run a stopped training to its end and compare its digest.
Needs no root; as root the cases without permission run as `nobody`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import random
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INSTALLED = Path(__file__).parents[1] / "tests" / "installed"
NOBODY = 65534
LONGEST = 20
"""Seconds after which a command counts as hanging."""

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

# ------------------------------------------------------------------------------------------------------------------- the promises

BYTES = ("flip", "zero 512", "zero 4096", "truncate", "grow", "empty")
NO_FILE = ("folder", "link out", "link to itself", "link to a device", "FIFO", "socket", "device")
ALL = (*BYTES, "delete", *NO_FILE, "link to a sibling", "link to a copy", "swap", "overwrite", "no permission", "torn beside")
EQUAL = ("equal swap", "equal overwrite", "equal link to a sibling")


@dataclass(frozen=True)
class Promise:
    """What is said of a damage: whether `reading` the file's artifact or ref tells it ("marks": where the manifest marks it), whether
    `verify` does, and what a run afterwards does: "same" (as if nothing had been), "redo" (that heals it), "gc" (refuses with 3 until
    gc), "hand" (told, exit code 1 or 3, until somebody mends it).
    """

    reading: bool | str
    verify: bool
    run: str


PROMISES: Sequence[tuple[Sequence[str], Sequence[str], Promise]] = (
    (("manifest",), ("delete", "folder", "link to itself", "FIFO", "socket", "device", "link to a device"), Promise(True, True, "same")),
    (("manifest", "metadata", "data"), ("link to a copy", "torn beside"), Promise(False, True, "redo")),
    (("data",), EQUAL, Promise("marks", True, "redo")),
    (("staged",), EQUAL, Promise(False, False, "same")),
    (("manifest", "metadata", "data"), ALL, Promise(True, True, "redo")),
    (("ref",), ("delete",), Promise(True, False, "same")),
    (("ref",), ("torn beside",), Promise(False, False, "same")),
    (("ref",), ("link to a copy",), Promise(False, True, "same")),
    (("ref",), ALL, Promise(True, True, "same")),
    (("stamp",), ("delete", "link to a copy", "torn beside"), Promise(False, False, "same")),
    (("stamp",), ("empty",), Promise(True, True, "same")),
    (("stamp",), ALL, Promise(True, True, "hand")),
    (("lock",), (*NO_FILE, "link to a sibling", "link to a copy"), Promise(False, False, "gc")),
    (("lock", "mark"), ("no permission",), Promise(False, False, "hand")),
    (("lock", "pin", "ref lock", "sources", "journal", "staged"), ALL, Promise(False, False, "same")),
    (("note", "mark", "log", "differs", "page", "checkpoint"), ALL, Promise(False, False, "same")),
)  # fmt: skip
"""(files, damages, promise): the first line that fits counts. `equal`: between data files of one size, each sound in itself."""


def promised(place: str, damage: str) -> Promise:
    """What the page says of this damage to this file."""
    return next(promise for places, damages, promise in PROMISES if place in places and damage in damages)


# -------------------------------------------------------------------------------------------------------------------- the damages


class Skip(Exception):
    """This damage cannot be done to this file, or not on this machine."""


def _replace(path: Path, data: bytes) -> None:
    """Another file of that name: what is linked to it elsewhere stays sound."""
    state = path.stat()
    path.unlink()
    path.write_bytes(data)
    os.chown(path, state.st_uid, state.st_gid)


def _zeroed(data: bytes, size: int, chance: random.Random) -> bytes:
    at = size * chance.randrange(-(-len(data) // size))
    return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]


def _flipped(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flip": _flipped,
    "zero 512": lambda data, chance: _zeroed(data, 512, chance),
    "zero 4096": lambda data, chance: _zeroed(data, 4096, chance),
    "truncate": lambda data, chance: data[: chance.randrange(1, len(data))] if len(data) > 1 else data,
    "grow": lambda data, chance: data + chance.randbytes(chance.choice((1, 17, 4096))) + b"\1",
    "empty": lambda data, chance: b"",
}


def damage(path: Path, how: str, family: Sequence[Path], outside: Path, chance: random.Random) -> tuple[str, list[Path]]:
    """Damage a file; `family` are others like it. Gives the name of what was done, and the files that changed. Raises Skip."""
    if how in CHANGES:
        before = path.read_bytes()
        after = CHANGES[how](before, chance) if before else b""
        if after == before:
            raise Skip("it changes nothing")
        _replace(path, after)
    elif how in ("swap", "overwrite", "link to a sibling"):
        return _mixed(path, how, family, chance)
    elif how == "torn beside":
        torn = path.with_name(f".{path.name}.{chance.randbytes(8).hex()}.tmp")
        torn.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "no permission":
        _replace(path, path.read_bytes())
        path.chmod(0)
    else:
        data = path.read_bytes()
        path.unlink()
        _other(path, how, data, outside, chance)
    return how, [path]


def _mixed(path: Path, how: str, family: Sequence[Path], chance: random.Random) -> tuple[str, list[Path]]:
    """Two files of one kind change places, or one takes the other's."""
    data = path.read_bytes()
    others = [other for other in family if other != path and other.read_bytes() != data]
    if not others:
        raise Skip("there is no other of its kind")
    equal = [other for other in others if other.stat().st_size == len(data)]
    other = chance.choice(equal if equal and chance.random() < 0.7 else others)
    theirs = other.read_bytes()
    if how == "link to a sibling":
        path.unlink()
        path.symlink_to(os.path.relpath(other, path.parent))
    else:
        _replace(path, theirs)
    if how == "swap":
        _replace(other, data)
    changed = [path, other] if how == "swap" else [path]
    return (f"equal {how}" if len(theirs) == len(data) and path.name != "zarr.json" and "data.zarr" in path.parts else how), changed


def _other(path: Path, how: str, data: bytes, outside: Path, chance: random.Random) -> None:
    """Something that is no file, or is one elsewhere."""
    if how == "folder":
        path.mkdir()
        if chance.random() < 0.5:
            (path / "x").write_bytes(data)
    elif how in ("link out", "link to a copy"):
        target = outside / f"{chance.randbytes(4).hex()}"
        target.write_bytes(data if how == "link to a copy" else chance.randbytes(len(data)))
        path.symlink_to(target)
    elif how == "link to itself":
        path.symlink_to(path.name)
    elif how == "link to a device":
        path.symlink_to("/dev/zero")
    elif how == "FIFO":
        os.mkfifo(path)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as one, contextlib.chdir(path.parent):
            one.bind(path.name)
    elif how == "device":
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        except PermissionError:
            raise Skip("making a device needs root") from None
    elif how != "delete":
        raise ValueError(how)


# ---------------------------------------------------------------------------------------------------------------------- the store


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

        return api.run(PIPELINES[name], store=root, registry=self.registry, device="cpu", **more)

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
    sys.path.insert(0, str(INSTALLED))
    from every_plugin import Every

    from fabloom.registry import Origin, Registry

    registry = Registry.load()
    registry._add_method(Every, Origin("every", "every", "1"))
    bench = Bench(folder, registry)
    photos = folder / "photos"
    photos.mkdir()
    chance = random.Random(7)
    for number in range(3):
        (photos / f"{number}.raw").write_bytes(chance.randbytes(2 * 64 * 64))
        os.utime(photos / f"{number}.raw", (1, 1))
    MAKE["steps"]["load"]["params"]["folder"] = str(photos)
    for name, pipeline in PIPELINES.items():
        (folder / f"{name}.yaml").write_text(json.dumps(pipeline))
        whole = bench.run(name, folder / "whole")
        assert whole.exit_code == 0, [step.error for step in whole.steps]
        bench.digests |= {f"{name}/{step.name}": step.digest for step in whole.steps}
    _fill(bench)
    store = bench.open(bench.sound)
    for key in store.keys():
        bench.values[key] = read(store, key)[0]
    bench.marked = any("marks" in json.dumps(store.manifest(key)) for key in store.keys())
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    folder.chmod(0o755)
    return bench


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


# ------------------------------------------------------------------------------------------------------------------------ looking


@contextlib.contextmanager
def deadline() -> Iterator[None]:
    """TimeoutError in what waits too long."""

    def ring(number: int, frame: Any) -> None:
        raise TimeoutError("hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def unprivileged(really: bool) -> Iterator[None]:
    """As `nobody`, where this is root: to root every file is open."""
    if not really or os.geteuid() != 0:
        yield
        return
    try:
        os.setresuid(NOBODY, NOBODY, 0)
    except PermissionError:
        raise Skip("this root cannot become nobody") from None
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def read(store: Any, key: str) -> tuple[dict[str, str], list[BaseException]]:
    """What every array and the attributes of an artifact come to, as hashes, and the errors instead of them."""
    from fabloom.hashing import blake, canonical_json

    found: dict[str, str] = {}
    errors: list[BaseException] = []
    try:
        artifact = store.get(key)
        names = artifact._reader.names()
    except Exception as error:
        return found, [error]
    for name in ("", *names):
        try:
            if name:
                array = artifact.array(name)[...]
                found[name] = blake(f"{array.dtype} {array.shape}".encode() + array.tobytes())
            else:
                found[name] = blake(canonical_json(dict(artifact.attrs)))
        except Exception as error:
            errors.append(error)
    return found, errors


def command(bench: Bench, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `fabloom …`, in this process. What would be a traceback raises."""
    from fabloom.flows.cli import main
    from fabloom.registry import Registry

    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    load, argv = Registry.load, sys.argv
    Registry.load = lambda *a, **k: bench.registry  # type: ignore[method-assign]
    sys.argv = ["fabloom", *arguments]
    code = 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main.main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        finally:
            Registry.load, sys.argv = load, argv  # type: ignore[method-assign]
            for number, handler in kept.items():
                signal.signal(number, handler)
    if "Traceback" in err.getvalue():
        raise AssertionError(err.getvalue())
    return code, out.getvalue(), err.getvalue()


@dataclass
class Summary:
    """What the damages did."""

    cases: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    found_on_reading: int = 0
    found_by_verify: int = 0
    healed: int = 0
    by_hand: int = 0
    other_than_promised: int = 0
    wrong_values: int = 0
    wrong_as_told: int = 0
    hidden_by_another: int = 0
    wrong_digests: int = 0
    failed_steps: int = 0
    tracebacks: int = 0
    hangs: int = 0
    checkpoint_cases: int = 0
    marked: bool = False
    cpu_seconds: float = 0.0
    told: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        broken = ("other_than_promised", "wrong_values", "hidden_by_another", "wrong_digests", "failed_steps", "tracebacks", "hangs")
        return not any(getattr(self, name) for name in broken)

    def tell(self, what: str, case: str, detail: object) -> None:
        """Count a fault, and keep what there is to say of it."""
        setattr(self, what, getattr(self, what) + 1)
        self.told.append(f"{what}: {case}: {str(detail)[-700:]}")


class Case:
    """One damaged file, and everything that is looked at afterwards."""

    def __init__(self, bench: Bench, summary: Summary, place: str, path: Path, done: str, changed: Sequence[Path], number: int) -> None:
        self.bench, self.summary, self.place, self.path, self.done, self.number = bench, summary, place, path, done, number
        self.promise = promised(place, done)
        self.name = f"{number} {done} of {path}"
        parts = path.parts
        self.key = parts[2] if parts[0] == "objects" else None
        self.touched: set[str] = {one.parts[2] for one in changed if self.key}

    def wrong(self, what: str, detail: object) -> None:
        self.summary.tell(what, self.name, detail)

    def check(self) -> None:
        """Read, verify, every command; then heal."""
        with deadline():
            found = self.read()
            verified = self.verify()
        self.compare("reading", found, self.promise.reading)
        self.compare("verify", verified, self.promise.verify)
        self.summary.found_on_reading += found
        self.summary.found_by_verify += verified
        for one in self.commands():
            self.command(*one)
        self.heal()

    def compare(self, what: str, found: bool, promise: bool | str) -> None:
        if promise == "marks":
            if not self.bench.marked:
                return
            promise = True
        if found != promise:
            self.wrong("other_than_promised", f"{what} {'finds' if found else 'does not find'} it")

    def read(self) -> bool:
        """Whether reading tells the damage; every value that it gives is right, and what is not damaged gives all."""
        from fabloom.errors import DamagedArtifact, EnvironmentProblem, FabloomError, UserError

        try:
            store = self.bench.open(self.bench.hurt, read_only=True)
        except FabloomError as error:
            if self.place != "stamp":
                self.wrong("hidden_by_another", error)
            return True
        found = False
        for key, wanted in self.bench.values.items():
            values, errors = read(store, key)
            if any(wanted.get(name) != value for name, value in values.items()) or (not errors and values != wanted):
                if self.promise.reading == "marks" and not self.bench.marked:
                    self.summary.wrong_as_told += 1
                else:
                    self.wrong("wrong_values", key)
            for error in errors:
                if not (isinstance(error, DamagedArtifact | EnvironmentProblem | PermissionError) or type(error) is UserError):
                    self.wrong("tracebacks", repr(error))
            if errors and key not in self.touched:
                self.wrong("hidden_by_another", f"{key}: {errors[0]}")
            found |= bool(errors)
        return self.read_ref(store) if self.place == "ref" else found

    def read_ref(self, store: Any) -> bool:
        from fabloom.errors import FabloomError

        name = self.path.relative_to("refs").as_posix().removesuffix(".json")
        try:
            value = store.refs.get(name)
        except (FabloomError, PermissionError):
            return True
        if value != self.bench.keys["report"] or len(store.refs.log(name)) != 3:
            self.wrong("wrong_values", value)
        return False

    def verify(self) -> bool:
        """Whether `verify` tells the damage, and nothing of what is sound."""
        from fabloom.errors import FabloomError
        from fabloom.storage.verify import verify

        try:
            store = self.bench.open(self.bench.hurt, read_only=True)
        except FabloomError:
            return True
        health = verify(store)
        gone = {key for key in self.touched if not _has(store, key)}
        allowed = set(self.touched)
        for key in self.bench.values:
            if key not in self.touched:
                inputs = store.manifest(key)["preimage"]["inputs"].values()
                if gone & {one for value in inputs for one in (value if isinstance(value, list) else [value])}:
                    allowed.add(key)
        allowed |= {f"ref {name}" for name in ("champion", "line/champion") if self.bench.keys["report"] in gone or self.place == "ref"}
        strangers = set(health.problems) - allowed
        if strangers:
            self.wrong("other_than_promised", f"verify blames {strangers}")
        if self.key:
            return self.key in health.problems
        return bool(health.problems)

    def commands(self) -> list[tuple[str, ...]]:
        """Three of the commands that look, in turn."""
        key = self.key or self.bench.keys["report"]
        out = str(self.bench.outside / "exported")
        every: list[tuple[str, ...]] = [
            ("artifacts",), ("show", key), ("verify",), ("lineage", self.bench.keys["report"]), ("lineage", key), ("export", key, out),
            ("export", key, out, "--format", "zarr"), ("artifacts", "--json"), ("verify", key), ("ref", "list"), ("ref", "log", "champion"),
            ("gc",), ("gc", "--unreferenced", "--older-than", "0"), ("plan", self.pipeline),
        ]  # fmt: skip
        chosen = [every[(self.number * 3 + turn) % len(every)] for turn in range(3)]
        return sorted(chosen, key=lambda one: one[0] == "gc")  # gc last: it takes away what others are to look at

    def command(self, *arguments: str) -> tuple[int, str, str]:
        try:
            with deadline():
                code, out, err = command(self.bench, *arguments, "--store", str(self.bench.hurt))
        except TimeoutError:
            self.wrong("hangs", arguments)
        except Exception:
            self.wrong("tracebacks", f"{arguments} {traceback.format_exc()}")
        else:
            if code not in (0, 1, 2, 3) or (code and not (out + err).strip()):
                self.wrong("tracebacks", f"{arguments} ends with {code}: {err}")
            if arguments[0] == "artifacts" and code == 0:
                missing = [one for one in self.bench.values if one[:12] not in out and one not in self.touched]
                if missing:
                    self.wrong("hidden_by_another", f"artifacts leaves out {missing}")
            return code, out, err
        return 1, "", ""

    @property
    def pipeline(self) -> str:
        return str(self.bench.folder / f"{self.pipeline_name}.yaml")

    @property
    def pipeline_name(self) -> str:
        if self.place == "page" or self.bench.keys["report"] in self.touched:
            return "report"
        if self.place in ("journal", "staged") or self.bench.keys["record"] in str(self.path):
            return "record"
        return "walk" if self.bench.keys["walk"] in str(self.path) else "make"

    def run(self, *more: str) -> int:
        """A run through the command line; digests of what it says it made or reused must be right."""
        code, out, _ = self.command("run", self.pipeline, "--engine", "inline", "--device", "cpu", "--json", *more)
        if out.startswith("{"):
            for name, step in json.loads(out)["steps"].items():
                if step["digest"] and step["digest"] != self.bench.digests[f"{self.pipeline_name}/{name}"]:
                    self.wrong("wrong_digests", f"{more} {name} {step}")
        return code

    def heal(self) -> None:
        """Run again, as the promise says, and look once more."""
        wanted, code = self.promise.run, self.run()
        if wanted == "gc":
            if code not in (0, 3):
                self.wrong("other_than_promised", f"a run before gc ends with {code}")
            self.command("gc")
            code = self.run()
        if wanted == "hand":
            self.summary.by_hand += 1
            if code not in (1, 3):
                self.wrong("other_than_promised", f"a run ends with {code}")
            return
        if wanted == "redo":
            code = self.run(*(word for name, key in self.bench.keys.items() if key in self.touched for word in ("--redo", name)))
        if code:
            self.wrong("failed_steps", f"the run that heals ends with {code}")
        elif self.healed():
            self.summary.healed += 1
        else:
            self.wrong("other_than_promised", "it is not healed")

    def healed(self) -> bool:
        from fabloom.storage.verify import verify

        store = self.bench.open(self.bench.hurt)
        problems = [key for key in verify(store).problems if self.place != "ref"]
        return not problems and all(read(store, key) == (wanted, []) for key, wanted in self.bench.values.items())


def _has(store: Any, key: str) -> bool:
    from fabloom.errors import FabloomError

    try:
        return bool(store.has(key))
    except FabloomError:
        return True


def store_cases(bench: Bench, cases: int, seed: int, summary: Summary) -> None:
    """Every kind of file with every damage in turn, the file and the bits at random."""
    chance = random.Random(seed)
    known = places(bench)
    combinations = [(place, how) for place in known for how in ALL]
    data = [(place, how) for place, how in combinations if place in ("data", "metadata", "manifest", "ref", "journal", "checkpoint")]
    order = [*combinations, *data] * (cases // len(combinations) + 1)
    if cases < len(combinations):
        chance.shuffle(order)
    for number, (place, how) in enumerate(order):
        if summary.cases >= cases:
            break
        family = chance.choice(known[place])
        path = chance.choice(family)
        bench.copy()
        try:
            done, changed = damage(bench.hurt / path, how, [bench.hurt / one for one in family], bench.outside, chance)
            case = Case(bench, summary, place, path, done, [one.relative_to(bench.hurt) for one in changed], number)
            with unprivileged(how == "no permission"):
                case.check()
        except Skip as why:
            summary.skipped[f"{how} of {place}: {why}"] += 1
            continue
        except TimeoutError:
            summary.tell("hangs", f"{number} {how} of {path}", traceback.format_exc())
        except Exception:
            summary.tell("tracebacks", f"{number} {how} of {path}", traceback.format_exc())
        summary.cases += 1


# ---------------------------------------------------------------------------------------------------------------- the checkpoints

WHICH = ("newest", "before", "both")
CHECKPOINT_DAMAGES = (
    *BYTES, "delete", *NO_FILE, "link to a copy", "link to a sibling", "no permission", "swap", "swap names", "another step",
    "of another run", "another optimizer", "another network", "no torch file", "a torn one beside",
)  # fmt: skip


def hurt_checkpoint(bench: Bench, folder: Path, which: str, how: str, chance: random.Random) -> None:
    """Damage one or both of a loop's two checkpoints. Raises Skip."""
    found = sorted(folder.glob("ckpt-*.pt"))
    assert len(found) == 2, found
    chosen = {"newest": found[1:], "before": found[:1], "both": found}[which]
    if how == "swap names":
        middle = folder / "middle"
        found[0].rename(middle), found[1].rename(found[0]), middle.rename(found[1])
    elif how == "swap":
        first, second = (path.read_bytes() for path in found)
        _replace(found[0], second), _replace(found[1], first)
    else:
        for path in chosen:
            if how in ALL:
                damage(path, how, found, bench.outside, chance)
            else:
                _forge(bench, path, how, chance)


def _forge(bench: Bench, path: Path, how: str, chance: random.Random) -> None:
    """A checkpoint that hashes to its name and is not, or does not fit, what this loop would go on from."""
    import torch

    from fabloom.method import checkpoint

    loop, step = path.name.split("-")[1:3]
    if how == "a torn one beside":
        path.with_name(f".ckpt-{loop}.{chance.randbytes(8).hex()}.tmp").write_bytes(path.read_bytes()[: chance.randrange(1000)])
        return
    if how == "of another run":
        (other,) = (bench.hurt / "work" / bench.keys["other"]).glob(f"ckpt-{loop}-{step}-*.pt")
        path.unlink()
        shutil.copy(other, path.parent)
        return
    if how == "another step":
        path.rename(path.with_name(path.name.replace(step, f"{chance.randrange(1, 999):09d}")))
        return
    content = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    path.unlink()
    if how == "another optimizer":
        layer = torch.nn.Linear(2, 2)
        content["state"]["optimizer"] = torch.optim.SGD([{"params": [layer.weight]}, {"params": [layer.bias]}], lr=0.1).state_dict()
    elif how == "another network":
        content["state"]["net"]["2.weight"] = torch.zeros(3, 3)
    held = path.with_name("held")
    held.mkdir()
    made = checkpoint.save(held, loop, int(step), content)
    if how == "no torch file":
        import hashlib

        data = b"PK\3\4 of another version"
        made.unlink()
        made = made.with_name(f"ckpt-{loop}-{step}-{hashlib.blake2b(data, digest_size=20).hexdigest()}.pt")
        made.write_bytes(data)
    made.rename(path.parent / made.name)
    held.rmdir()


def checkpoint_cases(bench: Bench, cases: int, seed: int, summary: Summary) -> None:
    """Damage one or both checkpoints of a stopped training; it must come to the digest of one that was never stopped."""
    chance = random.Random(seed + 1)
    order = [(which, how) for how in CHECKPOINT_DAMAGES for which in WHICH]
    if cases < len(order):
        chance.shuffle(order)
    for number in range(10 * cases):
        if summary.checkpoint_cases >= cases:
            break
        which, how = order[number % len(order)]
        bench.copy()
        folder = bench.hurt / "work" / bench.keys["walk"]
        name = f"checkpoint {number}: {how} of the {which}"
        try:
            hurt_checkpoint(bench, folder, which, how, chance)
            with unprivileged(how == "no permission"), deadline():
                result = bench.run("walk", bench.hurt)
        except Skip as why:
            summary.skipped[f"{how} of checkpoints: {why}"] += 1
            continue
        except TimeoutError:
            summary.tell("hangs", name, traceback.format_exc())
        except Exception:
            summary.tell("tracebacks", name, traceback.format_exc())
        else:
            (step,) = result.steps
            if step.status != "ran":
                summary.tell("failed_steps", name, step.error)
            elif step.digest != bench.digests["walk/walk"]:
                summary.tell("wrong_digests", name, step.digest)
        summary.checkpoint_cases += 1


# ------------------------------------------------------------------------------------------------------------------------ the end


def measure(folder: Path, cases: int, checkpoints: int, seed: int) -> Summary:
    """Prepare a store in `folder` and damage copies of it."""
    began = time.process_time()
    bench = prepare(folder)
    summary = Summary(marked=bench.marked)
    bench.copy()
    for arguments in (("run", str(folder / "report.yaml"), "--engine", "inline", "--json"), ("verify",), ("artifacts",)):
        code, _, err = command(bench, *arguments, "--store", str(bench.hurt))  # everything is imported, and the sound store is sound
        assert code == 0, err
    store_cases(bench, cases, seed, summary)
    checkpoint_cases(bench, checkpoints, seed, summary)
    summary.cpu_seconds = time.process_time() - began
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="damages to the files of a store")
    parser.add_argument("--checkpoints", type=int, default=500, help="damages to checkpoints")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    given = parser.parse_args()
    os.environ.setdefault("FABLOOM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="fabloom-damage-") as folder:
        summary = measure(Path(folder), given.cases, given.checkpoints, given.seed)
    if given.json:
        print(json.dumps({**vars(summary), "sound": summary.sound}))
    else:
        print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
        print("| what | count |\n|---|---|")
        for name, value in vars(summary).items():
            if name not in ("skipped", "told"):
                print(f"| {name.replace('_', ' ')} | {round(value, 1) if isinstance(value, float) else value} |")
        print("\nskipped: " + ("; ".join(f"{why} ({count})" for why, count in summary.skipped.most_common()) or "none"))
        print("\n".join(["", *summary.told[:40], f"\n{'sound' if summary.sound else 'BROKEN'}"]))
    sys.exit(not summary.sound)


if __name__ == "__main__":
    main()
