"""`fabloom run`: a pipeline from its first step to its report."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from fabloom.progress import silent

from . import completing
from .output import emit_json
from .shared import (
    EngineOption,
    JsonOption,
    ParamOption,
    PipelineArgument,
    RunnerOption,
    SeedOption,
    SetOption,
    StoreOption,
    conclude,
    display,
    load_registry,
    read_params,
)
from .stopping import StopRequest

commands = typer.Typer()


@commands.command()
def run(
    pipeline: PipelineArgument,
    param: ParamOption = None,
    set_: SetOption = None,
    store: StoreOption = None,
    seed: SeedOption = None,
    engine: EngineOption = "prefect",
    workers: Annotated[
        int,
        typer.Option(min=1, max=64, help="Steps at the same time that need not each other, and parts of one where its task can be cut."),
    ] = 1,
    runner: RunnerOption = "threads",
    cluster: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="A running cluster, no new workers here: tcp://host:8786 of dask, host:6379 of ray."),
    ] = "",
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
            pipeline, params=read_params(param), set=set_ or [],
            store=store, seed=seed, engine=engine, runner=runner, workers=workers, cluster=cluster,
            device=device, redo=redo or [], checkpoint_seconds=checkpoint, registry=registry, emit=emit, stop=stop,
            keep_going=keep_going, check=False,
        )  # fmt: skip
    if json_:
        emit_json(result.as_dict())
    conclude(result, live, result.report_path)
    raise typer.Exit(result.exit_code)
