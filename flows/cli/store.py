"""The commands that look at a store: artifacts, show, lineage, verify, gc, export, ref."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabloom.errors import FabloomError, UserError, did_you_mean
from fabloom.progress import silent

from . import completing
from .main import JsonOption, StoreOption, WhatArgument, app, refs
from .output import emit_json, quiet_stdout, say, table, tell

if TYPE_CHECKING:
    from fabloom.kinds.store import RefEntry, Store
    from fabloom.storage.backends.local import LocalStore

SHOWN = 12
"""Arrays that `show` lists: a network has hundreds of tensors."""

RefArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the ref, as in line-pair/champion.", autocompletion=completing.refs)
]


def open_store(url: str | None, *, read_only: bool = True) -> Store:
    """The store of `--store`, to look at. What plans and runs is imported only now, so that `--help` stays light."""
    from fabloom.flows.run import api

    return api.open_store(url, read_only=read_only)


def open_folder(url: str | None, *, read_only: bool = True) -> LocalStore:
    """The store of `--store`, for what looks at its files. Raises UserError for one that keeps none on this machine."""
    from fabloom.storage.backends.local import LocalStore

    opened = open_store(url, read_only=read_only)
    if not isinstance(opened, LocalStore):
        raise UserError(f"store '{opened.url}' keeps no files on this machine; its own tools check and clean it")
    return opened


def _short(opened: Store, manifest: dict[str, Any]) -> str:
    """What an artifact holds, in a few words of its kind; '' where the manifest could not be read."""
    from fabloom.kinds import Artifact

    if manifest["kind"] == "damaged":
        return ""
    kind = opened.kinds.get(manifest["kind"], Artifact)
    try:
        return " ".join(str(kind.summarise(manifest)).split())
    except Exception:  # a third party's mistake takes no listing with it
        return Artifact.summarise(manifest)


@app.command()
def artifacts(
    kind: Annotated[str | None, typer.Option(help="Only this kind, e.g. Model.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """List what the store holds, newest first."""
    opened = open_store(store)
    if kind is not None and kind not in (*opened.kinds, "damaged"):
        raise UserError(f"--kind: there is no kind '{kind}'.{did_you_mean(kind, opened.kinds)}")
    found = []
    for key in opened.keys():
        try:
            manifest = opened.manifest(key)
        except (FabloomError, OSError) as error:
            manifest = {
                "key": key,
                "kind": "damaged",
                "digest": "",
                "created": "",
                "preimage": {"task": str(error)},
                "arrays": {},
                "metrics": {},
            }
        if kind in (None, manifest["kind"]):
            found.append(manifest)
    found.sort(key=lambda m: m["created"], reverse=True)
    if json_:
        emit_json(
            [
                {"key": m["key"], "kind": m["kind"], "task": m["preimage"]["task"], "digest": m["digest"], "created": m["created"]}
                for m in found
            ]
        )
    else:
        table(
            ["key", "kind", "task", "made", "holds"],
            [[m["key"][:12], m["kind"], m["preimage"]["task"], m["created"], _short(opened, m)] for m in found],
        )
        if not found:
            what = f"no artifact of kind {kind}" if kind else "no artifact"
            say(f"\nThere is {what} in {opened.url}. Another store? Give its place with --store or FABLOOM_STORE.")


@app.command()
def show(what: WhatArgument, store: StoreOption = None, json_: JsonOption = False) -> None:
    """Show one artifact: facts, metrics and tables of what came out, then how it was made."""
    opened = open_store(store)
    manifest = opened.manifest(opened.resolve(what))
    artifact = opened.get(manifest["key"])
    if json_:
        emit_json({**manifest, "attrs": dict(artifact.attrs)})
        return
    from .showing import tell_exhibits, tell_making

    say(f"{manifest['kind']} {manifest['key']}\nholds    {_short(opened, manifest)}\ndigest   {manifest['digest']}")
    tell_exhibits(artifact)
    tell_making(manifest)
    arrays = sorted(manifest["arrays"].items())
    say()
    table(["array", "dtype", "shape"], [[n, a["dtype"], str(a["shape"])] for n, a in arrays[:SHOWN]])
    if len(arrays) > SHOWN:
        say(f"… and {len(arrays) - SHOWN} more; --json lists all of them")


@app.command()
def lineage(what: WhatArgument, store: StoreOption = None, json_: JsonOption = False) -> None:
    """Walk back from an artifact to everything it was made from."""
    opened = open_store(store)
    walked = opened.lineage(opened.resolve(what))
    if json_:
        emit_json(
            {
                key: {"task": m["preimage"]["task"], "kind": m["kind"], "digest": m["digest"], "inputs": m["preimage"]["inputs"]}
                for key, m in walked.items()
            }
        )
        return
    rows = [
        [
            m["preimage"]["task"],
            m["kind"],
            key[:12],
            m["digest"][:12],
            ", ".join(f"{p}={str(k)[:12]}" for p, k in m["preimage"]["inputs"].items()),
        ]
        for key, m in walked.items()
    ]
    table(["task", "kind", "key", "digest", "from"], rows)


@app.command()
def verify(
    what: Annotated[str | None, typer.Argument(metavar="[KEY|REF]", help="One artifact; all of them by default.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Hash every committed byte and compare. Exit 1 if anything is damaged."""
    from fabloom.storage.verify import verify as check

    from .health import tell_health

    opened = open_folder(store)
    health = check(opened, opened.resolve(what) if what else None)
    if json_:
        emit_json(vars(health))
    else:
        tell_health(health)
    raise typer.Exit(1 if health.problems else 0)


@app.command()
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


@app.command()
def export(
    what: WhatArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet, or an empty one.")],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="ImageSet: png (default), coco, imagefolder, predictions. Model: safetensors (default), diffusers, onnx, torch-export, "
            "segmenter. "
            "Report: json (default). Every kind: zarr, a copy of what the store holds. A plugin's kind may bring its own.",
        ),
    ] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Write an artifact as files that other software opens: all of them, or none where something goes wrong.

    **png**: clean/, defect/ and masks/, the layout that `images.load` reads. **coco**: images/ and annotations.json, an instance for each
    connected defect. **imagefolder**: train/ with metadata.jsonl for Hugging Face datasets. **predictions**: tables, masks and overlays,
    as `fabloom predict` writes. **safetensors**: tensors and config. **diffusers**: loads with from_pretrained. **onnx**,
    **torch-export**: a graph of each network for any number of images, compared with the model when it is written; networks.json says
    what goes in and comes out. **segmenter**: a trained segmenter in one graph from pixels to a mask, with a card and a script.
    docs/interoperability.md shows how to load each.
    """
    from fabloom.flows.export.job import export_artifact
    from fabloom.flows.run import api
    from fabloom.registry import Registry

    registry = Registry.load()
    opened = api.open_store(store, registry, read_only=True)
    key = opened.resolve(what)
    display: AbstractContextManager[Any] = quiet_stdout()
    if not json_:
        from .display import LiveDisplay

        display = LiveDisplay()
    with display as live:
        emit = silent if live is None else lambda event: live.emit({**event, "step": f"export {key[:12]}"})
        written = export_artifact(opened, key, folder, format_, registry=registry, emit=emit)
    if json_:
        emit_json({"folder": str(folder), "files": written})
    else:
        say(f"{len(written)} files in {folder}")


WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, kept in the log.")]


ExpectedOption = Annotated[
    str | None, typer.Option(metavar="KEY|REF", help="Only if the ref still points at this: what was decided against.")
]


@refs.command("list")
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


@refs.command("log")
def ref_log(name: RefArgument, store: StoreOption = None, json_: JsonOption = False) -> None:
    """Everything that happened to a ref, newest first: what it was pointed at, when, by whom and why."""
    entries = open_store(store).refs.log(name)
    if json_:
        emit_json([vars(entry) for entry in entries])
        return
    rows = [[str(e.n), e.at or "?", e.action, e.key[:12], e.by or "?", e.why] for e in reversed(entries)]
    table(["n", "when (UTC)", "what", "key", "who", "why"], rows)


@refs.command("set")
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
    full, before = looked.resolve(key), looked.resolve(expected) if expected else None
    opened = open_store(store, read_only=False)
    known = len(opened.refs.log(name)) if name in opened.refs.names() else 0
    with opened.pinned([full]):  # no gc that is deciding takes it before the ref holds it
        opened.resolve(f"key:{full}")
        entry = opened.refs.set(name, full, expected=before, why=why)
    if not json_ and entry.n <= known:
        say(f"{name} is at {full[:12]} already{f', since {entry.at}' if entry.at else ''}; nothing was changed")
    else:
        _told(name, entry, json_)


@refs.command("rollback")
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


@refs.command("rename")
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


@refs.command("delete")
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


@refs.command("hold")
def ref_hold(name: RefArgument, key: WhatArgument, why: WhyOption = "", store: StoreOption = None, json_: JsonOption = False) -> None:
    """Keep an artifact from being promoted to this ref."""
    full = open_store(store).resolve(key)
    _told(name, open_store(store, read_only=False).refs.hold(name, full, why=why), json_)


@refs.command("unhold")
def ref_unhold(name: RefArgument, key: WhatArgument, why: WhyOption = "", store: StoreOption = None, json_: JsonOption = False) -> None:
    """Let an artifact be promoted to this ref again."""
    full = open_store(store).resolve(key)
    _told(name, open_store(store, read_only=False).refs.unhold(name, full, why=why), json_)


def _told(name: str, entry: RefEntry, json_: bool) -> None:
    """What was done: a move as an arrow, as in `name -> key`."""
    if json_:
        emit_json({name: entry.key})
    else:
        say(f"{name} {entry.action} {entry.key[:12]}" if "hold" in entry.action else f"{name} -> {entry.key[:12]}")
