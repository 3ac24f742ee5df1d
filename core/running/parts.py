"""A step in parts: ranges of its rows, each a step of its own with a key of its own, and what is told of them together.

A part is an artifact like any other until the join that makes the step's of them all, and drops them: a killed part goes on from its own
checkpoint, a finished one is a hit, on whatever machine. The cut is noted in the step's work folder, so that a stopped run goes on with
the parts that it began, by however many workers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fabloom.errors import Interrupted
from fabloom.kinds.store import Store
from fabloom.method import PlannedStep
from fabloom.notes import read_note, write_note
from fabloom.planning.keys import artifact_key, part_preimage
from fabloom.progress import Emit, Event

from .execute import PARTS, make_room, source_of
from .retry import kept


class Crew:
    """The workers of a run: so many steps or parts at the same time."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._free = threading.Semaphore(workers)

    @contextmanager
    def worker(self, stop: Any, every: float) -> Iterator[None]:
        """Have one of them. Raises Interrupted where `stop()` ended the wait."""
        while not self._free.acquire(timeout=every):
            if stop():
                raise Interrupted("a stop was asked for. Run the same command again to go on.")
        try:
            yield
        finally:
            self._free.release()


def parts_of(step: PlannedStep, store: Store, workers: int) -> list[PlannedStep]:
    """The parts in which the step is to be made: those that it was begun with, else one a worker; [] where it is made in one piece.

    It is where its task has no `Fanout`, the store cannot join, or a stopped run had begun to make it in one piece.
    """
    fanout, work = step.spec.fanout, store.work(step.key)
    if fanout is None or not getattr(store, "joins", False):
        return []
    note = read_note(work / PARTS) or {}
    begun = [(first, stop) for first, stop in note["parts"]] if note.get("source") == source_of(step.spec.method) else []
    if not begun and (workers < 2 or kept(work)):
        return []
    cut = begun or list(fanout.cut(step.params, workers))
    return [_part(step, rows) for rows in cut]


def note_parts(parts: Sequence[PlannedStep], step: PlannedStep, store: Store) -> None:
    """Note the cut for who goes on."""
    work = store.work(step.key)
    make_room(work)
    write_note(work / PARTS, {"parts": [part.preimage["rows"] for part in parts], "source": source_of(step.spec.method)})


def _part(step: PlannedStep, rows: tuple[int, int]) -> PlannedStep:
    preimage = part_preimage(step.preimage, rows)
    return replace(step, preimage=preimage, key=artifact_key(preimage))


class Tally:
    """Events of the parts as those of one step: rows are summed, with rate and ETA of all, and lines say of which part they are."""

    def __init__(self, emit: Emit, parts: Sequence[PlannedStep]) -> None:
        self._emit = emit
        self._lengths = [len(range(*part.preimage["rows"])) for part in parts]
        self._done, self._rates = [0] * len(parts), [0.0] * len(parts)
        self._rows = all(part.spec.fanout is None or part.spec.fanout.rows for part in parts)
        self._guard = threading.Lock()
        self._started = False

    def of(self, index: int) -> Emit:
        """Where events of a part go."""

        def send(event: Event) -> None:
            with self._guard:
                if event["event"] == "progress":
                    self._progress(index, event)
                elif event["event"] == "log":
                    self._emit({**event, "message": f"part {index + 1} of {len(self._lengths)}: {event['message']}"})
                elif event["event"] != "started" or not self._started:
                    self._started = self._started or event["event"] == "started"
                    self._emit(event)

        return send

    def told(self) -> str:
        """How far they are."""
        with self._guard:
            what = "rows" if self._rows else "units"
            return f"{sum(self._done)} of {sum(self._lengths)} {what}, in {len(self._lengths)} parts"

    def finish(self, index: int) -> None:
        """A part is there."""
        with self._guard:
            self._done[index], self._rates[index] = self._lengths[index], 0.0

    def _progress(self, index: int, event: Event) -> None:
        if not self._rows:
            self._emit(event)  # of each training its own
            return
        if event["total"] != self._lengths[index]:
            return  # of something else than its rows: loading, say
        self._done[index], self._rates[index] = event["done"], event["rate"] if event["done"] < event["total"] else 0.0
        total, done, rate = sum(self._lengths), sum(self._done), sum(self._rates)
        self._emit({**event, "done": done, "total": total, "rate": rate, "eta": (total - done) / rate if rate > 0 else None})
