"""The deployments of fabloom on Prefect's server: what each is, how its last run ended, when the next one is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, DeploymentFilterTags, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort

from fabloom.errors import UserError, did_you_mean

from .server import connected, page
from .when import When

TAG = "fabloom"
PAGE = 200
"""Deployments that the server gives at once."""

BEGUN = [state for state in StateType if state is not StateType.SCHEDULED]


@dataclass(frozen=True)
class Row:
    """One deployment."""

    name: str
    subject: str
    """As in `pipeline:one-step` or `line:line-pair`."""
    schedule: str
    pool: str
    """Empty for one that `fabloom serve` carries out."""
    state: str
    """ready, paused, or waiting: nothing that could run it has asked lately."""
    last: str
    """How the last run ended, or its state now: Completed, Promoted, Crashed, Running; empty where there was none."""
    last_at: str
    reason: str
    """What the last state says."""
    next_at: str
    running: int
    page: str


def rows() -> list[Row]:
    """By name. Raises EnvironmentProblem without a server."""
    with connected() as client:
        flows: dict[UUID, str] = {}
        return sorted((_row(client, one, flows) for one in ours(client)), key=lambda row: row.name)


def ours(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """The deployments that fabloom registered."""
    found: list[DeploymentResponse] = []
    wanted = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    while True:
        some = client.read_deployments(deployment_filter=wanted, limit=PAGE, offset=len(found))
        found += some
        if len(some) < PAGE:
            return found


def runs(client: SyncPrefectClient, deployment: UUID, states: Sequence[StateType], sort: FlowRunSort, limit: int = PAGE) -> list[FlowRun]:
    """Its runs in one of the states."""
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": [*states]}}}),
        sort=sort,
        limit=limit,
    )


def _row(client: SyncPrefectClient, one: DeploymentResponse, flows: dict[UUID, str]) -> Row:
    if one.flow_id not in flows:
        flows[one.flow_id] = client.read_flow(one.flow_id).name
    last = next(iter(runs(client, one.id, BEGUN, FlowRunSort.EXPECTED_START_TIME_DESC, 1)), None)
    due = next(iter(runs(client, one.id, [StateType.SCHEDULED], FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC, 1)), None)
    slots = one.global_concurrency_limit
    at = (last.end_time or last.start_time or last.expected_start_time) if last else None
    return Row(
        name=f"{flows[one.flow_id]}/{one.name}",
        subject=next((tag for tag in one.tags if tag.startswith(("pipeline:", "line:"))), ""),
        schedule=", ".join(str(_when(schedule.schedule)) for schedule in one.schedules) or str(When()),
        pool=one.work_pool_name or "",
        state="paused" if one.paused else "ready" if one.status is not None and one.status.value == "READY" else "waiting",
        last=(last.state_name or "") if last else "",
        last_at=_moment(at),
        reason=(last.state.message or "") if last and last.state else "",
        next_at="" if one.paused else _moment(due.next_scheduled_start_time if due else None),
        running=slots.active_slots if slots else 0,
        page=page(f"deployments/deployment/{one.id}"),
    )


def _when(schedule: Any) -> When | str:
    if getattr(schedule, "cron", None):
        return When(cron=schedule.cron, timezone=schedule.timezone or "UTC")
    interval = getattr(schedule, "interval", None)
    return When(interval=int(interval.total_seconds())) if interval else "by a rule"


def _moment(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""


def find(client: SyncPrefectClient, name: str) -> DeploymentResponse:
    """One of ours by its name, with its flow's before it or without. Raises UserError."""
    known = ours(client)
    flows = {one: client.read_flow(one).name for one in {one.flow_id for one in known}}
    full = {f"{flows[one.flow_id]}/{one.name}": one for one in known}
    return full[named(name, [*full])]


def named(name: str, known: Sequence[str]) -> str:
    """The one of the full names FLOW/NAME that is meant by a full name, or by NAME alone. Raises UserError for none, and for several."""
    found = [full for full in known if name in (full, full.rpartition("/")[2])]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"'{full}'" for full in sorted(found))
        raise UserError(f"'{name}' is the name of {len(found)} deployments: {listed}. Give one of these in full.")
    near = did_you_mean(name, known if "/" in name else [full.rpartition("/")[2] for full in known])
    raise UserError(f"there is no deployment '{name}' of fabloom's.{near}")


def start(name: str) -> str:
    """Have a deployment run now; gives the page of the run."""
    with connected() as client:
        run = client.create_flow_run_from_deployment(find(client, name).id)
        return page(f"runs/flow-run/{run.id}")


def pause(name: str, paused: bool) -> None:
    """Stop a deployment's schedule, or let it go on."""
    with connected() as client:
        found = find(client, name)
        (client.pause_deployment if paused else client.resume_deployment)(found.id)
