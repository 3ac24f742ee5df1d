"""Concurrency slots of our deployments that no living run holds: they keep every later run from beginning.

A worker that dies while it starts a run leaves it Pending ("Submitting"), with the slot taken: the server gives the slot back when the
lease ends (120 s in a process pool, else 300 s), but the run stays so until the deployment's next one begins (`aftermath`), and with a
lease that was lost the slot does too, so that none does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Crashed

from fabloom.flows.run.prefect.aftermath import HOLDING, count_slots, never_began

from .listing import ours, runs
from .zombies import HEARTBEAT, patience


@dataclass(frozen=True)
class Leak:
    """A deployment whose slots and living runs do not agree."""

    deployment: DeploymentResponse
    slots: int
    living: int
    dead: tuple[tuple[FlowRun, str], ...]
    """Runs that nobody carries on, and how that is known."""

    def __str__(self) -> str:
        runs = "; ".join(f"run '{run.name}' is {run.state_name} but {why}" for run, why in self.dead)
        return f"{self.deployment.name}: {self.slots} in use, {self.living} living runs" + (f" ({runs})" if runs else "")


def find_leaks(client: SyncPrefectClient, heartbeat: float | None, now: datetime | None = None) -> list[Leak]:
    """Deployments with runs that are dead, or with more slots in use than runs.

    `heartbeat`: seconds between two of a run, None where it gives none.
    """
    now = now or datetime.now(UTC)
    found = []
    for deployment in ours(client):
        limit = deployment.global_concurrency_limit
        held = runs(client, deployment.id, HOLDING, FlowRunSort.EXPECTED_START_TIME_DESC)
        dead = tuple((run, why) for run in held if (why := death_of(client, run, heartbeat, now)))
        living = len(held) - len(dead)
        slots = limit.active_slots if limit else 0
        if dead or slots > len(held):
            found.append(Leak(deployment, slots, living, dead))
    return found


def mend(client: SyncPrefectClient, leak: Leak) -> None:
    """Declare the dead runs Crashed, and have as many slots in use as runs live."""
    for run, why in leak.dead:
        client.set_flow_run_state(run.id, Crashed(message=f"fabloom doctor: {why}"), force=True)
    count_slots(client, leak.deployment.id)


def death_of(client: SyncPrefectClient, run: FlowRun, heartbeat: float | None, now: datetime) -> str:
    """How it is known that nobody carries the run on; '' where it is not."""
    state = run.state
    if state is None:
        return ""
    if state.type == StateType.PENDING:
        return never_began(client, run, now)
    if heartbeat is None:
        return ""
    beat = last_heartbeat(client, run)
    silent = now - max(beat or state.timestamp, run.start_time or state.timestamp)
    return f"has given no sign of life for {silent.total_seconds() / 60:.0f} min" if silent > patience(heartbeat) else ""


def last_heartbeat(client: SyncPrefectClient, run: FlowRun) -> datetime | None:
    """When the process of a run last said that it lives."""
    wanted: dict[str, Any] = {
        "event": {"name": [HEARTBEAT]},
        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
        "order": "DESC",
    }
    answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1})
    answer.raise_for_status()
    events = answer.json()["events"]
    return datetime.fromisoformat(events[0]["occurred"]) if events else None
