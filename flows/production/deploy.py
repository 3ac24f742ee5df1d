"""A subject registered on Prefect's server: one deployment, found again by its name, so that doing it twice changes nothing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.schedules import Cron, Interval, Schedule
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from fabloom import __version__
from fabloom.errors import UserError
from fabloom.flows.run.prefect.credentials import BLOCK, in_plain

from .server import connected, page
from .subject import Subject
from .when import When

POOL = "fabloom"
ALONE = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
"""A run that comes due while another one is at work is cancelled at once: the next one finds what this one would have made."""

START_SECONDS = 120
"""For how long a run of a process pool keeps its slot before it begins; the server's own 300 s are for machines that are made first.

Nobody else ends the slot of a run whose worker died while it started it. A run that begins later takes the slot again if it is free.
"""

SLUG = "fabloom"
"""Name of a deployment's one schedule, by which it is found when the deployment is registered anew."""

ANCHOR = datetime(2000, 1, 1, tzinfo=UTC)
"""From where intervals count: every quarter of an hour is at :00, :15, and registering anew shifts nothing."""

ENVIRONMENT = {"PYTHONSAFEPATH": "1"}
"""Of a run: nothing is imported from the folder that it happens to begin in."""


@dataclass(frozen=True)
class Wish:
    """A deployment as it is asked for."""

    name: str
    subject: Subject
    when: When
    pool: str = POOL
    paused: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its runs, by name: the Secret block of Prefect's that holds the value."""
    s3_block: str = ""
    """The Secret block that its runs take the keys of the store's bucket from."""


@dataclass(frozen=True)
class Registered:
    """A deployment as it is on the server."""

    name: str
    """With its flow's, as `prefect deployment run` takes it."""
    id: str
    page: str
    pool: str
    made_pool: bool
    known: bool
    """Whether it was there before."""


def flow_of(subject: Subject) -> Flow[..., Any]:
    """The flow that carries the subject out."""
    if subject.kind == "line":
        from .flow import retrain

        return retrain
    from fabloom.flows.run.prefect.flow import run_pipeline

    return run_pipeline


def build(wish: Wish, *, served: bool = False) -> RunnerDeployment:
    """The deployment, not sent anywhere. Raises UserError for a cron line whose fields cannot be. A served one needs no pool."""
    deployment: Any = flow_of(wish.subject).to_deployment(
        name=wish.name,
        schedules=schedules(wish.when),
        concurrency_limit=ALONE,
        paused=wish.paused,
        parameters=wish.subject.parameters,
        tags=wish.subject.tags,
        version=__version__,
        work_pool_name=None if served else wish.pool,
        job_variables=None if served else job_variables(wish),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    made: RunnerDeployment = deployment
    if served:
        begin_soon(made)
    return made


def begin_soon(deployment: RunnerDeployment) -> None:
    """Its runs are processes of machines that are there."""
    deployment.concurrency_options = ConcurrencyOptions(
        collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW, grace_period_seconds=START_SECONDS
    )


def job_variables(wish: Wish) -> dict[str, Any]:
    """What a worker is told of the run's process."""
    folder = {"working_dir": wish.subject.folder} if wish.subject.folder else {}
    return {"env": {**environment(wish), **templates(wish.secrets)}, **folder}


def environment(wish: Wish) -> dict[str, str]:
    """Variables of its runs that hold nothing secret."""
    return {**ENVIRONMENT, BLOCK: wish.s3_block} if wish.s3_block else dict(ENVIRONMENT)


def schedules(when: When) -> list[Schedule]:
    """One at most."""
    try:
        if when.cron:
            return [Cron(when.cron, timezone=when.timezone, slug=SLUG)]
    except ValueError as error:
        raise UserError(f"--cron '{when.cron}' cannot be: minute 0-59, hour 0-23, day 1-31, month 1-12, weekday 0-6 ({error})") from error
    return [Interval(timedelta(seconds=when.interval), anchor_date=ANCHOR, slug=SLUG)] if when.interval else []


def templates(secrets: Mapping[str, str]) -> dict[str, str]:
    """What stands in for the values until a run begins; then the worker asks the server for the blocks."""
    return {name: f"{{{{ prefect.blocks.secret.{block} }}}}" for name, block in secrets.items()}


def register(wish: Wish) -> Registered:
    """Make or renew the deployment, and a process pool where there is none of that name.

    Raises UserError for a wish that cannot be, before anything is sent, and EnvironmentProblem without a server.
    """
    deployment = build(wish)
    with connected() as client:
        check_blocks(client, wish)
        made, kind = _make_pool(client, wish.pool)
        if kind == "process":
            begin_soon(deployment)
        known = _find(client, deployment.full_name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of schedules that are none; `_only` sees to it
            found = deployment.apply()
        _only(client, deployment.full_name, wish.when)
    return Registered(deployment.full_name, str(found), page(f"deployments/deployment/{found}"), wish.pool, made, known)


def _find(client: SyncPrefectClient, name: str) -> bool:
    try:
        client.read_deployment_by_name(name)
    except ObjectNotFound:
        return False
    return True


def _only(client: SyncPrefectClient, name: str, when: When) -> None:
    """Leave no schedule of an earlier registration, which Prefect keeps where none is given."""
    found = client.read_deployment_by_name(name)
    wanted = schedules(when)
    for schedule in found.schedules:
        if not wanted or schedule.slug != wanted[0].slug:
            client.delete_deployment_schedule(found.id, schedule.id)


def _make_pool(client: SyncPrefectClient, name: str) -> tuple[bool, str]:
    """(whether there was none, of what type it is)."""
    try:
        return False, client.read_work_pool(name).type
    except ObjectNotFound:
        pass
    try:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
    except ObjectAlreadyExists:  # somebody else was quicker
        return False, client.read_work_pool(name).type
    return True, "process"


def check_blocks(client: SyncPrefectClient, wish: Wish) -> None:
    """Raise UserError for a block that is not there, since a run would end before it begins, and for one that is shown to everybody.

    What is in it is not asked for.
    """
    asked = {block: f"--secret {variable}={block}" for variable, block in wish.secrets.items()}
    for block, option in {**asked, **({wish.s3_block: f"--s3-credentials {wish.s3_block}"} if wish.s3_block else {})}.items():
        try:
            shown = client.read_block_document_by_name(block, "secret", include_secrets=False).data.get("value")
        except ObjectNotFound as error:
            raise UserError(
                f"{option}: Prefect's server has no Secret block '{block}'. "
                f'Make it in the UI (Blocks), or: python -c "from getpass import getpass; from prefect.blocks.system import Secret; '
                f"Secret(value=getpass()).save('{block}')\""
            ) from error
        if not isinstance(shown, str):
            raise UserError(f"{option}: {in_plain(block)}")
