"""What is left to say of runs that nobody carries on: tasks of one whose process died, and those of a deployment that never began.

A worker that dies, or is told to end, while it starts a run leaves it Pending ("Submitting") for ever, with the slot taken: the server
gives the slot back when its lease ends, but tells nothing of the run. So the deployment's next run does.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Crashed

OPEN = [StateType.RUNNING, StateType.PENDING]

HOLDING = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
"""What a run with a slot may be."""

UNBEGUN = timedelta(seconds=60)
"""For how long a run may be Pending without a process where a worker starts one within seconds; else SLOW_START."""

SLOW_START = timedelta(minutes=15)
"""As long for a run whose machine may be made first, and between its process and the run's begin."""

performed: set[UUID] = set()
"""Flow runs of this process, which tells itself how their tasks ended: their states may be under way still."""


def settle(flow_run: UUID) -> None:
    """End the task runs of a crashed flow run that Prefect would show as Running for ever."""
    message = "The process of the flow died. Run it again: what is finished is reused, and the step goes on from its last checkpoint."
    with get_client(sync_client=True) as client:
        left = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])),
            task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=OPEN))),
        )
        for task_run in left:
            if task_run.state_name == "NotReady":  # its end: what it needs was stopped
                continue
            client.set_task_run_state(task_run.id, Crashed(message=message), force=True)


def settle_unbegun() -> None:
    """Inside a run of a deployment: end earlier ones that never began. One request where there is none; whatever fails is let be."""
    context: Any = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    with contextlib.suppress(Exception), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
        pending = holding(client, context.flow_run.deployment_id, [StateType.PENDING])
        now = datetime.now(UTC)
        dead = [(run, why) for run in pending if run.id != context.flow_run.id and (why := never_began(client, run, now))]
        for run, why in dead:
            client.set_flow_run_state(run.id, Crashed(message=why), force=True)
        if dead:
            count_slots(client, context.flow_run.deployment_id)


def never_began(client: SyncPrefectClient, run: FlowRun, now: datetime) -> str:
    """How it is known of a Pending run that nobody starts it; '' where it is not."""
    age = now - run.state.timestamp if run.state is not None else timedelta(0)
    if run.infrastructure_pid is None and age > (UNBEGUN if _quick(client, run) else SLOW_START):
        return f"no process was started for it in {age.total_seconds():.0f} s: its worker ended before"
    return f"did not begin in {age.total_seconds() / 60:.0f} min" if age > SLOW_START else ""


def _quick(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether it is a process of its worker's machine, and no container that is fetched first."""
    return run.work_pool_name is None or client.read_work_pool(run.work_pool_name).type == "process"


def holding(client: SyncPrefectClient, deployment: UUID, states: list[StateType] | None = None) -> list[FlowRun]:
    """Its runs that have a slot, as far as their states tell."""
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": states or HOLDING}}}),
    )


def count_slots(client: SyncPrefectClient, deployment: UUID) -> None:
    """Have at least as many slots in use as there are runs at work, and at most as many as there are with those that are to begin.

    The server frees one for each run that is ended, also where its lease had ended before and the slot is another run's by now.
    """
    limit = client.read_deployment(deployment).global_concurrency_limit
    if limit is None:
        return
    held = holding(client, deployment)
    least = min(sum(run.state_type != StateType.PENDING for run in held), limit.limit)
    count = max(least, min(limit.active_slots, len(held)))
    if limit.active_slots != count:
        client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=count))
