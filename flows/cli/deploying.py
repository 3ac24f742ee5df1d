"""The commands of what runs unattended: deploy, serve, deployments."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fabloom.errors import UserError

from . import completing
from .output import emit_json, say, table, tell
from .shared import JsonOption, SeedOption, SetOption

if TYPE_CHECKING:
    from fabloom.flows.production.deploy import Registered, Wish
    from fabloom.flows.production.listing import Row
    from fabloom.flows.production.subject import Asked
    from fabloom.flows.production.when import When

commands = typer.Typer()

WhatArgument = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE|SPEC",
        help="A registered name (see `fabloom pipelines`), or the absolute path of a pipeline or of a line's specification.",
        autocompletion=completing.pipelines,
    ),
]
NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Of the deployment. Default: the pipeline's or line's.")]
CronOption = Annotated[
    str | None, typer.Option("--cron", metavar="LINE", help="When to run, as in '0 2 * * *' for two at night.", show_default=False)
]
ZoneOption = Annotated[
    str | None, typer.Option("--timezone", metavar="ZONE", help="Of the cron line, as in Europe/Berlin. Default: UTC.", show_default=False)
]
IntervalOption = Annotated[
    str | None, typer.Option("--interval", metavar="TIME", help="Time between two runs: 900, 15m, 1h30m, 1d.", show_default=False)
]
PlaceOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", envvar="FABLOOM_STORE", help="Folder of artifacts, as the worker sees it. Default: ./.fabloom"),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="auto, cpu, cuda or mps. Default: auto, or what a line's specification says.", show_default=False),
]
FolderOption = Annotated[
    str | None,
    typer.Option("--folder", metavar="FOLDER", help="Where a run begins: relative paths count from there.", show_default=False),
]
NewDataOption = Annotated[
    bool,
    typer.Option(
        "--on-new-data",
        help="Of a line: look every 5 minutes (or --interval) whether what it watches changed and is at rest; only then run.",
    ),
]
SecretOption = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        metavar="VARIABLE=BLOCK",
        help="An environment variable of the runs, whose value a Secret block of Prefect's holds. Repeatable.",
    ),
]
S3Option = Annotated[
    str | None,
    typer.Option(
        "--s3-credentials",
        metavar="BLOCK",
        help="A Secret block of Prefect's with the keys of the store's bucket, which a run asks for when it begins.",
        show_default=False,
    ),
]


@commands.command()
def deploy(
    what: WhatArgument,
    name: NameOption = None,
    cron: CronOption = None,
    timezone: ZoneOption = None,
    interval: IntervalOption = None,
    on_new_data: NewDataOption = False,
    pool: Annotated[str, typer.Option(metavar="POOL", help="Work pool; a process pool is made where there is none.")] = "fabloom",
    paused: Annotated[bool, typer.Option("--paused", help="Register it, but start nothing by the schedule yet.")] = False,
    set_: SetOption = None,
    store: PlaceOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    folder: FolderOption = None,
    s3_credentials: S3Option = None,
    secret: SecretOption = None,
    write_yaml: Annotated[
        Path | None, typer.Option("--write-yaml", metavar="FILE", help="Register nothing; write a prefect.yaml that would.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Register a pipeline, or a line's retraining, on Prefect's server, with a schedule or without; a worker runs it.

    One run at a time: one that comes due while another is at work is cancelled. Register it again to change it; its runs stay.
    The server is the one that PREFECT_API_URL names.
    """
    from fabloom.flows.production import written
    from fabloom.flows.production.subject import Asked

    if write_yaml is not None:
        written.check_new(write_yaml)
        written.check_secrets(secret or ())
    when = _when(cron, timezone, interval, on_new_data)
    asked = Asked(what, store, set_ or (), seed, device, folder, on_new_data)
    wish = _wish(asked, name, when, pool, paused=paused, secret=secret, s3_block=s3_credentials)
    from fabloom.flows.production.deploy import build, register

    if write_yaml is not None:
        written.write_yaml(build(wish), write_yaml)
        if json_:
            emit_json({"written": str(write_yaml)})
        else:
            say(f"wrote {write_yaml}; register it with `prefect --no-prompt deploy --all` there")
        return

    done = register(wish)
    if json_:
        about = {"schedule": str(wish.when), "store": wish.subject.parameters["store"], "paused": wish.paused}
        emit_json({**vars(done), **about, "unplanned": wish.subject.unplanned})
        return
    _tell(done, wish)


@commands.command()
def serve(
    what: WhatArgument,
    name: NameOption = None,
    cron: CronOption = None,
    timezone: ZoneOption = None,
    interval: IntervalOption = None,
    on_new_data: NewDataOption = False,
    set_: SetOption = None,
    store: PlaceOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    folder: FolderOption = None,
    s3_credentials: S3Option = None,
) -> None:
    """Register a pipeline, or a line's retraining, and run it here as it comes due, without a worker, until the command is stopped.

    One run at a time. SIGTERM or Ctrl-C asks a run at work to stop at its next checkpoint, and pauses the schedule; serving again goes on.
    """
    from fabloom.flows.production.subject import Asked

    when = _when(cron, timezone, interval, on_new_data)
    wish = _wish(Asked(what, store, set_ or (), seed, device, folder, on_new_data), name, when, s3_block=s3_credentials)
    from fabloom.flows.production.serve import serve as carry_out

    told = f"serving {wish.name}: {wish.subject.kind} {wish.subject.name}, {wish.when}"
    tell(f"{told}; store {wish.subject.parameters['store']}. Ctrl-C ends it.")
    if wish.subject.unplanned:
        tell(_unplanned(wish))
    carry_out(wish)


@commands.command()
def deployments(
    action: Annotated[
        Literal["list", "run", "pause", "resume"],
        typer.Argument(metavar="[list|run|pause|resume]", help="What to do; list them where nothing is said."),
    ] = "list",
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of the deployment that is to run, pause or resume.")] = None,
    json_: JsonOption = False,
) -> None:
    """List the deployments: schedule, last run and how it ended, next run. Or start one now, or stop and resume its schedule."""
    if (action == "list") != (name is None):
        raise UserError("`fabloom deployments` lists them all; run, pause and resume take the NAME of one")
    from fabloom.flows.run.prefect.settings import prefer

    prefer()
    from fabloom.flows.production import listing

    done: dict[str, str] = {}
    if name is None:
        _list(listing.rows(), json_)
        return
    if action == "run":
        done["page"] = listing.start(name)
    else:
        listing.pause(name, action == "pause")
    if json_:
        emit_json({"action": action, "name": name, **done})
    else:
        say(f"{name}: " + {"run": f"asked for; {done.get('page')}", "pause": "paused", "resume": "goes on"}[action])


def _list(rows: list[Row], json_: bool) -> None:
    if json_:
        emit_json([vars(row) for row in rows])
        return
    table(
        ["deployment", "runs", "when", "state", "last run", "next run"],
        [[r.name, r.subject, r.schedule, r.state, f"{r.last} {r.last_at}".strip() or "none yet", r.next_at] for r in rows],
    )


def _when(cron: str | None, timezone: str | None, interval: str | None, on_new_data: bool) -> When:
    from fabloom.flows.production.when import read_when

    return read_when(cron, timezone, interval, on_new_data=on_new_data)


def _wish(
    asked: Asked,
    name: str | None,
    when: When,
    pool: str = "",
    *,
    paused: bool = False,
    secret: list[str] | None = None,
    s3_block: str | None = None,
) -> Wish:
    """What is asked for, checked as far as it can be without a server. Prefect is imported only where all of it is well."""
    from fabloom.flows.production import subject

    found = subject.read_subject(asked)
    called = subject.check_name(name or found.name)
    secrets = dict(_secret(one) for one in secret or ())
    block = _s3_block(s3_block, found.parameters["store"])
    from fabloom.flows.run.prefect.settings import prefer

    prefer()
    from fabloom.flows.production.deploy import Wish

    return Wish(called, found, when, pool, paused, secrets, block)


def _secret(text: str) -> tuple[str, str]:
    found = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)=([a-z0-9][a-z0-9-]*)", text)
    if found is None:
        raise UserError(
            "--secret takes VARIABLE=BLOCK, as in AWS_SECRET_ACCESS_KEY=plant-s3: the name of a variable, and that of a Secret block, "
            "never the secret itself"
        )
    return found[1], found[2]


def _s3_block(name: str | None, store: str) -> str:
    """The name of the block, '' for none. Raises UserError for what cannot be one, and for a store that is no bucket."""
    if name is None:
        return ""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise UserError("--s3-credentials takes the name of a Secret block (small letters, digits, '-'), never the secret itself")
    if not store.startswith("s3://"):
        raise UserError(
            f"--s3-credentials {name}: the store '{store}' is no bucket; give --store s3://BUCKET/PREFIX, or leave the block out"
        )
    return name


def _unplanned(wish: Wish) -> str:
    """What was not looked at, and why."""
    return (
        f"Not planned against the store: {wish.subject.unplanned.rstrip('.')}. Names, tasks and parameters were checked; "
        "the first run says whether refs and inputs fit."
    )


def _tell(done: Registered, wish: Wish) -> None:
    """What there is now, and what is still to be done."""
    say(f"{'renewed' if done.known else 'registered'} {done.name}: {wish.subject.kind} {wish.subject.name}, {wish.when}")
    say(f"store   {wish.subject.parameters['store']}")
    say(f"page    {done.page}")
    if wish.subject.unplanned:
        say(_unplanned(wish))
    if wish.paused:
        say(f"It is paused; `fabloom deployments resume {shlex.quote(done.name)}` lets the schedule begin.")
    say(f"{'made' if done.made_pool else 'uses'} the work pool '{done.pool}'. A worker takes its runs, on each machine that shall work:")
    say(f"    prefect worker start --pool {done.pool}")
    say(f"Run it now: fabloom deployments run {shlex.quote(done.name)}")
