"""Prefect settings that fabloom prefers, set before Prefect is imported and only where the user has not chosen.

The ephemeral server needs more than its default 20 s on a loaded machine, and nothing should phone home.
"""

from __future__ import annotations

import logging
import os

STARTUP_SECONDS = 120
PREFERRED = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(STARTUP_SECONDS),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "DO_NOT_TRACK": "1",
}


def prefer() -> None:
    """Put the preferred settings into the environment where they are not set."""
    for name, value in PREFERRED.items():
        os.environ.setdefault(name, value)


def quiet() -> None:
    """Have the terminal show of Prefect's own lines errors alone, or what PREFECT_LOGGING_LEVEL says; the server gets all of them.

    fabloom's own display tells how a step ended, once and with what to do. Call it when Prefect is imported: its handlers are there then.
    """
    for handler in logging.getLogger().handlers:
        handler.addFilter(_shown)


def _shown(record: logging.LogRecord) -> bool:
    if record.name.partition(".")[0] != "prefect":
        return True
    if record.getMessage().startswith(("Finished in state", "Task run failed with state")):
        return False
    if record.levelno >= logging.ERROR:
        return True
    from prefect.settings import get_current_settings  # late: what is preferred is said before Prefect is imported

    return "level" in get_current_settings().logging.model_fields_set  # by the environment, a profile or prefect.toml
