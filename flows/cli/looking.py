"""The commands that look at artifacts: artifacts, show, lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabloom.errors import UserError, did_you_mean

from .output import emit_json, say, table
from .shared import JsonOption, StoreOption, WhatArgument, open_store, resolved

if TYPE_CHECKING:
    from fabloom.kinds.store import Store

commands = typer.Typer()
SHOWN = 12
"""Arrays that `show` lists: a network has hundreds of tensors."""


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


def _task(manifest: dict[str, Any]) -> str:
    """The task that made an artifact, or in words that none did."""
    from fabloom.planning.given import PUT, is_given

    task = str(manifest["preimage"]["task"])
    return PUT if is_given(task) else task


@commands.command()
def artifacts(
    kind: Annotated[str | None, typer.Option(help="Only this kind, e.g. Model.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """List what the store holds, newest first."""
    from fabloom.kinds.survey import manifests
    from fabloom.planning.keys import rows_of

    opened = open_store(store)
    if kind is not None and kind not in (*opened.kinds, "damaged"):
        raise UserError(f"--kind: there is no kind '{kind}'.{did_you_mean(kind, opened.kinds)}")
    found = []
    for key, read in manifests(opened, opened.keys()):
        if isinstance(read, dict) and rows_of(read["preimage"]) is not None:
            continue  # a part of what a run is making, or was when it was stopped
        unread: dict[str, Any] = {
            "key": key,
            "kind": "damaged",
            "digest": "",
            "created": "",
            "preimage": {"task": str(read)},
            "arrays": {},
            "metrics": {},
        }
        manifest = read if isinstance(read, dict) else unread
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
            [[m["key"][:12], m["kind"], _task(m), m["created"], _short(opened, m)] for m in found],
        )
        if not found:
            what = f"no artifact of kind {kind}" if kind else "no artifact"
            say(f"\nThere is {what} in {opened.url}. Another store? Give its place with --store or FABLOOM_STORE.")


@commands.command()
def show(what: WhatArgument, store: StoreOption = None, json_: JsonOption = False) -> None:
    """Show one artifact: facts, metrics and tables of what came out, then how it was made. Of a model also how it was judged."""
    from fabloom.flows.run.judged import evaluations

    opened = open_store(store)
    manifest = opened.manifest(resolved(opened, what))
    artifact = opened.get(manifest["key"])
    judged = evaluations(opened, manifest["key"]) if manifest["kind"] == "Model" else []
    if json_:
        emit_json({**manifest, "attrs": dict(artifact.attrs), "evaluations": [one.as_dict() for one in judged]})
        return
    from .showing import tell_exhibits, tell_making, tell_scores

    say(f"{manifest['kind']} {manifest['key']}\nholds    {_short(opened, manifest)}\ndigest   {manifest['digest']}")
    if manifest["kind"] == "Model":
        tell_scores(artifact, judged)
    tell_exhibits(artifact)
    tell_making(manifest)
    arrays = sorted(manifest["arrays"].items())
    say()
    table(["array", "dtype", "shape"], [[n, a["dtype"], str(a["shape"])] for n, a in arrays[:SHOWN]])
    if len(arrays) > SHOWN:
        say(f"… and {len(arrays) - SHOWN} more; --json lists all of them")


@commands.command()
def lineage(what: WhatArgument, store: StoreOption = None, json_: JsonOption = False) -> None:
    """Walk back from an artifact to everything it was made from."""
    opened = open_store(store)
    walked = opened.lineage(resolved(opened, what))
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
            _task(m),
            m["kind"],
            key[:12],
            m["digest"][:12],
            ", ".join(f"{p}={str(k)[:12]}" for p, k in m["preimage"]["inputs"].items()),
        ]
        for key, m in walked.items()
    ]
    table(["task", "kind", "key", "digest", "from"], rows)
