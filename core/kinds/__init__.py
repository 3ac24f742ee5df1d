"""The kinds of artifact: `Fields`, `ImageSet`, `Model`, `OfflineData`, `Report`, and `Artifact`, the base of yours."""

from __future__ import annotations

from .artifact import Artifact, LazyArray, Reader, RowReader, RowSpec, RowWriter, Staging, Writing
from .fields import Fields
from .images import ImageSet
from .model import Model
from .offline import OfflineData, offline_specs
from .report import Report, Table

BUILTIN_KINDS: tuple[type[Artifact], ...] = (ImageSet, Fields, Model, OfflineData, Report)

__all__ = [
    "BUILTIN_KINDS", "Artifact", "Fields", "ImageSet", "LazyArray", "Model", "OfflineData", "Reader", "Report", "RowReader", "RowSpec",
    "RowWriter", "Staging", "Table", "Writing", "offline_specs",
]  # fmt: skip
