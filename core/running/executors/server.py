"""The step server: a process with torch imported but no CUDA, which forks a worker for every step. Started by `processes`."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from fabloom.method import StepRequest, StepResult
from fabloom.progress import Emit, Event
from fabloom.registry import Registry
from fabloom.running.execute import LOG, failed, open_log, run_step
from fabloom.running.requests import step_of
from fabloom.running.signals import STOPPING, answer, heard

from .guard import Guard, end

PR_SET_PDEATHSIG = 1


def serve(preload: list[str]) -> None:
    """The server: fork a worker for every descriptor that arrives, report each one's end, leave when the caller does."""
    # a group gets them all at once (a terminal, timeout, systemd, Slurm): the caller asks every step to stop at its next checkpoint
    asking = heard()
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    guard = Guard()
    control = socket.socket(fileno=0)
    with _leaving_with_caller(control):  # importing torch takes seconds
        for module in preload:
            importlib.import_module(module)
        registry = Registry.load()
        registry.complete()  # here once, not in each worker
    gc.freeze()  # what all workers begin with: no collection of theirs walks through it, or copies its pages for that
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(writer)
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), reader], [], [])
        if reader in ready:
            os.read(reader, 512)
            _reap(children, guard)
        if control.fileno() in ready:
            message, handles, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                _leave(children, guard)
            own = socket.socket(fileno=handles[0])
            parent = os.getpid()
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in children.values():
                    other.close()
                control.close()
                _lead(parent, guard)
                _work(own, registry, asking)
            with contextlib.suppress(OSError):
                os.setpgid(child, child)  # here too: the group may have to be ended before the child has done anything
            children[child] = own


@contextlib.contextmanager
def _leaving_with_caller(control: socket.socket) -> Iterator[None]:
    """End this process as soon as the caller is gone, while its main thread is busy. No thread is left for a fork to trip over."""
    done = threading.Event()

    def watch() -> None:
        poll = select.poll()
        poll.register(control.fileno(), 0)  # hang-up is always reported
        while not done.is_set():
            if poll.poll(100):
                os._exit(0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _reap(children: dict[int, socket.socket], guard: Guard) -> None:
    for child in list(children):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            end(child)  # what the step itself started ends with it
            guard.ended(child)
            own = children.pop(child)
            with contextlib.suppress(OSError):  # the caller may be gone already
                own.sendall(json.dumps({"event": "exit", "status": os.waitstatus_to_exitcode(status)}).encode() + b"\n")
            own.close()


def _leave(children: dict[int, socket.socket], guard: Guard) -> NoReturn:
    """End every worker with what it started, and this process: afterwards no lock is held and nobody is left."""
    for child in children:
        end(child)
    for child in children:
        os.waitpid(child, 0)
    guard.close()
    os._exit(0)


def _lead(parent: int, guard: Guard) -> None:
    """A worker leads a process group, which the guard knows of before the step can start anything, and dies with its server."""
    os.setpgid(0, 0)
    guard.began()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _work(own: socket.socket, registry: Registry, asking: list[signal.Signals]) -> None:
    """A worker: read the request, run the step, send the result, and never return."""
    lines = own.makefile("r", encoding="utf-8")
    request = StepRequest.from_dict(json.loads(lines.readline()))
    stopped = threading.Event()
    answer(asking, lambda number, frame: stopped.set())  # a signal to the worker alone stops its step, as the caller's word does

    def listen() -> None:
        for _ in lines:
            stopped.set()

    threading.Thread(target=listen, daemon=True).start()
    guard = threading.Lock()

    def send(event: Event) -> None:
        with guard:
            own.sendall(json.dumps(event).encode() + b"\n")

    code = 0
    try:
        send({"event": "result", "result": _attempt(request, registry, send, stopped.is_set).as_dict()})
    except BaseException as error:
        print(f"step worker: {error!r}", file=sys.stderr)
        code = 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def _attempt(request: StepRequest, registry: Registry, send: Emit, stop: Callable[[], bool]) -> StepResult:
    try:
        store = registry.open_store(request.store)
        log = store.work(request.key)
        with open_log(log) as out:  # what a library prints must not tear the caller's display
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        result = run_step(step_of(request, registry), store, request.options, send, stop)
        if result.status == "reused":  # somebody else made it meanwhile; leave no empty work folder behind
            with contextlib.suppress(OSError):
                (log / LOG).unlink(missing_ok=True)
                log.rmdir()
        return result
    except Exception as error:
        return failed(request, error)


if __name__ == "__main__":
    serve(sys.argv[1:])
