"""The other side of the sandbox: a process that has torch and the engine imported, and forks for each run that the kit asks for.

A child is guarded, counts the points at which it may be told to die, performs the task as an engine does, and writes how it ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import inspect
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .sandbox import EVENTS, LOG, OUTCOME, PLACE, Run

if TYPE_CHECKING:
    from fabloom.kinds import Artifact
    from fabloom.method import Method
    from fabloom.progress import Event

    from .guards import Watch

ENGINE = ("fabloom.running.execute", "fabloom.storage.backends.local", "fabloom.storage.commit.staging", "fabloom.testing.running")
"""What every run needs, imported before the forks; of a method's own modules none is."""


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
    from fabloom.running.parts import parts_of
    from fabloom.storage.backends.local import LocalStore
    from fabloom.testing.running import plan_task

    from .guards import Watch

    known = set(sys.modules)
    store = LocalStore(wanted.store)
    method = find_method(wanted.method)
    step = plan_task(store, method, wanted.task, wanted.params, wanted.seed, wanted.inputs)
    file = Path(inspect.getfile(method))
    parts = parts_of(step, store, wanted.workers)
    rooms = [room for one in (step, *parts) for room in (store.work(one.key), store.root / "staging" / one.key)]
    watch = Watch(tuple(rooms), file.parent if "." in method.__module__ else file)
    tempfile.gettempdir()  # finds out by writing, which libraries would do inside the task
    points = _count_points(wanted.die)
    changed: list[str] = []
    function = _watched(step.spec.function, watch, points, changed)
    spec = dataclasses.replace(step.spec, function=function)
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
            for part in parts:
                run_step(dataclasses.replace(part, spec=spec), store, options, emit, lambda: asked)
            options = dataclasses.replace(options, parts=tuple(part.key for part in parts))
            result = run_step(dataclasses.replace(step, spec=spec), store, options, emit, lambda: asked)
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
