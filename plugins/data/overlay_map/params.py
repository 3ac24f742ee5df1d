"""Parameters of `overlay-map`: what is simulated, read from tables or files, and held out."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params, Source

TABLE_SIZE = 32
"""Pixels across the wafer of maps made from tables, unless told otherwise."""
COLUMNS = ("wafer", "field", "X", "Y", "x", "y", "dx", "dy", "dx_previous", "dy_previous", "barcode", "lot")
"""Columns with a meaning, as they are called here."""
Group = Literal["lot", "reticle", "tool"]
FIELDS: dict[Group, int] = {"tool": 1, "reticle": 2, "lot": 4}
"""Where a barcode such as T03-C2|R0417A|L07|LOT4K29|W12 has them, counted from 1."""


class SimulateParams(Params):
    """Wafers of a fab. Shares are of the variance of each term; lengths on the wafer are in mm, overlay in nm."""

    count: int = Field(4000, ge=2, description="number of wafers")
    size: int = Field(32, ge=16, le=512, description="pixels across the wafer's 300 mm")
    wafers_per_lot: int = Field(
        5, ge=1, le=25, description="wafers of a lot of 25 that are measured; they share tool, reticle and a part of their logs"
    )
    world: int = Field(0, ge=0, description="number of the fab: its tools, reticles and couplings; sets to compare come from one")
    unseen: tuple[Literal["tool", "reticle"], ...] = Field((), description="of what no other set of the fab has the like: for tests beyond")
    field_width: float = Field(26.0, gt=1, le=26, description="width of an exposure field")
    field_height: float = Field(33.0, gt=1, le=33, description="height of an exposure field")
    from_previous: float = Field(0.35, ge=0, le=1, description="share that goes on from the layer below (its square root: rho)")
    from_logs: float = Field(0.43, ge=0, le=1, description="share that the logs tell")
    from_barcode: float = Field(0.15, ge=0, le=1, description="share that tool, chuck and reticle tell; what is left of 1 is chance")
    residue: float = Field(0.5, ge=0, description="deviation of what no term describes and neighbours share")
    residue_length: float = Field(25.0, gt=0, description="length over which it is alike: of its Gaussian covariance")
    residue_kept: float = Field(0.6, ge=0, le=1, description="correlation of it with that of the layer below")
    noise: float = Field(0.25, ge=0, description="deviation of the metrology's noise, of each pixel for itself")
    missing: float = Field(0.03, ge=0, lt=1, description="share of logs that were not written")
    outliers: float = Field(0.01, ge=0, lt=1, description="share of logs that are wrong by about eight deviations")
    spare_logs: int = Field(0, ge=0, le=480, description="more logs that mean nothing, beside 11 of the 32 (96: as many as published)")

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.from_previous + self.from_logs + self.from_barcode > 1:
            raise ValueError("from_previous, from_logs and from_barcode are shares of one variance and add up to 1 at most")
        return self


class LoadParams(Params):
    """Tables or files of measured wafers. Lengths on the wafer are in mm, overlay in nm."""

    path: Source = Field(
        description="folder of a table of marks and a table of wafers, or of overlay_prev.png, logs.json and id.txt a wafer"
    )
    size: int | None = Field(
        None, ge=16, le=512, description="pixels across the wafer's 300 mm; default: 32 for tables, that of the pictures for files"
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="what a column of the tables is called where not as here, such as {dx: 'OVL X', wafer: WaferID}"
    )
    leave_out: tuple[str, ...] = Field((), description="columns of the table of wafers that are no logs, and logs that are not wanted")
    reach: float | None = Field(
        None,
        ge=0,
        le=50,
        description="how far a mark fills pixels of its field that have none; default: just under a pixel; 0: they are not valid",
    )
    field_width: float | None = Field(None, gt=1, le=26, description="width of an exposure field; default: found, or 26 for files")
    field_height: float | None = Field(None, gt=1, le=33, description="height of an exposure field; default: found, or 33 for files")
    field_x: float | None = Field(None, ge=-26, le=26, description="wafer coordinate X of the centre of field (0, 0); default: found, or 0")
    field_y: float | None = Field(None, ge=-33, le=33, description="wafer coordinate Y of the centre of field (0, 0); default: found, or 0")
    lot_field: int = Field(
        FIELDS["lot"], ge=1, le=20, description="field of the barcode that is the lot, where no column `lot` says it; without it, all of it"
    )
    max_mib: int = Field(4096, ge=1, description="refuse a table that is larger, also when decompressed, and maps that would be")

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = [name for name in self.columns if name not in COLUMNS]
        if unknown:
            raise ValueError(f"columns: {unknown[0]!r} has no meaning; there are {', '.join(COLUMNS)}")
        return self


class SplitParams(Params):
    """Which part of a set. Two steps of one seed with `part: train` and `part: test` share no group and leave nothing out."""

    part: Literal["train", "test"] = Field(description="train: what is learned from; test: what is held out")
    by: Group = Field("lot", description="what is never on both sides: wafers of one lot, of one reticle, or of one tool")
    share: float = Field(0.2, gt=0, lt=1, description="share of the groups that is held out, rounded; at least one, never all")
    field: int | None = Field(
        None, ge=1, le=20, description="field of the barcode, between |, that says it; default: tool 1, reticle 2, lot that of the set"
    )
