"""What a dask worker does for `DaskExecutor`: it lodges a step server, which runs each step in a process of its own.

The worker itself stays light, and what a step takes or how it dies is not the worker's: a step that is killed for its memory leaves the
worker alive. Only plain data crosses: a request in, events and a result out.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from fabloom.errors import EnvironmentProblem, Interrupted
from fabloom.method import StepRequest, StepResult
from fabloom.progress import Emit, Event
from fabloom.running.execute import failed

from .processes import ProcessExecutor


class Lodging(WorkerPlugin):  # type: ignore[misc]
    """The step server of one caller in one worker process: its first step starts it, and it ends with the caller or the worker."""

    def __init__(self, name: str, preload: Iterable[str], *, own: bool = False) -> None:
        self.name, self._preload, self._own = name, tuple(preload), own

    def setup(self, worker: Worker) -> None:
        """A caller has come. One that was killed could not say that it left, so servers that stand idle are ended.

        Of a terminal's Ctrl-C, and of a signal to the whole group of the caller, its own workers hear nothing, nor those that dask begins
        anew: the caller asks steps to stop at a checkpoint.
        """
        if self._own:
            os.setpgid(0, 0)
        self._guard, self._running, self._stopped = threading.Lock(), 0, False
        self._steps = ProcessExecutor(self._preload)
        for other in worker.plugins.values():
            if isinstance(other, Lodging) and other is not self:
                other.rest()

    def teardown(self, worker: Worker) -> None:
        """The caller, or the worker, closes."""
        self._steps.close()

    def rest(self) -> None:
        """End the server where no step runs; the next one starts it again."""
        with self._guard:
            if not self._running:
                self._steps.close()

    def stop(self) -> None:
        """Ask running steps to stop at their next checkpoint, and begin none any more."""
        self._stopped = True
        self._steps.stop()

    def perform(self, request: StepRequest, emit: Emit) -> StepResult:
        """Run the step, or say why not. Never raises for what becomes of it."""
        if self._stopped:
            return failed(request, Interrupted(f"step '{request.name}' was not begun: a stop was asked for"))
        if "://" not in request.store and not Path(request.store).is_dir():
            where = f"'{request.store}' is no folder on the worker {os.uname().nodename}"
            why = "workers on other machines need a store that all of them reach: a shared folder at the same path, or s3://"
            return failed(request, EnvironmentProblem(f"step '{request.name}': {where}; {why}"))
        with self._guard:
            self._running += 1
            running = self._steps.submit(request, emit)
        try:
            return running.result()
        finally:
            with self._guard:
                self._running -= 1


def work(request: dict[str, Any], name: str, ticket: str) -> dict[str, Any]:
    """The dask task: a step, by the lodging of that name; its events go to the caller under the ticket."""
    worker = get_worker()

    def tell(event: Event) -> None:
        worker.log_event(name, {"ticket": ticket, "event": event})

    asked = StepRequest.from_dict(request)
    try:
        result: StepResult = worker.plugins[name].perform(asked, tell)
    except (EnvironmentProblem, KeyError) as error:  # no process can be started here; the caller has closed
        result = failed(asked, error)
    return result.as_dict()


def stop(name: str, dask_worker: Worker) -> None:
    """Stop what the lodging of that name does in this worker; dask hands the worker in."""
    if name in dask_worker.plugins:
        dask_worker.plugins[name].stop()
