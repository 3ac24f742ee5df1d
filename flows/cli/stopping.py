"""A run that is asked to stop: who hears it, and what is said at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from fabloom.progress import Emit, Event
from fabloom.running.signals import answer, heard

from .output import tell

AGAIN = "Press Ctrl-C again to stop at once."


@dataclass
class Watched:
    """A step that runs: its last progress, when that came, and how long after the one before."""

    progress: Event | None = None
    at: float = 0.0
    gap: float = 0.0

    def advanced(self, event: Event) -> None:
        """Take in a progress event."""
        now = time.monotonic()
        if self.progress is None or event["done"] != self.progress["done"]:
            self.gap = now - self.at if self.at else 0.0
            self.at = now
        self.progress = event


class StopRequest:
    """SIGINT, SIGTERM and SIGHUP ask a run to stop at its next checkpoint; a second one ends it at once.

    What happens next is said by a thread that the signal itself wakes: the main thread may be inside a library for seconds. Make it in
    the main thread; `watching` lets it know which step runs.
    """

    def __init__(self) -> None:
        self.asked = False
        self._heard = 0
        self._say: Callable[[str], None] = tell
        self._running: dict[str, Watched] = {}
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._numbers = heard()
        threading.Thread(target=self._answer, args=(reading,), name="fabloom-stop", daemon=True).start()
        answer(self._numbers, self._ask)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)

    def __call__(self) -> bool:
        return self.asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, as soon as it runs Python again."""
        self._heard += 1
        if self._heard > 1:
            raise KeyboardInterrupt
        if not self.asked:  # somebody else has taken the place where the signal tells itself
            os.write(self._writing, bytes([number]))

    def _answer(self, reading: int) -> None:
        """The thread: one line at the first signal."""
        while numbers := os.read(reading, 64):
            if not self.asked and any(number in self._numbers for number in numbers):
                self.asked = True
                self._say(self.next_words())

    def watching(self, emit: Emit, say: Callable[[str], None] | None = None) -> Emit:
        """Pass events on to `emit`, and know by them which step runs. `say` shows a line where the events are shown, else stderr does."""
        self._say = say or self._say

        def watched(event: Event) -> None:
            step, kind = str(event.get("step", "")), event["event"]
            if kind in ("started", "progress"):
                watch = self._running.setdefault(step, Watched())
                if kind == "progress":
                    watch.advanced(event)
            elif kind == "finished":
                self._running.pop(step, None)
            emit(event)

        return watched

    def next_words(self) -> str:
        """What happens next, and in about how many seconds where the progress of the step tells."""
        from fabloom.planning.expectation import rough

        running = dict(self._running)
        if not running:
            return f"Stopping at the next checkpoint: no step runs yet, and what is being loaded takes some seconds. {AGAIN}"
        name, watch = next(reversed(running.items()))
        progress = watch.progress
        if progress is None or not progress.get("rate"):
            return f"Stopping at the next checkpoint of '{name}', which has just begun; nobody knows yet when that is. {AGAIN}"
        seconds = max(1.0, 1.0 / progress["rate"], watch.gap)
        counted = f"{progress['done']:,} of {progress['total']:,} {progress['unit']}"
        return f"Stopping at the next checkpoint of '{name}' ({counted}), in about {rough(seconds)}. {AGAIN}"
