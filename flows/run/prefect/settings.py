"""Prefect settings that fabloom prefers, set before Prefect is imported and only where the user has not chosen.

The ephemeral server needs more than its default 20 s on a loaded machine, and nothing should phone home.
"""

from __future__ import annotations

import os

STARTUP_SECONDS = 120
PREFERRED = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(STARTUP_SECONDS),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "DO_NOT_TRACK": "1",
}


def prefer() -> None:
    """Put the preferred settings into the environment where they are not set."""
    for name, value in PREFERRED.items():
        os.environ.setdefault(name, value)
