"""Concurrency slots of our deployments that no living run holds: they keep every later run from beginning.

A worker that dies while it starts a run leaves it Pending ("Submitting"), with the slot taken: the server gives the slot back when the
lease ends (120 s in a process pool, else 300 s), but the run stays so until an automation ends it, and with a lease that was lost the
slot does too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Crashed

from .listing import ours, runs
from .zombies import HEARTBEAT, SLOW_START, patience

UNBEGUN = timedelta(seconds=60)
"""For how long a run may be Pending without a process where a worker starts one within seconds; else SLOW_START."""

HOLDING = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


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
        holding = runs(client, deployment.id, HOLDING, FlowRunSort.EXPECTED_START_TIME_DESC)
        dead = tuple((run, why) for run in holding if (why := death_of(client, run, deployment, heartbeat, now)))
        living = len(holding) - len(dead)
        slots = limit.active_slots if limit else 0
        if dead or slots > len(holding):
            found.append(Leak(deployment, slots, living, dead))
    return found


def mend(client: SyncPrefectClient, leak: Leak) -> None:
    """Declare the dead runs Crashed, by which the server frees their slots, and free those that no run holds."""
    for run, why in leak.dead:
        client.set_flow_run_state(run.id, Crashed(message=f"fabloom doctor: {why}"), force=True)
    limit = client.read_deployment(leak.deployment.id).global_concurrency_limit
    holding = runs(client, leak.deployment.id, HOLDING, FlowRunSort.EXPECTED_START_TIME_DESC)
    if limit is not None and limit.active_slots > len(holding):
        client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=len(holding)))


def death_of(client: SyncPrefectClient, run: FlowRun, deployment: DeploymentResponse, heartbeat: float | None, now: datetime) -> str:
    """How it is known that nobody carries the run on; '' where it is not."""
    state = run.state
    if state is None:
        return ""
    age = now - state.timestamp
    if state.type == StateType.PENDING:
        if run.infrastructure_pid is None and age > (UNBEGUN if _quick(client, deployment) else SLOW_START):
            return f"no process was started for it in {age.total_seconds():.0f} s: its worker ended before"
        return f"did not begin in {age.total_seconds() / 60:.0f} min" if age > SLOW_START else ""
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


def _quick(client: SyncPrefectClient, deployment: DeploymentResponse) -> bool:
    """Whether a run is a process of its worker's machine, and no container that is fetched first."""
    return deployment.work_pool_name is None or client.read_work_pool(deployment.work_pool_name).type == "process"
