"""Prefect's own server, started by a run that finds none."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from prefect.client.base import ServerType, determine_server_type
from prefect.settings import get_current_settings

from fabloom.running.apart import without_working_folder

from .settings import STARTUP_SECONDS


def start_server() -> None:
    """Start Prefect's own server, where one is needed: deaf to what is sent to our process group, and gone when this process is.

    A terminal, `timeout`, systemd or Slurm signals every process of the group, but the flow has yet to tell the server how the run was
    stopped; so the server has a group of its own. Prefect stops it at a regular exit only, so a shell, beside it, waits for the pipe that
    this process holds to close, and ends the server then. It has as long to start where Prefect was imported before fabloom could prefer
    settings.
    """
    if determine_server_type() is not ServerType.EPHEMERAL:
        return
    from prefect.server.api.server import SubprocessASGIServer

    chosen = "startup_timeout_seconds" in get_current_settings().server.ephemeral.model_fields_set
    with _apart():
        SubprocessASGIServer().start(timeout=None if chosen else STARTUP_SECONDS)


def watched(*arguments: Any, **options: Any) -> Any:
    """A process in a group of its own that ends with this one, from its first moment on: a server takes seconds to come up."""
    process: Any = subprocess.Popen(*arguments, process_group=0, **options)
    watch = ["/bin/sh", "-c", 'read -r _; kill "$0" 2>/dev/null', str(process.pid)]
    process.watchdog = subprocess.Popen(watch, stdin=subprocess.PIPE, process_group=0)
    return process


@contextmanager
def _apart() -> Iterator[None]:
    """What Prefect's server module starts meanwhile is in a process group of its own, and imports nothing from the working folder."""
    from prefect.server.api import server

    module: Any = server
    module.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": watched})
    try:
        with without_working_folder():
            yield
    finally:
        module.subprocess = subprocess
