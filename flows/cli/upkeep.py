"""The commands that keep a store in order: verify, gc."""

from __future__ import annotations

from typing import Annotated

import typer

from .output import emit_json, say
from .shared import JsonOption, StoreOption, open_folder, resolved

commands = typer.Typer()


@commands.command()
def verify(
    what: Annotated[str | None, typer.Argument(metavar="[KEY|REF]", help="One artifact; all of them by default.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Hash every committed byte and compare. Exit 1 if anything is damaged."""
    from fabloom.storage.verify import verify as check

    from .health import tell_health

    opened = open_folder(store)
    health = check(opened, resolved(opened, what) if what else None)
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
    from fabloom.storage.gc import collect, sweep
    from fabloom.storage.gc import unreferenced as find

    opened = open_folder(store, read_only=False)
    paths, freed = sweep(opened)
    keys: list[str] = []
    if unreferenced and yes:
        keys, more = collect(opened, older_than)
        freed += more
    elif unreferenced:
        keys = find(opened, older_than)
    if json_:
        emit_json({"removed": [str(p) for p in paths], "artifacts": keys, "artifacts_removed": bool(keys and yes), "bytes": freed})
        return
    for key in keys:
        say(f"{'removed' if yes else 'would remove'} {key[:12]}")
    say(
        f"{freed / 1e6:.1f} MB freed, {len(paths)} leftovers removed."
        + ("" if yes or not keys else " Add --yes to remove the artifacts listed.")
    )
