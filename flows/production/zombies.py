"""The automation that tells runs whose process is gone: Prefect's own server has none, and shows them as Running for ever.

It must be slower than three heartbeats: a faster one, as blog posts have it, ends runs that are well. It fires for any run on the server,
also for one that a command started.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

NAME = "fabloom: a run without heartbeats has crashed"
BEATS = 3
"""Heartbeats that may be missing: they travel through a queue, and a server that is busy or away takes none."""

HEARTBEAT = "prefect.flow-run.heartbeat"


def patience(heartbeat: float) -> timedelta:
    """The shortest time without a heartbeat after which a run may be called dead."""
    return timedelta(seconds=BEATS * heartbeat)


def find_zombie_automations(client: SyncPrefectClient) -> list[Automation]:
    """Those that crash runs whose heartbeats are missing, by whomever; one that is switched off does nothing."""
    return [one for one in client.read_automations() if one.enabled and _crashes(one)]


def _crashes(one: Automation) -> bool:
    trigger = one.trigger
    if not isinstance(trigger, EventTrigger) or trigger.posture != Posture.Proactive:
        return False
    if not any("heartbeat" in event or event == "prefect.flow-run.*" for event in trigger.after | trigger.expect):
        return False
    return any(isinstance(action, ChangeFlowRunState) and action.state in (StateType.CRASHED, StateType.FAILED) for action in one.actions)


def within(one: Automation) -> timedelta:
    """After how long it fires."""
    return one.trigger.within if isinstance(one.trigger, EventTrigger) else timedelta(0)


def install(client: SyncPrefectClient, heartbeat: float) -> None:
    """Add ours."""
    client.create_automation(automation(heartbeat))


def slow_down(client: SyncPrefectClient, one: Automation, heartbeat: float) -> None:
    """Give a hasty one the time that three heartbeats need; all else of it stays."""
    trigger = one.trigger.model_copy(update={"within": patience(heartbeat)})
    kept = one.model_dump(exclude={"id", "created", "updated", "owner_resource", "trigger"})
    client.update_automation(one.id, AutomationCore(**kept, trigger=trigger))


def automation(heartbeat: float) -> AutomationCore:
    """Whatever follows a heartbeat calms it, so also an end of any name: a night may end as Promoted or NoChange."""
    wait = patience(heartbeat)
    return AutomationCore(
        name=NAME,
        description=f"{BEATS} heartbeats of {heartbeat:.0f} s are missing: the process of the run is gone.",
        trigger=EventTrigger(
            after={HEARTBEAT, "prefect.flow-run.Cancelling"},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=wait,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=f"no heartbeat for {wait.total_seconds():.0f} s")],
    )
