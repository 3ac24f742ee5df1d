"""`fabloom doctor --server`: is Prefect's server fit to run what nobody watches? Each finding says what, why it matters, and what to do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fabloom.errors import EnvironmentProblem

from .doctor import Check

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

LEASES = "prefect.server.concurrency.lease_storage"
RECENT = 3600
"""Seconds since a database of the server's home was last written to, for it to be the one in use."""

SCHEDULING = 180
"""Seconds by which the scheduler has noted the next runs of a deployment: it looks once a minute."""


def examine_server(*, fix: bool) -> list[Check]:
    """All findings about the server that PREFECT_API_URL names; with `fix` what can be mended is."""
    from fabloom.flows.production.server import connected

    try:
        with connected() as client:
            return list(_Server(client, fix=fix).checks())
    except EnvironmentProblem as error:
        return [Check("prefect server", False, str(error))]


class _Server:
    """A server that answers, with its own settings."""

    def __init__(self, client: SyncPrefectClient, *, fix: bool) -> None:
        from prefect.settings import get_current_settings

        self.client, self.fix = client, fix
        self.own = get_current_settings()
        self.url = str(self.own.api.url).rstrip("/")
        self.settings: dict[str, Any] = client.request("GET", "/admin/settings").raise_for_status().json()

    @cached_property
    def ours(self) -> list[DeploymentResponse]:
        """Our deployments: schedules and pools, which no check changes. `slots` asks anew, for what is in use."""
        from fabloom.flows.production.listing import ours

        return ours(self.client)

    def checks(self) -> Iterator[Check]:
        """In the order in which trouble usually comes."""
        looks: dict[str, Callable[[], Check]] = {
            "server version": self.version, "server pages": self.pages, "server doors": self.doors, "scheduler": self.scheduler,
            "workers": self.workers, "dead runs": self.dead_runs, "slots": self.slots, "leases": self.leases, "database": self.database,
            "telemetry": self.telemetry,
        }  # fmt: skip
        for name, look in looks.items():
            try:
                yield replace(look(), name=name)
            except Exception as error:
                yield Check(name, False, f"cannot be looked at: {type(error).__name__}: {error}")

    def version(self) -> Check:
        """Prefect promises that a server takes clients of its own version and older ones."""
        import prefect

        found = self.client.api_version()
        told = f"{found} at {urlsplit(self.url).netloc.rpartition('@')[2]}"
        if found.split(".")[:2] == prefect.__version__.split(".")[:2]:
            return Check("", True, told)
        why = f"this machine has {prefect.__version__}, and a server does not know what newer clients send"
        return Check("", False, told, why, f"install prefect=={prefect.__version__} for the server, or {found} here")

    def pages(self) -> Check:
        """`prefect server start --port` does not tell the pages in the browser which port it was."""
        import httpx

        base = self.url.removesuffix("/api")
        answer = httpx.get(f"{base}/ui-settings", timeout=10, trust_env=False)
        if answer.status_code != 200:
            return Check("", True, "it serves none", "runs are looked at there", "start it without --no-ui to have them")
        told = str(answer.json()["api_url"]).rstrip("/")
        if told == self.url:
            return Check("", True, f"{base} asks {told}")
        why = "a browser that opens the pages asks there, and shows 'Can't connect to Server API' where nothing answers"
        return Check("", False, f"{base} asks {told}, not {self.url}", why, f"start the server with PREFECT_UI_API_URL={self.url}")

    def doors(self) -> Check:
        """Whoever reaches the API can start runs, and read what they are called with."""
        from fabloom.flows.production import doors

        host = urlsplit(self.url).hostname or ""
        addresses = doors.open_addresses(doors.port_of(self.url)) if doors.is_loopback(host) else [host]
        guarded = doors.asks_for_password(self.url)
        if not addresses:
            return Check("", True, "it is reached from this machine alone" + (", and asks for a password" if guarded else ""))
        where = f"it is reached from outside ({', '.join(addresses)})"
        if guarded:
            return Check("", True, f"{where}, and asks for a password")
        advice = "start it with --host 127.0.0.1, or with PREFECT_SERVER_API_AUTH_STRING=user:password, and give the same to workers as "
        why = "anybody who reaches it can run code on your workers"
        return Check("", False, f"{where} and asks nobody for a password", why, f"{advice}PREFECT_API_AUTH_STRING")

    def scheduler(self) -> Check:
        """A server may answer, and note down no runs: with --no-services, or with libraries that do not fit."""
        from prefect.client.schemas.objects import StateType
        from prefect.client.schemas.sorting import FlowRunSort

        from fabloom.flows.production.listing import runs

        active = [one for one in self.ours if not one.paused and any(schedule.active for schedule in one.schedules)]
        due = [
            one.name
            for one in active
            if not runs(self.client, one.id, [StateType.SCHEDULED], FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC, 1)
            and one.updated is not None
            and time.time() - one.updated.timestamp() > SCHEDULING
        ]
        told = f"{len(active) - len(due)} of {len(active)} schedules have their next run noted"
        why = "without a scheduler nothing begins by itself"
        advice = "start the server without --no-services, and see its log; a cron line may also name a day that never comes"
        return Check("", not due, told + (f"; not {', '.join(due)}" if due else ""), *((why, advice) if due else ()))

    def workers(self) -> Check:
        """Runs of a pool that no worker asks become late, without an end."""
        pools = sorted({one.work_pool_name for one in self.ours if one.work_pool_name and not one.paused})
        online = {pool: _online(self.client, pool) for pool in pools}
        idle = [pool for pool, count in online.items() if not count]
        told = ", ".join(f"{count} at pool '{pool}'" for pool, count in online.items()) or "no deployment of fabloom's needs one"
        advice = "; ".join(f"prefect worker start --pool {pool}" for pool in idle)
        return Check("", not idle, told, *(("nobody takes the runs of a pool without one", advice) if idle else ()))

    def dead_runs(self) -> Check:
        """What tells of runs whose process is gone."""
        from fabloom.flows.production import zombies

        beat = self._heartbeat()
        if beat is None:
            why = "then nothing tells a run that is well from one whose process is gone"
            return Check("", False, "heartbeats are switched off", why, "unset PREFECT_FLOWS_HEARTBEAT_FREQUENCY")
        found = zombies.find_zombie_automations(self.client)
        hasty = [one for one in found if zombies.within(one) < zombies.patience(beat)]
        if self.fix:
            for one in hasty:
                zombies.slow_down(self.client, one, beat)
            if not found:
                zombies.install(self.client, beat)
        wait = f"{zombies.patience(beat).total_seconds():.0f} s"
        if hasty:
            told = "; ".join(
                f"automation '{one.name}' ends runs {zombies.within(one).total_seconds():.0f} s after a heartbeat" for one in hasty
            )
            why = f"a run gives one in {beat:.0f} s, and runs that are well would be shown as Crashed"
            return self._mended(told, why, f"give it {wait}", f"it waits {wait} now")
        if not found:
            why = "a run whose process and worker are gone is shown as Running for ever, and keeps its slot"
            return self._mended(
                "no automation ends runs without heartbeats", why, "have one installed", f"one is installed that waits {wait}"
            )
        return Check("", True, f"automation '{found[0].name}' ends them after {zombies.within(found[0]).total_seconds():.0f} s")

    def slots(self) -> Check:
        """Deployments that wait for runs which nobody carries on."""
        from fabloom.flows.production import slots

        leaks = slots.find_leaks(self.client, self._heartbeat())
        if not leaks:
            return Check("", True, "every slot in use has a living run")
        if self.fix:
            for leak in leaks:
                slots.mend(self.client, leak)
        why = "the deployment's later runs are cancelled as if one were at work"
        return self._mended(
            "; ".join(map(str, leaks)), why, "have the dead runs declared Crashed", "the dead runs are Crashed, their slots free"
        )

    def leases(self) -> Check:
        """Where the server keeps who holds a slot."""
        storage = str(self.settings["server"]["concurrency"]["lease_storage"])
        if storage != f"{LEASES}.memory":
            return Check("", True, storage.rpartition(".")[2])
        why = "a restart of the server forgets who holds a slot"
        return Check("", True, "kept in memory", why, f"start it with PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE={LEASES}.filesystem")

    def database(self) -> Check:
        """SQLite takes one writer at a time."""
        told = _database(self.settings)
        pools = [pool.name for pool in self.client.read_work_pools()]
        workers = sum(_online(self.client, pool) for pool in pools)
        if told != "SQLite" or workers <= 1:
            return Check("", True, f"{told}, {workers} workers")
        why = "it takes one writer at a time: 'database is locked', and late runs"
        advice = "start the server with PREFECT_API_DATABASE_CONNECTION_URL=postgresql+asyncpg://…"
        return Check("", True, f"{told} with {workers} workers", why, advice)

    def telemetry(self) -> Check:
        """What the server sends to its makers."""
        if not self.settings["server"]["analytics_enabled"]:
            return Check("", True, "off")
        why = "the server sends a sign of life to its makers every 10 minutes"
        return Check("", True, "on", why, "start it with PREFECT_SERVER_ANALYTICS_ENABLED=false and DO_NOT_TRACK=1")

    def _heartbeat(self) -> float | None:
        """The slower one of the server's setting and ours; a worker's may be another."""
        found = [self.settings["flows"]["heartbeat_frequency"], self.own.flows.heartbeat_frequency]
        return None if None in found else max(map(float, found))

    def _mended(self, told: str, why: str, advice: str, done: str) -> Check:
        """A finding that `--fix` mends, or has mended."""
        if self.fix:
            return Check("", True, f"{told}: mended, {done}")
        return Check("", False, told, why, f"`fabloom doctor --server --fix`: {advice}")


def _online(client: SyncPrefectClient, pool: str) -> int:
    """Workers that asked for work in the last one and a half minutes."""
    return sum(str(getattr(worker.status, "value", worker.status)) == "ONLINE" for worker in client.read_workers_for_work_pool(pool))


def _database(settings: dict[str, Any]) -> str:
    """The server hides the URL of its database, so this goes by its other settings, and by the file that SQLite would be in."""
    driver = settings["server"]["database"]["driver"]
    if driver:
        return "Postgres" if "postgres" in driver else str(driver)
    found = [Path(settings["home"]) / name for name in ("prefect.db", "prefect.db-wal")]
    written = [file.stat().st_mtime for file in found if file.is_file()]
    if written and time.time() - max(written) < RECENT:
        return "SQLite"
    url = os.environ.get("PREFECT_API_DATABASE_CONNECTION_URL") or os.environ.get("PREFECT_SERVER_DATABASE_CONNECTION_URL") or ""
    return "Postgres" if url.startswith("postgres") else "of a kind that cannot be told from here"
