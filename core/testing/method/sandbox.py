"""A process in which the kit runs tasks: forked for each run from a server that has torch imported, watched, and killed on request.

There are two servers with different hash seeds, so that a result that hangs on the order of a set shows itself.

    kit  ──a request in one line of JSON──>  server  ──fork──>  run: guards on, the task, commit
    kit  <──{"status", "overdue"}──          server             events.jsonl, outcome.json and log.txt in the request's folder
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import gc
import importlib
import inspect
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from fabloom.kinds import Artifact
    from fabloom.method import Method
    from fabloom.progress import Event

    from .guards import Watch

EVENTS, OUTCOME, LOG, PLACE = "events.jsonl", "outcome.json", "log.txt", "cwd"
ENGINE = ("fabloom.running.execute", "fabloom.storage.backends.local", "fabloom.storage.commit.staging", "fabloom.testing.running")
"""What every run needs, imported before the forks; of a method's own modules none is."""


@dataclass(frozen=True)
class Run:
    """What to run, and what is to happen to it. `die` is (point, n): SIGKILL right after the n-th of these points.

    Points: "checkpoint" of a loop, "block" of rows, "return" of the task before its commit. `stop` asks for a stop as soon as
    progress is shown. `sparse` writes a loop's last checkpoint only, otherwise there is one at every step.
    """

    method: str
    task: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Any]
    seed: int
    store: str
    folder: str
    seconds: float
    preload: tuple[str, ...] = ()
    sparse: bool = False
    stop: bool = False
    die: tuple[str, int] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `status` is the exit status, negative for a signal; `error` is empty where it committed."""

    status: int
    overdue: bool
    events: list[Event]
    log: str
    error: str = ""
    kind: str = ""
    digest: str = ""
    seconds: float = 0.0
    forbidden: list[tuple[str, str]] = field(default_factory=list)
    points: dict[str, int] = field(default_factory=dict)
    litter: list[str] = field(default_factory=list)
    attrs_changed: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)


class Sandbox:
    """The server as the kit sees it; it starts with the first run and ends with this process."""

    _all: ClassVar[dict[int, Sandbox]] = {}

    def __init__(self, hash_seed: int) -> None:
        environment = {
            **os.environ,
            "PYTHONHASHSEED": str(hash_seed),
            "OMP_NUM_THREADS": "1",
            "FABLOOM_THREADS": "1",
            "FABLOOM_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self.path = list(sys.path)
        atexit.register(self.close)

    @classmethod
    def shared(cls, hash_seed: int) -> Sandbox:
        """The one server of this process and hash seed; a new one where it has ended or could not see newer entries of `sys.path`."""
        one = cls._all.get(hash_seed)
        if one is None or one._server.poll() is not None or one.path != sys.path:
            if one is not None:
                one.close()
            one = cls._all[hash_seed] = cls(hash_seed)
        return one

    def run(self, wanted: Run) -> Outcome:
        """Run it to its end, whatever that is."""
        folder = Path(wanted.folder)
        (folder / PLACE).mkdir(parents=True)
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(dataclasses.asdict(wanted)).encode() + b"\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError(f"the sandbox died: {self._server.wait()}")
        told = json.loads(line)
        events = [json.loads(text) for text in _text(folder / EVENTS).splitlines() if text.endswith("}")]
        litter = sorted(path.relative_to(folder / PLACE).as_posix() for path in (folder / PLACE).rglob("*"))
        outcome = json.loads(_text(folder / OUTCOME) or "{}")
        outcome["forbidden"] = [(what, detail) for what, detail in outcome.get("forbidden", [])]
        return Outcome(told["status"], told["overdue"], events, _text(folder / LOG), litter=litter, **outcome)

    def close(self) -> None:
        """End the server and whatever it runs."""
        if self._server.stdin is not None:
            self._server.stdin.close()
        self._server.kill()
        self._server.wait()


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.is_file() else ""


def find_method(place: str) -> type[Method]:
    """The Method class of `module:QualifiedName`. Raises ImportError or AttributeError."""
    module, _, name = place.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    method: type[Method] = found
    return method


def serve() -> None:
    """The server: one run at a time, each in a fork."""
    import torch

    torch.set_num_threads(1)
    for module in ENGINE:
        importlib.import_module(module)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in pytest: its end closes our stdin
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        wanted = Run(**{**request, "preload": tuple(request["preload"]), "die": request["die"] and tuple(request["die"])})
        for module in wanted.preload:
            with contextlib.suppress(ImportError):  # the task will meet it, and its error is told
                importlib.import_module(module)
        gc.freeze()  # a fork that collects would copy all that is imported
        child = os.fork()
        if child == 0:
            _child(wanted)
        told = _wait(child, wanted.seconds)
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def _wait(child: int, seconds: float) -> dict[str, Any]:
    """Wait for the child, at most `seconds`; kill it then, or when the kit is gone."""
    handle = os.pidfd_open(child) if hasattr(os, "pidfd_open") else None
    deadline, overdue = time.monotonic() + seconds, False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline and not overdue:
            overdue = True
            os.kill(child, signal.SIGKILL)
        if handle is None:
            time.sleep(0.01)
        elif sys.stdin.fileno() in select.select([handle, sys.stdin.fileno()], [], [], 0.2)[0] and not os.read(sys.stdin.fileno(), 1):
            os.kill(child, signal.SIGKILL)
            os._exit(1)
    if handle is not None:
        os.close(handle)
    return {"status": os.waitstatus_to_exitcode(status), "overdue": overdue}


def _child(wanted: Run) -> None:
    """Run, write the outcome, and never return."""
    folder = Path(wanted.folder)
    code = 1
    try:
        sys.dont_write_bytecode = True
        with (folder / LOG).open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        os.chdir(folder / PLACE)
        _perform(wanted, folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _perform(wanted: Run, folder: Path) -> None:
    from fabloom.method import Options
    from fabloom.running.execute import run_step
    from fabloom.storage.backends.local import LocalStore
    from fabloom.testing.running import plan_task

    from .guards import Watch

    known = set(sys.modules)
    store = LocalStore(wanted.store)
    method = find_method(wanted.method)
    step = plan_task(store, method, wanted.task, wanted.params, wanted.seed, wanted.inputs)
    file = Path(inspect.getfile(method))
    watch = Watch((store.work(step.key), store.root / "staging" / step.key), file.parent if "." in method.__module__ else file)
    tempfile.gettempdir()  # finds out by writing, which libraries would do inside the task
    points = _count_points(wanted.die)
    changed: list[str] = []
    function = _watched(step.spec.function, watch, points, changed)
    step = dataclasses.replace(step, spec=dataclasses.replace(step.spec, function=function))
    facts: dict[str, Any] = {"points": points.counts, "forbidden": watch.found, "attrs_changed": changed}
    asked = False
    began = time.monotonic()
    with (folder / EVENTS).open("a", buffering=1) as out:

        def emit(event: Event) -> None:
            nonlocal asked
            was_on, watch.on = watch.on, False
            out.write(json.dumps(event) + "\n")
            watch.on = was_on
            if event["event"] == "progress":
                asked = asked or wanted.stop
                if event["done"] > event["total"]:
                    watch.refuse("progress", f"'{event['name']}' is at {event['done']} of {event['total']} {event['unit']}")

        try:
            options = Options(device="cpu", checkpoint_seconds=1e9 if wanted.sparse else 0.0)
            result = run_step(step, store, options, emit, lambda: asked)
            facts |= {"kind": result.kind, "digest": result.digest}
        except Exception as error:
            traceback.print_exc()
            facts["error"] = f"{type(error).__name__}: {error}"
    facts["seconds"] = time.monotonic() - began
    own = {"fabloom", wanted.method.partition(":")[0].partition(".")[0]}
    facts["libraries"] = sorted(name for name in set(sys.modules) - known if name.partition(".")[0] not in own)
    (folder / OUTCOME).write_text(json.dumps(facts))


@dataclass
class Points:
    """How often each point was passed; `passed` kills this process at the wanted one."""

    die: tuple[str, int] | None
    counts: dict[str, int] = field(default_factory=dict)

    def passed(self, point: str) -> None:
        """Count, and die if this is the place."""
        self.counts[point] = self.counts.get(point, 0) + 1
        if self.die == (point, self.counts[point]):
            os.kill(os.getpid(), signal.SIGKILL)


def _count_points(die: tuple[str, int] | None) -> Points:
    """Count checkpoints and row blocks as they become durable."""
    from fabloom.method import loop as module
    from fabloom.storage.commit.staging import StagedArtifact

    points = Points(die)

    def then(function: Callable[..., Any], point: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            points.passed(point)
            return result

        return call

    loop: Any = module
    staged: Any = StagedArtifact
    loop._save = then(loop._save, "checkpoint")
    staged.journal = then(staged.journal, "block")
    return points


def _watched(function: Callable[..., Artifact], watch: Watch, points: Points, changed: list[str]) -> Callable[..., Artifact]:
    """The task's function, watched; `changed` gets the ports whose attributes it altered in memory."""

    def call(method: Method, ctx: Any, params: Any, **inputs: Any) -> Artifact:
        given = {port: value if isinstance(value, list) else [value] for port, value in inputs.items()}
        before = {port: json.dumps([dict(one.attrs) for one in several], sort_keys=True) for port, several in given.items()}
        with watch.watching():
            result = function(method, ctx, params, **inputs)
        for port, several in given.items():
            if json.dumps([dict(one.attrs) for one in several], sort_keys=True) != before[port]:
                changed.append(port)
        points.passed("return")
        return result

    return call
