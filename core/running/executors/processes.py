"""Steps in processes of their own, forked from a warm server that has torch imported but no CUDA.

An out-of-memory kill becomes an exit code, accelerator memory goes back to the driver, and a step starts in milliseconds.

    caller  ──control socket: a byte and a descriptor per step──>  server  ──fork──>  worker
    worker  <────── the step's own socket: request, "stop" | events, exit ──────────>  caller

Only JSON crosses a socket. The server ends when the control socket closes, the kernel kills a worker when the server ends
(`PR_SET_PDEATHSIG`), so a killed caller leaves nothing behind. Caller and server share a process group and the server is deaf to what
is sent to it; each worker leads a group of its own, which the server ends with it.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import Future

from fabloom.errors import EnvironmentProblem
from fabloom.method import StepRequest, StepResult
from fabloom.progress import Emit, Event
from fabloom.running.execute import failed

STOP = b'"stop"\n'


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

    def _start(self) -> socket.socket:
        """The control socket of a living server. The caller holds the guard."""
        if self._control is None or self._server is None or self._server.poll() is not None:
            self._control, theirs = socket.socketpair()
            # -P: what lies in the working folder is never imported, however it is called
            command = [sys.executable, "-P", "-m", "fabloom.running.executors.server", *self._preload]
            self._server = subprocess.Popen(command, stdin=theirs.fileno(), stdout=2)
            theirs.close()
        return self._control

    def submit(self, request: StepRequest, emit: Emit) -> Future[StepResult]:
        """Run the step in a worker; one that fails, is stopped or dies gives a failed result."""
        done: Future[StepResult] = Future()
        ours, theirs = socket.socketpair()
        with theirs, self._guard:
            try:
                socket.send_fds(self._start(), [b"s"], [theirs.fileno()])
                ours.sendall(json.dumps(request.as_dict()).encode() + b"\n" + (STOP if self._stopped else b""))
            except OSError as error:
                ours.close()
                raise EnvironmentProblem(f"the step server could not be started: {error}") from error
            self._running.add(ours)
        threading.Thread(target=self._follow, args=(ours, request, emit, done), name=f"fabloom-{request.name}", daemon=True).start()
        return done

    def _follow(self, ours: socket.socket, request: StepRequest, emit: Emit, done: Future[StepResult]) -> None:
        """Pass events on until the worker's end, and settle the future, whatever happens."""
        result: StepResult | None = None
        try:
            with ours:
                result = _listen(ours, request, emit)
        except Exception as error:  # a display that fails must not lose the step's end
            result = failed(request, error)
        finally:
            with self._guard:
                self._running.discard(ours)
            done.set_result(result or failed(request, RuntimeError("the step server died")))

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
            if self._server is not None:
                self._server.wait(timeout=10)
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
                    return result or failed(request, RuntimeError(_death(request, event["status"])))
                else:
                    emit(event)
        except (ConnectionError, ValueError):
            pass  # cut off in mid-line: the server died
    return result


def _death(request: StepRequest, status: int) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (often the kernel, out of memory: lower the batch size)" if name == "SIGKILL" else ""
        return f"step '{request.name}' failed: its process was killed by {name}{hint}. Run again to go on from its last checkpoint."
    return f"step '{request.name}' failed: its process ended with code {status} and no result"
