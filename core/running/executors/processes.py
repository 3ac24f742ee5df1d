"""Steps in processes of their own, forked from a warm server that has torch imported but no CUDA.

An out-of-memory kill becomes an exit code, accelerator memory goes back to the driver, and a step starts in milliseconds.

    caller  ──control socket: a byte and a descriptor per step──>  server  ──fork──>  worker
    worker  <────── the step's own socket: request, "stop" | events, exit ──────────>  caller

Only JSON crosses a socket. The server ends when the control socket closes, the kernel kills a worker when the server ends
(`PR_SET_PDEATHSIG`), so a killed caller leaves nothing behind. All stay in the caller's process group.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from fabloom.errors import EnvironmentProblem
from fabloom.method import Options, PlannedStep, StepResult
from fabloom.progress import Emit, Event
from fabloom.running.execute import failed


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
                self._server = subprocess.Popen(
                    [sys.executable, "-m", "fabloom.running.executors.server", *self._preload], stdin=theirs.fileno(), stdout=2
                )
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
