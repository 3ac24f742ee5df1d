"""What a shell completes: names of pipelines, steps, tasks, refs and keys. Quick, and silent whatever goes wrong."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

import typer

from fabloom.errors import FabloomError

if TYPE_CHECKING:
    from fabloom.kinds.store import Store
    from fabloom.pipeline import Pipeline

VARIABLE = "_FABLOOM_COMPLETE"
"""Set by the shell's script when it asks for what may come next."""
PLAIN = re.compile(r"[A-Za-z0-9_.:/@=+\-]+")
"""What is handed to a shell, which may evaluate it: nothing else of a third party's name."""
MOST = 2000
"""Keys that are looked at."""

Names = Iterable[str]


def ready() -> None:
    """Have typer's classes of shells at hand where a shell asks; without them it would know none."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # typer does not list what it lends

        completion_init()


def _completer(find: Callable[[typer.Context, str], Names]) -> Callable[[typer.Context, str], list[str]]:
    """A function for typer that gives the plain ones among the names that go on from what is typed."""

    @functools.wraps(find)
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return [name for name in find(ctx, incomplete) if name.startswith(incomplete) and PLAIN.fullmatch(name)]
        except (FabloomError, OSError, ValueError, KeyError):
            return []

    complete.__annotations__ = {"ctx": typer.Context, "incomplete": str, "return": list[str]}
    del complete.__wrapped__  # typer would resolve the annotations of what is wrapped
    return complete


@_completer
def pipelines(ctx: typer.Context, incomplete: str) -> Names:
    """Registered pipelines; files are completed by the shell."""
    from fabloom.registry import Registry

    return Registry.load().pipeline_names()


@_completer
def steps(ctx: typer.Context, incomplete: str) -> Names:
    """Steps of the pipeline that is named before."""
    return _pipeline(ctx).steps


@_completer
def settings(ctx: typer.Context, incomplete: str) -> Names:
    """Places of `--set`: steps first, then the parameters of one."""
    pipeline = _pipeline(ctx)
    parts = incomplete.split(".")
    if len(parts) < 3:
        return [f"steps.{name}." for name in pipeline.steps]
    if len(parts) == 3:
        return [f"steps.{parts[1]}.{field}" for field in ("params.", "seed=", "task=", "inputs.")]
    step = pipeline.steps[parts[1]]
    if parts[2] == "inputs":
        return [f"steps.{parts[1]}.inputs.{port}=" for port in step.inputs]
    from fabloom.registry import Registry

    fields = Registry.load().task(step.task).params.model_fields
    return [f"steps.{parts[1]}.params.{name}=" for name in fields]


@_completer
def tasks(ctx: typer.Context, incomplete: str) -> Names:
    """Tasks and methods."""
    from fabloom.registry import Registry

    known = Registry.load().tasks
    return sorted({*known, *(spec.method.name for spec in known.values())})


@_completer
def refs(ctx: typer.Context, incomplete: str) -> Names:
    """Refs of the store."""
    return _store(ctx).refs.names()


@_completer
def artifacts(ctx: typer.Context, incomplete: str) -> Names:
    """Refs, steps of runs, and the beginnings of keys."""
    from fabloom.flows.run.log import listed

    store = _store(ctx)
    steps = {str(step["name"]) for run in listed(store)[0] for step in run.steps}
    return [*store.refs.names(), *sorted(steps), *(key[: max(12, len(incomplete))] for key in islice(store.keys(), MOST))]


def _pipeline(ctx: typer.Context) -> Pipeline:
    from fabloom.registry import Registry

    name = ctx.params.get("pipeline") or next(iter(ctx.args), "")  # of an option whose value is still missing, typer reads no argument
    return Registry.load().pipeline(str(name))


def _store(ctx: typer.Context) -> Store:
    from fabloom.flows.run.api import open_store

    return open_store(ctx.params.get("store"), read_only=True)
