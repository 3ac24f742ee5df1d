"""Parameters of `line-pair`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom.plugins.blocks.imaging.params import Simulation

DefectKind = Literal["bridge", "break", "necking", "particle"]
CLASS_NAMES = ("clean", "bridge", "break", "necking", "particle")


class SimulateParams(Simulation):
    """Pattern, optics, camera and defects of a simulated set. Lengths in nm on the wafer, sizes of images in pixels."""

    pitch_nm: float = Field(240.0, gt=0, description="period of the lines; above the resolution limit wavelength / (NA (1 + sigma))")
    duty: float = Field(0.5, ge=0.2, le=0.8, description="line width as a share of the pitch")
    line_reflectance: float = Field(0.2, ge=0, lt=1, description="reflectance of a line; that of a space is 1")
    ler_nm: float = Field(2.5, ge=0, description="line-edge roughness: standard deviation of an edge")
    ler_correlation_nm: float = Field(60.0, gt=0, description="correlation length of the roughness")
    ler_hurst: float = Field(0.7, gt=0, le=1, description="Hurst exponent of the roughness")
    random_phase: bool = Field(False, description="draw the position of the lines for each image; off keeps all images registered")
    defects: tuple[DefectKind, ...] = Field(("bridge", "break", "necking", "particle"), min_length=1, description="kinds to draw from")
    defect_low: float = Field(0.35, gt=0, le=3, description="smallest extent of a defect along the line, as a share of the pitch")
    defect_high: float = Field(0.75, gt=0, le=3, description="largest extent")
