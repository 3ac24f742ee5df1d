"""`overlay-map`: overlay of two layers over a wafer, with what it depends on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from fabloom.errors import DataError, PipelineError
from fabloom.method import Context, Method, Outline, PlannedStep, Survey, task
from fabloom.plugins.blocks.overlay.maps import OverlayMaps

from .params import LoadParams, SimulateParams, SplitParams

HEADER, TABLES = 65536, 20
"""Bytes of a file that are looked at for names of columns, and files of a folder."""


class OverlayMap(Method):
    """Maps of overlay in nm with those of the layer below, logs of the equipment, and barcodes.

    Simulated wafers come from a fab of eight tools with two chucks, and twelve reticles. Each of 34 named terms of a wafer follows the
    layer below, logs, barcode and chance in known shares; what no term describes is alike among neighbours and goes on from below.
    Measured ones come from tables of marks, or from a picture, logs and a barcode for each wafer.
    """

    name = "overlay-map"
    preload = ("numpy", "scipy.ndimage", "scipy.spatial")

    @classmethod
    def survey(cls, folder: Path, options: Mapping[str, Any]) -> Survey | None:
        """None: `fabloom init` writes no pipeline for overlay. Raises DataError, which says where one is, for a table of overlay and for a
        folder of tables alone, one of which is that; a table beside images is theirs.
        """
        files = sorted(islice(folder.iterdir(), TABLES)) if folder.is_dir() else [folder]
        if any(path.suffix.lower() != ".csv" or not path.is_file() for path in files):
            return None
        for path in files:
            with path.open("rb") as file:
                header = file.readline(HEADER).decode("utf-8", "replace").lower()
            names = {name.strip('\ufeff" ') for name in re.split(r"[,;\t\r\n]", header)}
            if {"dx", "dy"} <= names or {"wafer", "field"} <= names:
                raise DataError(
                    f"{path}: is a table of overlay, which is learned from by a pipeline with overlay-map.load and "
                    "ikddit, not by one that init writes; docs/overlay.md has it, and `fabloom tasks overlay-map.load` the columns"
                )
        return None

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Refuse a folder of another layout, tables without the columns that are needed, and wafers, barcodes and logs that are none."""
        if isinstance(step.params, LoadParams):
            from .loading import foreseen

            try:
                foreseen(step.params)
            except DataError as error:
                raise PipelineError(f"steps.{step.name}.params", str(error)) from error

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Wafers, pixels and logs are parameters, or follow from the table of wafers."""
        from .expecting import expected

        return expected(step.params, inputs)

    @task(version=1)
    def simulate(self, ctx: Context, params: SimulateParams) -> OverlayMaps:
        """Simulate wafers; wafer i depends on the seed and i only, so a larger count keeps the earlier wafers.

        Sets of one `world` and other seeds have other lots of the same fab: one to learn from, one to test on.
        """
        from .simulating import simulate

        return simulate(ctx, params)

    @task(version=1)
    def load(self, ctx: Context, params: LoadParams) -> OverlayMaps:
        """Read measured wafers from tables (CSV or Parquet), or from a picture, logs and a barcode for each; nothing is ever unpickled.

        Tables: one of marks with wafer, field, X, Y (wafer, mm), x, y (field, mm), dx, dy (nm) and either dx_previous, dy_previous or a
        second one for the layer below; one of wafers with wafer, barcode, perhaps lot, and a column for each log, `name [unit]`, empty
        where nothing was logged. A pixel is the mean of the marks in it that are of its field; one without takes the nearest mark of its
        field within `reach`, or is not valid. Fields lie where X - x and Y - y say. What `--format csv` exports is read again.

        Files: overlay_prev.png (red dx, green dy, blue mask; scale.json says the nm), logs.json, id.txt, and overlay.npy or overlay.png,
        in a folder for each wafer or with a suffix for each. A source is a lot.

        Raises DataError that names file, row and column for: files of another form or size, missing columns, values that are no number,
        of another unit or off the wafer, fields whose centres contradict each other, barcodes of two wafers, and wafers without marks.
        """
        from .loading import load

        return load(ctx, params)

    @task(version=1)
    def split(self, ctx: Context, params: SplitParams, *, maps: OverlayMaps) -> OverlayMaps:
        """One part of a set: what is learned from, or lots, reticles or tools that are held out.

        Which groups are held out follows from the seed and their names alone: two steps of one seed share none and leave none out.
        Raises DataError where one group is all there is, and where a barcode does not say of which it is.
        """
        from .splitting import split

        return split(ctx, params, maps)
