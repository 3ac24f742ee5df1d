"""What commands share: options and arguments, the plugins, the store, and how a run is shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fabloom.errors import UserError

from . import completing
from .output import quiet_stdout, tell

if TYPE_CHECKING:
    from fabloom.flows.run.result import RunResult
    from fabloom.kinds.store import Store
    from fabloom.registry import Registry
    from fabloom.storage.upkeep import Upkeep

    from .display import LiveDisplay

StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", envvar="FABLOOM_STORE", help="Folder of artifacts, or s3://BUCKET/PREFIX. Default: ./.fabloom"),
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
ParamOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="NAME=VALUE",
        help="Parameter of a pipeline that is built by them, as in sizes=[1,5,20] of worth-it; see `fabloom pipelines NAME`. Repeatable.",
    ),
]
EngineOption = Annotated[
    Literal["prefect", "inline"],
    typer.Option("--engine", help="prefect: a flow, each step in its own process. inline: in this process, without Prefect."),
]
RunnerOption = Annotated[
    Literal["threads", "dask", "ray"],
    typer.Option("--runner", help="Where steps run: processes of this machine (threads wait for them), or workers of dask or ray."),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of the whole pipeline.")]
WhatArgument = Annotated[
    str,
    typer.Argument(
        metavar="KEY|REF|STEP",
        help="A key, the first 6 or more of its characters, a ref, a step of the newest run, or RUN:STEP.",
        autocompletion=completing.artifacts,
    ),
]


def read_params(texts: list[str] | None) -> dict[str, Any]:
    """The parameters of a pipeline by name, of `--param NAME=VALUE` each."""
    from fabloom.pipeline import assigned

    return dict(assigned("--param", text, "NAME=VALUE") for text in texts or [])


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


def target(out: str | Path) -> Path:
    """Where a page is to be written. Raises UserError for a path that cannot be a file."""
    path = Path(out).absolute()
    if path.is_dir():
        raise UserError(f"'{out}' is a folder; give the name of a file in it, as in {Path(out) / 'page.html'}")
    above = next(parent for parent in path.parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"'{out}' cannot be written: '{above}' is no folder. Give another path.")
    return path


def write_page(out: str | Path | None, place: Path, write: Callable[[Path], None]) -> Path | None:
    """Write a page to `out`, or to its place in the store; where that takes none, say so and give the page that is there, if any."""
    page = (place if out is None else target(out)).absolute()
    try:
        write(page)
    except OSError as error:
        if out is not None:
            raise
        tell(f"the page cannot be written: {error.strerror}; --out FILE puts it elsewhere")
    return page if page.is_file() else None


def open_store(url: str | None, *, read_only: bool = True) -> Store:
    """The store of `--store`, to look at. What plans and runs is imported only now, so that `--help` stays light."""
    from fabloom.flows.run import api

    return api.open_store(url, read_only=read_only)


def resolved(opened: Store, text: str) -> str:
    """The key that is meant by a key, its beginning, a ref, a step of the newest run that made one, or RUN:STEP."""
    from fabloom.flows.run import naming

    return naming.resolved(opened, text)


def upkeep_of(opened: Store) -> Upkeep:
    """What checks and cleans a store. Raises UserError for a plugin's that brings nothing of the kind."""
    found: Upkeep | None = getattr(opened, "upkeep", None)
    if found is None:
        raise UserError(f"store '{opened.url}' has no upkeep that fabloom could call; its own tools check and clean it")
    return found
