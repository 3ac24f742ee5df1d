"""The kinds of artifact: `Fields`, `ImageSet`, `Model`, `OfflineData`, `Report`, and `Artifact`, the base of yours."""

from __future__ import annotations

from .arrays import LazyArray
from .artifact import Artifact, Reader, RowReader, RowSpec, RowWriter, Staging, Writing
from .exhibit import Chart, Exhibit, Table
from .fields import Fields
from .gallery import Gallery
from .images import ImageSet
from .metric import Metric
from .model import Model
from .offline import OfflineData, offline_specs
from .report import Report

BUILTIN_KINDS: tuple[type[Artifact], ...] = (ImageSet, Fields, Model, OfflineData, Report)

__all__ = [
    "BUILTIN_KINDS", "Artifact", "Chart", "Exhibit", "Fields", "Gallery", "ImageSet", "LazyArray", "Metric", "Model", "OfflineData",
    "Reader", "Report", "RowReader", "RowSpec", "RowWriter", "Staging", "Table", "Writing", "offline_specs",
]  # fmt: skip
