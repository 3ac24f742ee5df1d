"""Steps in processes of their own, forked from a warm server that has torch imported but no CUDA.

An out-of-memory kill becomes an exit code, accelerator memory goes back to the driver, and a step starts in milliseconds.

    caller  ──control socket: a byte and a descriptor per step──>  server  ──fork──>  worker
    worker  <────── the step's own socket: request, "stop" | events, exit ──────────>  caller

Only JSON crosses a socket. The server ends when the control socket closes, and its workers before it; the kernel kills a worker when the
server is killed (`PR_SET_PDEATHSIG`). Caller and server share a process group and the server is deaf to what asks for a stop there; each
worker leads a group of its own, which the server ends with it, or `guard` where the server is gone: a killed caller, server or worker
leaves nothing behind.
"""

from __future__ import annotations

import functools
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import replace

from fabloom.errors import EnvironmentProblem
from fabloom.method import StepRequest, StepResult
from fabloom.progress import Emit, Event
from fabloom.running.execute import failed

STOP = b'"stop"\n'
DYING, LEAVING = 120.0, 10.0
"""Seconds that a server has to be gone: one that let go of its sockets dies already, and only on a machine without a free core takes
longer than a moment; one that is asked to leave ends its workers first, and is killed then."""


class ProcessExecutor:
    """Implements `Executor`: each step in a process of its own. The server starts with the first step, with `preload` imported.

    Safe to use from several threads.
    """

    def __init__(self, preload: Iterable[str] = ()) -> None:
        self._preload = sorted(set(preload))
        self._control: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._guard = threading.Lock()
        self._running: set[socket.socket] = set()
        self._stopped = False

    def _start(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        """A living server and its control socket. The caller holds the guard."""
        if self._control is None or self._server is None or self._server.poll() is not None:
            self._control, theirs = socket.socketpair()
            # -P: what lies in the working folder is never imported, however it is called
            command = [sys.executable, "-P", "-m", "fabloom.running.executors.server", *self._preload]
            self._server = subprocess.Popen(command, stdin=theirs.fileno(), stdout=2)
            theirs.close()
        return self._control, self._server

    def _hand(self, request: StepRequest) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        """Give the request to a worker of the server, of a new one where it has just died. The caller holds the guard.

        A worker begins with the whole of a request: one that could not be sent to its end was not begun by anybody.
        """
        said = json.dumps(request.as_dict()).encode() + b"\n" + (STOP if self._stopped else b"")
        for last in (False, True):
            control, server = self._start()
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    socket.send_fds(control, [b"s"], [theirs.fileno()])
                ours.sendall(said)
            except OSError as error:
                ours.close()
                if last or not isinstance(error, ConnectionError) or _end(server) is None:
                    raise
            else:
                break
        return ours, server

    def submit(self, request: StepRequest, emit: Emit) -> Future[StepResult]:
        """Run the step in a worker; one that fails, is stopped or dies gives a failed result."""
        done: Future[StepResult] = Future()
        with self._guard:
            try:
                ours, server = self._hand(request)
            except OSError as error:
                raise EnvironmentProblem(f"the step server could not be started: {error}") from error
            self._running.add(ours)
        follow = functools.partial(self._follow, ours, server, request, emit, done)
        threading.Thread(target=follow, name=f"fabloom-{request.name}", daemon=True).start()
        return done

    def _follow(
        self, ours: socket.socket, server: subprocess.Popen[bytes], request: StepRequest, emit: Emit, done: Future[StepResult]
    ) -> None:
        """Pass events on until the worker's end, and settle the future, whatever happens."""
        result: StepResult | None = None
        try:
            with ours:
                result = _listen(ours, request, emit) or failed(request, RuntimeError(_death(request, "the step server", _end(server))))
        except Exception as error:  # a display that fails must not lose the step's end
            result = failed(request, error)
        finally:
            with self._guard:
                self._running.discard(ours)
            done.set_result(result or failed(request, RuntimeError("the step was lost")))

    def stop(self) -> None:
        """Ask every running step to stop at its next checkpoint; what is submitted later stops at once."""
        with self._guard:
            if self._stopped:
                return
            self._stopped = True
            for one in self._running:
                try:
                    one.sendall(STOP)
                except OSError:
                    continue  # it has just ended

    def close(self) -> None:
        """End the server and every worker."""
        with self._guard:
            if self._control is not None:
                self._control.close()
            if self._server is not None and _end(self._server, LEAVING) is None:
                self._server.kill()  # deaf, or starved by others for that long; its workers and its guard end themselves
                self._server.wait()
            self._control = self._server = None


def _listen(ours: socket.socket, request: StepRequest, emit: Emit) -> StepResult | None:
    """Pass events on until the worker has ended; None where server and worker went without a word."""
    result: StepResult | None = None
    with ours.makefile("rb") as lines:
        try:
            for line in lines:
                event: Event = json.loads(line)
                if event["event"] == "result":
                    result = StepResult(**event["result"])
                elif event["event"] == "exit":
                    return result or _killed(request, event["status"])
                else:
                    emit(event)
        except (ConnectionError, ValueError):
            pass  # cut off in mid-line: the server died
    return result


def _killed(request: StepRequest, status: int) -> StepResult:
    """The result of a worker that ended without one."""
    result = failed(request, RuntimeError(_death(request, "its process", status)))
    return replace(result, signal=signal.Signals(-status).name) if status < 0 else result


def _end(server: subprocess.Popen[bytes], seconds: float = DYING) -> int | None:
    """How a server ended whose sockets are closed; None where it hangs."""
    try:
        return server.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None


def _death(request: StepRequest, who: str, status: int | None) -> str:
    """One line: the step, who died of what, and what to do."""
    if status is None:
        return f"step '{request.name}' failed: {who} does not answer any more. Run again to go on from its last checkpoint."
    if status >= 0:
        return f"step '{request.name}' failed: {who} ended with code {status} and no result"
    name = signal.Signals(-status).name
    hint = " (often the kernel, out of memory: lower the batch size)" if name == "SIGKILL" else ""
    return f"step '{request.name}' failed: {who} was killed by {name}{hint}. Run again to go on from its last checkpoint."
