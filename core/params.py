"""Typed parameters of a task: `Params`, `Source` that names files on disk, `Precision` of a network's arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue


class Params(BaseModel):
    """Base of every task's parameters: frozen, unknown names refused, NaN and infinity refused.

    Field descriptions become the command line's help and the form of a Prefect deployment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


ARITHMETIC: Final = "fabloom: arithmetic of the network"
"""Marks a field as a precision, so that the engine settles it when a step starts."""

Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    Field(description="arithmetic of the network; auto: bf16 where the device computes it natively, as measured there, else fp32"),
    ARITHMETIC,
]
"""Declare it as `precision: Precision = "auto"` and compute under `ctx.autocast(params.precision)`. The key holds what was asked."""


class Source:
    """A file or folder that a parameter names.

    At planning its bytes are hashed (names relative to the root, sizes, contents); the hash, never the path,
    is what enters the key and the manifest.
    """

    __slots__ = ("path",)

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Source({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def build(value: Any) -> Source:
            if isinstance(value, Source):
                return value
            if isinstance(value, str | Path) and str(value).strip():
                return cls(value)
            if type(value) is int and value >= 0:  # a folder called 2024, as YAML reads it
                return cls(str(value))
            raise ValueError("a path to a file or folder is wanted; a name that reads as a number is put in quotes")

        return core_schema.no_info_plain_validator_function(
            build, serialization=core_schema.plain_serializer_function_ser_schema(lambda s: str(s.path))
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "path"}


class SourceHasher(Protocol):
    """Hashes what a `Source` names; the store supplies one with a cache."""

    def __call__(self, path: Path) -> str: ...
