"""The flow that a deployed line points at, as a shim: its body is a plain function of `shown`. Parameters are flat, for Prefect's form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas import State
from pydantic import Field

from fabloom.flows.run.prefect.flow import Names, Text, settle

WHAT = "Retrain a line of fabloom: make a challenger, and promote it where it is better than the champion."


@flow(name="fabloom retrain", description=WHAT, flow_run_name="{spec}", on_crashed=[settle], persist_result=False, log_prints=False)
def retrain(
    spec: Annotated[Text, Field(min_length=1)],
    store: Text = "",
    device: Literal["specified", "auto", "cpu", "cuda", "mps"] = "specified",
    seed: Annotated[int, Field(ge=-1)] = -1,
    redo: Names = [],  # noqa: B006 nobody changes it, and of None the form would make a union
    if_new: bool = False,
    dry_run: bool = False,
    runner: Literal["threads", "dask", "ray"] = "threads",
    note: Text = "",
) -> State[Any]:
    """Retrain a line of fabloom. Ends in a state that is named like the night's outcome: Promoted, Rejected, NoChange and so on.

    Args:
        spec: Path of the line's specification on the machine that runs it.
        store: Folder or URL of the artifacts. Empty: FABLOOM_STORE of the machine that runs it, else ./.fabloom there.
        device: Where steps compute; specified is what the specification says.
        seed: Seed of the whole pipeline. -1: the pipeline's own.
        redo: Names of steps that are made again although their artifacts are there.
        if_new: Only where what the specification watches has changed since the last night, and is at rest.
        dry_run: Say what the night would do, and do nothing.
        runner: Where steps run: threads of this flow, each step in a process of its own, or workers of dask or ray.
        note: A remark, kept in the decision.
    """
    from fabloom.flows.production import shown

    return shown.carry_out(shown.Parameters(spec, store, device, seed, tuple(redo), if_new, dry_run, runner, note))
