"""What `doctor --server` reads where no server is needed for it: addresses, zombie automations, dead runs, the store's folder."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from fabloom.flows.production import probe


def test_a_socket_that_is_open_to_others_is_seen_and_one_on_loopback_is_not() -> None:
    from fabloom.flows.production import doors

    with socket.socket() as inside, socket.socket() as outside:
        inside.bind(("127.0.0.1", 0))
        outside.bind(("0.0.0.0", 0))
        for one in (inside, outside):
            one.listen()
        assert doors.open_addresses(inside.getsockname()[1]) == []
        assert doors.open_addresses(outside.getsockname()[1]) == ["0.0.0.0"]
    with socket.socket(socket.AF_INET6) as both:
        both.bind(("::", 0))
        both.listen()
        assert doors.open_addresses(both.getsockname()[1]) == ["::"]
    assert doors.is_loopback("localhost") and not doors.is_loopback("192.0.2.7")


def test_a_hasty_automation_is_known_by_what_it_does_not_by_its_name() -> None:
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import Automation
    from prefect.states import StateType

    from fabloom.flows.production import zombies

    ours = Automation(id=uuid4(), **zombies.automation(180).model_dump())
    assert zombies._crashes(ours) and zombies.within(ours) == timedelta(seconds=540)
    other: Any = ours.model_copy(update={"actions": [ChangeFlowRunState(state=StateType.SCHEDULED)]})
    assert not zombies._crashes(other)
    client: Any = SimpleNamespace(read_automations=lambda: [ours, ours.model_copy(update={"enabled": False})])
    assert zombies.find_zombie_automations(client) == [ours], "one that is switched off ends nothing"
    assert ours.trigger.model_dump()["expect"] == {"prefect.flow-run.*"}, "a run may end as Promoted, NoChange, …"


NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "age", "pid", "beat", "dead"),
    [
        ("PENDING", 30, None, None, False),
        ("PENDING", 90, None, None, True),
        ("PENDING", 90, "12", None, False),
        ("PENDING", 1000, "12", None, True),
        ("RUNNING", 500, "12", None, False),
        ("RUNNING", 600, "12", None, True),
        ("RUNNING", 9000, "12", 100, False),
        ("RUNNING", 9000, "12", 600, True),
        ("CANCELLING", 9000, "12", 600, True),
    ],
)
def test_a_run_is_dead_when_nothing_could_carry_it_on(
    monkeypatch: pytest.MonkeyPatch, kind: str, age: float, pid: str | None, beat: float | None, dead: bool
) -> None:
    from prefect.client.schemas.objects import StateType

    from fabloom.flows.production import slots

    monkeypatch.setattr(slots, "last_heartbeat", lambda client, run: None if beat is None else NOW - timedelta(seconds=beat))
    state = SimpleNamespace(type=StateType(kind), timestamp=NOW - timedelta(seconds=age))
    run: Any = SimpleNamespace(state=state, infrastructure_pid=pid, start_time=None, work_pool_name=None)
    client: Any = None
    assert bool(slots.death_of(client, run, 180, NOW)) is dead


def test_a_run_that_never_began_is_told_with_all_of_its_time() -> None:
    from prefect.client.schemas.objects import StateType

    from fabloom.flows.production import slots

    state = SimpleNamespace(type=StateType.PENDING, timestamp=NOW - timedelta(days=2, seconds=5))
    run: Any = SimpleNamespace(state=state, infrastructure_pid=None, start_time=None, work_pool_name=None)
    client: Any = None
    assert "in 172805 s" in slots.death_of(client, run, None, NOW)


def test_the_next_run_of_a_deployment_ends_those_that_never_began_and_no_server_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.schemas.objects import StateType

    from fabloom.flows.run.prefect import aftermath

    def pending(seconds: float) -> Any:
        state = SimpleNamespace(timestamp=datetime.now(UTC) - timedelta(seconds=seconds))
        return SimpleNamespace(id=uuid4(), state=state, state_type=StateType.PENDING, infrastructure_pid=None, work_pool_name=None)

    ended: dict[Any, str] = {}
    ours, dead, young = SimpleNamespace(id=uuid4(), deployment_id=uuid4()), pending(90), pending(30)

    @contextmanager
    def client(sync_client: bool) -> Iterator[Any]:
        yield SimpleNamespace(
            read_flow_runs=lambda **_: [dead, young],
            set_flow_run_state=lambda run, state, force: ended.update({run: state.message}),
            read_deployment=lambda _: SimpleNamespace(global_concurrency_limit=None),
        )

    def away(sync_client: bool) -> Any:
        raise OSError("no server")

    monkeypatch.setattr(aftermath, "FlowRunContext", SimpleNamespace(get=lambda: SimpleNamespace(flow_run=ours)))
    for one in (client, away):
        monkeypatch.setattr(aftermath, "get_client", one)
        aftermath.settle_unbegun()
    assert list(ended) == [dead.id] and "its worker ended before" in ended[dead.id]


@pytest.mark.parametrize(
    ("in_use", "states", "then"),
    [
        (1, [], 0),
        (0, ["RUNNING"], 1),
        (1, ["RUNNING", "PENDING"], 1),
        (0, ["PENDING"], 0),
        (1, ["PENDING"], 1),
        (0, ["CANCELLING", "RUNNING"], 1),
    ],
)
def test_slots_are_counted_by_the_runs_at_work(in_use: int, states: list[str], then: int) -> None:
    """Prefect frees one for a run that is ended also where that had lost it before: then a second run would begin beside the one at work."""
    from prefect.client.schemas.objects import StateType

    from fabloom.flows.run.prefect.aftermath import count_slots

    limit = SimpleNamespace(name="deployment:x", limit=1, active_slots=in_use)
    client: Any = SimpleNamespace(
        read_deployment=lambda _: SimpleNamespace(global_concurrency_limit=limit),
        read_flow_runs=lambda **_: [SimpleNamespace(state_type=StateType(state)) for state in states],
        update_global_concurrency_limit=lambda _, change: setattr(limit, "active_slots", change.active_slots),
    )
    count_slots(client, uuid4())
    assert limit.active_slots == then


def test_a_folder_that_renames_and_locks_is_fit_and_one_without_locks_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, folder = tmp_path / "here", tmp_path / "folder"
    here.mkdir(), folder.mkdir()
    (here / "fcntl.py").write_text("raise SystemExit(0)\n")  # of a working folder nothing is imported
    monkeypatch.chdir(here)
    assert probe.unfit(folder) == ""
    assert not list(folder.iterdir())
    monkeypatch.setattr(probe, "TRY", "")  # another process gets the lock
    assert "does not keep another process out" in probe.unfit(folder)
    assert not list(folder.iterdir())
