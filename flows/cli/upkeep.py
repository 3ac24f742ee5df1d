"""The commands that keep a store in order: verify, gc."""

from __future__ import annotations

from typing import Annotated

import typer

from .output import emit_json, say
from .shared import JsonOption, StoreOption, open_store, resolved, upkeep_of

commands = typer.Typer()


@commands.command()
def verify(
    what: Annotated[str | None, typer.Argument(metavar="[KEY|REF]", help="One artifact; all of them by default.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Hash every committed byte and compare. Exit 1 if anything is damaged."""
    from .health import tell_health

    opened = open_store(store)
    health = upkeep_of(opened).verify(resolved(opened, what) if what else None)
    if json_:
        emit_json(vars(health))
    else:
        tell_health(health)
    raise typer.Exit(1 if health.problems else 0)


@commands.command()
def gc(
    unreferenced: Annotated[bool, typer.Option("--unreferenced", help="Also artifacts that no ref reaches.")] = False,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0.0, help="With --unreferenced: only those made more than DAYS ago.")
    ] = 30.0,
    yes: Annotated[bool, typer.Option("--yes", help="Really remove artifacts.")] = False,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Remove what dead runs left, and old report pages; with --unreferenced also artifacts, after showing them."""
    upkeep = upkeep_of(open_store(store, read_only=False))
    paths, freed = upkeep.sweep()
    keys: list[str] = []
    if unreferenced and yes:
        keys, more = upkeep.collect(older_than)
        freed += more
    elif unreferenced:
        keys = upkeep.unreferenced(older_than)
    if json_:
        emit_json({"removed": paths, "artifacts": keys, "artifacts_removed": bool(keys and yes), "bytes": freed})
        return
    for key in keys:
        say(f"{'removed' if yes else 'would remove'} {key[:12]}")
    say(
        f"{freed / 1e6:.1f} MB freed, {len(paths)} leftovers removed."
        + ("" if yes or not keys else " Add --yes to remove the artifacts listed.")
    )
