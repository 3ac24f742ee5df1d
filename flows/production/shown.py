"""A night inside a flow run, and what Prefect shows of it: a named state, the decision as markdown. Nothing of that is needed by it."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas import State
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed

from fabloom.errors import FabloomError
from fabloom.flows.report.markdown import markdown_summary
from fabloom.flows.run.api import open_store
from fabloom.flows.run.prefect.aftermath import settle_unbegun
from fabloom.flows.run.prefect.artifacts import slug
from fabloom.flows.run.prefect.credentials import lent
from fabloom.flows.run.prefect.outage import reason
from fabloom.kinds import Table
from fabloom.progress import Event
from fabloom.registry import Registry
from fabloom.registry.address import without_secrets

from .decision import MEANINGS, Record
from .night import How, Night, if_new, rehearse, retrain
from .spec import Spec

log = logging.getLogger("fabloom")


@dataclass(frozen=True)
class Parameters:
    """The parameters of the flow, by their names; `flow.retrain` says what each is."""

    spec: str
    store: str = ""
    device: str = "specified"
    seed: int = -1
    redo: tuple[str, ...] = ()
    if_new: bool = False
    dry_run: bool = False
    runner: Any = "threads"
    note: str = ""


def carry_out(asked: Parameters) -> State[Any]:
    """The body of the flow; the steps are tasks of this very flow run. What cannot begin ends as Failed, with one line that says why."""
    settle_unbegun()
    try:
        with lent():
            done = _night(asked)
    except FabloomError as error:
        return Failed(message=without_secrets(str(error)))
    if not isinstance(done, Night):
        return Completed(name="DryRun", message=f"would be {done['outcome'] or 'decided by the gate'}. {done['reason']}", data=done)
    publish(done)
    return state_of(done)


def _night(asked: Parameters) -> Night | dict[str, Any]:
    """The night, or what it would do."""
    registry, spec = Registry.load(), Spec.load(asked.spec)
    store = open_store(asked.store or None, registry, read_only=asked.dry_run)
    how = How(
        registry, store, "prefect", asked.runner, None if asked.device == "specified" else asked.device,
        None if asked.seed < 0 else asked.seed, asked.redo, asked.note, _told,
    )  # fmt: skip
    if asked.dry_run:
        return rehearse(spec, how)
    return if_new(spec, how, time.time()) if asked.if_new else retrain(spec, how)


def state_of(done: Night) -> State[Any]:
    """How Prefect shows the end of a night: Failed and Stopped as what they are, every other outcome as completed, by its name."""
    if done.outcome == "Failed":
        return Failed(message=done.record.reason)
    if done.outcome == "Stopped":
        return Cancelled(name="Stopped", message=done.record.reason)
    return Completed(name=done.outcome, message=done.record.reason, data=done.as_dict())


def publish(done: Night) -> None:
    """The decision as a markdown artifact under the line's own key. Nights of which nothing is kept have none."""
    if not done.decision:
        return
    try:
        described = f"{done.outcome}, decision {done.decision[:12]}"
        create_markdown_artifact(markdown(done.record), key=f"{slug(done.record.line)}-decision", description=described)
    except Exception as error:
        log.warning("the decision of '%s' cannot be shown in Prefect: %s", done.record.line, reason(error))


def markdown(record: Record) -> str:
    """A decision for reading in Prefect's pages."""
    head = markdown_summary({}, {f"{record.outcome}: {MEANINGS[record.outcome]}": Table(("why",), [[record.reason]])})
    tables = {"Gate": record.verdicts} if record.gate else {}
    keys = {name: getattr(record, name) for name in ("challenger", "champion", "test", "evaluation")}
    tables["Decided on"] = Table(("what", "key"), [[name, key] for name, key in {**keys, **record.frozen}.items() if key])
    return "\n\n".join(filter(None, (head, markdown_summary(record.scores, tables))))


def _told(event: Event) -> None:
    """Of what happens outside of steps: a line of the flow's log."""
    if event["event"] == "log" and "step" not in event:
        with contextlib.suppress(Exception):  # not called by Prefect, or its logging fails
            get_run_logger().info(str(event["message"]))
