"""Parameters of `contact-hole`."""

from __future__ import annotations

from math import sqrt
from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.plugins.blocks.imaging.params import References, Simulation

DefectKind = Literal["missing", "bridged", "shrunk", "displaced", "particle"]
CLASS_NAMES = ("clean", "missing", "bridged", "shrunk", "displaced", "particle")


class SimulateParams(Simulation):
    """Array, optics, camera and defects of a simulated set. Lengths in nm on the wafer, sizes of images in pixels."""

    pitch_nm: float = Field(
        480.0,
        gt=0,
        description="distance of neighbouring holes; rows must be further apart than the resolution limit wavelength / (NA (1 + sigma))",
    )
    array: Literal["square", "hexagonal"] = Field(
        "square", description="square: rows one pitch apart; hexagonal: every second row half a pitch aside, rows sqrt(3)/2 pitch apart"
    )
    diameter_nm: float = Field(240.0, gt=0, description="diameter of a hole; below pitch_nm")
    hole_reflectance: float = Field(0.2, ge=0, lt=1, description="reflectance of a hole; that of the ground is 1")
    cd_std_nm: float = Field(5.0, ge=0, description="standard deviation of a hole's diameter, drawn for each hole")
    placement_std_nm: float = Field(4.0, ge=0, description="standard deviation of a hole's position along each axis, drawn for each hole")
    random_phase: bool = Field(False, description="draw the position of the array for each image; off keeps all images registered")
    defects: tuple[DefectKind, ...] = Field(("missing", "bridged", "shrunk", "displaced"), min_length=1, description="kinds to draw from")
    defect_low: float = Field(
        0.4,
        gt=0,
        le=1,
        description="smallest extent of a defect as a share of the diameter: width of a bridge, what a shrunk hole loses, way of a "
        "displaced one, diameter of a particle; a missing hole has none",
    )
    defect_high: float = Field(0.7, gt=0, le=1, description="largest extent")
    references: References = False

    @property
    def row_nm(self) -> float:
        """Distance of rows of holes."""
        return self.pitch_nm * (sqrt(3) / 2 if self.array == "hexagonal" else 1)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.row_nm <= self.resolved_nm:
            raise ValueError(
                f"pitch_nm={self.pitch_nm} is not resolved: rows of a hexagonal array are sqrt(3)/2 pitch apart, so it must exceed "
                f"{self.resolved_nm * 2 / sqrt(3):.1f} nm"
            )
        if self.diameter_nm >= self.pitch_nm:
            raise ValueError(f"diameter_nm={self.diameter_nm} must be below pitch_nm={self.pitch_nm}: holes would touch")
        return self
