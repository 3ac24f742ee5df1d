"""`fabloom ref`: mutable names for artifacts, and the log of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fabloom.errors import FabloomError, UserError

from . import completing
from .output import emit_json, say, table, tell
from .shared import JsonOption, StoreOption, WhatArgument, open_store, resolved

if TYPE_CHECKING:
    from fabloom.kinds.store import RefEntry

commands = typer.Typer(name="ref", no_args_is_help=True, help="Mutable names for artifacts, such as line-pair/champion.")

RefArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the ref, as in line-pair/champion.", autocompletion=completing.refs)
]
WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, kept in the log.")]
ExpectedOption = Annotated[
    str | None, typer.Option(metavar="KEY|REF", help="Only if the ref still points at this: what was decided against.")
]


@commands.command("list")
def ref_list(store: StoreOption = None, json_: JsonOption = False) -> None:
    """List the refs, what each points at and what it holds back from being promoted."""
    opened = open_store(store)
    known: dict[str, str] = {}
    held: dict[str, str] = {}
    damaged: dict[str, str] = {}
    for name in opened.refs.names():
        try:
            held[name] = ", ".join(key[:12] for key in sorted(opened.refs.held(name)))
            known[name] = opened.refs.get(name)
        except UserError:  # it has only said so far what is held back
            continue
        except (FabloomError, OSError) as error:  # one that cannot be read hides no other
            damaged[name] = str(error)
    if json_:
        emit_json(known)
    else:
        names = sorted({*known, *damaged, *(name for name, keys in held.items() if keys)})
        points = {name: "damaged" if name in damaged else known.get(name, "nothing yet")[:12] for name in names}
        table(["ref", "key", "holds back"], [[name, points[name], held.get(name, "")] for name in names])
    for told in damaged.values():
        tell(f"fabloom: {told}")
    raise typer.Exit(1 if damaged else 0)


@commands.command("log")
def ref_log(name: RefArgument, store: StoreOption = None, json_: JsonOption = False) -> None:
    """Everything that happened to a ref, newest first: what it was pointed at, when, by whom and why."""
    entries = open_store(store).refs.log(name)
    if json_:
        emit_json([vars(entry) for entry in entries])
        return
    rows = [[str(e.n), e.at or "?", e.action, e.key[:12], e.by or "?", e.why] for e in reversed(entries)]
    table(["n", "when (UTC)", "what", "key", "who", "why"], rows)


@commands.command("set")
def ref_set(
    name: RefArgument,
    key: WhatArgument,
    expected: ExpectedOption = None,
    why: WhyOption = "",
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Point a ref at an artifact."""
    looked = open_store(store)  # before a store is opened to be changed, which makes it where none is
    full, before = resolved(looked, key), looked.resolve(expected) if expected else None
    opened = open_store(store, read_only=False)
    known = len(opened.refs.log(name)) if name in opened.refs.names() else 0
    with opened.pinned([full]):  # no gc that is deciding takes it before the ref holds it
        opened.resolve(f"key:{full}")
        entry = opened.refs.set(name, full, expected=before, why=why)
    if not json_ and entry.n <= known:
        say(f"{name} is at {full[:12]} already{f', since {entry.at}' if entry.at else ''}; nothing was changed")
    else:
        _told(name, entry, json_)


@commands.command("rollback")
def ref_rollback(
    name: RefArgument,
    to: Annotated[str | None, typer.Option(metavar="KEY", help="Back to this earlier key, not to the one before.")] = None,
    hold: Annotated[bool, typer.Option(help="Keep what is left from being promoted again by a schedule.")] = True,
    why: WhyOption = "",
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Point a ref back at what it pointed at before. The log keeps both."""
    looked = open_store(store)
    looked.refs.get(name)
    back = looked.resolve(to) if to else None
    _told(name, open_store(store, read_only=False).refs.rollback(name, to=back, hold=hold, why=why), json_)


@commands.command("rename")
def ref_rename(
    name: RefArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name that it gets; none that is taken.")],
    expected: ExpectedOption = None,
    why: WhyOption = "",
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Give a ref another name, with its log. Refused while it holds a key back. The old name's log says where it went."""
    looked = open_store(store)
    before = looked.resolve(expected) if expected else None
    looked.refs.get(name)
    entry = open_store(store, read_only=False).refs.rename(name, new, expected=before, why=why)
    if json_:
        emit_json({new: entry.key})
    else:
        say(f"{new} -> {entry.key[:12]}, which was {name}")


@commands.command("delete")
def ref_delete(
    name: RefArgument, expected: ExpectedOption = None, why: WhyOption = "", store: StoreOption = None, json_: JsonOption = False
) -> None:
    """Let a ref point at nothing. Refused while it holds a key back. Artifacts stay, and `ref log` still tells what it was."""
    looked = open_store(store)
    before = looked.resolve(expected) if expected else None
    looked.refs.get(name)
    entry = open_store(store, read_only=False).refs.delete(name, expected=before, why=why)
    if json_:
        emit_json({name: None})
    else:
        say(f"{name} is deleted; it pointed at {entry.key[:12]}, and `fabloom ref set {name} {entry.key[:12]}` brings it back")


@commands.command("hold")
def ref_hold(name: RefArgument, key: WhatArgument, why: WhyOption = "", store: StoreOption = None, json_: JsonOption = False) -> None:
    """Keep an artifact from being promoted to this ref."""
    full = resolved(open_store(store), key)
    _told(name, open_store(store, read_only=False).refs.hold(name, full, why=why), json_)


@commands.command("unhold")
def ref_unhold(name: RefArgument, key: WhatArgument, why: WhyOption = "", store: StoreOption = None, json_: JsonOption = False) -> None:
    """Let an artifact be promoted to this ref again."""
    full = resolved(open_store(store), key)
    _told(name, open_store(store, read_only=False).refs.unhold(name, full, why=why), json_)


def _told(name: str, entry: RefEntry, json_: bool) -> None:
    """What was done: a move as an arrow, as in `name -> key`."""
    if json_:
        emit_json({name: entry.key})
    else:
        say(f"{name} {entry.action} {entry.key[:12]}" if "hold" in entry.action else f"{name} -> {entry.key[:12]}")
