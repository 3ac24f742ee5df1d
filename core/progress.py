"""Events: what a running step tells the outside, as plain JSON objects so that they cross a process boundary.

{"event": "progress", "step", "name", "done", "total", "unit", "rate", "eta"}     rate in units/s, eta in seconds or None
{"event": "log", "step", "message"}        {"event": "scalars", "step", "loop", "at", "values"}    of a loop at its turn `at`
{"event": "started"|"finished", "step", ...}                                      sent by the engine itself
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from .errors import Interrupted

Event = dict[str, Any]
Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """Drop the event."""


class Progress:
    """A counter with rate and ETA. The rate is taken over the last half minute, so that an ETA follows a change of speed.

    Used as a context manager or by hand; `advance` may be called for every item, events are sent at most 5 times a second.
    """

    WINDOW = 30.0
    PERIOD = 0.2

    def __init__(
        self, emit: Emit, name: str, total: int, unit: str = "it", done: int = 0, stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.name, self.total, self.unit, self.done = name, total, unit, done
        self._emit, self._stop = emit, stop
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), done)])
        self._sent = 0.0
        self._send()

    def advance(self, count: int = 1) -> None:
        """Count `count` more units as done. Raises Interrupted where the run was asked to stop."""
        if self._stop():
            raise Interrupted(f"stopped after {self.done} of {self.total} ({self.name}). Run the same command again to go on.")
        self.done += count
        now = time.monotonic()
        if now - self._sent >= self.PERIOD or self.done >= self.total:
            self._marks.append((now, self.done))
            while len(self._marks) > 2 and now - self._marks[0][0] > self.WINDOW:
                self._marks.popleft()
            self._send()

    def _send(self) -> None:
        (then, before), (now, done) = self._marks[0], self._marks[-1]
        rate = (done - before) / (now - then) if now > then else 0.0
        eta = (self.total - self.done) / rate if rate > 0 else None
        self._sent = time.monotonic()
        self._emit({
            "event": "progress", "name": self.name, "done": self.done, "total": self.total, "unit": self.unit, "rate": rate, "eta": eta,
        })  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._send()


class Scalars:
    """Sends what a loop logs as it goes, at most 5 times a second, and the last of it; all of it is in the manifest's curves."""

    PERIOD = 0.2

    def __init__(self, emit: Emit, loop: str) -> None:
        self._emit, self._loop = emit, loop
        self._sent = 0.0
        self._waiting: Event | None = None

    def add(self, at: int, values: dict[str, float]) -> None:
        """Numbers of turn `at`, sent now or replaced by later ones."""
        self._waiting = {"event": "scalars", "loop": self._loop, "at": at, "values": values}
        if time.monotonic() - self._sent >= self.PERIOD:
            self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.flush()

    def flush(self) -> None:
        """Send what waits."""
        if self._waiting is not None:
            self._sent = time.monotonic()
            event, self._waiting = self._waiting, None
            self._emit(event)


class Messenger:
    """Tells whoever watches the run: lines, and counters with rate and ETA."""

    def __init__(self, emit: Emit = silent, stop_requested: Callable[[], bool] = lambda: False) -> None:
        self.stop_requested = stop_requested
        self._emit = emit

    def progress(self, total: int, *, unit: str = "it", name: str = "progress", done: int = 0) -> Progress:
        """A counter with rate and ETA: `with ctx.progress(n) as bar: bar.advance()`."""
        return Progress(self._emit, name, total, unit, done, self.stop_requested)

    def log(self, message: str) -> None:
        """Show a line."""
        self._emit({"event": "log", "message": message})

    def emit(self, event: Event) -> None:
        """Send a raw event (see the top of this module)."""
        self._emit(event)
