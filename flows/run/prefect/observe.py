"""What Prefect's pages show of a run: progress of steps, the report. Nothing of it is needed by the work."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_progress_artifact, update_progress_artifact

from fabloom.flows.run.result import RunResult
from fabloom.progress import Emit, Event
from fabloom.running.engine import Engine

from .outage import reason

log = logging.getLogger("fabloom")

PROGRESS_PERIOD = 5.0
"""Seconds between two updates of a progress artifact: each is a database write."""


class ProgressArtifact:
    """Mirrors a step's progress as a Prefect progress artifact, at most every `PROGRESS_PERIOD`. Make it inside the task run.

    Events come from the executor's threads, which know of no task run: the artifact is made in the context that this was made in. A
    server that cannot be reached costs the mirror, never the step: Prefect's client asks it again for a minute, in a thread of its own,
    and what happens meanwhile is not mirrored.
    """

    def __init__(self, name: str, emit: Emit, notice: Callable[[str], None]) -> None:
        self._name, self._emit, self._notice = name, emit, notice
        self._id: UUID | None = None
        self._sent = time.monotonic()
        self._context = contextvars.copy_context()
        self._free = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Pass the event on, and update the artifact when it is due."""
        self._emit(event)
        if event["event"] != "progress" or time.monotonic() - self._sent < PROGRESS_PERIOD or not self._free.acquire(blocking=False):
            return
        self._sent = time.monotonic()
        threading.Thread(target=self._mirror, args=(event,), name=f"fabloom-mirror-{self._name}", daemon=True).start()

    def _mirror(self, event: Event) -> None:
        try:
            self._context.run(self._update, event)
        except Exception as error:
            self._notice(reason(error))
        finally:
            self._free.release()

    def _update(self, event: Event) -> None:
        percent = 100.0 * event["done"] / max(event["total"], 1)
        if self._id is None:
            created: Any = create_progress_artifact(percent, description=f"{self._name}: {event['name']}")
            self._id = created
        else:
            update_progress_artifact(self._id, percent)


def publish(result: RunResult, engine: Engine) -> None:
    """The last report as Prefect artifacts: numbers, tables and pictures as markdown, and a link to the page.

    Failing at it costs no run: what was made is in the store.
    """
    try:
        _publish(result, engine)
    except Exception as error:
        log.warning("the report of %s cannot be shown in Prefect: %s", result.run, reason(error))


def _publish(result: RunResult, engine: Engine) -> None:
    from fabloom.flows.report.draw.pictures import png_data_uri
    from fabloom.flows.report.page import markdown_summary

    if result.report_path is None:
        return
    report: Any = engine.store.get(next(r.key for r in reversed(result.steps) if r.kind == "Report" and r.status in ("ran", "reused")))
    pictures = [f"### {title}\n![{title}]({png_data_uri(pixels)})" for title, pixels in report.pictures.items()]
    text = "\n\n".join([markdown_summary(report.described, report.tables), *pictures])
    create_markdown_artifact(text, key="fabloom-report", description=f"Report of {result.run}")
    create_link_artifact(result.report_path.as_uri(), link_text=result.run, key="fabloom-page")
