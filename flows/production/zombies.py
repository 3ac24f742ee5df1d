"""The automations that tell runs whose process is gone, or never was: Prefect's own server has none, and shows them as at work for ever.

The first must be slower than three heartbeats: a faster one, as blog posts have it, ends runs that are well. It fires for any run on the
server, also for one that a command started. The second is for runs of our deployments whose worker died while it started them.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from .listing import TAG

NAME = "fabloom: a run without heartbeats has crashed"
NAME_UNBEGUN = "fabloom: a run that never began has crashed"
BEATS = 3
"""Heartbeats that may be missing: they travel through a queue, and a server that is busy or away takes none."""

HEARTBEAT = "prefect.flow-run.heartbeat"
PENDING = "prefect.flow-run.Pending"

SLOW_START = timedelta(minutes=15)
"""For how long a run may be Pending: its machine may be made first, its image fetched."""


def patience(heartbeat: float) -> timedelta:
    """The shortest time without a heartbeat after which a run may be called dead."""
    return timedelta(seconds=BEATS * heartbeat)


def find_zombie_automations(client: SyncPrefectClient) -> list[Automation]:
    """Those that crash runs whose heartbeats are missing, by whomever; one that is switched off does nothing."""
    return [one for one in client.read_automations() if one.enabled and _crashes(one)]


def find_unbegun_automations(client: SyncPrefectClient) -> list[Automation]:
    """Those that crash runs which never begin, by whomever."""
    return [one for one in client.read_automations() if one.enabled and PENDING in _after(one) and _ends(one)]


def _crashes(one: Automation) -> bool:
    heard = _after(one)
    if isinstance(one.trigger, EventTrigger) and PENDING not in heard:
        heard |= one.trigger.expect
    return _ends(one) and any("heartbeat" in event or event == "prefect.flow-run.*" for event in heard)


def _after(one: Automation) -> set[str]:
    """What a trigger that fires because nothing happens is set off by."""
    trigger = one.trigger
    return set(trigger.after) if isinstance(trigger, EventTrigger) and trigger.posture == Posture.Proactive else set()


def _ends(one: Automation) -> bool:
    return any(isinstance(action, ChangeFlowRunState) and action.state in (StateType.CRASHED, StateType.FAILED) for action in one.actions)


def within(one: Automation) -> timedelta:
    """After how long it fires."""
    return one.trigger.within if isinstance(one.trigger, EventTrigger) else timedelta(0)


def install(client: SyncPrefectClient, heartbeat: float) -> None:
    """Add the first."""
    client.create_automation(automation(heartbeat))


def install_unbegun(client: SyncPrefectClient) -> None:
    """Add the second."""
    client.create_automation(unbegun())


def slow_down(client: SyncPrefectClient, one: Automation, heartbeat: float) -> None:
    """Give a hasty one the time that three heartbeats need; all else of it stays."""
    trigger = one.trigger.model_copy(update={"within": patience(heartbeat)})
    kept = one.model_dump(exclude={"id", "created", "updated", "owner_resource", "trigger"})
    client.update_automation(one.id, AutomationCore(**kept, trigger=trigger))


def automation(heartbeat: float) -> AutomationCore:
    """The first. Whatever follows a heartbeat calms it, so also an end of any name: a night may end as Promoted or NoChange."""
    wait = patience(heartbeat)
    why = f"{BEATS} heartbeats of {heartbeat:.0f} s are missing: the process of the run is gone."
    return _after_silence(NAME, why, {HEARTBEAT, "prefect.flow-run.Cancelling"}, wait, f"no heartbeat for {wait.total_seconds():.0f} s")


def unbegun() -> AutomationCore:
    """The second."""
    message = f"did not begin in {SLOW_START.total_seconds() / 60:.0f} min"
    why = "The worker of the run died while it started it."
    return _after_silence(NAME_UNBEGUN, why, {PENDING}, SLOW_START, message, {"prefect.resource.id": [f"prefect.tag.{TAG}"]})


def _after_silence(
    name: str, why: str, after: set[str], wait: timedelta, message: str, related: dict[str, list[str]] | None = None
) -> AutomationCore:
    """Crashes a run of which nothing is heard for some time after an event."""
    return AutomationCore(
        name=name,
        description=why,
        trigger=EventTrigger(
            after=after,
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(related or {}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=wait,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )
