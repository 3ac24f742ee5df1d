"""What is left to say of a run whose process died: its task runs, which it cannot end itself any more."""

from __future__ import annotations

from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter, TaskRunFilterState, TaskRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

OPEN = [StateType.RUNNING, StateType.PENDING]

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
