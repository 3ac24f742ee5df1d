"""What a manifest must look like before anything believes it: its own hash is no signature, and the names in it become paths."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, StringConstraints, ValidationError

PART = r"(?:[^/\\\x00.]|\.[^/\\\x00.]|\.\.[^/\\\x00])[^/\\\x00]*"
BELOW = rf"^{PART}(?:/{PART})*$"
"""A relative path with '/' between its parts, none of which is '.' or '..': it stays below the folder that it is joined to."""

Key = Annotated[str, StringConstraints(pattern="^[0-9a-f]{40}$")]
Mark = Annotated[str, StringConstraints(pattern="^(?:[0-9a-f]{8}){1,2}$")]
FileName = Annotated[str, StringConstraints(pattern=BELOW)]


class Shape(BaseModel):
    """Strict about what is declared, silent about what later versions add."""

    model_config = ConfigDict(strict=True, extra="allow")


class ArrayShape(Shape):
    """Shape and dtype of an array."""

    shape: list[NonNegativeInt]
    dtype: str


class Preimage(Shape):
    """What was asked."""

    task: str
    version: int = 0
    seed: int = 0
    inputs: dict[str, Key | list[Key]] = Field(default_factory=dict)
    params: dict[str, Any] = Field(default_factory=dict)


class ManifestShape(Shape):
    """A manifest. Circumstances may be missing; where they are there, they are of these types."""

    key: Key
    digest: Key
    kind: str
    preimage: Preimage
    files: dict[FileName, tuple[NonNegativeInt, Key]]
    marks: dict[FileName, Mark] = Field(default_factory=dict)
    arrays: dict[FileName, ArrayShape]
    metrics: dict[str, Any]
    created: str = ""
    seconds: float = 0.0
    memory: int = 0
    device: str = ""
    threads: int = 1
    source: str = ""
    step: str = ""
    pipeline: str = ""
    plugin: dict[str, Any] = Field(default_factory=dict)
    made_with: dict[str, Any] = Field(default_factory=dict)
    precision: dict[str, Any] = Field(default_factory=dict)
    curves: dict[str, Any] = Field(default_factory=dict)


def completed(body: dict[str, Any]) -> dict[str, Any]:
    """A checked manifest with what it may lack at its default, so that who reads one need not ask what is there."""
    return {**_defaults(ManifestShape), **body, "preimage": {**_defaults(Preimage), **body["preimage"]}}


def _defaults(shape: type[Shape]) -> dict[str, Any]:
    return {name: field.get_default(call_default_factory=True) for name, field in shape.model_fields.items() if not field.is_required()}


def check_shape(data: bytes) -> None:
    """Raises ValueError that says what is odd in a manifest's bytes."""
    try:
        ManifestShape.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "string_pattern_mismatch" and first["loc"][-1] == "[key]":
            raise ValueError(f"{first['loc'][-2]!r} is no safe file name") from None
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
