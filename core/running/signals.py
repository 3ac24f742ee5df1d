"""The signals that ask for a stop at the next checkpoint: who answers them, and that a fork of who does dies of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], None]

_handlers: list[Handler] = []


def heard() -> list[signal.Signals]:
    """The signals that ask this process to stop: all three, without SIGHUP under `nohup`."""
    return [number for number in STOPPING if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def answer(numbers: Iterable[signal.Signals], handler: Handler) -> None:
    """Have the handler answer the signals in this process, whose forks they end as they end any process: what a step starts (a loader's
    worker, a pool) can be terminated, and does not speak for the run.
    """
    _handlers.append(handler)
    for number in numbers:
        signal.signal(number, handler)


def _forget() -> None:
    """In a fork."""
    for number in STOPPING:
        if signal.getsignal(number) in _handlers:
            signal.signal(number, signal.SIG_DFL)
    if _handlers:
        signal.set_wakeup_fd(-1)  # what a fork hears is not told to who waits for our signals
    _handlers.clear()


os.register_at_fork(after_in_child=_forget)
