"""What was asked, as bytes: canonical parameters, artifact keys, step seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel

from fabloom.hashing import blake, canonical_json
from fabloom.params import Source, SourceHasher

SCHEMA = 1
"""Version of the key's preimage and of the store's layout."""

PART = "rows"
"""In the preimage of a part alone: the rows that it holds of the artifact."""


def canonical_params(params: BaseModel, hasher: SourceHasher) -> dict[str, Any]:
    """The parameters as they enter key and manifest: defaults filled in, every `Source` replaced by its hash."""

    def walk(value: Any) -> Any:
        if isinstance(value, Source):
            return {"source": hasher(value.path)}
        if isinstance(value, BaseModel):
            return {name: walk(getattr(value, name)) for name in type(value).model_fields}
        if isinstance(value, Mapping):
            return {name: walk(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [walk(item) for item in value]
        if isinstance(value, Enum):
            return walk(value.value)
        return value

    result: dict[str, Any] = walk(params)
    canonical_json(result)
    return result


def preimage(task: str, version: int, params: Mapping[str, Any], seed: int, inputs: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """What the key of an artifact is made of: `params` in canonical form, `inputs` keys by port."""
    return {"schema": SCHEMA, "task": task, "version": version, "params": params, "seed": seed, "inputs": inputs}


def part_preimage(preimage: Mapping[str, Any], rows: tuple[int, int]) -> dict[str, Any]:
    """What the key of a part is made of: of the artifact with that preimage, the rows from the first to before the second."""
    return {**preimage, PART: list(rows)}


def rows_of(preimage: Mapping[str, Any]) -> range | None:
    """The rows that a part holds; None for a whole artifact."""
    return range(*preimage[PART]) if PART in preimage else None


def whole_of(preimage: Mapping[str, Any]) -> str:
    """The key of the artifact that this is a part of; '' for a whole one."""
    return artifact_key({name: value for name, value in preimage.items() if name != PART}) if PART in preimage else ""


def artifact_key(preimage: Mapping[str, Any]) -> str:
    """blake2b of the canonical JSON of {schema, task, version, params, seed, inputs}, of a part also of its rows."""
    return blake(canonical_json(preimage))


def step_seed(pipeline_seed: int, step_seed_: int, task: str) -> int:
    """The 63-bit seed of a step: a hash of (pipeline seed, step seed, task)."""
    digest = hashlib.blake2b(canonical_json([pipeline_seed, step_seed_, task]), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
