"""A deployment carried out by this very process, without a worker and a pool: for one machine that does nothing else."""

from __future__ import annotations

import os

from prefect import serve as prefect_serve

from .deploy import Wish, build, check_blocks, environment
from .server import connected


def serve(wish: Wish) -> None:
    """Register the deployment, run what comes due, one run at a time, until SIGTERM or SIGINT; then its schedule is paused.

    There is room for one run more than may be at work: it is begun and cancelled there and then, where it would wait its turn for hours.
    A run at work is asked to stop at its next checkpoint and ends as Cancelled. The schedule is active again when it is served
    again. Raises UserError for a wish that cannot be and EnvironmentProblem without a server, before anything is registered.
    """
    deployment = build(wish, served=True)
    with connected() as client:
        check_blocks(client, wish)
    os.environ.update(environment(wish))  # the runs' processes inherit both
    if wish.subject.folder:
        os.chdir(wish.subject.folder)
    prefect_serve(deployment, limit=2, print_starting_message=False)
