"""The commands of a line: retrain, drift."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fabloom.progress import silent

from .output import emit_json, say, table
from .shared import EngineOption, JsonOption, RunnerOption, SeedOption, StoreOption, conclude, display, load_registry, write_page
from .stopping import StopRequest

commands = typer.Typer()

SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="A specification of a line's retraining: a YAML file.")]


@commands.command()
def retrain(
    spec: SpecArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would happen; run and write nothing.")] = False,
    if_new: Annotated[
        bool, typer.Option("--if-new", help="Only if what `watch` names has changed since the last night, and is at rest.")
    ] = False,
    write: Annotated[
        str | None, typer.Option("--write", metavar="LINE", help="Write a specification of a line of that name to SPEC, to be edited.")
    ] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="A remark, kept in the decision.")] = "",
    store: StoreOption = None,
    seed: SeedOption = None,
    engine: EngineOption = "prefect",
    runner: RunnerOption = "threads",
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps, instead of what the specification says.", show_default=False)
    ] = None,
    redo: Annotated[
        list[str] | None,
        typer.Option(
            "--redo",
            metavar="STEP",
            help="Make this step's artifact again. Repeatable. A night whose end is foreseen (NoChange, Held) runs nothing.",
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Retrain a line: run what is missing, hold the challenger against the champion, promote it only where it is better.

    Both are scored on the same held-out images; the gate asks the interval of their paired difference. The outcome is one of Promoted,
    Rejected, NoChange, Skipped, Held, Superseded, Failed, Stopped, and all but the last two exit with 0. Every night leaves a decision:
    `fabloom show LINE/decision`, `fabloom drift LINE`. Take a promotion back with `fabloom ref rollback LINE/champion`.
    """
    if write is not None:
        from fabloom.flows.production.example import write_example

        write_example(spec, write)
        emit_json({"spec": str(spec)}) if json_ else say(f"{spec} is written; edit it, then `fabloom retrain {spec} --dry-run`.")
        return
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
        how = replace(how, emit=emit, stop=stop)
        done = night.if_new(asked, how, time.time()) if if_new else night.retrain(asked, how)
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
    """With a full stop and a capital, but for the name of a metric."""
    first = text[:1] if "_" in text.partition(" ")[0] else text[:1].upper()
    return f"{first}{text[1:]}{'' if text.endswith(('.', '?', '…')) else '.'}"


@commands.command()
def drift(
    line: Annotated[str, typer.Argument(metavar="LINE", help="Name of a line, as its specification has it.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to write the page. Default: in the store.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Show how good a line's challengers and champions were, night by night, and what became of each.

    Scores are of the held-out set, with their intervals. The page draws them, and what the training sets were like where they were
    checked. A night in which nothing changed is listed once.
    """
    from fabloom.flows.production.drift import changes, columns, newest_metric, page_name, rows, verdict, write_drift
    from fabloom.flows.run import api

    opened = api.open_store(store, load_registry(), read_only=True)
    shown = rows(opened, line)
    page = write_page(out, opened.pages / page_name(line), lambda path: write_drift(path, line, shown))
    if json_:
        rows_ = [row.as_dict() for row in shown]
        emit_json({"line": line, "metric": newest_metric(shown), "rows": rows_, "page": str(page) if page else None})
        return
    table(*columns(shown))
    for told in (*changes(shown), verdict(shown)):
        say(f"\n{told}")
    if page:
        say(f"\n{page}")
