"""A Python that has torch, Prefect and fabloom in memory and forks runs that are to be killed; see `test_deaths.py`.

    python victims.py     one request a line on stdin, one answer a line on stdout
    {"arguments", "env", "out", "err", "notes"} -> process id of `fabloom ARGUMENTS`, which leads a session of its own
    {"wait": pid}                               -> its exit status, below zero for a signal
    {"port": number, "env"}                     -> process id of a Prefect server

Such a run is the command itself, with its own process for the step server, the guard, the workers, and Prefect's server. But where it
would start another Python that imports for seconds, it takes a fork of itself from before it had threads; and with
FABLOOM_NO_PREFECT the steps go to their processes without a flow around them.
"""

from __future__ import annotations

import atexit
import dataclasses
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from fabloom.flows.run.prefect.settings import prefer

HEAVY = (
    "torch", "torch._dynamo", "zarr", "numcodecs", "rich.console", "rich.table", "fabloom.flows.cli.main",
    "fabloom.flows.cli.display", "fabloom.flows.run.api", "fabloom.running.executors.server", "fabloom.storage.commit.staging",
)  # fmt: skip
SESSION = "fabloom.flows.run.prefect.calling"
PREFECT = ("uvicorn", "prefect.server.api.server", SESSION)
"""Imported before the first run that needs them."""


STEP_SERVER, PREFECT_SERVER = "fabloom.running.executors.server", "uvicorn"


def serve_prefect(port: int) -> None:
    """What `uvicorn` does where Prefect starts it, and `prefect server start`."""
    import uvicorn

    uvicorn.run("prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="error", lifespan="on")


def refresh(environment: dict[str, str]) -> None:
    """Be in that environment; Prefect, too, where it has read its settings already."""
    os.environ.clear()
    os.environ.update(environment)
    prefer()
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


class Spare:
    """A fork that waits to be a Python that somebody starts."""

    made: list[Spare] = []

    def __init__(self, module: str, *others: int) -> None:
        self.module = module
        self.ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            for one in (self, *Spare.made):
                one.ours.close()
            for handle in others:
                os.close(handle)
            self._wait(theirs)
        theirs.close()
        Spare.made.append(self)

    def _wait(self, theirs: socket.socket) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # one that is not needed dies of it without a word
        message, handles, _, _ = socket.recv_fds(theirs, 1 << 20, 1)
        if not message:
            os._exit(0)
        wanted = json.loads(message)
        theirs.close()
        if wanted["group"] is not None:
            os.setpgid(0, wanted["group"])
        if handles:
            os.dup2(handles[0], 0)
            os.close(handles[0])
        refresh(wanted["env"])
        arguments = wanted["args"][wanted["args"].index(self.module) + 1 :]
        if self.module == PREFECT_SERVER:
            serve_prefect(int(arguments[arguments.index("--port") + 1]))
        else:
            from fabloom.running.executors.server import serve

            serve(arguments)
        os._exit(0)


class Popen(subprocess.Popen[Any]):
    """`subprocess.Popen` that takes a spare where there is one for what is started."""

    notes: Path

    def __init__(self, args: Any, **more: Any) -> None:
        spare = next((one for one in Spare.made if one.module in args), None)
        if spare is None:
            super().__init__(args, **more)
            return
        Spare.made.remove(spare)
        self.args, self.pid, self.returncode = args, spare.pid, None
        self.stdin = self.stdout = self.stderr = None
        self._child_created, self._waitpid_lock = True, threading.Lock()
        wanted = {"args": list(args), "env": dict(more.get("env") or os.environ), "group": more.get("process_group")}
        handles = [more["stdin"]] if isinstance(more.get("stdin"), int) else []
        socket.send_fds(spare.ours, [json.dumps(wanted).encode()], handles)
        spare.ours.close()
        with self.notes.open("a") as file:
            file.write(f"{spare.module} {self.pid}\n")


def fork_instead(notes: Path, *others: int) -> None:
    """From here on this process takes spares, which do not keep the other descriptors; whom it started is noted down.

    Call it before there are threads.
    """
    for module in (STEP_SERVER, PREFECT_SERVER):
        Spare(module, *others)
    Popen.notes = notes
    subprocess.Popen = Popen  # type: ignore[misc]


def run_without_prefect(plan: Any, engine: Any, runner: str, workers: int = 1, cluster: str = "") -> Any:
    """In place of the flow."""
    from fabloom.flows.run.api import finish
    from fabloom.running.engine import run_inline
    from fabloom.running.executors import ProcessExecutor
    from fabloom.running.parts import Crew

    executor = ProcessExecutor({module for step in plan.steps for module in step.spec.method.preload})
    try:
        return finish(plan, run_inline(plan, dataclasses.replace(engine, executor=executor, crew=Crew(workers))), engine.store)
    finally:
        executor.close()


def become(wanted: dict[str, Any]) -> None:
    """Be as `fabloom ARGUMENTS` would be."""
    os.setsid()
    for number, place in ((0, os.devnull), (1, wanted["out"]), (2, wanted["err"])):
        handle = os.open(place, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    refresh(wanted["env"])
    if "prefect" in wanted["arguments"]:  # an inline run's own forks would keep the spares
        fork_instead(Path(wanted["notes"]))
    if "FABLOOM_NO_PREFECT" in os.environ:
        stub: Any = sys.modules.setdefault(SESSION, type(sys)(SESSION))
        stub.run_prefect = run_without_prefect
    from fabloom.flows.cli.main import main

    sys.argv = ["fabloom", *wanted["arguments"]]
    try:
        main()
    except SystemExit as end:
        leave(end.code)


def leave(code: Any) -> None:
    """End as Python does, without taking apart what was in memory before: that costs more than the run."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def load_prefect() -> None:
    """In memory before the next fork, with a client that does not try for seconds: how long it would is not what is tested."""
    for name in PREFECT:
        importlib.import_module(name)
    from prefect.events.clients import PrefectEventsClient

    PrefectEventsClient.__init__.__defaults__ = tuple(
        2 if default == 10 else default for default in PrefectEventsClient.__init__.__defaults__ or ()
    )
    gc.freeze()


def main() -> None:
    """Load, and fork at each request."""
    prefer()
    for name in HEAVY:
        importlib.import_module(name)
    from fabloom.registry import Registry

    Registry.load().complete()
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in iter(sys.stdin.buffer.readline, b""):
        wanted: dict[str, Any] = json.loads(line)
        if "wait" in wanted:
            answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(wanted['wait'], 0)[1])}\n")
            continue
        if "port" in wanted or ("prefect" in wanted["arguments"] and "FABLOOM_NO_PREFECT" not in wanted["env"]):
            load_prefect()
        child = os.fork()
        if child == 0:
            answers.close()
            if "port" in wanted:
                os.setsid()
                refresh(wanted["env"])
                serve_prefect(wanted["port"])
                os._exit(0)
            become(wanted)
            return
        answers.write(f"{child}\n")


if __name__ == "__main__":
    main()
