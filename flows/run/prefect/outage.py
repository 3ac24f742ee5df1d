"""A Prefect server that stops answering: a run needs it to begin and to show itself, not to make anything."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import httpx
from prefect.context import FlowRunContext
from prefect.exceptions import Abort, MissingContextError, PrefectException
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings

from fabloom.errors import EnvironmentProblem
from fabloom.registry.address import without_secrets

log = logging.getLogger("fabloom")

TROUBLE = (httpx.HTTPError, RuntimeError, OSError, PrefectException, Abort)
"""What Prefect raises where its server does not start or answer, or refuses."""

DEPLOYED_PATIENCE = 3600.0
"""Seconds that a deployed run waits to tell its end: nobody sits before it, and without a server its worker gets nothing else to do."""

ASKING_PERIOD = 2.0
"""Seconds between two questions whether the server is there again."""


CONCURRENCY = "prefect._internal.concurrency"
"""Prefect's logger of what its background threads fail at."""

T = TypeVar("T")


class Notice:
    """Says once in a run that Prefect cannot be told how it goes."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        """Seconds that the run will wait at its end for a server that does not answer."""
        self.told = False
        self.slow = False
        """Whether the server was in trouble, or let a step's end wait, when it was last told: the next one does not wait."""

    def __call__(self, why: str) -> None:
        if not self.told:
            waits = f"waits up to {self.patience:.0f} s at its end to tell it"
            log.warning("Prefect (%s) cannot be told how the run goes: %s. The run goes on, and %s.", place(), why, waits)
            hush()
        self.told = True


def hush() -> None:
    """Have Prefect's handlers that cannot send the lines of a log not print that with a traceback, each time. No other handler's change."""
    for logger in list(logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, APILogHandler):
                handler.handleError = functools.partial(_unsent, handler)  # type: ignore[method-assign]


def _unsent(handler: APILogHandler, record: logging.LogRecord) -> None:
    """In place of the handler's `handleError`: what a logger outside every run comes to is the user's setting still."""
    if isinstance(sys.exc_info()[1], MissingContextError):
        type(handler).handleError(handler, record)


class Unsent(logging.Filter):
    """Makes the notice of the line, a kilobyte long, that Prefect prints for each event that it could not send."""

    def __init__(self, notice: Notice) -> None:
        super().__init__()
        self._notice = notice

    def filter(self, record: logging.LogRecord) -> bool:
        """False for such a line."""
        ours = record.getMessage().startswith(("Service 'EventsWorker' failed", "Service 'APILogWorker' failed"))
        if ours:
            self._notice("its events or lines cannot be sent")
        return not ours

    def install(self) -> None:
        """In place of the one of an earlier run. It stays, for what Prefect still tries to send when the process ends."""
        logger = logging.getLogger(CONCURRENCY)
        for earlier in [one for one in logger.filters if isinstance(one, Unsent)]:
            logger.removeFilter(earlier)
        logger.addFilter(self)


class Unanswered(Abort):
    """Leaves a flow whose server has gone without telling it: Prefect passes an abort on as it is and asks no API."""


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """What a server that does not start or answer raises, as one line that says what to do."""
    try:
        yield
    except TROUBLE as error:
        raise EnvironmentProblem(
            f"Prefect does not answer at {place()}: {reason(error)}. "
            "Unset PREFECT_API_URL to let the run start a server, or use --engine inline."
        ) from error


def place() -> str:
    """Where Prefect's server is, to be shown."""
    return without_secrets(get_current_settings().api.url or "its own server, which a run starts")


def reason(error: BaseException) -> str:
    """What an error says, in one line without passwords."""
    return without_secrets(" ".join(str(error).split())[:300]) or type(error).__name__


def client_patience() -> float:
    """Seconds that Prefect's client asks a server again that was there: 62 with its five retries, each twice as late as the one before."""
    return float(2.0 ** (PREFECT_CLIENT_MAX_RETRIES.value() + 1) - 2)


def wait_for_server(notice: Notice, stop: Callable[[], bool]) -> None:
    """Inside a flow, when its work is done: return as soon as the server answers. Raises Unanswered after the patience, or on `stop`.

    Prefect would wait by itself, but then reports a failure, for as long again, with tracebacks.
    """
    context: Any = FlowRunContext.get()
    deadline = time.monotonic() + notice.patience
    while True:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            error: Exception | None = context.client.api_healthcheck()
        if error is None or isinstance(error, httpx.HTTPStatusError):
            return
        if stop() or time.monotonic() >= deadline:
            raise Unanswered(reason(error)) from error
        notice(reason(error))
        time.sleep(ASKING_PERIOD)


def wait_for_steps(futures: Iterable[Any], notice: Notice) -> None:
    """Wait for every step, whatever becomes of the slot that Prefect holds for a deployment with a limit."""
    for future in futures:
        despite_lost_slot(future.wait, notice)


def despite_lost_slot(act: Callable[[], T], notice: Notice) -> T:
    """Do it, once more where Prefect ends it because the run's concurrency slot is lost.

    It is when the server has not answered for some minutes, or has forgotten it in a restart. Prefect then means to end the run, so that
    no more of them run than allowed. But the server starts none while it is gone, and two runs never make one artifact twice.
    """
    while True:
        try:
            return act()
        except asyncio.CancelledError:
            notice("its concurrency slot is lost")
