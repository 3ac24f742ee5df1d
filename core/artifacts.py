"""The kinds under the name that they had first: `fabloom.kinds` is the room."""

from __future__ import annotations

from .kinds import (
    BUILTIN_KINDS,
    Artifact,
    Fields,
    ImageSet,
    LazyArray,
    Model,
    OfflineData,
    Reader,
    Report,
    RowReader,
    RowSpec,
    RowWriter,
    Staging,
    Table,
    offline_specs,
)

__all__ = [
    "BUILTIN_KINDS", "Artifact", "Fields", "ImageSet", "LazyArray", "Model", "OfflineData", "Reader", "Report", "RowReader", "RowSpec",
    "RowWriter", "Staging", "Table", "offline_specs",
]  # fmt: skip
