"""The `fabloom` command."""

from __future__ import annotations

import contextlib
import errno
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from fabloom.errors import EnvironmentProblem, FabloomError, UserError
from fabloom.progress import silent

from . import completing
from .output import LostOutput, emit_json, quiet_stdout, say, settle, table, tell, unwritten
from .stopping import StopRequest

if TYPE_CHECKING:
    from fabloom.flows.run.result import RunResult
    from fabloom.registry import Registry

    from .display import LiveDisplay

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""click's error for a command line that cannot be read, from the copy of click that typer uses."""

app = typer.Typer(
    name="fabloom",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Generative models for semiconductor inspection, as pipelines that can be believed.

    A few images of a structure go in; a trained generator, labelled synthetic defects and a *measured* segmenter come out.

    Start with `fabloom run one-step`, then `fabloom pipelines`, `fabloom tasks denoising-circuits.train`, `fabloom plan PIPELINE`.

    Exit codes: 0 fine, 1 a step failed, 2 mend the command, pipeline or data, 3 the machine is at fault, 130 interrupted.
    """,
)
refs = typer.Typer(no_args_is_help=True, help="Mutable names for artifacts, such as line-pair/champion.")
app.add_typer(refs, name="ref")

StoreOption = Annotated[
    str | None, typer.Option("--store", metavar="URL", envvar="FABLOOM_STORE", help="Folder of artifacts. Default: ./.fabloom")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; messages go to stderr.")]
PipelineArgument = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE",
        help="A registered name (see `fabloom pipelines`) or the path of a YAML file.",
        autocompletion=completing.pipelines,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PLACE=VALUE",
        autocompletion=completing.settings,
        help="Override, as in steps.teacher.params.steps=200, or 'steps.*_samples.params.count=50' for all of such names. Repeatable.",
    ),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of the whole pipeline.")]
WhatArgument = Annotated[
    str,
    typer.Argument(metavar="KEY|REF", help="A key, the first 6 or more of its characters, or a ref.", autocompletion=completing.artifacts),
]


def _version(asked: bool) -> None:
    """Print the version and the contract that plugins are written for, and leave."""
    if asked:
        from fabloom import __version__
        from fabloom.registry import API

        say(f"fabloom {__version__} (plugin contract {'.'.join(map(str, API))})")
        raise typer.Exit


@app.callback()
def fabloom(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")] = False,
) -> None:
    """Options of the command as a whole; its help text is that of `app`."""


def load_registry() -> Registry:
    """The plugins; those that cannot be used are told on stderr, since what they bring is missing.

    Methods of fabloom's own are imported when a pipeline names them: a broken one is told by the pipeline that needs it.
    """
    from fabloom.registry import Registry

    registry = Registry.load()
    for problem in registry.noticed:
        tell(f"plugin problem: {problem}")
    return registry


def display(json_: bool) -> AbstractContextManager[LiveDisplay | None]:
    """What a run is shown on: lines on stderr; with --json nothing, and stdout is kept for the document."""
    if json_:
        return quiet_stdout()
    from .display import LiveDisplay

    return LiveDisplay()


def conclude(result: RunResult, live: LiveDisplay | None, page: Path | None) -> None:
    """The end of a run on its display; without one the failures, a line each on stderr."""
    if live is not None:
        from .closing import closing

        live.summary(result.steps, page, closing(result))
        return
    for step in result.steps:
        if step.status == "failed":
            tell(step.error)


@app.command()
def run(
    pipeline: PipelineArgument,
    set_: SetOption = None,
    store: StoreOption = None,
    seed: SeedOption = None,
    engine: Annotated[
        Literal["prefect", "inline"],
        typer.Option(help="prefect: a flow, each step in its own process. inline: in this process, without Prefect."),
    ] = "prefect",
    runner: Annotated[Literal["threads", "dask", "ray"], typer.Option(help="Prefect task runner.")] = "threads",
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:N or mps; it must be there where a step runs, not where all is reused.")
    ] = "auto",
    redo: Annotated[
        list[str] | None,
        typer.Option(
            "--redo",
            metavar="STEP",
            help="Make this step's artifact again although it is there. Repeatable.",
            autocompletion=completing.steps,
        ),
    ] = None,
    checkpoint: Annotated[float, typer.Option(min=0.0, help="Seconds between checkpoints inside a step.")] = 30.0,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", "-k", help="After a failure, run the steps that do not need the failed one. Its exit code stays."),
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the curves of trainings to DIR as they come, for `tensorboard --logdir DIR`.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Run a pipeline. Finished steps are reused, a killed step goes on from its last checkpoint: just run it again."""
    from fabloom.flows.run import api

    registry, stop = load_registry(), StopRequest()
    with contextlib.ExitStack() as stack:
        live = stack.enter_context(display(json_))
        emit = stop.watching(live.emit, live.say) if live is not None else stop.watching(silent)
        if tensorboard is not None:
            from fabloom.flows.run.tensorboard import TensorBoard

            emit = stack.enter_context(TensorBoard(tensorboard)).watching(emit)
        result = api.run(
            pipeline, set=set_ or [], store=store, seed=seed, engine=engine, runner=runner, device=device, redo=redo or [],
            checkpoint_seconds=checkpoint, registry=registry, emit=emit, stop=stop,
            keep_going=keep_going, check=False,
        )  # fmt: skip
    if json_:
        emit_json(result.as_dict())
    conclude(result, live, result.report_path)
    raise typer.Exit(result.exit_code)


@app.command()
def plan(
    pipeline: PipelineArgument,
    set_: SetOption = None,
    store: StoreOption = None,
    seed: SeedOption = None,
    strict: Annotated[bool, typer.Option(help="Also warn where a method's source changed but its version did not.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show what is in the store and what would run, in order. Runs nothing."""
    from fabloom.flows.run.api import load_pipeline, open_store
    from fabloom.planning.expectation import expectations, told
    from fabloom.planning.plan import make_plan
    from fabloom.running.threads import threads

    registry = load_registry()
    try:
        opened = open_store(store, registry)
    except EnvironmentProblem:  # a store that can only be read can be planned on; one that cannot be read says so again
        opened = open_store(store, registry, read_only=True)
    made = make_plan(load_pipeline(pipeline, registry).override(set_ or [], seed), registry, opened)
    waiting = [step for step in made.steps if not opened.has(step.key)]
    expected = expectations(waiting, opened, threads())
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
            rows[-1] |= {"seconds": found.seconds, "bytes": found.size, "memory": found.memory}
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


def _taking(row: dict[str, Any]) -> str:
    """'40 s, 12 MB, 900 MB of memory' of a step that would run, 'unknown' where nothing says it."""
    from fabloom.planning.expectation import rough

    if row["state"] != "run":
        return ""
    known = [rough(row["seconds"])] if row["seconds"] is not None else []
    known += [f"{row['bytes'] / 1e6:.2g} MB"] if row["bytes"] is not None else []
    known += [f"{row['memory'] / 1e6:,.0f} MB of memory"] if row["memory"] is not None else []
    return ", ".join(known) or "unknown"


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def doctor(
    store: StoreOption = None,
    json_: JsonOption = False,
    server: Annotated[bool, typer.Option(help="Also start Prefect's server and run a flow (half a minute).")] = False,
) -> None:
    """Check the installation: versions, plugins, store, devices, weights, and on request Prefect's server."""
    from .doctor import examine

    checks = examine(store, server=server)
    if json_:
        emit_json({"checks": [vars(c) for c in checks]})
    else:
        table(["", "check", "finding"], [["ok" if c.ok else "PROBLEM", c.name, c.finding] for c in checks])
    raise typer.Exit(0 if all(c.ok for c in checks) else 3)


def whole() -> typer.Typer:
    """The command with what the other rooms add to it; they are imported when it is asked for, since they import this one."""
    from . import init, new, predict, runs, shell, store

    assert init and new and predict and runs and shell and store
    return app


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    whole()

    settle()
    completing.ready()
    try:
        code = app(standalone_mode=False, prog_name="fabloom")  # gives the code of a typer.Exit back
        code = code if isinstance(code, int) else 0
    except FabloomError as error:
        from fabloom.registry.address import without_secrets

        tell(f"fabloom: {without_secrets(str(error))}")
        _leave(error.exit_code)
    except UsageError as error:
        _tell_usage(error)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except MemoryError:
        tell("fabloom: out of memory. Ask for less, or free some.")
        code = EnvironmentProblem.exit_code
    except (LostOutput, BrokenPipeError) as error:
        code = _tell_lost(error)
    except OSError as error:
        code = _tell_system(error)
    if code == 130:
        tell("fabloom: stopped. Run the same command again to go on.")
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End with an exit code; what stdout holds is written out, or its loss told."""
    lost = unwritten()
    sys.exit(_tell_lost(lost) if lost is not None and code == 0 else code)


def _tell_lost(error: OSError) -> int:
    """Output that cannot be written: 3, but 1 and no word where whoever read it has had enough of it, as in `| head`."""
    if error.errno == errno.EPIPE:
        return 1
    tell(f"fabloom: the output cannot be written: {error.strerror}. Mend the disk, or write it elsewhere.")
    return EnvironmentProblem.exit_code


def _tell_system(error: OSError) -> int:
    """What the system refused, and the exit code: 3 where the machine is to blame, 2 for a path that cannot be."""
    from fabloom.regular import STRANGE
    from fabloom.running.execute import code_of

    machine = code_of(error) == EnvironmentProblem.exit_code or error.errno in STRANGE
    place = "" if error.filename is None else f": {error.filename}"
    tell(f"fabloom: {error.strerror or error}{place}. {'Mend the disk or its permissions' if machine else 'Give another path'}.")
    return EnvironmentProblem.exit_code if machine else UserError.exit_code


def _tell_usage(error: Any) -> None:
    """A command line that cannot be read, in one line; the help itself where no argument was given."""
    command = error.ctx.command_path if error.ctx is not None else "fabloom"
    if error.ctx is not None and type(error).__name__ == "NoArgsIsHelpError":
        with contextlib.suppress(OSError):
            typer.echo(error.ctx.get_help(), err=True)
    else:
        tell(f"fabloom: {error.format_message()} See `{command} --help`.")
