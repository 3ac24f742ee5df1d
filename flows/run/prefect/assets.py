"""Artifacts as Prefect's assets: an event for each that is made, with what it was made from. The store has the truth.

Prefect's `materialize` decorator would tell it of a task that completed, also where the step was left out or somebody else had made
the artifact, and knows the upstream of tasks in its own process only. A step knows both: its inputs are keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prefect.assets import Asset, AssetProperties
from prefect.client.schemas import State
from prefect.context import AssetContext

from fabloom.method import StepRequest, StepResult
from fabloom.registry.address import without_secrets

LONGEST = 440
"""Characters of a store's place in the key of an asset; Prefect admits 512 for all of it."""


def asset_key(store: str, key: str) -> str:
    """`fabloom://STORE/KEY`, with the place of the store in characters that Prefect admits.

    >>> asset_key("s3://user:word@bucket/night runs", "0" * 40)[:31]
    'fabloom://s3/bucket/night-runs/'
    """
    place = re.sub(r"[^A-Za-z0-9_./\-]+", "-", without_secrets(store).replace("://", "/")).strip("/-")
    return f"fabloom://{place[-LONGEST:]}/{key}"


def tell(request: StepRequest, result: StepResult, state: State[Any]) -> None:
    """Say that a step made its artifact, of what. Call it inside the task run."""
    if result.status != "ran":
        return
    key = asset_key(request.store, request.key)
    named = AssetProperties(name=f"{request.pipeline} / {request.name}", description=f"{request.kind} by {request.task}")
    AssetContext(
        direct_asset_dependencies={Asset(key=asset_key(request.store, one)) for one in inputs_of(request.inputs)},
        downstream_assets={Asset(key=key, properties=named)},
        materialized_by="fabloom",
        materialization_metadata={key: {"digest": result.digest, "seconds": round(result.seconds, 1)}},
    ).emit_events(state)


def inputs_of(inputs: Mapping[str, Any]) -> set[str]:
    """Keys of the artifacts that a step takes."""
    return {key for value in inputs.values() for key in ([value] if isinstance(value, str) else value)}
