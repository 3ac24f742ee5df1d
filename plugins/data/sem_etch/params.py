"""Parameters of `sem-etch`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fabloom.plugins.blocks.imaging.params import Drawn, References

PatternKind = Literal["lines", "holes", "bends"]
DefectKind = Literal["bridge", "gap", "necking", "missing", "particle", "residue"]
DEFECTS: tuple[DefectKind, ...] = ("bridge", "gap", "necking", "missing", "particle", "residue")
CLASS_NAMES = ("clean", *DEFECTS)
STRIPE_KINDS: tuple[DefectKind, ...] = ("bridge", "gap", "necking", "particle", "residue")
KINDS: dict[PatternKind, tuple[DefectKind, ...]] = {
    "lines": STRIPE_KINDS,
    "holes": ("bridge", "missing", "particle", "residue"),
    "bends": STRIPE_KINDS,
}
"""What may go wrong with each pattern."""


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= pair[0] <= pair[1] < float("inf"):
        raise ValueError(f"{list(pair)} must be a lowest and a highest value, neither below 0")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_rising)]
"""Lowest and highest value; one is drawn for each image."""


class SimulateParams(Drawn):
    """Pattern, beam, detector and defects of a simulated set. Lengths in pixels."""

    size: int = Field(32, ge=16, le=1024, description="height and width of an image in pixels")
    grey_low: float = Field(60.0, ge=0, le=255, description="grey level of etched ground, far from an edge")
    grey_high: float = Field(150.0, ge=0, le=255, description="grey level of what was not etched, far from an edge; edges are brighter")
    noise_std: float = Field(3.0, ge=0, description="standard deviation of the detector's noise in grey levels")
    dose: float | None = Field(300.0, gt=0, description="electrons that a pixel of grey_high counts: shot noise; null: none")
    patterns: tuple[PatternKind, ...] = Field(("lines", "holes", "bends"), min_length=1, description="patterns to draw from")
    pitch: Range = Field((8.0, 12.0), description="period of lines and of holes along both axes, drawn for each image")
    duty: Range = Field((0.4, 0.6), description="width of a line as a share of the pitch, drawn for each image")
    hole: Range = Field((0.55, 0.7), description="diameter of a hole as a share of the pitch, drawn for each image")
    random_phase: bool = Field(True, description="draw the position of the pattern for each image")
    turned: bool = Field(True, description="turn the pattern by a drawn number of quarter turns; the scan stays as it is")
    ler: Range = Field((0.5, 1.0), description="edge roughness: standard deviation of an edge, drawn for each image")
    correlation: Range = Field((3.0, 5.0), description="distance along an edge at which its correlation is 1/e, drawn for each image")
    blur: float = Field(0.5, ge=0, le=3, description="standard deviation of the beam's spot")
    jitter: float = Field(0.25, ge=0, le=1, description="standard deviation of a scan line's shift, drawn for each line")
    charging: float = Field(
        0.3, ge=0, description="largest difference of brightness across the image by charging, as a share of grey_high - grey_low"
    )
    defects: tuple[DefectKind, ...] = Field(
        DEFECTS, min_length=1, description="kinds to draw from; each comes only in patterns that can have it"
    )
    defect_low: float = Field(0.5, gt=0, le=2, description="smallest extent of a defect as a share of the pitch; a missing hole has none")
    defect_high: float = Field(0.8, gt=0, le=2, description="largest extent")
    strength: Range = Field((0.6, 1.0), description="share of a defect's full contrast that shows, drawn for each")
    mask_share: float = Field(0.15, gt=0, lt=1, description="a pixel is in the mask where the defect changes it by more than this share "
                              "of grey_high - grey_low")  # fmt: skip
    references: References = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for pattern in self.patterns:
            if self.defect_share > 0 and not set(KINDS[pattern]) & set(self.defects):
                told = ", ".join(KINDS[pattern])
                raise ValueError(f"defects={list(self.defects)} holds none that {pattern} may have; they are {told}")
        if self.pitch[0] < 5:
            raise ValueError(f"pitch={list(self.pitch)} must be 5 pixels or more: edges would run into each other")
        if self.size < 2 * self.pitch[1]:
            raise ValueError(f"size={self.size} pixels show less than two periods: raise size to {2 * self.pitch[1]:.0f} or lower pitch")
        for name in ("duty", "hole"):
            low, high = getattr(self, name)
            if not 0.2 <= low <= high <= 0.8:
                raise ValueError(f"{name}={[low, high]} must lie within 0.2..0.8")
        if self.correlation[0] < 0.5:
            raise ValueError(f"correlation={list(self.correlation)} must be half a pixel or more")
        if self.strength[1] > 1:
            raise ValueError(f"strength={list(self.strength)} must lie within 0..1")
        return self
