"""Prefect's own server, started by a run that finds none."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

from prefect.client.base import ServerType, determine_server_type
from prefect.settings import get_current_settings

from .settings import STARTUP_SECONDS


def start_server() -> None:
    """Start Prefect's own server, where one is needed: deaf to Ctrl-C, and gone when this process is.

    The terminal sends SIGINT to every process of the group, but the flow has yet to tell the server how the run was stopped; a blocked
    signal stays blocked in a child. Prefect stops the server at a regular exit only, so a shell waits for the pipe that this process
    holds to close, and ends the server then. It has as long to start where Prefect was imported before fabloom could prefer settings.
    """
    if determine_server_type() is not ServerType.EPHEMERAL:
        return
    from prefect.server.api.server import SubprocessASGIServer

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        server: Any = SubprocessASGIServer()
        chosen = "startup_timeout_seconds" in get_current_settings().server.ephemeral.model_fields_set
        server.start(timeout=None if chosen else STARTUP_SECONDS)
        if not hasattr(server, "watchdog"):
            watch = ["/bin/sh", "-c", 'read -r _; kill "$0" 2>/dev/null', str(server.server_process.pid)]
            server.watchdog = subprocess.Popen(watch, stdin=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
