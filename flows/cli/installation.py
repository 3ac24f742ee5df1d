"""The commands about what is installed: pipelines, tasks, plugins, doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fabloom.errors import FabloomError, UserError

from . import completing
from .output import emit_json, say, table
from .shared import JsonOption, StoreOption

if TYPE_CHECKING:
    from fabloom.params import Params
    from fabloom.registry import Registry

commands = typer.Typer()


@commands.command()
def pipelines(
    name: Annotated[
        str | None, typer.Argument(help="A pipeline, to see its steps and parameters.", autocompletion=completing.pipelines)
    ] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """List the registered pipelines, or show one with its steps, and the parameters that it is built by if it takes some."""
    from fabloom.registry import Registry

    registry = Registry.load()
    if name is not None:
        _show_pipeline(registry, name, json_)
        return
    known = {}
    for each in registry.pipeline_names():
        try:
            known[each] = registry.pipeline(each).model_dump()
        except FabloomError as error:
            known[each] = {"description": f"cannot be read: {error}", "steps": {}}
    if json_:
        emit_json(known)
    else:
        table(["pipeline", "steps", "description"], [[n, str(len(p["steps"])), p["description"].strip()] for n, p in known.items()])


def _show_pipeline(registry: Registry, name: str, json_: bool) -> None:
    """One pipeline whole."""
    shown, params = registry.pipeline(name), registry.pipeline_params(name)
    if json_:
        emit_json(shown.model_dump() | ({"params": params.model_json_schema()} if params else {}))
        return
    say(f"{shown.name} (seed {shown.seed})\n\n{shown.description.strip()}\n")
    if params:
        table(["parameter", "default", "what it is"], described(params))
        say("\nGive them as --param NAME=VALUE to `fabloom run` and `fabloom plan`. With the defaults it has these steps:\n")
    rows = [
        [n, step.task, ", ".join(f"{port}: {given if isinstance(given, str) else ' '.join(given)}" for port, given in step.inputs.items())]
        for n, step in shown.steps.items()
    ]
    table(["step", "task", "inputs"], rows)


def described(params: type[Params]) -> list[list[str]]:
    """A row for each parameter: name, default, what it is."""
    fields, properties = params.model_fields, params.model_json_schema().get("properties", {})
    return [
        [n, "required" if fields[n].is_required() else repr(fields[n].get_default(call_default_factory=True)), p.get("description", "")]
        for n, p in properties.items()
    ]


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
    table(["parameter", "default", "what it is"], described(spec.params))


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
