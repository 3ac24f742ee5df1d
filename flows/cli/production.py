"""The commands of a line: retrain, drift."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fabloom.progress import silent

from .output import emit_json, say, table
from .shared import JsonOption, SeedOption, StoreOption, conclude, display, load_registry
from .stopping import StopRequest

commands = typer.Typer()

SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="A specification of a line's retraining: a YAML file.")]


@commands.command()
def retrain(
    spec: SpecArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would happen; run and write nothing.")] = False,
    note: Annotated[str, typer.Option(metavar="TEXT", help="A remark, kept in the decision.")] = "",
    store: StoreOption = None,
    seed: SeedOption = None,
    engine: Annotated[
        Literal["prefect", "inline"],
        typer.Option(help="prefect: a flow, each step in its own process. inline: in this process, without Prefect."),
    ] = "prefect",
    runner: Annotated[Literal["threads", "dask", "ray"], typer.Option(help="Prefect task runner.")] = "threads",
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps, instead of what the specification says.", show_default=False)
    ] = None,
    redo: Annotated[list[str] | None, typer.Option("--redo", metavar="STEP", help="Make this step's artifact again. Repeatable.")] = None,
    json_: JsonOption = False,
) -> None:
    """Retrain a line: run what is missing, hold the challenger against the champion, promote it only where it is better.

    Both are scored on the same held-out images; the gate asks the interval of their paired difference. The outcome is one of Promoted,
    Rejected, NoChange, Skipped, Held, Superseded, Failed, Stopped, and all but the last two exit with 0. Every night leaves a decision:
    `fabloom show LINE/decision`, `fabloom drift LINE`. Take a promotion back with `fabloom ref rollback LINE/champion`.
    """
    from fabloom.flows.production import night
    from fabloom.flows.production.spec import Spec
    from fabloom.flows.run import api

    asked, registry = Spec.load(spec), load_registry()
    opened = api.open_store(store, registry, read_only=dry_run)
    how = night.How(registry, opened, engine, runner, device, seed, redo or [], note)
    if dry_run:
        _tell_plan(night.rehearse(asked, how), json_)
        return
    stop = StopRequest()
    with display(json_) as live:
        emit = stop.watching(live.emit, live.say) if live is not None else stop.watching(silent)
        done = night.retrain(asked, replace(how, emit=emit, stop=stop))
    if done.run is not None:
        conclude(done.run, live, done.run.report_path)
    if json_:
        emit_json(done.as_dict())
    else:
        say(f"{done.record.line}: {done.outcome}. {sentence(done.record.reason)}")
        if done.decision:
            say(f"Decision {done.decision[:12]}; see `fabloom show {done.record.line}/decision`.")
    raise typer.Exit(done.exit_code)


def _tell_plan(plan: dict[str, Any], json_: bool) -> None:
    """What each step would do, and how the night would end where that is known before."""
    if json_:
        emit_json({**plan, "dry_run": True})
        return
    table(["step", "would"], [[name, state] for name, state in plan["steps"].items()])
    say()
    if plan["outcome"]:
        say(f"{plan['line']}: would be {plan['outcome']}, and nothing would run. {sentence(plan['reason'])}")
    else:
        champion = plan["champion"][:12] or "none yet"
        say(f"{plan['line']}: the gate would decide. Challenger {plan['challenger'][:12]}, champion {champion}.")


def sentence(text: str) -> str:
    """With a full stop and a capital."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '…')) else '.'}"
