"""Which artifact is meant: a key, a ref, or in words that a user has at hand, the step of a run that made it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fabloom.errors import UserError, did_you_mean

from .log import RunRecord, find, listed

if TYPE_CHECKING:
    from fabloom.kinds.store import Store

MADE = ("ran", "reused")
"""Statuses of a step whose artifact is in the store."""


def resolved(store: Store, text: str) -> str:
    """The key that is meant by a key, its beginning, a ref, `STEP` of the newest run that made one, or `RUN:STEP`.

    Keys and refs come first, so that no run changes what a name of theirs means. Raises UserError for what is none of these, and for a
    step that runs of several pipelines made, each another artifact.
    """
    try:
        return store.resolve(text)
    except UserError as error:
        refused = error
    if text.startswith(("ref:", "key:")) or "://" in text:
        raise refused
    runs, _ = listed(store)
    run, colon, step = text.rpartition(":")
    if colon:
        return _there(store, text, _made(find(runs, run)), step, f"run '{run}' ")
    newest: dict[str, tuple[RunRecord, str]] = {}
    for one in runs:
        if text in _made(one):
            newest.setdefault(one.pipeline_name, (one, _made(one)[text]))
    if len({key for _, key in newest.values()}) > 1:
        listed_ = ", ".join(f"{one.run}:{text} ({key[:12]})" for one, key in newest.values())
        raise UserError(f"step '{text}' of several pipelines made an artifact; say which: {listed_}")
    if newest:
        return _there(store, text, {text: next(iter(newest.values()))[1]}, text)
    _refuse(text, runs, refused)
    raise refused


def _made(run: RunRecord) -> dict[str, str]:
    """Keys of the artifacts of a run by the names of its steps."""
    return {str(step["name"]): str(step["key"]) for step in run.steps if step["status"] in MADE}


def _there(store: Store, text: str, made: dict[str, str], step: str, whose: str = "") -> str:
    if step not in made:
        raise UserError(f"'{text}': {whose}made no artifact in a step '{step}'.{did_you_mean(step, made)}")
    if not store.has(made[step]):
        raise UserError(f"'{text}': the artifact {made[step][:12]} was removed since; run the pipeline again, what is finished is reused")
    return made[step]


def _refuse(text: str, runs: Sequence[RunRecord], refused: UserError) -> None:
    """Raise what helps more than the store's own words: `text` is a run, or close to a step's name."""
    if "Did you mean" in str(refused):
        return
    if not runs:
        raise UserError(f"{refused} No run was made in this store yet: `fabloom run` makes one.") from refused
    for run in runs:
        if text in (run.run, run.pipeline_name):
            made = {step["kind"]: step["name"] for step in run.steps if step["status"] in MADE}
            last = next(reversed(made.values()), "STEP")
            raise UserError(f"'{text}' is a run, not an artifact; name a step of it, as in {text}:{made.get('Model', last)}") from refused
    steps = {name for run in runs for name in _made(run)}
    close = did_you_mean(text, steps)
    if close.startswith(" Did"):
        raise UserError(f"no artifact, ref or step '{text}'.{close} See `fabloom artifacts` and `fabloom runs`.") from refused
