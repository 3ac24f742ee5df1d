"""`fabloom plan`: what would run, and what it is expected to take."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fabloom.errors import EnvironmentProblem

from .output import emit_json, say, table
from .shared import JsonOption, ParamOption, PipelineArgument, SeedOption, SetOption, StoreOption, load_registry, read_params

commands = typer.Typer()

WORTH_TELLING = 100_000_000
"""Bytes of memory below which what is held of a set is little beside what libraries take."""


@commands.command()
def plan(
    pipeline: PipelineArgument,
    param: ParamOption = None,
    set_: SetOption = None,
    store: StoreOption = None,
    seed: SeedOption = None,
    strict: Annotated[bool, typer.Option(help="Also warn where a method's source changed but its version did not.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show what is in the store and what would run, in order. Runs nothing."""
    from fabloom.flows.run.api import load_pipeline, open_store
    from fabloom.method import Outline
    from fabloom.planning.expectation import expectations, told
    from fabloom.planning.outlines import outlines, room
    from fabloom.planning.plan import make_plan
    from fabloom.running.threads import threads

    registry = load_registry()
    try:
        opened = open_store(store, registry)
    except EnvironmentProblem:  # a store that can only be read can be planned on; one that cannot be read says so again
        opened = open_store(store, registry, read_only=True)
    made = make_plan(load_pipeline(pipeline, registry, read_params(param)).override(set_ or [], seed, registry.fields), registry, opened)
    waiting = [step for step in made.steps if not opened.has(step.key)]
    outlined = outlines(waiting, opened)
    expected = expectations(waiting, opened, threads(), outlined)
    rows: list[dict[str, Any]] = []
    for step in made.steps:
        state = "reuse" if opened.has(step.key) else "run"
        note = ""
        if strict and state == "reuse":
            from fabloom.method.blame import method_module
            from fabloom.planning.fingerprint import source_fingerprint

            if opened.manifest(step.key)["source"] != source_fingerprint(method_module(step.spec.method)):
                note = "source changed, version not bumped"
        rows.append({"step": step.name, "task": step.task, "kind": step.spec.output.kind, "key": step.key, "state": state, "note": note})
        if step.name in expected:
            found = expected[step.name]
            outline = outlined.get(step.name, Outline())
            rows[-1] |= {"seconds": found.seconds, "bytes": found.size, "memory": found.memory}
            rows[-1] |= {"bytes_at_most": outline.size, "memory_at_least": outline.memory}
    if json_:
        emit_json({"pipeline": made.pipeline.name, "steps": {r.pop("step"): r for r in rows}})
        return
    table(
        ["step", "task", "gives", "key", "would", "takes", "note"],
        [[r["step"], r["task"], r["kind"], r["key"][:12], r["state"], _taking(r), r["note"]] for r in rows],
    )
    if not waiting:
        say("\nEverything is in the store; nothing would run.")
        return
    total = told(expected.values())
    say(f"\n{len(waiting)} of {len(rows)} steps would run{f': {total}, by earlier runs in this store' if total else ''}.")
    for line in room(waiting, outlined, opened):
        say(line)


def _taking(row: dict[str, Any]) -> str:
    """'40 s, 12 MB, 900 MB of memory' of a step that would run, 'unknown' where nothing says it."""
    from fabloom.planning.expectation import rough, sized

    if row["state"] != "run":
        return ""
    known = [rough(row["seconds"])] if row["seconds"] is not None else []
    if row["bytes"] is not None:
        known.append(sized(row["bytes"]))
    elif row["bytes_at_most"] is not None:
        known.append(f"up to {sized(row['bytes_at_most'])}")
    before, least = row["memory"] or 0, row["memory_at_least"] or 0
    if least > max(before, WORTH_TELLING):
        known.append(f"at least {sized(least)} of memory")
    elif before:
        known.append(f"{before / 1e6:,.0f} MB of memory")
    return ", ".join(known) or "unknown"
