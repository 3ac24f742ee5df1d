"""How the process of a run ends: by SIGTERM as its caller has it, and soon, also where Prefect's server does not answer any more."""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
from collections.abc import Iterator
from typing import Any

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from .outage import place, reason

log = logging.getLogger("fabloom")

LAST_RETRIES = 1
"""How often a server that a stopped run tells its end to is asked again: whoever stopped the run may have stopped that too."""

LAST_PATIENCE = 5.0
"""Seconds that the process of a stopped run lasts for what is still to be sent."""

KEPT: list[contextlib.ExitStack] = []
"""Endings of deployed runs, which hold until their process is gone."""


@contextlib.contextmanager
def handling(handler: Any) -> Iterator[None]:
    """Handle SIGTERM as the caller does, which Prefect has replaced for the time of the flow."""
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def hurrying() -> Iterator[None]:
    """For a run that was stopped: have Prefect's client of this thread not ask for a minute, and the process end within seconds."""
    exiting: Any = threading
    with contextlib.suppress(AttributeError):  # nothing of it is public; Prefect has its services sent empty there, the last one first
        exiting._register_atexit(_drop_soon)
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: min(LAST_RETRIES, PREFECT_CLIENT_MAX_RETRIES.value())}):
        yield


def _drop_soon() -> None:
    """When the process ends: what can be sent is, and nothing keeps it for longer."""
    timer = threading.Timer(LAST_PATIENCE, _drop, [_senders()])  # they are not to be found any more once they are told to end
    timer.daemon = True
    timer.start()


def leave_unanswered(error: BaseException) -> None:
    """Say that a run has ended without Prefect, and let the process end."""
    log.warning(
        "Prefect (%s) could not be told how the run ended: %s. It may go on showing it as Running; what was made is in the store.",
        place(),
        reason(error),
    )
    _drop(_senders())


def _senders() -> list[tuple[Any, Any, Any]]:
    """Queue, event loop and task of each of Prefect's services that send events and the lines of logs. Nothing of it is public."""
    services: Any = EventsWorker
    found = [one for one in list(getattr(services, "_instances", {}).values()) if isinstance(one, EventsWorker | APILogWorker)]
    return [(getattr(one, "_queue", None), getattr(one, "_loop", None), getattr(one, "_task", None)) for one in found]


def _drop(senders: list[tuple[Any, Any, Any]]) -> None:
    """End them.

    At the end of the process Prefect would try for seconds to send each event that waits, and for a minute to send the lines that it has
    in hand, then for another the rest.
    """
    for waiting, loop, task in senders:
        if task is None or loop is None:  # not begun, or at its end
            continue
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.get_nowait()
        with contextlib.suppress(RuntimeError):  # its loop has ended
            loop.call_soon_threadsafe(task.cancel)
