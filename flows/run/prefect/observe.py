"""What Prefect's pages show of a step while it runs: its log, its progress, and what it came to. Nothing of it is needed by the work.

Everything here happens in a thread of its own and may fail: a server that cannot be reached costs what is shown, never the step. Lines
go to Prefect's log of the task run, which is sent in the background; progress is an artifact, which is a request to the server.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from fabloom.method import StepResult
from fabloom.progress import Emit, Event

from .outage import TROUBLE, Notice, reason
from .tail import Tail, shown, some

LOOK_PERIOD = 2.0
"""Seconds between two looks at what there is to show."""
PROGRESS_PERIOD = 5.0
"""Seconds between two updates of a progress artifact: each is a database write."""
RETRY_PERIOD = 30.0
"""Seconds after a failure until the progress is tried again."""
TOLD_PERIOD = 30.0
"""Seconds between two lines about the progress."""
PATIENCE = 5.0
"""Seconds that a step's end waits for what is still to be shown."""
NUMBERS = 12
"""Metrics named at a step's end."""

log = logging.getLogger("fabloom")


class Mirror:
    """Shows a step in Prefect. Make it inside the task run, call it with each event, and close it with the result.

    Events come from the executor's threads, which know of no task run: what is shown belongs to the one that this was made in.
    """

    def __init__(self, name: str, log: Path, emit: Emit, notice: Notice) -> None:
        self._name, self._log, self._emit, self._notice = name, log, emit, notice
        self._context = contextvars.copy_context()
        self._tail: Tail | None = None
        self._said: deque[str] = deque(maxlen=10_000)
        self._progress: Event | None = None
        self._values: dict[str, float] = {}
        self._artifact: UUID | None = None
        self._sent = self._told = time.monotonic()
        self._retry = 0.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._result: StepResult | None = None
        try:
            self._logger: Any = get_run_logger()
        except MissingContextError:  # not called by Prefect
            self._logger = logging.getLogger("fabloom.step")
        with contextlib.suppress(OSError):
            self._tail = Tail(log)

    def __call__(self, event: Event) -> None:
        """Pass the event on, and keep what is to be shown of it."""
        self._emit(event)
        kind = event["event"]
        if kind == "log":
            self._said.append(str(event["message"]))
        elif kind == "progress":
            self._progress = event
        elif kind == "scalars":
            self._values = event["values"]
        if self._thread is None and kind != "finished":
            self._begin()

    def _begin(self) -> None:
        """The step's process is there, and so is its log, which a commit removes."""
        if self._tail is not None:
            with contextlib.suppress(OSError):
                self._tail.open()
        thread = threading.Thread(target=self._watch, name=f"fabloom-mirror-{self._name}", daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads here
            thread.start()
            self._thread = thread

    def close(self, result: StepResult) -> None:
        """Show the rest, and what became of the step. Where the server does not answer this does not wait for it."""
        self._result = result
        self._over.set()
        if self._thread is not None:
            self._thread.join(0 if self._notice.slow else PATIENCE)
            self._notice.slow = self._notice.slow or self._thread.is_alive()
        with contextlib.suppress(Exception):
            for line in ending(result):
                self._logger.info(line)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_PERIOD):
            self._look()
        self._look(last=True)
        if self._tail is not None:
            self._tail.close()

    def _look(self, *, last: bool = False) -> None:
        for show in (self._show_lines, self._show_progress):
            try:
                self._context.run(show, last)
            except TROUBLE as error:
                self._retry, self._notice.slow = time.monotonic() + RETRY_PERIOD, True
                self._notice(reason(error))
            except Exception as error:  # not the server's: it hears the rest
                self._retry = time.monotonic() + RETRY_PERIOD
                log.debug("step '%s' cannot be shown: %s", self._name, reason(error))

    def _show_lines(self, last: bool) -> None:
        """What the step said through fabloom, and what it and its libraries printed."""
        said = [self._said.popleft() for _ in range(len(self._said))]
        printed: list[str] = []
        if self._tail is not None:
            with contextlib.suppress(OSError):
                printed = self._tail.lines(last=last)
        for line in some([line for message in said for line in message.splitlines()]):
            self._logger.info(shown(line.encode(errors="replace")))
        if printed:
            self._logger.info("\n".join(some(printed, f"; all are in {self._log}")))

    def _show_progress(self, last: bool) -> None:
        event, now = self._progress, time.monotonic()
        if event is None:
            return
        done = last and self._result is not None and self._result.status in ("ran", "reused")
        if now - self._told >= TOLD_PERIOD:
            self._told = now
            self._logger.info(progress_line(event, self._values))
        if (now - self._sent < PROGRESS_PERIOD or now < self._retry) and not (last and self._artifact is not None):
            return
        self._sent = now
        percent = 100.0 if done else min(100.0, 100.0 * event["done"] / max(event["total"], 1))
        described = f"{self._name}: {'done' if done else count(event)}"
        if self._artifact is None:
            created: Any = create_progress_artifact(percent, description=described)
            self._artifact = created
        else:
            update_progress_artifact(self._artifact, percent, description=described)
        self._notice.slow = time.monotonic() - now > PATIENCE


def count(event: Event) -> str:
    """'main: 120 of 500 steps'."""
    return f"{event['name']}: {event['done']:,} of {event['total']:,} {event['unit']}s"


def progress_line(event: Event, values: dict[str, float]) -> str:
    """'main: 120 of 500 steps, 24 %, 3.4 steps/s, 2 min to go; loss 0.123'."""
    from fabloom.planning.expectation import rough

    parts = [count(event), f"{100 * event['done'] / max(event['total'], 1):.0f} %"]
    parts += [f"{event['rate']:.3g} {event['unit']}s/s"] if event.get("rate") else []
    parts += [f"{rough(event['eta'])} to go"] if event.get("eta") else []
    told = ", ".join(f"{name} {value:.4g}" for name, value in list(values.items())[:NUMBERS])
    return ", ".join(parts) + (f"; {told}" if told else "")


def ending(result: StepResult) -> list[str]:
    """What became of a step, in a line, and its metrics in another. A failure is told by the state that Prefect shows."""
    from fabloom.flows.report.numbers import told
    from fabloom.kinds.metric import described, leaves

    if result.status not in ("ran", "reused"):
        return []
    made = f"made in {result.seconds:.1f} s" if result.status == "ran" else "reused: it was made before"
    lines = [f"{result.kind} {result.key[:12]} {made}; digest {result.digest[:12]}"]
    found = leaves(described(result.metrics))
    if found:
        shown = ", ".join(f"{' / '.join(path)} {told(metric)}" for path, metric in list(found.items())[:NUMBERS])
        lines.append(f"metrics: {shown}" + (f", and {len(found) - NUMBERS} more" if len(found) > NUMBERS else ""))
    return lines
