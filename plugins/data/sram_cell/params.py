"""Parameters of `sram-cell`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.plugins.blocks.imaging.params import References, Simulation

DefectKind = Literal["bridge", "open", "missing_contact"]
CLASS_NAMES = ("clean", "bridge", "open", "missing_contact")
CELL = (2.0, 5.0)
"""Height and width of a cell in gate pitches."""


class SimulateParams(Simulation):
    """Array, optics, camera and defects of a simulated set. Lengths in nm on the wafer, sizes of images in pixels."""

    size: int = Field(96, ge=16, le=1024, description="height and width of an image in pixels; at least one cell")
    pitch_nm: float = Field(
        480.0,
        gt=0,
        description="distance of gates, above the resolution limit wavelength / (NA (1 + sigma)); a cell is 2 pitches high and 5 wide",
    )
    field_reflectance: float = Field(0.6, ge=0, le=1, description="reflectance of the ground")
    active_reflectance: float = Field(0.35, ge=0, le=1, description="reflectance of the active areas, which run from top to bottom")
    gate_reflectance: float = Field(0.05, ge=0, le=1, description="reflectance of the gates, which run from left to right over them")
    contact_reflectance: float = Field(1.0, ge=0, le=1, description="reflectance of the contacts, on top")
    edge_std_nm: float = Field(3.0, ge=0, description="standard deviation of the edges of a rectangle, drawn for each edge")
    overlay_std_nm: float = Field(5.0, ge=0, description="standard deviation of the shift of a layer along each axis, drawn for each image")
    random_phase: bool = Field(False, description="draw the position of the array for each image; off keeps all images registered")
    defects: tuple[DefectKind, ...] = Field(("bridge", "open", "missing_contact"), min_length=1, description="kinds to draw from")
    defect_low: float = Field(
        0.4,
        gt=0,
        le=3,
        description="smallest extent of a defect along the gate, as a share of the pitch: width of a bridge, gap of an open; a missing "
        "contact has none",
    )
    defect_high: float = Field(0.8, gt=0, le=3, description="largest extent")
    references: References = False

    @model_validator(mode="after")
    def _one_cell(self) -> Self:
        width = CELL[1] * self.pitch_nm
        if self.size * self.pixel_nm < width:
            raise ValueError(f"size={self.size} pixels show less than one cell: raise size to {width / self.pixel_nm:.0f}")
        return self
