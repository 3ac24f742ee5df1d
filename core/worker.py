"""Steps in processes of their own, forked from a warm server that has torch imported but no CUDA.

An out-of-memory kill becomes an exit code, accelerator memory goes back to the driver, and a step starts in milliseconds.

    caller  ──control socket: a byte and a descriptor per step──>  server  ──fork──>  worker
    worker  <────── the step's own socket: request, "stop" | events, exit ──────────>  caller

Only JSON crosses a socket. The server ends when the control socket closes, the kernel kills a worker when the server ends
(`PR_SET_PDEATHSIG`), so a killed caller leaves nothing behind. All stay in the caller's process group.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import EnvironmentProblem, FabloomError
from .execute import LOG, Options, StepResult, code_of, distributions, failed, run_step
from .keys import artifact_key, canonical_params, preimage
from .plan import PlannedStep
from .progress import Emit, Event
from .registry import Registry

PR_SET_PDEATHSIG = 1


class StepProcesses:
    """Runs steps isolated; the server starts with the first one. Safe to use from several threads."""

    def __init__(self, preload: Iterable[str]) -> None:
        self._preload = sorted(set(preload))
        self._control: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._guard = threading.Lock()

    def _start(self) -> socket.socket:
        with self._guard:
            if self._control is None or self._server is None or self._server.poll() is not None:
                self._control, theirs = socket.socketpair()
                self._server = subprocess.Popen([sys.executable, "-m", "fabloom.worker", *self._preload], stdin=theirs.fileno(), stdout=2)
                theirs.close()
            return self._control

    def run(self, step: PlannedStep, store_url: str, options: Options, emit: Emit, stop: Callable[[], bool]) -> StepResult:
        """Run one step in a worker; a step that fails or dies gives a failed result."""
        ours, theirs = socket.socketpair()
        control = self._start()
        try:
            with self._guard:
                socket.send_fds(control, [b"s"], [theirs.fileno()])
        except OSError as error:
            raise EnvironmentProblem(f"the step server could not be started: {error}") from error
        finally:
            theirs.close()
        with ours:
            request = {"step": _request(step), "store": store_url, "options": options.__dict__}
            ours.sendall(json.dumps(request).encode() + b"\n")
            return self._listen(ours, step, emit, stop)

    def _listen(self, ours: socket.socket, step: PlannedStep, emit: Emit, stop: Callable[[], bool]) -> StepResult:
        result: StepResult | None = None
        told = False
        buffer = b""
        ours.settimeout(0.2)
        while True:
            if stop() and not told:
                told = True
                ours.sendall(b'"stop"\n')
            try:
                piece = ours.recv(1 << 16)
            except TimeoutError:
                continue
            except ConnectionError:
                piece = b""
            if not piece:
                return result or failed(step, RuntimeError("the step server died"))
            buffer += piece
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                event: Event = json.loads(line)
                if event["event"] == "result":
                    result = StepResult(**event["result"])
                elif event["event"] == "exit":
                    return result or failed(step, RuntimeError(_death(step, event["status"])))
                else:
                    emit(event)

    def close(self) -> None:
        """End the server and every worker."""
        with self._guard:
            if self._control is not None:
                self._control.close()
            if self._server is not None:
                self._server.wait(timeout=10)
            self._control = self._server = None


def _death(step: PlannedStep, status: int) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (often the kernel, out of memory: lower the batch size)" if name == "SIGKILL" else ""
        return f"step '{step.name}' failed: its process was killed by {name}{hint}. Run again to go on from its last checkpoint."
    return f"step '{step.name}' failed: its process ended with code {status} and no result"


def _request(step: PlannedStep) -> dict[str, Any]:
    return {
        "name": step.name,
        "task": step.task,
        "params": step.params.model_dump(mode="json"),
        "inputs": dict(step.inputs),
        "upstream": list(step.upstream),
        "seed": step.seed,
        "key": step.key,
    }


def _planned(request: dict[str, Any], registry: Registry, hasher: Any) -> PlannedStep:
    """The step as the caller planned it; the key is computed anew and must agree."""
    spec = registry.task(request["task"])
    params = spec.params.model_validate(request["params"])
    asked = preimage(spec.full_name, spec.version, canonical_params(params, hasher), request["seed"], request["inputs"])
    if artifact_key(asked) != request["key"]:
        raise FabloomError(f"step '{request['name']}': its source files or plugins changed since it was planned. Run again.")
    return PlannedStep(request["name"], spec, params, request["inputs"], tuple(request["upstream"]), request["seed"], request["key"], asked)


def serve(preload: list[str]) -> None:
    """The server: fork a worker for every descriptor that arrives, report each one's end, leave when the caller does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=0)
    with _leaving_with_caller(control):  # importing torch takes seconds
        for module in preload:
            importlib.import_module(module)
        registry = Registry.load()
        distributions()  # 0.3 s that each step would spend anew
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(writer)
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), reader], [], [])
        if reader in ready:
            os.read(reader, 512)
            _reap(children)
        if control.fileno() in ready:
            message, handles, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                os._exit(0)  # the workers die with this process
            own = socket.socket(fileno=handles[0])
            parent = os.getpid()
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in children.values():
                    other.close()
                control.close()
                _work(own, registry, parent)
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


def _reap(children: dict[int, socket.socket]) -> None:
    for child in list(children):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            own = children.pop(child)
            with contextlib.suppress(OSError):  # the caller may be gone already
                own.sendall(json.dumps({"event": "exit", "status": os.waitstatus_to_exitcode(status)}).encode() + b"\n")
            own.close()


def _work(own: socket.socket, registry: Registry, parent: int) -> None:
    """A worker: read the request, run the step, send the result, and never return."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    lines = own.makefile("r", encoding="utf-8")
    request = json.loads(lines.readline())
    stopped = threading.Event()

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


def _attempt(request: dict[str, Any], registry: Registry, send: Emit, stop: Callable[[], bool]) -> StepResult:
    wanted = request["step"]
    step: PlannedStep | None = None
    try:
        store = registry.open_store(request["store"])
        log = Path(store.work(wanted["key"]))
        log.mkdir(parents=True, exist_ok=True)
        with (log / LOG).open("ab") as out:  # what a library prints must not tear the caller's display
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        step = _planned(wanted, registry, store.hasher)
        options = Options(**{**request["options"], "redo": tuple(request["options"]["redo"])})
        result = run_step(step, store, options, send, stop)
        if result.status == "reused":  # somebody else made it meanwhile; leave no empty work folder behind
            with contextlib.suppress(OSError):
                (log / LOG).unlink(missing_ok=True)
                log.rmdir()
        return result
    except Exception as error:
        kind = step.spec.output.kind if step else ""
        return StepResult(wanted["name"], wanted["task"], kind, wanted["key"], "failed", error=str(error), exit_code=code_of(error))


if __name__ == "__main__":
    serve(sys.argv[1:])
