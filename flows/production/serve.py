"""Deployments carried out by this very process, without a worker and a pool: for one machine that does nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence

from prefect import serve as prefect_serve

from .deploy import ENVIRONMENT, Wish, build
from .server import connected


def serve(wishes: Sequence[Wish]) -> None:
    """Register the deployments, run what comes due, one at a time of each, until SIGTERM or SIGINT; then their schedules are paused.

    There is room for one run more than may be at work: it is begun and cancelled there and then, where it would wait its turn for hours.
    A run at work is asked to stop at its next checkpoint and ends as Cancelled. The schedules are active again when they are served
    again. Raises UserError for a wish that cannot be and EnvironmentProblem without a server, before anything is registered.
    """
    deployments = [build(wish, served=True) for wish in wishes]
    with connected():
        pass
    os.environ.update(ENVIRONMENT)  # the runs' processes inherit both
    if folder := next((wish.subject.folder for wish in wishes if wish.subject.folder), ""):
        os.chdir(folder)
    prefect_serve(*deployments, limit=len(deployments) + 1, print_starting_message=False)
