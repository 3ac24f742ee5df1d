"""When a deployment runs, in the words of the command line; nothing of Prefect's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fabloom.errors import UserError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SPAN = re.compile(r"(?:\d+[smhd])+|\d+")
SHORTEST = 10
"""Seconds between two runs: to begin one takes several."""

LONGEST = 366 * 86400
NEW_DATA = 300
"""Seconds between two looks at what is watched, where nothing else is said."""


@dataclass(frozen=True)
class When:
    """A cron line in a time zone, or seconds between runs, or neither: then a run is asked for by hand."""

    cron: str = ""
    timezone: str = "UTC"
    interval: int = 0

    def __str__(self) -> str:
        if self.cron:
            return f"{self.cron} ({self.timezone})"
        return f"every {spell(self.interval)}" if self.interval else "when asked"


def read_when(cron: str | None, timezone: str | None, interval: str | None, *, on_new_data: bool = False) -> When:
    """What the options say. Raises UserError for one that cannot be read, and for two that contradict each other."""
    if cron is not None and (interval is not None or on_new_data):
        raise UserError(f"--cron and --{'interval' if interval is not None else 'on-new-data'} both say when to run; give one of them")
    if timezone is not None and cron is None:
        raise UserError("--timezone is that of a --cron line; without one leave it out")
    if cron is not None:
        return When(cron=_cron(cron), timezone=_zone(timezone or "UTC"))
    seconds = read_span(interval) if interval is not None else NEW_DATA if on_new_data else 0
    return When(interval=seconds)


def read_span(text: str) -> int:
    """Seconds: `90`, `15m`, `1h30m`. Raises UserError."""
    plain = text.strip().lower()
    if not SPAN.fullmatch(plain):
        raise UserError(f"--interval '{text}' is no time: write seconds, as in 900, or 15m, 1h30m, 1d")
    parts = re.findall(r"(\d+)([smhd]?)", plain)
    seconds = sum(int(number) * UNITS[unit or "s"] for number, unit in parts)
    if not SHORTEST <= seconds <= LONGEST:
        raise UserError(f"--interval '{text}' is {seconds} s; it lies between {SHORTEST} s and a year")
    return seconds


def spell(seconds: int) -> str:
    """Seconds as `read_span` reads them.

    >>> spell(5400)
    '1h30m'
    """
    told = ""
    for unit, size in reversed(UNITS.items()):
        count, seconds = divmod(seconds, size)
        told += f"{count}{unit}" if count else ""
    return told or "0s"


def _cron(text: str) -> str:
    """The line without needless blanks; Prefect says later whether its fields can be."""
    fields = text.split()
    if len(fields) != 5 and not (len(fields) == 1 and text.strip().startswith("@")):
        raise UserError(
            f"--cron '{text}' has {len(fields)} fields, not the five of minute, hour, day, month and weekday: '0 2 * * *' is two at night"
        )
    return " ".join(fields)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UserError(f"--timezone '{name}' is not known; write it as in UTC or Europe/Berlin") from error
    return name
