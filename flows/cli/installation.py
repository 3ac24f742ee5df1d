"""The commands about what is installed: pipelines, tasks, plugins, doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from fabloom.errors import FabloomError, UserError

from . import completing
from .output import emit_json, say, table
from .shared import JsonOption, StoreOption

commands = typer.Typer()


@commands.command()
def pipelines(store: StoreOption = None, json_: JsonOption = False) -> None:
    """List the registered pipelines."""
    from fabloom.registry import Registry

    registry = Registry.load()
    known = {}
    for name in registry.pipeline_names():
        try:
            known[name] = registry.pipeline(name).model_dump()
        except FabloomError as error:
            known[name] = {"description": f"cannot be read: {error}", "steps": {}}
    if json_:
        emit_json(known)
    else:
        table(["pipeline", "steps", "description"], [[n, str(len(p["steps"])), p["description"].strip()] for n, p in known.items()])


@commands.command()
def tasks(
    name: Annotated[str | None, typer.Argument(help="A task, to see its parameters; or a method.", autocompletion=completing.tasks)] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """List the tasks, or show one with its inputs and parameters."""
    from fabloom.registry import Registry

    registry = Registry.load()
    chosen = registry.tasks
    if name is not None:
        chosen = {n: s for n, s in registry.tasks.items() if name in (n, s.method.name)} or {name: registry.task(name, "tasks")}
    if json_:
        emit_json({
            n: {
                "inputs": {p: str(port) for p, port in s.inputs.items()},
                "output": s.output.kind,
                "signature": s.signature,
                "params": s.params.model_json_schema(),
                "version": s.version,
            }
            for n, s in sorted(chosen.items())
        })  # fmt: skip
        return
    if name is None or name not in chosen:
        rows = [
            [n, ", ".join(f"{p}: {port}" for p, port in s.inputs.items()), s.output.kind, s.doc.split("\n")[0]]
            for n, s in sorted(chosen.items())
        ]
        table(["task", "inputs", "gives", "what it does"], rows)
        return
    spec = chosen[name]
    say(f"{name} (version {spec.version})\n\n{spec.doc}\n")
    say("inputs:  " + (", ".join(f"{p}: {port}" for p, port in spec.inputs.items()) or "none"))
    say(f"gives:   {spec.output.kind}{f' (signature {spec.signature})' if spec.signature else ''}\n")
    properties = spec.params.model_json_schema().get("properties", {})
    fields = spec.params.model_fields
    table(
        ["parameter", "default", "what it is"],
        [
            [n, "required" if fields[n].is_required() else repr(fields[n].get_default(call_default_factory=True)), p.get("description", "")]
            for n, p in properties.items()
        ],
    )


@commands.command()
def plugins(store: StoreOption = None, json_: JsonOption = False) -> None:
    """List the plugins, and what is wrong with those that could not be loaded."""
    from fabloom.registry import Registry

    registry = Registry.load()
    if json_:
        emit_json({
            "plugins": [
                vars(o) | {"methods": sorted(m for m in registry.methods if registry.origins[m] == o)} for o in registry.plugins
            ],
            "problems": [{**vars(p.origin), "cause": p.cause, "fix": p.fix, "names": list(p.names)} for p in registry.problems],
        })  # fmt: skip
        return
    rows = [
        [o.entry_point, f"{o.distribution} {o.version}", ", ".join(sorted(m for m in registry.methods if registry.origins[m] == o))]
        for o in registry.plugins
    ]
    table(["plugin", "from", "methods"], rows)
    for problem in registry.problems:
        say(f"\nproblem: {problem}")


@commands.command()
def doctor(
    store: StoreOption = None,
    json_: JsonOption = False,
    server: Annotated[
        bool, typer.Option("--server", help="Also Prefect's server: run a flow on it, look at what deployments need of it.")
    ] = False,
    fix: Annotated[bool, typer.Option("--fix", help="With --server: mend what can be mended there.")] = False,
) -> None:
    """Check the installation: versions, plugins, store, devices, weights, and on request Prefect's server.

    The server is the one that PREFECT_API_URL names; where it names none, one is started for as long as the check takes (half a minute).
    """
    from .doctor import examine

    if fix and not server:
        raise UserError("--fix mends what lies on Prefect's server; give --server too")
    checks = examine(store, server=server, fix=fix)
    if json_:
        emit_json({"checks": [vars(c) for c in checks]})
    else:
        table(["", "check", "finding"], [[c.verdict, c.name, str(c)] for c in checks])
    raise typer.Exit(0 if all(c.ok for c in checks) else 3)
